// expects: unwritten at 21
// All 32 lanes of the first warp read a warp's sum, but only eight warps have written one.
//@ computes = "row_sum"
//@ block = 256
//@ tile = 1

__device__ float sum_of_warp(float sum) {
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    return sum;
}

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float sums[32];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int c = t; c < columns; c += 256) sum += x[blockIdx.x * columns + c];
    sum = sum_of_warp(sum);
    if (t % 32 == 0) sums[t / 32] = sum;
    __syncthreads();
    if (t >= 32) return;
    sum = sum_of_warp(sums[t]);
    if (t == 0) out[blockIdx.x] = sum;
}
