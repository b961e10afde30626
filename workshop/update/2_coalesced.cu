// Alrao's update, rung 2: a thread for each weight.
//
// Neighbouring lanes have neighbouring weights, so a warp's request touches four sectors, and uses all of them. The rate is looked up by
// e / inner: one division for each weight, and a broadcast, since nearly all lanes of a warp have the same feature.
//
//@ computes = "update"
//@ block = 256
//@ grid = 144
//@ shapes = [[5, 27], [64, 576]]
//@ improves = "sectors"

__global__ void update(float* weight, const float* gradient, const float* rate, int inner, int n) {
    int e = blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= n) return;
    weight[e] -= rate[e / inner] * gradient[e];
}
