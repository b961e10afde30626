// out[r][c] = max(x[r][c] + bias[c], 0), with coalesced accesses.
//
//@ computes = "bias_relu"
//@ block = [32, 8]
//@ shapes = [[64, 128], [128, 128]]
//@ needs = { sectors = 4.2, lanes = 100 }

__global__ void bias_relu(const float* x, const float* bias, float* out, int rows, int columns) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || column >= columns) return;
    int e = row * columns + column;
    out[e] = fmaxf(x[e] + bias[column], 0.0f);
}
