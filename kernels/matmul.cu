// Matrix products in f32, batched, with one side transposed or none: C (+)= op(A) op(B). The launches, and which tile serves
// which shape, are in src/ops/matmul/.
//
//   a   [batch] of [m, k], or [k, m] where it is transposed      rows a_stride apart
//   b   [batch] of [k, n], or [n, k] where it is transposed      rows b_stride apart
//   c   [batch] of [m, n]                                        rows c_stride apart
//
// Where m n has few tiles and k is long, the inner axis is cut into `splits` parts: c is then [splits, batch, m, n], and
// matmul_sum_f32 adds the parts in order. No atomics: the same bits at every launch.
//
// Operations: 2 m n k. Bytes of a block for a slab of K: 4 K (M + N), for 2 M N K operations: 32 operations a byte for
// 128x128, 16 for 64x64, 8 for 32x32, and L2 serves most of the bytes. An H100 has 128 lanes of f32 a multiprocessor and reads
// 128 bytes of shared memory a clock: a thread with 8x8 sums reads 16 numbers for 64 multiply-adds, so that 8 warps'
// reads, which share what they read, stay below its arithmetic. One sum a thread reads 2 numbers for 1. The tf32
// kernels further down do the same on tensor cores.
//
// Grid: tiles x splits x batch in one line, tiles along n first: neighbouring blocks share A's rows. Threads: 256 for
// 128x128, 128 for 64x64, 64 for 32x32. See tile.cuh and tensor_tile.cuh for a block's work.
//
// Operands whose base or stride is not a multiple of 4 elements are copied 4 bytes at a time, as asynchronously. c may
// overlap neither a nor b.
#include "tensor_tile.cuh"

struct MatmulShape {
    uint64_t a_stride, b_stride, c_stride;  // elements from one row to the next
    uint64_t a_batch, b_batch, c_batch;     // elements from one member to the next; 0 for an operand that serves all
    uint64_t c_split;                       // elements from one part to the next
    uint32_t m, n, k;
    uint32_t splits, slabs;                 // parts of the inner axis, and slabs of one part
    uint32_t add;
    uint32_t a_is_aligned, b_is_aligned, c_is_aligned;  // whether every fourth element of every row lies on 16 bytes
};

// What a block has to do: its slabs of both sides, and where its part of C begins.
template <class Tile, class A, class B>
struct MatmulBlock {
    MatrixSlabs<A, Tile::THREADS> left;
    MatrixSlabs<B, Tile::THREADS> right;
    uint32_t first_slab, last_slab;
    float* c;
    uint32_t rows, columns;  // of C, from its first element on

    __device__ __forceinline__ MatmulBlock(const float* a, const float* b, float* c_, const MatmulShape& shape) {
        uint32_t across = divide_up(shape.n, Tile::N), down = divide_up(shape.m, Tile::M);
        uint32_t block = blockIdx.x;
        uint32_t first_column = block % across * Tile::N;
        block /= across;
        uint32_t first_row = block % down * Tile::M;
        block /= down;
        uint32_t split = block % shape.splits, member = block / shape.splits;
        rows = shape.m - first_row, columns = shape.n - first_column;
        left.from = a + member * shape.a_batch + first_row * (A::INNER ? shape.a_stride : 1);
        left.stride = shape.a_stride, left.x_end = rows, left.k_end = shape.k;
        left.is_aligned = shape.a_is_aligned != 0;
        right.from = b + member * shape.b_batch + first_column * (B::INNER ? shape.b_stride : 1);
        right.stride = shape.b_stride, right.x_end = columns, right.k_end = shape.k;
        right.is_aligned = shape.b_is_aligned != 0;
        first_slab = split * shape.slabs;
        last_slab = min(first_slab + shape.slabs, divide_up(shape.k, Tile::K));
        c = c_ + split * shape.c_split + member * shape.c_batch + first_row * shape.c_stride + first_column;
    }
};

template <class Tile, bool A_TRANSPOSED, bool B_TRANSPOSED>
__device__ __forceinline__ void matmul(
    const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, const MatmulShape& shape) {
    typedef SlabA<Tile, !A_TRANSPOSED> A;
    typedef SlabB<Tile, B_TRANSPOSED> B;
    SHARED(float, shared, [Tile::STAGES * (A::FLOATS + B::FLOATS)]);
    MatmulBlock<Tile, A, B> block(a, b, c, shape);
    Place<Tile> place;
    float sums[Tile::ROWS][Tile::COLUMNS] = {};
    add_products<Tile, A, B>(block.left, block.right, block.first_slab, block.last_slab, shared, place, sums);
    UNROLL
    for (int i = 0; i < Tile::ROWS; i++) {
        uint32_t row = A::position(place.down, i);
        if (row >= block.rows) continue;
        store_row<Tile, B>(
            block.c + row * shape.c_stride, sums[i], place.across, block.columns, shape.c_is_aligned != 0,
            shape.add != 0);
    }
}

