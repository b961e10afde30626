// Sum of each row, rung 5: four numbers with one load.
//
// A sum is bound by memory: four bytes for each addition. A load of 16 bytes a lane asks for the same bytes with a quarter of the
// instructions, and keeps four times as many in flight. A row may begin at an address that is no multiple of 16 bytes, so this works
// for rows of a multiple of four numbers only; the engine's kernel (kernels/reduce.cu) has both ways. The order of the additions is fixed,
// so the same numbers give the same bits in each run.
//
//@ computes = "row_sum"
//@ block = 256
//@ tile = 1
//@ shapes = [[1, 4], [3, 1000], [16, 1024]]
//@ improves = "requests"

__device__ float sum_of_warp(float sum) {
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    return sum;
}

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float sums[8];
    int t = threadIdx.x;
    const float4* row = reinterpret_cast<const float4*>(x + blockIdx.x * columns);
    float sum = 0.0f;
    for (int c = t; c < columns / 4; c += 256) {
        float4 four = row[c];
        sum += (four.x + four.y) + (four.z + four.w);
    }
    sum = sum_of_warp(sum);
    if (t % 32 == 0) sums[t / 32] = sum;
    __syncthreads();  // the warps' sums are written
    if (t < 32) {
        sum = sum_of_warp(t < 8 ? sums[t] : 0.0f);
        if (t == 0) out[blockIdx.x] = sum;
    }
}
