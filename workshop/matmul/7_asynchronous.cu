// Matrix product, rung 7: the next slab is copied while this one is multiplied.
//
// Until here a block waits for device memory in each slab: load, barrier, multiply, barrier. An asynchronous copy (cp.async) goes to
// shared memory without passing through a register, and the thread goes on at once. With two buffers for each tile, the copies of the next
// slab are in flight while this one is multiplied, and one barrier for each slab is enough: it says both that the copies of all
// threads have arrived and that the buffer which is filled next has been read. A copy cannot transpose the tile of `a`, so it lies as it is in device
// memory; its rows are 4 numbers longer than the slab, so that the rows that a warp reads begin in different banks.
//
//@ computes = "matmul"
//@ block = [16, 16]
//@ tile = [64, 64]
//@ shapes = [[36, 68, 20], [64, 64, 64]]
//@ improves = "barriers"

#include "target.cuh"

const int TILE = 64;
const int SLAB = 16;

__global__ void __launch_bounds__(256) matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float a_tile[2][TILE][SLAB + 4];
    __shared__ float b_tile[2][SLAB][TILE];
    int thread = threadIdx.y * 16 + threadIdx.x;
    int first_row = blockIdx.y * TILE, first_column = blockIdx.x * TILE;
    int slabs = (k + SLAB - 1) / SLAB;
    // Starts the copies of a slab; zeros where it is outside.
    auto copy = [&](int slab) {
        int row = first_row + thread / 4, inner = slab * SLAB + thread % 4 * 4;
        bool is_inside = row < m && inner < k;
        copy_async16_or_zeros(&a_tile[slab % 2][thread / 4][thread % 4 * 4], a + (is_inside ? row * k + inner : 0), is_inside);
        int below = slab * SLAB + thread / 16, column = first_column + thread % 16 * 4;
        is_inside = below < k && column < n;
        copy_async16_or_zeros(&b_tile[slab % 2][thread / 16][thread % 16 * 4], b + (is_inside ? below * n + column : 0), is_inside);
        copy_async_commit();
    };
    float sums[4][4] = {};
    copy(0);
    for (int slab = 0; slab < slabs; slab++) {
        copy_async_wait<0>();  // this thread's copies of the slab have arrived
        __syncthreads();       // all threads' have, and the other buffer is read
        if (slab + 1 < slabs) copy(slab + 1);
        for (int i = 0; i < SLAB; i++) {
            float4 right = *reinterpret_cast<float4*>(&b_tile[slab % 2][i][threadIdx.x * 4]);
            for (int r = 0; r < 4; r++) {
                float left = a_tile[slab % 2][threadIdx.y * 4 + r][i];
                sums[r][0] += left * right.x;
                sums[r][1] += left * right.y;
                sums[r][2] += left * right.z;
                sums[r][3] += left * right.w;
            }
        }
    }
    for (int r = 0; r < 4; r++) {
        int row = first_row + threadIdx.y * 4 + r, column = first_column + threadIdx.x * 4;
        if (row >= m || column >= n) continue;
        *reinterpret_cast<float4*>(c + row * n + column) = make_float4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    }
}
