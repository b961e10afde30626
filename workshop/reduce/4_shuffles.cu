// Sum of each row, rung 4: lanes of a warp exchange registers.
//
// A warp needs no shared memory for its own sum: __shfl_xor_sync gives each lane the number of the lane whose index differs in one
// bit. Five such exchanges leave the sum of 32 lanes in each of them. Only the eight warps' sums go through shared memory, and one
// barrier is enough where the tree had nine.
//
//@ computes = "row_sum"
//@ block = 256
//@ tile = 1
//@ improves = "barriers"

__device__ float sum_of_warp(float sum) {
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    return sum;
}

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float sums[8];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int c = t; c < columns; c += 256) sum += x[blockIdx.x * columns + c];
    sum = sum_of_warp(sum);
    if (t % 32 == 0) sums[t / 32] = sum;
    __syncthreads();  // the warps' sums are written
    if (t < 32) {
        sum = sum_of_warp(t < 8 ? sums[t] : 0.0f);
        if (t == 0) out[blockIdx.x] = sum;
    }
}