#define MATMUL(tile, Tile, sides, a_transposed, b_transposed)                                                       \
    KERNEL_RESIDENT(                                                                                                \
        matmul_##tile##_##sides##_f32, Tile::THREADS, Tile::RESIDENT, const float* a, const float* b, float* c,     \
        MatmulShape shape) {                                                                                        \
        matmul<Tile, a_transposed, b_transposed>(a, b, c, shape);                                                   \
    }

#define MATMUL_SIDES(tile, Tile)    \
    MATMUL(tile, Tile, nn, false, false) \
    MATMUL(tile, Tile, nt, false, true)  \
    MATMUL(tile, Tile, tn, true, false)

MATMUL_SIDES(128, Tile128)
MATMUL_SIDES(64, Tile64)
MATMUL_SIDES(32, Tile32)

// The same on tensor cores: both factors are rounded to tf32, sums are f32. Shared memory: Tile::SHARED_FLOATS.
template <class Tile, bool A_TRANSPOSED, bool B_TRANSPOSED>
__device__ __forceinline__ void matmul_tf32(
    const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, const MatmulShape& shape) {
    typedef TensorSlab<Tile::M, !A_TRANSPOSED> A;
    typedef TensorSlab<Tile::N, B_TRANSPOSED> B;
    DYNAMIC_SHARED(float, shared);
    MatmulBlock<Tile, A, B> block(a, b, c, shape);
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int row = warp / Tile::ACROSS * Tile::WARP_M, column = warp % Tile::ACROSS * Tile::WARP_N;
    float sums[Tile::DOWN][Tile::WIDE][4] = {};
    for_slabs<Tile::STAGES, A, B>(
        block.left, block.right, block.first_slab, block.last_slab, shared,
        [&](const float* left, const float* right) {
            add_tensor_products<Tile, A, B>(left, right, row, column, sums);
        });
    UNROLL
    for (int i = 0; i < 2 * Tile::DOWN; i++) {
        uint32_t own_row = row + 8 * i + lane / 4;
        if (own_row >= block.rows) continue;
        UNROLL
        for (int j = 0; j < Tile::WIDE; j++) {
            uint32_t own_column = column + 8 * j + lane % 4 * 2;
            const float* own = sums[i / 2][j] + i % 2 * 2;
            store_pair(
                block.c + own_row * shape.c_stride, own_column, block.columns, own[0], own[1],
                shape.c_is_aligned != 0, shape.add != 0);
        }
    }
}

#define MATMUL_TF32(tile, Tile, sides, a_transposed, b_transposed)                                                  \
    KERNEL_RESIDENT(                                                                                                \
        matmul_tf32_##tile##_##sides, Tile::THREADS, Tile::RESIDENT, const float* a, const float* b, float* c,      \
        MatmulShape shape) {                                                                                        \
        matmul_tf32<Tile, a_transposed, b_transposed>(a, b, c, shape);                                              \
    }

#define MATMUL_TF32_SIDES(tile, Tile)         \
    MATMUL_TF32(tile, Tile, nn, false, false) \
    MATMUL_TF32(tile, Tile, nt, false, true)  \
    MATMUL_TF32(tile, Tile, tn, true, false)

MATMUL_TF32_SIDES(128, TensorTile128)
MATMUL_TF32_SIDES(64, TensorTile64)
MATMUL_TF32_SIDES(32, TensorTile32)

// c[row, column] (+)= sum over parts, in order, of parts[part, row, column].
//
//   parts   [splits, rows, columns]      4 (splits + 1) bytes an element, a thread for each
//   c       [rows, columns]              rows c_stride apart
struct MatmulParts {
    uint64_t rows, c_stride;
    uint32_t columns, splits, add;
    uint32_t is_aligned;  // columns a multiple of 4, and both sides' fours on 16 bytes: a thread for every four
};

KERNEL(matmul_sum_f32, 256, const float* parts, float* c, MatmulParts shape) {
    uint64_t elements = shape.rows * shape.columns, index = global_thread();
    if (shape.is_aligned != 0) {
        index *= 4;
        if (index >= elements) return;
        float4 sum = *reinterpret_cast<const float4*>(parts + index);
        for (uint32_t part = 1; part < shape.splits; part++) {
            float4 more = *reinterpret_cast<const float4*>(parts + part * elements + index);
            sum = make_float4(sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w);
        }
        float4* to = reinterpret_cast<float4*>(c + index / shape.columns * shape.c_stride + index % shape.columns);
        if (shape.add != 0) {
            float4 old = *to;
            sum = make_float4(old.x + sum.x, old.y + sum.y, old.z + sum.z, old.w + sum.w);
        }
        *to = sum;
        return;
    }
    if (index >= elements) return;
    float sum = parts[index];
    for (uint32_t part = 1; part < shape.splits; part++) sum += parts[part * elements + index];
    store(c + index / shape.columns * shape.c_stride + index % shape.columns, sum, shape.add != 0);
}
