// expects: race at 16, 17, 19
// There is no barrier at the end of a slab, so a fast warp overwrites tiles that a slow one still reads.
//@ computes = "matmul"
//@ block = [32, 32]

const int TILE = 32;

__global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y;
    int column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0.0f;
    for (int slab = 0; slab < k; slab += TILE) {
        int inner = slab + threadIdx.x, below = slab + threadIdx.y;
        a_tile[threadIdx.y][threadIdx.x] = row < m && inner < k ? a[row * k + inner] : 0.0f;
        b_tile[threadIdx.y][threadIdx.x] = below < k && column < n ? b[below * n + column] : 0.0f;
        __syncthreads();
        for (int i = 0; i < TILE; i++) sum += a_tile[threadIdx.y][i] * b_tile[i][threadIdx.x];
    }
    if (row < m && column < n) c[row * n + column] = sum;
}
