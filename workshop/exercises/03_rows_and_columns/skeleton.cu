// out[r][c] = max(x[r][c] + bias[c], 0).
//
//@ computes = "bias_relu"
//@ block = [32, 8]

__global__ void bias_relu(const float* x, const float* bias, float* out, int rows, int columns) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    int row = 0;  // TODO: the row of this thread, and a guard for both axes
    out[column] = fmaxf(x[column] + bias[column], 0.0f);  // TODO: the element of this thread
}
