// Matrix product, rung 3: tiles in shared memory.
//
// A block computes a tile of 32 x 32 elements of c. It walks along k in slabs of 32: all threads load a tile of `a` and one of `b` into
// shared memory, once, and each number is then used 32 times from there. So device memory and its cache move a 32nd of the bytes.
// Two barriers for each slab: the tiles must be whole before they are read, and read before they are overwritten.
//
//@ computes = "matmul"
//@ block = [32, 32]
//@ shapes = [[33, 65, 17], [64, 64, 64]]
//@ improves = "operations per byte"

const int TILE = 32;

__global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y;
    int column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0.0f;
    for (int slab = 0; slab < k; slab += TILE) {
        int inner_a = slab + threadIdx.x, inner_b = slab + threadIdx.y;
        a_tile[threadIdx.y][threadIdx.x] = row < m && inner_a < k ? a[row * k + inner_a] : 0.0f;
        b_tile[threadIdx.y][threadIdx.x] = inner_b < k && column < n ? b[inner_b * n + column] : 0.0f;
        __syncthreads();  // the tiles are written
        for (int i = 0; i < TILE; i++) sum += a_tile[threadIdx.y][i] * b_tile[i][threadIdx.x];
        __syncthreads();  // the tiles are read
    }
    if (row < m && column < n) c[row * n + column] = sum;
}
