// expects: deadlock at 17, 19
// Each thread's loop over the slabs starts at its own column, so with a k that is no multiple of 32 some threads pass fewer barriers.
//@ computes = "matmul"
//@ block = [32, 32]

const int TILE = 32;

__global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    float sum = 0.0f;
    for (int inner = x; inner < k; inner += TILE) {
        int below = inner - x + y;
        a_tile[y][x] = row < m && inner < k ? a[row * k + inner] : 0.0f;
        b_tile[y][x] = below < k && column < n ? b[below * n + column] : 0.0f;
        __syncthreads();
        for (int i = 0; i < TILE; i++) sum += a_tile[y][i] * b_tile[i][x];
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}
