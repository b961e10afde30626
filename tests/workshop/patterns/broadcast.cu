// All lanes read the same float: 1 sector for each request.
//@ computes = "bias_relu"
//@ block = [1, 32]
//@ shapes = [[64, 128]]

__global__ void pattern(const float* x, const float* bias, float* out, int columns) {
    int row = blockIdx.y * 32 + threadIdx.y, column = blockIdx.x;
    float own = bias[column];  // READ
    out[row * columns + column] = fmaxf(x[row * columns + column] + own, 0.0f);
}
