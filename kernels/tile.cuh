// A block's part of a matrix product, shared by matmul.cu and conv2d.cu: slabs of both operands stream through shared
// memory, and every thread keeps a small tile of the product in registers.
//
//   C[M, N] += A[M, K] B[K, N] for one slab of K, then the next:
//
//              N                      a slab of A: M rows by K, in shared memory
//            +----+ slab of B         a slab of B: K by N columns, in shared memory
//            +----+                   each thread: ROWS x COLUMNS sums in registers, for every step of the inner axis
//     +--+   +----+                   ROWS elements of A and COLUMNS of B
//   M |  |   | C  |
//     +--+   +----+
//
// Slabs are copied by cp.async in a pipeline of STAGES stages: STAGES - 1 slabs ahead of the arithmetic. One barrier
// per slab.
//
// A slab keeps its operand's layout, so that both sides of a copy are 16 bytes at a time:
//
//   inner axis contiguous (A as it is, B transposed)   [X][K + 4]: a thread reads 4 steps of one row at a time. The row
//                                                      stride K + 4 puts 8 neighbouring rows in different banks
//   X contiguous          (A transposed, B as it is)   [K][X]: a thread reads 4 neighbours at one step
//
// The threads of a warp share most of their reads: it reads 4 different positions along M and 8 along N.
#pragma once

#include "common.cuh"

template <class Tile, bool A_INNER, bool B_INNER>
struct FloatProducts;

template <int M_, int N_, int K_, int ROWS_, int COLUMNS_, int STAGES_, int RESIDENT_>
struct Tile {
    typedef float Element;                                      // of both operands
    static const int M = M_, N = N_, K = K_;                    // of a block: a tile of C, and the depth of a slab
    static const int ROWS = ROWS_, COLUMNS = COLUMNS_;          // of a thread
    static const int STAGES = STAGES_;                          // pipeline stages: slabs of each operand in shared memory
    static const int RESIDENT = RESIDENT_;                      // blocks per SM that the registers must allow
    static const int DOWN = M / ROWS, ACROSS = N / COLUMNS;     // threads
    static const int THREADS = DOWN * ACROSS;
    template <bool A_INNER, bool B_INNER>
    using Products = FloatProducts<Tile, A_INNER, B_INNER>;
};

// src/ops/tensor/matmul/tiles.rs has the same table.
typedef Tile<128, 128, 16, 8, 8, 2, 2> Tile128;
typedef Tile<64, 64, 16, 8, 4, 3, 4> Tile64;
typedef Tile<32, 32, 32, 4, 4, 3, 8> Tile32;

// A thread's position in its block: warps are 4 threads high and 8 wide.
template <class Tile>
struct Place {
    int down, across;
    __device__ Place() {
        int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        down = warp / (Tile::ACROSS / 8) * 4 + lane / 8;
        across = warp % (Tile::ACROSS / 8) * 8 + lane % 8;
    }
};

// X rows of A or columns of B, K deep; OWN of the X belong to each thread. INNER: the inner axis is contiguous.
template <int X_, int K_, int OWN, bool INNER_>
struct Slab {
    typedef float Element;
    static const int X = X_, K = K_;
    static const bool INNER = INNER_;
    static const int ROW = INNER ? K : X;  // length of a row
    static const int STRIDE = INNER ? K + 4 : X;
    static const int PERIOD = 1;
    static const int SIZE = INNER ? X * STRIDE : K * STRIDE;

    static __device__ __forceinline__ int offset(int x, int k) {
        return INNER ? x * STRIDE + k : k * STRIDE + x;
    }

    // The position along X of number `i` of the thread at `place`.
    static __device__ __forceinline__ int position(int place, int i) {
        return INNER ? i * (X / OWN) + place : i / 4 * (X / OWN * 4) + place * 4 + i % 4;
    }

    // A thread's own elements at steps k to k + 3.
    static __device__ __forceinline__ void read(const float* slab, int place, int k, float (&own)[4][OWN]) {
        UNROLL
        for (int i = 0; i < (INNER ? OWN : OWN / 4); i++) {
            UNROLL
            for (int j = 0; j < (INNER ? 1 : 4); j++) {
                int at = INNER ? offset(position(place, i), k) : offset(position(place, 4 * i), k + j);
                float4 four = *reinterpret_cast<const float4*>(slab + at);
                if (INNER) {
                    own[0][i] = four.x, own[1][i] = four.y, own[2][i] = four.z, own[3][i] = four.w;
                } else {
                    int first = 4 * i % OWN;  // 4 i; the modulo keeps indices in range where INNER
                    own[j][first] = four.x, own[j][first + 1] = four.y;
                    own[j][first + 2] = four.z, own[j][first + 3] = four.w;
                }
            }
        }
    }
};

