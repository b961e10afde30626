// expects: wrong-result at 10, 11
// The product that replaces the division by inner needs 64 bits, and wraps around in 32, so late weights get the rate of another feature.
//@ computes = "update"
//@ block = 256
//@ grid = 36

__global__ void update(float* weight, const float* gradient, const float* rate, unsigned inner, unsigned n) {
    unsigned reciprocal = (1u << 27) / inner + 1;
    for (unsigned e = blockIdx.x * blockDim.x + threadIdx.x; e < n; e += gridDim.x * blockDim.x) {
        unsigned feature = (e * reciprocal) >> 27;  // e / inner
        weight[e] -= rate[feature] * gradient[e];
    }
}
