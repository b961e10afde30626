// Alrao's update, rung 3: four weights a thread.
//
// The update is bound by memory: 12 bytes for each weight, two operations. What counts is how many bytes are in flight. A thread that
// loads 16 bytes at once asks for four times as many with one instruction, and a warp needs a quarter of the requests. The four weights
// may belong to two features, so each looks up its own rate. The last weights, fewer than four, go one by one.
//
//@ computes = "update"
//@ block = 256
//@ grid = 36
//@ shapes = [[5, 27], [64, 576]]
//@ improves = "requests"

__global__ void update(float* weight, const float* gradient, const float* rate, int inner, int n) {
    int first = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (first + 3 < n) {
        float4 w = *reinterpret_cast<float4*>(weight + first);
        float4 g = *reinterpret_cast<const float4*>(gradient + first);
        w.x -= rate[(first + 0) / inner] * g.x;
        w.y -= rate[(first + 1) / inner] * g.y;
        w.z -= rate[(first + 2) / inner] * g.z;
        w.w -= rate[(first + 3) / inner] * g.w;
        *reinterpret_cast<float4*>(weight + first) = w;
    } else {
        for (int e = first; e < n; e++) weight[e] -= rate[e / inner] * gradient[e];
    }
}
