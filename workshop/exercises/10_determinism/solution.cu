// The sum of a vector, with the same bits in each run.
//
//@ computes = "sum"
//@ needs = { requests = 700 }
//@ uses = ["partials["]
//@ [[launch]]
//@ kernel = "add_parts"
//@ block = 32
//@ grid = 16
//@ [[launch]]
//@ kernel = "add_up"
//@ block = 32
//@ grid = 1

__device__ float sum_of_warp(float sum) {
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    return sum;
}

__global__ void add_parts(const float* x, float* partials, int n) {
    float sum = 0.0f;
    for (int i = blockIdx.x * 32 + threadIdx.x; i < n; i += 16 * 32) sum += x[i];
    sum = sum_of_warp(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void add_up(const float* partials, float* out) {
    float sum = sum_of_warp(threadIdx.x < 16 ? partials[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) out[0] = sum;
}
