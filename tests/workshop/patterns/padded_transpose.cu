// A tile that is read by columns, 1 wavefront: the padding puts the elements of a column in different banks.
//@ computes = "transpose"
//@ block = [32, 32]
//@ shapes = [[64, 96]]

__global__ void pattern(const float* x, float* out, int rows, int columns) {
    __shared__ float tile[32][33];
    tile[threadIdx.y][threadIdx.x] = x[(blockIdx.y * 32 + threadIdx.y) * columns + blockIdx.x * 32 + threadIdx.x];
    __syncthreads();  // the tile is written
    float own = tile[threadIdx.x][threadIdx.y];  // READ
    out[(blockIdx.x * 32 + threadIdx.y) * rows + blockIdx.y * 32 + threadIdx.x] = own;
}
