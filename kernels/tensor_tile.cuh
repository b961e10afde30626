// A block's part of a matrix product on tensor cores: exact products, accumulated in f32. The factors are f32 rounded
// to tf32 (10 bits of fraction), or bf16. The slabs arrive as in tile.cuh. f32 is rounded as it is read from a slab, unless the
// kernel that wrote it has rounded it.
//
// A warp computes part of the tile, in fragments of 16x8 sums that one mma.sync (m16n8k8 for tf32, m16n8k16 for bf16)
// accumulates; lane 4 g + q holds columns 2 q and 2 q + 1 of rows g and g + 8. How it loads a fragment of the operands,
// free of bank conflicts:
//
//   inner axis contiguous   [X][K]: a row is 128 bytes, all banks. ldmatrix reads 8 rows of 16 bytes at a time. Their
//                           positions are swizzled by x % 8: 8 neighbouring rows use 8 different groups of banks
//   X contiguous, tf32      [K][X]: lane (g, q) reads step q, position g: 4 rows of 8 numbers. They are swizzled by
//                           8 (k % 4), so that they use 4 different quarters of the banks
//   X contiguous, bf16      [K][X]: ldmatrix.trans reads 8 rows of 16 bytes, swizzled by k % 8 (where a row is 64 bytes,
//                           so that two rows span all banks, by k / 2 % 4)
//
// The swizzle is an XOR on the address: it costs no memory, as padding between rows would.
//
// Shared memory serves 128 bytes a cycle to an SM. With 64x64 sums, as in the largest tile, a warp reads 64 + 64 rows of
// 128 bytes from a slab, and copies another 64: 192 cycles, where the tensor cores of an H100 need 128 in tf32. With 64x32
// sums, half of that work, it would be 128 cycles against 64.
#pragma once

#include "tile.cuh"

template <class Tile, bool A_INNER, bool B_INNER>
struct TensorProducts;

template <class Element_, int M_, int N_, int WARP_M_, int WARP_N_, int STAGES_, int RESIDENT_>
struct TensorTile {
    typedef Element_ Element;                                      // of both operands: float for tf32, or bf16
    static const int M = M_, N = N_, K = 128 / sizeof(Element);    // of a block
    static const int WARP_M = WARP_M_, WARP_N = WARP_N_;           // of a warp
    static const int STAGES = STAGES_, RESIDENT = RESIDENT_;       // as in Tile
    static const int ACROSS = N / WARP_N;                          // warps
    static const int THREADS = M / WARP_M * ACROSS * WARP;
    static const int DOWN = WARP_M / 16, WIDE = WARP_N / 8;        // fragments of a warp
    static const int STEP = 32 / sizeof(Element);                  // length of a fragment along the inner axis
    static const bool ROUNDS_A = true;                             // see OfRounded
    // Bytes of shared memory: 128 STAGES (M + N).
    template <bool A_INNER, bool B_INNER>
    using Products = TensorProducts<TensorTile, A_INNER, B_INNER>;
};

// The same tile for products whose A holds tf32 numbers already. Rounding A would take two instructions for each number that
// a lane reads, 64 to 128 for a slab.
template <class Tile>
struct OfRounded : Tile {
    static const bool ROUNDS_A = false;
    template <bool A_INNER, bool B_INNER>
    using Products = TensorProducts<OfRounded, A_INNER, B_INNER>;
};

// src/ops/tensor/matmul/tiles.rs has the same table.
typedef TensorTile<float, 128, 128, 64, 64, 3, 2> Tf32Tile128;
typedef TensorTile<float, 64, 64, 32, 32, 3, 4> Tf32Tile64;
typedef TensorTile<float, 32, 32, 32, 16, 3, 8> Tf32Tile32;
typedef TensorTile<bf16, 128, 128, 64, 64, 3, 2> Bf16Tile128;
typedef TensorTile<bf16, 64, 64, 32, 32, 3, 4> Bf16Tile64;
typedef TensorTile<bf16, 32, 32, 32, 16, 3, 8> Bf16Tile32;

// X rows of A or columns of B, 128 bytes deep. INNER: the inner axis is contiguous. ROUNDS: f32 is rounded to tf32 as it is read.
template <class T, int X_, bool INNER_, bool ROUNDS>
struct TensorSlab {
    typedef T Element;
    static const int LENGTH = Run<T>::LENGTH;
    static const int X = X_, K = 8 * LENGTH;
    static const bool INNER = INNER_;
    static const int ROW = INNER ? K : X, STRIDE = ROW;         // length of a row
    static const int PERIOD = !INNER && sizeof(T) == 4 ? 4 : 8;  // of the swizzle, in rows
    static const int SIZE = X * K;

