// Two products in one block: 64 rows held in shared memory and 64 rows that pass make 64x64 outputs in registers; g, made of
// them, times the passing rows goes to sums in registers. On tensor cores, in tf32. What many_classes.cu goes over its
// outputs with.
#pragma once

#include "tensor_tile.cuh"

typedef Tf32Tile64 ManyClassesTile;  // of outputs: 4 warps, each with 32x32
static const uint32_t MANY_CLASSES_ROWS = 64;
static const int MANY_CLASSES_THREADS = ManyClassesTile::THREADS;

// ---- 64 rows in shared memory --------------------------------------------------------------------------------------

// 64 rows, 32 deep, [64][32]: as a factor of both products. Fours of a row are exchanged by `turn`, so that both ways to
// read are free of conflicts: 8 neighbouring rows at one place, which ldmatrix wants, need 8 different turns; 4 rows at 8
// neighbouring places, two fours, need turns that differ in more than the last bit.
struct ManyClassesSlab {
    static const int FLOATS = 64 * 32;

    static __device__ __forceinline__ int turn(int row) {
        return (row & 3) << 1 | (row >> 2 & 1);
    }

    static __device__ __forceinline__ int offset(int row, int k) {
        return row * 32 + ((k / 4 ^ turn(row)) * 4 + k % 4);
    }

    // As TensorSlab::read: 16 rows from `row` on and 8 places from k on.
    template <bool ROWS_FIRST>
    static __device__ __forceinline__ void read(const float* slab, int row, int k, uint32_t (&quarters)[4]) {
        int lane = threadIdx.x % WARP, quarter = lane / 8;
        int down = ROWS_FIRST ? quarter % 2 : quarter / 2, along = ROWS_FIRST ? quarter / 2 : quarter % 2;
        load_matrix_x4(quarters, slab + offset(row + 8 * down + lane % 8, k + 4 * along));
        UNROLL
        for (int j = 0; j < 4; j++) quarters[j] = round_to_tf32(__uint_as_float(quarters[j]));
    }

    // The right factor of the second product, whose inner axis goes down the rows: 8 rows, 8 places.
    static __device__ __forceinline__ void read_down(const float* slab, int row, int k, uint32_t (&halves)[2]) {
        int lane = threadIdx.x % WARP;
        UNROLL
        for (int j = 0; j < 2; j++) halves[j] = round_to_tf32(slab[offset(row + 4 * j + lane % 4, k + lane / 4)]);
    }
};

// 64 rows of z or of the weights, SLABS * 32 deep; zeros where there is nothing.
template <int SLABS>
struct ManyClassesRows {
    static const int FLOATS = SLABS * ManyClassesSlab::FLOATS;

    // Visible like copy_async16.
    static __device__ __forceinline__ void copy(
        float* rows, const float* from, uint64_t stride, uint32_t count, uint32_t depth, bool is_aligned) {
        // Unrolled it would keep an address for each pass in a register.
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

// A warp's part of a tile of outputs, and where a lane's numbers of it are.
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
        // Unrolled it would keep more addresses and factors in registers than there are.
        ROLLED
        for (int slab = 0; slab < SLABS; slab++) {
            int first = slab * ManyClassesSlab::FLOATS;
            UNROLL
            for (int k = 0; k < ManyClassesTile::K; k += ManyClassesTile::STEP) add(held + first, passing + first, k);
        }
    }

    // Adds the products of a slab's steps from k on.
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
                for (int k = 0; k < 4; k++) sum += 0.0f * numbers[i][j][k];  // NaN for what is not finite
            }
        }
        return sum == 0.0f;
    }
};

// The second product: a warp's 32 rows of the sums, and half of their columns.
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

    // To the rows from `to` on: `count` of them, `depth` long.
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

// A lane's g of two neighbouring columns, to the slabs of g.
__device__ __forceinline__ void many_classes_put(float* g, int row, int column, float first, float second) {
    float* to = g + column / 32 * ManyClassesSlab::FLOATS + ManyClassesSlab::offset(row, column % 32);
    *reinterpret_cast<float2*>(to) = make_float2(first, second);
}
