// The arithmetic of a matrix product's block on tensor cores, in tf32: factors rounded to 10 bits of fraction, products
// exact, sums in f32. The slabs come as in tile.cuh.
//
// A warp has a part of the tile, in fragments of 16x8 sums that one mma.sync.m16n8k8 adds to; lane 4 g + q holds columns
// 2 q and 2 q + 1 of rows g and g + 8. What it reads for 8 steps of the inner axis:
//
//   inner axis contiguous   [X][32]: a row is 128 bytes, all banks. ldmatrix reads 8 rows of 16 bytes at a time, whose
//                           places in their rows are exchanged by x % 8: 8 neighbouring rows lie in 8 groups of banks
//   X contiguous            [32][X]: lane (g, q) reads step q, place g: 4 rows of 8 numbers, which are exchanged by
//                           8 (k % 4), so that they lie in 4 different quarters of the banks
//
// The exchange is an exclusive or with an address: it costs no memory, as gaps between rows would.
#pragma once

#include "tile.cuh"

template <int M_, int N_, int WARP_M_, int WARP_N_, int STAGES_, int RESIDENT_>
struct TensorTile {
    static const int M = M_, N = N_, K = 32;                       // of a block
    static const int WARP_M = WARP_M_, WARP_N = WARP_N_;           // of a warp
    static const int STAGES = STAGES_, RESIDENT = RESIDENT_;       // as a Tile's
    static const int ACROSS = N / WARP_N;                          // warps
    static const int THREADS = M / WARP_M * ACROSS * WARP;
    static const int DOWN = WARP_M / 16, WIDE = WARP_N / 8;        // fragments of a warp
    static const int SHARED_FLOATS = STAGES * K * (M + N);
};

// src/ops/matmul/tiles.rs has the same table.
typedef TensorTile<128, 128, 64, 32, 3, 2> TensorTile128;
typedef TensorTile<64, 64, 32, 32, 3, 4> TensorTile64;
typedef TensorTile<32, 32, 32, 16, 3, 8> TensorTile32;

// X rows of A or columns of B, 32 deep. INNER: the inner axis is contiguous.
template <int X_, bool INNER_>
struct TensorSlab {
    static const int X = X_, K = 32;
    static const bool INNER = INNER_;
    static const int FLOATS = X * K;

    static __device__ __forceinline__ int offset(int x, int k) {
        return INNER ? x * K + ((k / 4 ^ (x & 7)) * 4 + k % 4) : k * X + (x ^ (k & 3) * 8);
    }

    // The numbers at 16 of X from x on and 8 steps from k on, by the four 8x4 quarters: quarter j starts `8 (j % 2)`
    // further along X and `4 (j / 2)` further along k where X_FIRST, else the other way around.
    template <bool X_FIRST>
    static __device__ __forceinline__ void read(const float* slab, int x, int k, uint32_t (&quarters)[4]) {
        int lane = threadIdx.x % WARP;
        if (INNER) {
            int quarter = lane / 8;
            int along_x = X_FIRST ? quarter % 2 : quarter / 2, along_k = X_FIRST ? quarter / 2 : quarter % 2;
            load_matrix_x4(quarters, slab + offset(x + 8 * along_x + lane % 8, k + 4 * along_k));
            UNROLL
            for (int j = 0; j < 4; j++) quarters[j] = round_to_tf32(__uint_as_float(quarters[j]));
        } else {
            UNROLL
            for (int j = 0; j < 4; j++) {
                int along_x = X_FIRST ? j % 2 : j / 2, along_k = X_FIRST ? j / 2 : j % 2;
                quarters[j] = round_to_tf32(slab[offset(x + 8 * along_x + lane / 4, k + 4 * along_k + lane % 4)]);
            }
        }
    }
};

// sums += the products of one slab. The warp's part starts at (row, column) of the tile.
template <class Tile, class A, class B>
__device__ __forceinline__ void add_tensor_products(
    const float* left, const float* right, int row, int column, float (&sums)[Tile::DOWN][Tile::WIDE][4]) {
    UNROLL
    for (int k = 0; k < Tile::K; k += 8) {
        uint32_t a[Tile::DOWN][4], b[Tile::WIDE][2];
        UNROLL
        for (int i = 0; i < Tile::DOWN; i++) A::template read<true>(left, row + 16 * i, k, a[i]);
        UNROLL
        for (int j = 0; j < Tile::WIDE; j += 2) {
            uint32_t two[4];
            B::template read<false>(right, column + 8 * j, k, two);
            b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
        }
        UNROLL
        for (int i = 0; i < Tile::DOWN; i++) {
            UNROLL
            for (int j = 0; j < Tile::WIDE; j++) mma_tf32(sums[i][j], a[i], b[j]);
        }
    }
}

// Writes two neighbouring sums of C's row `to` at `column`; `end`: the columns there are. `is_aligned`: `to` lies on 16
// bytes.
__device__ __forceinline__ void store_pair(
    float* to, uint32_t column, uint32_t end, float first, float second, bool is_aligned, bool add) {
    if (is_aligned && column + 2 <= end) {
        float2* target = reinterpret_cast<float2*>(to + column);
        float2 old = add ? *target : make_float2(0.0f, 0.0f);
        *target = make_float2(old.x + first, old.y + second);
        return;
    }
    if (column < end) store(to + column, first, add);
    if (column + 1 < end) store(to + column + 1, second, add);
}