    static __device__ __forceinline__ int offset(int x, int k) {
        if (INNER) return x * K + ((k / LENGTH ^ (x & 7)) * LENGTH + k % LENGTH);
        if (sizeof(T) == 4) return k * X + (x ^ (k & 3) * 8);
        return k * X + (x ^ (X < 64 ? k / 2 & 3 : k & 7) * 8);
    }

    // A fragment is four quarters of 8 positions of X by LENGTH steps along k. Quarter j starts `8 (j % 2)` further along
    // X and `LENGTH (j / 2)` further along k where X_FIRST, else the other way around.
    template <bool X_FIRST>
    static __device__ __forceinline__ int along_x(int quarter) {
        return 8 * (X_FIRST ? quarter % 2 : quarter / 2);
    }
    template <bool X_FIRST>
    static __device__ __forceinline__ int along_k(int quarter) {
        return LENGTH * (X_FIRST ? quarter / 2 : quarter % 2);
    }

    // The offset at which a lane reads the fragment at x and k = 0. `x`: where the warp's part begins.
    template <bool X_FIRST>
    static __device__ __forceinline__ int lane_offset(int x) {
        int lane = threadIdx.x % WARP, quarter = lane / 8;
        if (INNER) return offset(x + along_x<X_FIRST>(quarter) + lane % 8, along_k<X_FIRST>(quarter));
        if (sizeof(T) == 4) return offset(x + lane / 4, lane % 4);
        return offset(x + along_x<X_FIRST>(quarter), along_k<X_FIRST>(quarter) + lane % 8);
    }

    // Loads the fragment `x` further along X and `k` further along the inner axis than the one at `lane` (from
    // lane_offset). The lane's offset before the swizzle has none of the bits of k (INNER) or of the swizzled part of x
    // (else), so an XOR with a constant replaces an addition.
    template <bool X_FIRST>
    static __device__ __forceinline__ void read(const T* slab, int lane, int x, int k, uint32_t (&quarters)[4]) {
        if (INNER) {
            load_matrix_x4(quarters, slab + (lane ^ k) + x * K);
            round(quarters, T());
        } else {
            read_across<X_FIRST>(slab, lane, x, k, quarters, T());
        }
    }

private:
    static __device__ __forceinline__ uint32_t rounded(float x) {
        return ROUNDS ? round_to_tf32(x) : __float_as_uint(x);
    }
    static __device__ __forceinline__ void round(uint32_t (&quarters)[4], float) {
        UNROLL
        for (int j = 0; j < 4; j++) quarters[j] = rounded(__uint_as_float(quarters[j]));
    }
    static __device__ __forceinline__ void round(uint32_t (&)[4], bf16) {}

    static __device__ __forceinline__ int across(int lane, int x, int k) {
        const int SWIZZLED = sizeof(T) == 4 || X < 64 ? 3 * 8 : 7 * 8;
        return (lane ^ (x & SWIZZLED)) + (x & ~SWIZZLED) + k * X;
    }
    template <bool X_FIRST>
    static __device__ __forceinline__ void read_across(
        const float* slab, int lane, int x, int k, uint32_t (&quarters)[4], float) {
        UNROLL
        for (int j = 0; j < 4; j++) {
            quarters[j] = rounded(slab[across(lane, x + along_x<X_FIRST>(j), k + along_k<X_FIRST>(j))]);
        }
    }
    template <bool X_FIRST>
    static __device__ __forceinline__ void read_across(
        const bf16* slab, int lane, int x, int k, uint32_t (&quarters)[4], bf16) {
        load_matrix_transposed_x4(quarters, slab + across(lane, x, k));
    }
};

__device__ __forceinline__ void multiply(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float) {
    mma_tf32(sums, a, b);
}

__device__ __forceinline__ void multiply(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bf16) {
    mma_bf16(sums, a, b);
}

// Writes two neighbouring sums to row `to` of C at `column`; `end`: the number of columns. `is_aligned`: whether `end` is
// even and every second column aligned to two elements.
__device__ __forceinline__ void store_pair(
    float* to, uint32_t column, uint32_t end, float first, float second, bool is_aligned, bool add) {
    if (is_aligned) {
        if (column >= end) return;
        float2* target = reinterpret_cast<float2*>(to + column);
        float2 old = add ? *target : make_float2(0.0f, 0.0f);
        *target = make_float2(old.x + first, old.y + second);
        return;
    }
    if (column < end) store(to + column, first, add);
    if (column + 1 < end) store(to + column + 1, second, add);
}

