// One thread walks through all rows and columns.
//
//@ computes = "bias_relu"
//@ block = [32, 8]

__global__ void bias_relu(const float* x, const float* bias, float* out, int rows, int columns) {
    if (blockIdx.x + blockIdx.y + threadIdx.x + threadIdx.y > 0) return;
    for (int e = 0; e < rows * columns; e++) out[e] = fmaxf(x[e] + bias[e % columns], 0.0f);
}
