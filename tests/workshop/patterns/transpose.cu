// A tile that is read by columns, 32 wavefronts: the columns of the tile lie in one bank.
//@ computes = "transpose"
//@ block = [32, 32]
//@ shapes = [[64, 96]]

__global__ void pattern(const float* x, float* out, int rows, int columns) {
    __shared__ float tile[32][32];
    tile[threadIdx.y][threadIdx.x] = x[(blockIdx.y * 32 + threadIdx.y) * columns + blockIdx.x * 32 + threadIdx.x];
    __syncthreads();  // the tile is written
    float own = tile[threadIdx.x][threadIdx.y];  // READ
    out[(blockIdx.x * 32 + threadIdx.y) * rows + blockIdx.y * 32 + threadIdx.x] = own;
}
