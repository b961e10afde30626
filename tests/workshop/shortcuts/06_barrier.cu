// No tile, so no barrier.
//
//@ computes = "transpose"
//@ block = [32, 8]
//@ tile = [32, 32]

__global__ void transpose(const float* x, float* out, int rows, int columns) {
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = blockIdx.y * 32 + i, column = blockIdx.x * 32 + threadIdx.x;
        if (row < rows && column < columns) out[column * rows + row] = x[row * columns + column];
    }
}
