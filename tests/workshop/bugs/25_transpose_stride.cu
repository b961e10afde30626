// expects: out-of-bounds at 10
// The rows of the result are taken to be as long as those of x, so its stride is columns instead of rows.
//@ computes = "transpose"
//@ block = [32, 8]

__global__ void transpose(const float* x, float* out, int rows, int columns) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || column >= columns) return;
    out[column * columns + row] = x[row * columns + column];
}
