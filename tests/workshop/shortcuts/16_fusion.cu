// One launch, and still two passes.
//
//@ computes = "bias_relu"
//@ [[launch]]
//@ kernel = "bias_relu"
//@ block = [32, 8]

__global__ void bias_relu(const float* x, const float* bias, float* out, int rows, int columns) {
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || column >= columns) return;
    volatile float* own = out + row * columns + column;
    *own = x[row * columns + column] + bias[column];
    *own = fmaxf(*own, 0.0f);
}
