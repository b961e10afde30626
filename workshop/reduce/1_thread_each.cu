// Sum of each row, rung 1: a thread for each row.
//
// The obvious loop. The lanes of a warp are a row apart: each request touches a sector for every lane, and uses 4 of its 32 bytes.
// Sixteen rows are sixteen threads: half a warp works, and the rest of the GPU has nothing to do.
//
//@ computes = "row_sum"
//@ block = 32

__global__ void row_sum(const float* x, float* out, int rows, int columns) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float sum = 0.0f;
    for (int c = 0; c < columns; c++) sum += x[row * columns + c];
    out[row] = sum;
}
