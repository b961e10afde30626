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

    // As TensorSlab::lane_offset and read: 16 rows from `row` on and 8 positions from k on.
    template <bool ROWS_FIRST>
    static __device__ __forceinline__ int lane_offset(int row) {
        int lane = threadIdx.x % WARP, quarter = lane / 8;
        int down = ROWS_FIRST ? quarter % 2 : quarter / 2, along = ROWS_FIRST ? quarter / 2 : quarter % 2;
        return offset(row + 8 * down + lane % 8, 4 * along);
    }
    static __device__ __forceinline__ void read(const float* slab, int lane, int row, int k, uint32_t (&quarters)[4]) {
        load_matrix_x4(quarters, slab + (lane ^ k) + row * 32);
    }

    // The right operand of the second product, whose inner axis runs down the rows: 8 rows, 8 positions.
    static __device__ __forceinline__ int lane_offset_down() {
        int lane = threadIdx.x % WARP;
        return offset(lane % 4, lane / 4);
    }
    static __device__ __forceinline__ void read_down(
        const float* slab, int lane, int row, int k, uint32_t (&halves)[2]) {
        UNROLL
        for (int j = 0; j < 2; j++) halves[j] = __float_as_uint(slab[(lane ^ (k + 4 * j)) + (row + 4 * j) * 32]);
    }
};

// 64 rows of z or of the weights, SLABS * 32 deep, on their way to shared memory; zeros past the end. They are rounded to
// tf32 once, on the way, since each is read for several fragments; so they pass through registers. `depth`: the length of
// a row; `is_aligned`: whether every run of every row is 16-byte aligned.
template <int SLABS>
struct ManyClassesRows {
    static const int FLOATS = SLABS * ManyClassesSlab::FLOATS;
    static const int RUNS = 8 * SLABS, STEP = MANY_CLASSES_THREADS / RUNS, PASSES = MANY_CLASSES_ROWS / STEP;
    static const int HALF = PASSES / 2;  // all loads in flight together would need too many registers
    const float* from;
    uint32_t row_bytes, count, depth;
    bool is_aligned;
    float4 half[HALF];

    // Loads the first half.
    __device__ __forceinline__ ManyClassesRows(
        const float* from, uint32_t row_bytes, uint32_t count, uint32_t depth, bool is_aligned)
        : from(from), row_bytes(row_bytes), count(count), depth(depth), is_aligned(is_aligned && depth % 4 == 0) {
        load(0);
    }

    // Writes all rows. A barrier must follow.
    __device__ __forceinline__ void store(float* rows) {
        store_half(rows, 0);
        load(HALF);
        store_half(rows, HALF);
    }

    static __device__ void clean(float* rows) {
        for (int place = threadIdx.x; place < FLOATS; place += MANY_CLASSES_THREADS) {
            if (!(fabsf(rows[place]) < INFINITY)) rows[place] = 0.0f;
        }
    }

private:
    // A thread has the same run of every STEP-th row.
    static __device__ __forceinline__ uint32_t row(int pass) {
        return threadIdx.x / RUNS + pass * STEP;
    }
    static __device__ __forceinline__ uint32_t column() {
        return threadIdx.x % RUNS * 4;
    }

    __device__ __forceinline__ const float* run(int pass) const {
        return row_at(from + column(), row(pass), row_bytes);
    }

    __device__ __forceinline__ void load(int first) {
        if (is_aligned) {
            UNROLL
            for (int i = 0; i < HALF; i++) {
                bool is_inside = row(first + i) < count && column() < depth;
                half[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (is_inside) half[i] = *reinterpret_cast<const float4*>(run(first + i));
            }
            return;
        }
        UNROLL
        for (int i = 0; i < HALF; i++) {
            uint32_t left = row(first + i) < count && column() < depth ? depth - column() : 0;
            half[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (left > 0) half[i].x = run(first + i)[0];
            if (left > 1) half[i].y = run(first + i)[1];
            if (left > 2) half[i].z = run(first + i)[2];
            if (left > 3) half[i].w = run(first + i)[3];
        }
    }

    __device__ __forceinline__ void store_half(float* rows, int first) const {
        UNROLL
        for (int i = 0; i < HALF; i++) {
            // Turns repeat after 8 rows, so that targets are constant distances apart.
            const int PERIOD = 8 / STEP;
            int pass = first + i, offset = ManyClassesSlab::offset(row(pass % PERIOD), column() % 32);
            float* to = rows + column() / 32 * ManyClassesSlab::FLOATS + offset + pass / PERIOD * (8 * 32);
            float4 own = half[i];
            *reinterpret_cast<uint4*>(to) =
                make_uint4(round_to_tf32(own.x), round_to_tf32(own.y), round_to_tf32(own.z), round_to_tf32(own.w));
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
        int held_lane = ManyClassesSlab::lane_offset<true>(warp_row());
        int passing_lane = ManyClassesSlab::lane_offset<false>(warp_column());
        UNROLL
        for (int slab = 0; slab < SLABS; slab++) {
            int first = slab * ManyClassesSlab::FLOATS;
            UNROLL
            for (int k = 0; k < ManyClassesTile::K; k += ManyClassesTile::STEP) {
                add(held + first, passing + first, held_lane, passing_lane, k);
            }
        }
    }

    // Accumulates one step of a slab, at k.
    __device__ __forceinline__ void add(
        const float* held, const float* passing, int held_lane, int passing_lane, int k) {
        uint32_t a[ManyClassesTile::DOWN][4], b[WIDE][2];
        UNROLL
        for (int i = 0; i < ManyClassesTile::DOWN; i++) ManyClassesSlab::read(held, held_lane, 16 * i, k, a[i]);
        UNROLL
        for (int j = 0; j < WIDE; j += 2) {
            uint32_t two[4];
            ManyClassesSlab::read(passing, passing_lane, 8 * j, k, two);
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
        int g_lane = ManyClassesSlab::lane_offset<true>(ManyClassesOutputs::warp_row());
        int passing_lane = ManyClassesSlab::lane_offset_down();
        const float* first = passing + first_column() / 32 * ManyClassesSlab::FLOATS;
        UNROLL
        for (int inner = 0; inner < 64; inner += 8) {
            uint32_t a[ManyClassesTile::DOWN][4];
            UNROLL
            for (int i = 0; i < ManyClassesTile::DOWN; i++) {
                const float* slab = g + inner / 32 * ManyClassesSlab::FLOATS;
                ManyClassesSlab::read(slab, g_lane, 16 * i, inner % 32, a[i]);
            }
            UNROLL
            for (int j = 0; j < WIDE; j++) {
                uint32_t b[2];
                const float* slab = first + j / 4 * ManyClassesSlab::FLOATS;
                ManyClassesSlab::read_down(slab, passing_lane, inner, j % 4 * 8, b);
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

// Writes a lane's g of two neighbouring columns, rounded to tf32, to the slabs of g.
__device__ __forceinline__ void many_classes_put(float* g, int row, int column, float first, float second) {
    float* to = g + column / 32 * ManyClassesSlab::FLOATS + ManyClassesSlab::offset(row, column % 32);
    *reinterpret_cast<uint2*>(to) = make_uint2(round_to_tf32(first), round_to_tf32(second));
}
