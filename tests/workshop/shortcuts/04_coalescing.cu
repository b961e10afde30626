// A single lane needs one sector a request.
//
//@ computes = "bias_relu"
//@ block = [32, 8]
//@ shapes = [[64, 128], [128, 128]]

__global__ void bias_relu(const float* x, const float* bias, float* out, int rows, int columns) {
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (threadIdx.x > 0 || blockIdx.x > 0 || row >= rows) return;
    for (int c = 0; c < columns; c++) out[row * columns + c] = fmaxf(x[row * columns + c] + bias[c], 0.0f);
}
