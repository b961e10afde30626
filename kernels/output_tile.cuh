// Two chained products in one block, on tensor cores in tf32: 64 held rows times 64 passing rows give 64x64 logits in
// registers; g, computed from them, times the passing rows accumulates in registers. Used by many_classes.cu.
#pragma once

#include "tensor_tile.cuh"

typedef Tf32Tile64 ManyClassesTile;  // of logits: 4 warps, each with 32x32
static const uint32_t MANY_CLASSES_ROWS = 64;
static const int MANY_CLASSES_THREADS = ManyClassesTile::THREADS;

// ---- 64 rows in shared memory --------------------------------------------------------------------------------------

// 64 rows, 32 deep, [64][32], as a factor of both products. The groups of four in a row are swizzled by `turn`, so that
// both access patterns are free of bank conflicts: ldmatrix reads 8 neighbouring rows at one position and needs 8
// different turns; read_down reads 4 rows at 8 neighbouring positions (two groups) and needs turns that differ in more
// than the lowest bit.
struct ManyClassesSlab {
    static const int FLOATS = 64 * 32;

    static __device__ __forceinline__ int turn(int row) {
        return (row & 3) << 1 | (row >> 2 & 1);
    }

    static __device__ __forceinline__ int offset(int row, int k) {
        return row * 32 + ((k / 4 ^ turn(row)) * 4 + k % 4);
    }

    // As TensorSlab::read: 16 rows from `row` on and 8 positions from k on.
    template <bool ROWS_FIRST>
    static __device__ __forceinline__ void read(const float* slab, int row, int k, uint32_t (&quarters)[4]) {
        int lane = threadIdx.x % WARP, quarter = lane / 8;
        int down = ROWS_FIRST ? quarter % 2 : quarter / 2, along = ROWS_FIRST ? quarter / 2 : quarter % 2;
        load_matrix_x4(quarters, slab + offset(row + 8 * down + lane % 8, k + 4 * along));
        UNROLL
        for (int j = 0; j < 4; j++) quarters[j] = round_to_tf32(__uint_as_float(quarters[j]));
    }

    // The right operand of the second product, whose inner axis runs down the rows: 8 rows, 8 positions.
    static __device__ __forceinline__ void read_down(const float* slab, int row, int k, uint32_t (&halves)[2]) {
        int lane = threadIdx.x % WARP;
        UNROLL
        for (int j = 0; j < 2; j++) halves[j] = round_to_tf32(slab[offset(row + 4 * j + lane % 4, k + lane / 4)]);
    }
};

// 64 rows of z or of the weights, SLABS * 32 deep; zeros past the end.
template <int SLABS>
struct ManyClassesRows {
    static const int FLOATS = SLABS * ManyClassesSlab::FLOATS;

    // Asynchronous, like copy_async16.
    static __device__ __forceinline__ void copy(
        float* rows, const float* from, uint64_t stride, uint32_t count, uint32_t depth, bool is_aligned) {
        // Unrolling would keep an address per pass in a register.
        ROLLED
        for (int pass = 0; pass < FLOATS / 4 / MANY_CLASSES_THREADS; pass++) {
            int place = static_cast<int>(threadIdx.x) + pass * MANY_CLASSES_THREADS;
            int row = place / (8 * SLABS), k = place % (8 * SLABS) * 4;
            float* to = rows + k / 32 * ManyClassesSlab::FLOATS + ManyClassesSlab::offset(row, k % 32);
            int left = row < static_cast<int>(count) ? static_cast<int>(depth) - k : 0;
            copy_run(to, from + row * stride + k, left, is_aligned);
        }
    }

    static __device__ void clean(float* rows) {
        for (int place = threadIdx.x; place < FLOATS; place += MANY_CLASSES_THREADS) {
            if (!(fabsf(rows[place]) < INFINITY)) rows[place] = 0.0f;
        }
    }
};

// A warp's part of a tile of logits, and the rows and columns that a lane's numbers have.
struct ManyClassesOutputs {
    static const int DOWN = 2 * ManyClassesTile::DOWN, WIDE = ManyClassesTile::WIDE;
    float numbers[ManyClassesTile::DOWN][WIDE][4];

    __device__ __forceinline__ float& at(int i, int j, int k) {
        return numbers[i / 2][j][i % 2 * 2 + k];
    }
    static __device__ __forceinline__ int warp_row() {
        return threadIdx.x / WARP / ManyClassesTile::ACROSS * ManyClassesTile::WARP_M;
    }
    static __device__ __forceinline__ int warp_column() {
        return threadIdx.x / WARP % ManyClassesTile::ACROSS * ManyClassesTile::WARP_N;
    }
    static __device__ __forceinline__ int row(int i) {
        return warp_row() + 8 * i + threadIdx.x % WARP / 4;
    }
    static __device__ __forceinline__ int column(int j, int k) {
        return warp_column() + 8 * j + threadIdx.x % 4 * 2 + k;
    }

