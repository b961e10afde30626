// Matrix product, rung 8: tensor cores.
//
// So far each product was an instruction of one thread, and both of its factors had to reach that thread's registers. A tensor core
// multiplies whole matrices: mma_tf32(d, a, b) lets the 32 lanes of a warp add the product of `a`, 16 x 8, and `b`, 8 x 8, to `d`, 16 x 8.
// That is one instruction for 1024 multiply-adds, and each lane brings six factors for them: within the core the lanes' factors are
// combined. In rung 7 a lane reads eight numbers for 16 multiply-adds of its own; here a warp with 32 x 16 elements of c reads 12 times
// for 4 instructions, 128 multiply-adds a lane. So shared memory has little to do, and a core does 8 times as many operations in a cycle.
//
// The matrices are spread over the lanes' registers (PTX manual, mma.m16n8k8). With row = lane / 4 and place = lane % 4 a lane has
//
//     a[0]: (row, place)      a[1]: (row + 8, place)     a[2]: (row, place + 4)      a[3]: (row + 8, place + 4)
//     b[0]: (place, row)      b[1]: (place + 4, row)
//     d[0]: (row, 2 place)    d[1]: (row, 2 place + 1)   d[2], d[3]: the same of row + 8
//
// The price is precision: the factors are tf32 numbers, with 10 bits of fraction in place of 23. They are rounded as they are read; the core would
// cut them off. Rounding changes a product by at most 2^-10 of its size, so an element of c by at most 2^-10 of the sum of the sizes
// of its products; the check allows that much to a file that calls mma_tf32. Sums are f32 as before.
//
// Rows of the tiles are 20 and 72 numbers long: modulo 32 banks that is 20 and 8, for which the 8 x 4 numbers of a fragment
// lie in 32 different banks.
//
// How the engine's own kernel (kernels/tensor_tile.cuh) differs: a warp has up to 64 x 64 elements, so each number that is read takes part in
// more products; three slabs are in flight in place of two; it reads four registers of `a` at once with ldmatrix; its tiles are not padded but
// swizzled; and it takes any size, transposed operands, bf16, and bias and ReLU in the registers that hold d.
//
//@ computes = "matmul"
//@ block = [16, 16]
//@ tile = [64, 64]
//@ shapes = [[36, 68, 20], [64, 64, 64]]
//@ improves = "requests"

#include "target.cuh"

const int TILE = 64;
const int SLAB = 16;

__global__ void __launch_bounds__(256) matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ __align__(16) float a_tile[2][TILE][SLAB + 4];
    __shared__ __align__(16) float b_tile[2][SLAB][TILE + 8];
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
    // Eight warps: two rows of four, each with 32 x 16 elements of c, which are 2 x 2 matrices d.
    int warp = thread / 32, row = thread % 32 / 4, place = thread % 4;
    int top = warp / 4 * 32, left = warp % 4 * 16;
    float d[2][2][4] = {};
    copy(0);
    for (int slab = 0; slab < slabs; slab++) {
        copy_async_wait<0>();  // this thread's copies of the slab have arrived
        __syncthreads();       // all threads' have, and the other buffer is read
        if (slab + 1 < slabs) copy(slab + 1);
        for (int i = 0; i < SLAB; i += 8) {
            uint32_t of_a[2][4], of_b[2][2];
            for (int r = 0; r < 2; r++) {
                for (int e = 0; e < 4; e++) {
                    of_a[r][e] = round_to_tf32(a_tile[slab % 2][top + 16 * r + row + e % 2 * 8][i + place + e / 2 * 4]);
                }
            }
            for (int s = 0; s < 2; s++) {
                for (int e = 0; e < 2; e++) {
                    of_b[s][e] = round_to_tf32(b_tile[slab % 2][i + place + e * 4][left + 8 * s + row]);
                }
            }
            for (int r = 0; r < 2; r++) {
                for (int s = 0; s < 2; s++) mma_tf32(d[r][s], of_a[r], of_b[s]);
            }
        }
    }
    for (int r = 0; r < 2; r++) {
        for (int s = 0; s < 2; s++) {
            for (int half = 0; half < 2; half++) {
                int own_row = first_row + top + 16 * r + row + 8 * half, column = first_column + left + 8 * s + 2 * place;
                if (own_row >= m || column >= n) continue;
                *reinterpret_cast<float2*>(c + own_row * n + column) = make_float2(d[r][s][2 * half], d[r][s][2 * half + 1]);
            }
        }
    }
}
