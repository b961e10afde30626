// Alrao's update, rung 4: a rate is read once where a vector lies in one feature.
//
// In rung 3 five of seven requests look up rates. They come from the cache, but each takes an instruction and a turn of the load unit.
// Nearly always the first and the last of the four weights have the same feature; then one rate serves all four.
//
// The engine's kernel (kernels/optimizer.cu) goes on from here: one launch for all parameters by a table of chunks, four vectors in
// flight for each thread, a multiplication in place of the division, moments for momentum and Adam, and skipped elements where the gradient
// is not finite.
//
//@ computes = "update"
//@ block = 256
//@ grid = 36
//@ shapes = [[5, 27], [64, 576]]
//@ improves = "requests"

__global__ void update(float* weight, const float* gradient, const float* rate, int inner, int n) {
    int first = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (first + 3 >= n) {
        for (int e = first; e < n; e++) weight[e] -= rate[e / inner] * gradient[e];
        return;
    }
    float4 w = *reinterpret_cast<float4*>(weight + first);
    float4 g = *reinterpret_cast<const float4*>(gradient + first);
    int feature = first / inner, last = (first + 3) / inner;
    if (feature == last) {
        float own = rate[feature];
        w.x -= own * g.x;
        w.y -= own * g.y;
        w.z -= own * g.z;
        w.w -= own * g.w;
    } else {
        w.x -= rate[feature] * g.x;
        w.y -= rate[(first + 1) / inner] * g.y;
        w.z -= rate[(first + 2) / inner] * g.z;
        w.w -= rate[last] * g.w;
    }
    *reinterpret_cast<float4*>(weight + first) = w;
}
