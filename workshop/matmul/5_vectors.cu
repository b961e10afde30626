// Matrix product, rung 5: vectors of four numbers.
//
// A thread's four numbers of a tile lie side by side, so one instruction can load 16 bytes. A thread reads both of its vectors in two
// requests where rung 4 needed eight; a warp's request of 512 bytes takes four wavefronts at least, so bytes cost what they did, but
// instructions become few. From device memory too a thread loads 16 bytes at once. m, n and k must be multiples of 4 here.
//
//@ computes = "matmul"
//@ block = [16, 16]
//@ tile = [64, 64]
//@ shapes = [[36, 68, 20], [64, 64, 64]]
//@ improves = "requests"

const int TILE = 64;
const int SLAB = 16;

__global__ void __launch_bounds__(256) matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float a_tile[SLAB][TILE + 4];
    __shared__ float b_tile[SLAB][TILE + 4];
    int thread = threadIdx.y * 16 + threadIdx.x;
    int first_row = blockIdx.y * TILE, first_column = blockIdx.x * TILE;
    float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float sums[4][4] = {};
    for (int slab = 0; slab < k; slab += SLAB) {
        int row = first_row + thread / 4, inner = slab + thread % 4 * 4;
        bool is_inside = row < m && inner < k;
        float4 four = is_inside ? *reinterpret_cast<const float4*>(a + row * k + inner) : zero;
        a_tile[thread % 4 * 4 + 0][thread / 4] = four.x;
        a_tile[thread % 4 * 4 + 1][thread / 4] = four.y;
        a_tile[thread % 4 * 4 + 2][thread / 4] = four.z;
        a_tile[thread % 4 * 4 + 3][thread / 4] = four.w;
        int below = slab + thread / 16, column = first_column + thread % 16 * 4;
        is_inside = below < k && column < n;
        four = is_inside ? *reinterpret_cast<const float4*>(b + below * n + column) : zero;
        *reinterpret_cast<float4*>(&b_tile[thread / 16][thread % 16 * 4]) = four;
        __syncthreads();  // the tiles are written
        for (int i = 0; i < SLAB; i++) {
            float4 left = *reinterpret_cast<float4*>(&a_tile[i][threadIdx.y * 4]);
            float4 right = *reinterpret_cast<float4*>(&b_tile[i][threadIdx.x * 4]);
            float of_row[4] = {left.x, left.y, left.z, left.w};
            for (int r = 0; r < 4; r++) {
                sums[r][0] += of_row[r] * right.x;
                sums[r][1] += of_row[r] * right.y;
                sums[r][2] += of_row[r] * right.z;
                sums[r][3] += of_row[r] * right.w;
            }
        }
        __syncthreads();  // the tiles are read
    }
    for (int r = 0; r < 4; r++) {
        int row = first_row + threadIdx.y * 4 + r, column = first_column + threadIdx.x * 4;
        if (row >= m || column >= n) continue;
        *reinterpret_cast<float4*>(c + row * n + column) = make_float4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    }
}