template <class Tile, bool INNER>
struct SlabA : Slab<Tile::M, Tile::K, Tile::ROWS, INNER> {};
template <class Tile, bool INNER>
struct SlabB : Slab<Tile::N, Tile::K, Tile::COLUMNS, INNER> {};

// The elements in 16 bytes: a run, the unit of copies.
template <class T>
struct Run {
    static const int LENGTH = 16 / sizeof(T);
};

// Copies one element, where 16 bytes are not possible. cp.async cannot copy 2 bytes.
__device__ __forceinline__ void copy_element(float* shared, const float* from) {
    copy_async4(shared, from);
}

__device__ __forceinline__ void copy_element(bf16* shared, const bf16* from) {
    *shared = *from;
}

// Copies the first `count` elements of a run to shared memory one by one, and clears the others. Asynchronous in f32, like
// copy_async4.
template <class T>
__device__ __forceinline__ void copy_elements(T* shared, const T* from, int count) {
    // Rare: unrolled at every call it would take most of a kernel's code and registers.
    ROLLED
    for (int j = 0; j < Run<T>::LENGTH; j++) {
        if (j < count) {
            copy_element(shared + j, from + j);
        } else {
            shared[j] = T(0.0f);
        }
    }
}

// How the threads of a block copy a slab: each the same run of every STEP-th row.
template <class Slab, int THREADS>
struct SlabRuns {
    typedef typename Slab::Element Element;
    static const int LENGTH = Run<Element>::LENGTH, RUNS = Slab::ROW / LENGTH;
    static const int STEP = THREADS / RUNS, PASSES = Slab::X * Slab::K / LENGTH / THREADS;

    static __device__ __forceinline__ uint32_t row(int pass) {
        return threadIdx.x / RUNS + pass * STEP;
    }
    static __device__ __forceinline__ uint32_t column() {
        return threadIdx.x % RUNS * LENGTH;
    }
    // A slab's swizzle repeats within STEP rows, so that a thread's targets are constant distances apart.
    static __device__ __forceinline__ Element* target(Element* slab, int pass) {
        static_assert(STEP % Slab::PERIOD == 0);
        int first = Slab::INNER ? Slab::offset(row(0), column()) : Slab::offset(column(), row(0));
        return slab + first + pass * (STEP * Slab::STRIDE);
    }
};

// Slabs of a row-major matrix. `from`: the tile's first element at inner index 0; `x_end`, `k_end`: the extents of the
// matrix from there on.
template <class Slab, int THREADS>
struct MatrixSlabs {
    typedef typename Slab::Element Element;
    typedef SlabRuns<Slab, THREADS> Runs;
    const Element* from;
    uint32_t row_bytes;
    uint32_t x_end, k_end;
    bool is_aligned;  // whether rows are whole runs, 16-byte aligned

    __device__ __forceinline__ void copy(Element* slab, uint32_t number) const {
        uint32_t first = number * Slab::K, rows = Slab::INNER ? x_end : k_end, columns = Slab::INNER ? k_end : x_end;
        uint32_t first_row = Slab::INNER ? 0 : first, column = (Slab::INNER ? first : 0) + Runs::column();
        if (is_aligned) {
            UNROLL
            for (int pass = 0; pass < Runs::PASSES; pass++) {
                uint32_t row = first_row + Runs::row(pass);
                bool is_inside = row < rows && column < columns;
                copy_async16_or_zeros(Runs::target(slab, pass), row_at(from + column, row, row_bytes), is_inside);
            }
            return;
        }
        ROLLED
        for (int pass = 0; pass < Runs::PASSES; pass++) {
            uint32_t row = first_row + Runs::row(pass);
            int left = row < rows ? static_cast<int>(columns - column) : 0;
            copy_elements(Runs::target(slab, pass), row_at(from + column, row, row_bytes), left);
        }
    }
};

