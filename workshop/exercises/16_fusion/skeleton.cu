// out[r][c] = max(x[r][c] + bias[c], 0) in one launch.
//
//@ computes = "bias_relu"
//@ [[launch]]
//@ kernel = "add_bias"
//@ block = [32, 8]
//@ [[launch]]
//@ kernel = "relu"
//@ block = [32, 8]

// TODO: one kernel in place of two
__global__ void add_bias(const float* x, const float* bias, float* out, int rows, int columns) {
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < rows && column < columns) out[row * columns + column] = x[row * columns + column] + bias[column];
}

__global__ void relu(float* out, int rows, int columns) {
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < rows && column < columns) out[row * columns + column] = fmaxf(out[row * columns + column], 0.0f);
}
