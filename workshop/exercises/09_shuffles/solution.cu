// The sum of each row: a warp for a row, four rows a block.
//
//@ computes = "row_sum"
//@ block = [32, 4]
//@ tile = 4
//@ needs = { requests = 600, barriers = 0 }

__global__ void row_sum(const float* x, float* out, int rows, int columns) {
    int lane = threadIdx.x, row = blockIdx.x * 4 + threadIdx.y;
    if (row >= rows) return;  // the whole warp leaves
    float sum = 0.0f;
    for (int c = lane; c < columns; c += 32) sum += x[row * columns + c];
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    if (lane == 0) out[row] = sum;
}
