// The transpose of a matrix through a tile in shared memory.
//
//@ computes = "transpose"
//@ block = [32, 8]
//@ tile = [32, 32]

// TODO: something is missing
__global__ void transpose(const float* x, float* out, int rows, int columns) {
    __shared__ float tile[32][33];
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = blockIdx.y * 32 + i, column = blockIdx.x * 32 + threadIdx.x;
        if (row < rows && column < columns) tile[i][threadIdx.x] = x[row * columns + column];
    }
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = blockIdx.y * 32 + threadIdx.x, column = blockIdx.x * 32 + i;
        if (row < rows && column < columns) out[column * rows + row] = tile[threadIdx.x][i];
    }
}
