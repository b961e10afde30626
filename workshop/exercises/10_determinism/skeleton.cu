// The sum of a vector, with the same bits in each run.
//
//@ computes = "sum"
//@ [[launch]]
//@ kernel = "clear"
//@ block = 32
//@ grid = 1
//@ [[launch]]
//@ kernel = "add_parts"
//@ block = 32
//@ grid = 16

__device__ float sum_of_warp(float sum) {
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    return sum;
}

__global__ void clear(float* out) {
    if (threadIdx.x == 0) out[0] = 0.0f;
}

__global__ void add_parts(const float* x, float* out, int n) {
    float sum = 0.0f;
    for (int i = blockIdx.x * 32 + threadIdx.x; i < n; i += 16 * 32) sum += x[i];
    sum = sum_of_warp(sum);
    if (threadIdx.x == 0) atomicAdd(out, sum);  // TODO: leave this block's sum in `partials`
}

// TODO: a second kernel that adds up the 16 sums; it needs no `clear`
