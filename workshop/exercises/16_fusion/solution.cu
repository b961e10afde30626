// out[r][c] = max(x[r][c] + bias[c], 0) in one launch.
//
//@ computes = "bias_relu"
//@ needs = { launches = 1, bytes = 100000, lanes = 100 }
//@ [[launch]]
//@ kernel = "bias_relu"
//@ block = [32, 8]

__global__ void bias_relu(const float* x, const float* bias, float* out, int rows, int columns) {
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || column >= columns) return;
    int e = row * columns + column;
    out[e] = fmaxf(x[e] + bias[column], 0.0f);
}
