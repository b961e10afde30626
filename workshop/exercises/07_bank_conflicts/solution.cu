// The transpose of a matrix, without bank conflicts, in 4096 bytes of shared memory.
//
//@ computes = "transpose"
//@ block = [32, 8]
//@ tile = [32, 32]
//@ shared = 4096
//@ needs = { wavefronts = 1.0, sectors = 4.2 }

// Row r stores column c at c ^ r: another order in each row.
__device__ int place(int row, int column) {
    return row * 32 + (column ^ row);
}

__global__ void transpose(const float* x, float* out, int rows, int columns) {
    extern __shared__ float tile[];  // 32 rows of 32
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = blockIdx.y * 32 + i, column = blockIdx.x * 32 + threadIdx.x;
        if (row < rows && column < columns) tile[place(i, threadIdx.x)] = x[row * columns + column];
    }
    __syncthreads();  // the tile is written
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = blockIdx.y * 32 + threadIdx.x, column = blockIdx.x * 32 + i;
        if (row < rows && column < columns) out[column * rows + row] = tile[place(threadIdx.x, i)];
    }
}
