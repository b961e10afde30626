// A lane has a row.
//
//@ computes = "row_sum"
//@ block = [32, 4]
//@ tile = 4

__global__ void row_sum(const float* x, float* out, int rows, int columns) {
    int lane = threadIdx.x, row = blockIdx.x * 4 + threadIdx.y;
    if (row >= rows || lane > 0) return;
    float sum = 0.0f;
    for (int c = 0; c < columns; c++) sum += x[row * columns + c];
    out[row] = sum;
}