// The same, rounded to bf16 after the addition; the old value has already been rounded.
__device__ __forceinline__ void store_pair(
    bf16* to, uint32_t column, uint32_t end, float first, float second, bool is_aligned, bool add) {
    if (is_aligned) {
        if (column >= end) return;
        uint32_t* target = reinterpret_cast<uint32_t*>(to + column);
        if (add) {
            uint32_t old = *target;
            first += __uint_as_float(old << 16), second += __uint_as_float(old & 0xffff0000u);
        }
        *target = bf16_pair(first, second);
        return;
    }
    if (column < end) to[column] = bf16(add ? static_cast<float>(to[column]) + first : first);
    if (column + 1 < end) to[column + 1] = bf16(add ? static_cast<float>(to[column + 1]) + second : second);
}

// sums += the products of one slab. `left_lane`, `right_lane`: lane_offset of the warp's part.
template <class Tile, class A, class B, class Element>
__device__ __forceinline__ void add_tensor_products(
    const Element* left, const Element* right, int left_lane, int right_lane,
    float (&sums)[Tile::DOWN][Tile::WIDE][4]) {
    UNROLL
    for (int k = 0; k < Tile::K; k += Tile::STEP) {
        uint32_t a[Tile::DOWN][4], b[Tile::WIDE][2];
        UNROLL
        for (int i = 0; i < Tile::DOWN; i++) A::template read<true>(left, left_lane, 16 * i, k, a[i]);
        UNROLL
        for (int j = 0; j < Tile::WIDE; j += 2) {
            uint32_t two[4];
            B::template read<false>(right, right_lane, 8 * j, k, two);
            b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
        }
        UNROLL
        for (int i = 0; i < Tile::DOWN; i++) {
            UNROLL
            for (int j = 0; j < Tile::WIDE; j++) multiply(sums[i][j], a[i], b[j], Element());
        }
    }
}

// The sums of a block's threads on tensor cores; see FloatProducts. Shared memory is dynamic.
template <class Tile_, bool A_INNER, bool B_INNER>
struct TensorProducts {
    typedef Tile_ Tile;
    typedef typename Tile::Element Element;
    typedef TensorSlab<Element, Tile::M, A_INNER, Tile::ROUNDS_A> A;
    typedef TensorSlab<Element, Tile::N, B_INNER, true> B;
    static const int ROWS = 2 * Tile::DOWN, COLUMNS = 2 * Tile::WIDE;
    static const int SHARES = Tile::M / Tile::WARP_M * 8;
    int first_row, first_column;  // of the warp's part
    float sums[Tile::DOWN][Tile::WIDE][4];

    __device__ __forceinline__ TensorProducts() : sums{} {
        int warp = threadIdx.x / WARP;
        first_row = warp / Tile::ACROSS * Tile::WARP_M, first_column = warp % Tile::ACROSS * Tile::WARP_N;
    }

    static __device__ __forceinline__ Element* shared() {
        DYNAMIC_SHARED(Element, slabs);
        return slabs;
    }

    __device__ __forceinline__ int row(int i) const {
        return first_row + 8 * i + threadIdx.x % WARP / 4;
    }
    __device__ __forceinline__ int column(int j) const {
        return first_column + j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2;
    }
    __device__ __forceinline__ int share() const {
        return first_row / Tile::WARP_M * 8 + threadIdx.x % WARP / 4;
    }
    __device__ __forceinline__ float& at(int i, int j) {
        return sums[i / 2][j / 2][i % 2 * 2 + j % 2];
    }

    template <class CopyA, class CopyB>
    __device__ __forceinline__ void add(
        const CopyA& a, const CopyB& b, uint32_t first, uint32_t last, Element* shared) {
        int left_lane = A::template lane_offset<true>(first_row);
        int right_lane = B::template lane_offset<false>(first_column);
        for_slabs<Tile::STAGES, A, B>(a, b, first, last, shared, [&](const Element* left, const Element* right) {
            add_tensor_products<Tile, A, B>(left, right, left_lane, right_lane, sums);
        });
    }

    __device__ __forceinline__ void store_row(int i, const Output& to, uint64_t offset, uint32_t end) const {
        UNROLL
        for (int j = 0; j < COLUMNS; j += 2) {
            const float* own = sums[i / 2][j / 2] + i % 2 * 2;
            if (sizeof(Element) == 2 && to.is_bf16) {
                bf16* row = static_cast<bf16*>(to.pointer) + offset;
                store_pair(row, column(j), end, own[0], own[1], to.is_aligned, to.add);
            } else {
                float* row = static_cast<float*>(to.pointer) + offset;
                store_pair(row, column(j), end, own[0], own[1], to.is_aligned, to.add);
            }
        }
    }
};
