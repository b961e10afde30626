// Matrix product, rung 4: a tile in the registers of each thread.
//
// In rung 3 each product needs two reads of shared memory, which is what limits it. Here a thread computes 4 x 4 elements: for each
// step along k it reads four numbers of `a` and four of `b` and makes sixteen products of them, half a read for each. The tile of
// `a` is stored transposed, so that a thread's four numbers lie side by side.
//
//@ computes = "matmul"
//@ block = [16, 16]
//@ tile = [64, 64]
//@ shapes = [[33, 65, 17], [64, 64, 64]]
//@ improves = "requests"

const int TILE = 64;   // elements of c along each side of a block's tile
const int SLAB = 16;   // steps along k that are in shared memory
const int OWN = 4;     // elements of c along each side of a thread's tile

__global__ void __launch_bounds__(256) matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float a_tile[SLAB][TILE + 1];
    __shared__ float b_tile[SLAB][TILE];
    int thread = threadIdx.y * 16 + threadIdx.x;
    int first_row = blockIdx.y * TILE, first_column = blockIdx.x * TILE;
    float sums[OWN][OWN] = {};
    for (int slab = 0; slab < k; slab += SLAB) {
        for (int e = thread; e < TILE * SLAB; e += 256) {
            int row = first_row + e / SLAB, inner = slab + e % SLAB;
            a_tile[e % SLAB][e / SLAB] = row < m && inner < k ? a[row * k + inner] : 0.0f;
            int below = slab + e / TILE, column = first_column + e % TILE;
            b_tile[e / TILE][e % TILE] = below < k && column < n ? b[below * n + column] : 0.0f;
        }
        __syncthreads();  // the tiles are written
        for (int i = 0; i < SLAB; i++) {
            float left[OWN], right[OWN];
            for (int r = 0; r < OWN; r++) left[r] = a_tile[i][threadIdx.y * OWN + r];
            for (int s = 0; s < OWN; s++) right[s] = b_tile[i][threadIdx.x + 16 * s];
            for (int r = 0; r < OWN; r++) {
                for (int s = 0; s < OWN; s++) sums[r][s] += left[r] * right[s];
            }
        }
        __syncthreads();  // the tiles are read
    }
    for (int r = 0; r < OWN; r++) {
        for (int s = 0; s < OWN; s++) {
            int row = first_row + threadIdx.y * OWN + r, column = first_column + threadIdx.x + 16 * s;
            if (row < m && column < n) c[row * n + column] = sums[r][s];
        }
    }
}