// Calls multiply(slab of A, slab of B) for slabs `first` to `last`, in order. `shared` has room for STAGES slabs of A,
// then of B.
template <int STAGES, class A, class B, class CopyA, class CopyB, class Element, class Multiply>
__device__ __forceinline__ void for_slabs(
    const CopyA& a, const CopyB& b, uint32_t first, uint32_t last, Element* shared, const Multiply& multiply) {
    Element *left = shared, *right = shared + STAGES * A::SIZE;
    UNROLL
    for (int stage = 0; stage < STAGES - 1; stage++) {
        if (first + stage < last) {
            a.copy(left + stage * A::SIZE, first + stage);
            b.copy(right + stage * B::SIZE, first + stage);
        }
        copy_async_commit();
    }
    int stage = 0;
    for (uint32_t slab = first; slab < last; slab++) {
        copy_async_wait<STAGES - 2>();
        // Every thread's copies of this slab have arrived, and every thread has read the previous slab, which is
        // overwritten next.
        __syncthreads();
        int taken = stage == 0 ? STAGES - 1 : stage - 1;
        if (slab + STAGES - 1 < last) {
            a.copy(left + taken * A::SIZE, slab + STAGES - 1);
            b.copy(right + taken * B::SIZE, slab + STAGES - 1);
        }
        copy_async_commit();
        multiply(left + stage * A::SIZE, right + stage * B::SIZE);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
}

// The destination of a tile.
struct Output {
    void* pointer;
    bool is_bf16;     // whether to store bf16; only for bf16 operands
    bool is_aligned;  // whether rows have a multiple of 4 columns, and every fourth is aligned to 16 bytes (bf16: 8)
    bool add;         // whether to accumulate
};

// The sums of a block's threads, in f32: each thread has ROWS x COLUMNS of the tile.
template <class Tile_, bool A_INNER, bool B_INNER>
struct FloatProducts {
    typedef Tile_ Tile;
    typedef SlabA<Tile, A_INNER> A;
    typedef SlabB<Tile, B_INNER> B;
    static const int ROWS = Tile::ROWS, COLUMNS = Tile::COLUMNS;
    static const int SHARES = Tile::DOWN;  // threads that share a column
    Place<Tile> place;
    float sums[ROWS][COLUMNS];

    __device__ __forceinline__ FloatProducts() : sums{} {}

    static __device__ __forceinline__ float* shared() {
        SHARED(float, slabs, [Tile::STAGES * (A::SIZE + B::SIZE)]);
        return slabs;
    }

    // Row and column of the tile for the thread's (i, j), and the thread's index among those that share the column.
    __device__ __forceinline__ int row(int i) const {
        return A::position(place.down, i);
    }
    __device__ __forceinline__ int column(int j) const {
        return B::position(place.across, j);
    }
    __device__ __forceinline__ int share() const {
        return place.down;
    }
    __device__ __forceinline__ float& at(int i, int j) {
        return sums[i][j];
    }

    // Accumulates the products of slabs `first` to `last`.
    template <class CopyA, class CopyB>
    __device__ __forceinline__ void add(
        const CopyA& a, const CopyB& b, uint32_t first, uint32_t last, float* shared) {
        for_slabs<Tile::STAGES, A, B>(a, b, first, last, shared, [&](const float* left, const float* right) {
            for (int k = 0; k < Tile::K; k += 4) {
                float rows[4][ROWS], columns[4][COLUMNS];
                A::read(left, place.down, k, rows);
                B::read(right, place.across, k, columns);
                UNROLL
                for (int step = 0; step < 4; step++) {
                    UNROLL
                    for (int i = 0; i < ROWS; i++) {
                        UNROLL
                        for (int j = 0; j < COLUMNS; j++) sums[i][j] = fmaf(rows[step][i], columns[step][j], sums[i][j]);
                    }
                }
            }
        });
    }

    // Writes row(i) of the tile. The row starts at element `offset` of C, which has `end` columns from there on.
    __device__ __forceinline__ void store_row(int i, const Output& to, uint64_t offset, uint32_t end) const {
        float* row = static_cast<float*>(to.pointer) + offset;
        UNROLL
        for (int j = 0; j < COLUMNS; j += 4) {
            uint32_t first = column(j);
            if (!B_INNER && to.is_aligned) {
                if (first >= end) continue;
                float4* target = reinterpret_cast<float4*>(row + first);
                float4 four = make_float4(sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]);
                if (to.add) {
                    float4 old = *target;
                    four = make_float4(old.x + four.x, old.y + four.y, old.z + four.z, old.w + four.w);
                }
                *target = four;
                continue;
            }
            UNROLL
            for (int l = 0; l < 4; l++) {
                uint32_t own = column(j + l);
                if (own < end) store(row + own, sums[i][j + l], to.add);
            }
        }
    }
};
