// expects: endless at 10, 11, 12
// The counter is an unsigned char and never reaches the number of columns if that is more than 255.
//@ computes = "prefix_sum"
//@ block = 32

__global__ void prefix_sum(const float* x, float* out, int rows, int columns) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    float sum = 0.0f;
    for (unsigned char c = 0; c < columns; c++) {
        sum += x[row * columns + c];
        out[row * columns + c] = sum;
    }
}