    template <int SLABS>
    __device__ __forceinline__ void multiply(const float* held, const float* passing) {
        UNROLL
        for (int i = 0; i < ManyClassesTile::DOWN; i++) {
            UNROLL
            for (int j = 0; j < WIDE; j++) {
                UNROLL
                for (int k = 0; k < 4; k++) numbers[i][j][k] = 0.0f;
            }
        }
        // Unrolling would need more registers for addresses and factors than there are.
        ROLLED
        for (int slab = 0; slab < SLABS; slab++) {
            int first = slab * ManyClassesSlab::FLOATS;
            UNROLL
            for (int k = 0; k < ManyClassesTile::K; k += ManyClassesTile::STEP) add(held + first, passing + first, k);
        }
    }

    // Accumulates one step of a slab, at k.
    __device__ __forceinline__ void add(const float* held, const float* passing, int k) {
        uint32_t a[ManyClassesTile::DOWN][4], b[WIDE][2];
        UNROLL
        for (int i = 0; i < ManyClassesTile::DOWN; i++) ManyClassesSlab::read<true>(held, warp_row() + 16 * i, k, a[i]);
        UNROLL
        for (int j = 0; j < WIDE; j += 2) {
            uint32_t two[4];
            ManyClassesSlab::read<false>(passing, warp_column() + 8 * j, k, two);
            b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
        }
        UNROLL
        for (int i = 0; i < ManyClassesTile::DOWN; i++) {
            UNROLL
            for (int j = 0; j < WIDE; j++) mma_tf32(numbers[i][j], a[i], b[j]);
        }
    }

    __device__ __forceinline__ bool is_finite() const {
        float sum = 0.0f;
        UNROLL
        for (int i = 0; i < ManyClassesTile::DOWN; i++) {
            UNROLL
            for (int j = 0; j < WIDE; j++) {
                UNROLL
                for (int k = 0; k < 4; k++) sum += 0.0f * numbers[i][j][k];  // NaN for a number that is not finite
            }
        }
        return sum == 0.0f;
    }
};

// The second product: a warp accumulates 32 rows and half of the columns.
template <int SLABS>
struct ManyClassesSums {
    static const int WIDE = 2 * SLABS;  // fragments of 8 columns
    float numbers[ManyClassesTile::DOWN][WIDE][4];

    static __device__ __forceinline__ int first_column() {
        return threadIdx.x / WARP % 2 * (8 * WIDE);
    }

    // g [64][64] is two slabs.
    __device__ __forceinline__ void add(const float* g, const float* passing) {
        ROLLED
        for (int inner = 0; inner < 64; inner += 8) {
            uint32_t a[ManyClassesTile::DOWN][4];
            UNROLL
            for (int i = 0; i < ManyClassesTile::DOWN; i++) {
                ManyClassesSlab::read<true>(
                    g + inner / 32 * ManyClassesSlab::FLOATS, ManyClassesOutputs::warp_row() + 16 * i, inner % 32, a[i]);
            }
            UNROLL
            for (int j = 0; j < WIDE; j++) {
                uint32_t b[2];
                int column = first_column() + 8 * j;
                ManyClassesSlab::read_down(
                    passing + column / 32 * ManyClassesSlab::FLOATS, inner, column % 32, b);
                UNROLL
                for (int i = 0; i < ManyClassesTile::DOWN; i++) mma_tf32(numbers[i][j], a[i], b);
            }
        }
    }

    // Writes to `count` rows from `to` on, `depth` long.
    __device__ __forceinline__ void store(float* to, uint32_t count, uint32_t depth, bool add) const {
        UNROLL
        for (int i = 0; i < ManyClassesOutputs::DOWN; i++) {
            uint32_t row = ManyClassesOutputs::row(i);
            if (row >= count) continue;
            UNROLL
            for (int j = 0; j < WIDE; j++) {
                const float* own = numbers[i / 2][j] + i % 2 * 2;
                uint32_t column = first_column() + 8 * j + threadIdx.x % 4 * 2;
                store_pair(to + static_cast<uint64_t>(row) * depth, column, depth, own[0], own[1], depth % 2 == 0, add);
            }
        }
    }
};

// Writes a lane's g of two neighbouring columns to the slabs of g.
__device__ __forceinline__ void many_classes_put(float* g, int row, int column, float first, float second) {
    float* to = g + column / 32 * ManyClassesSlab::FLOATS + ManyClassesSlab::offset(row, column % 32);
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
}
