// Epilogues of a product, applied to its sums in registers: bias and ReLU, and moments of the columns.
#pragma once

#include "tensor_tile.cuh"

// sum = relu?(sum + bias[column]). `bias`: that of the tile's first column, or null; `end`: the number of columns left.
template <class Products>
__device__ __forceinline__ void add_bias(Products& products, const float* bias, uint32_t end, bool relu) {
    if (bias == nullptr && !relu) return;
    UNROLL
    for (int j = 0; j < Products::COLUMNS; j++) {
        uint32_t column = products.column(j);
        float own = bias != nullptr && column < end ? bias[column] : 0.0f;
        UNROLL
        for (int i = 0; i < Products::ROWS; i++) {
            float sum = products.at(i, j) + own;
            products.at(i, j) = relu && sum < 0.0f ? 0.0f : sum;
        }
    }
}

// Writes for every column of the tile the partial statistics that batch_norm.cu adds: the first row's value as pilot,
// and the sums over the tile's rows of the differences from it and of their squares.
//
//   to       [3, channels], from the tile's first column on          rows, end   the number of rows and columns left
//   shared   (1 + 2 SHARES) N floats, in place of the slabs
//
// Each thread sums its own rows; then the threads of a column are added in order. That costs a tile 8 M N operations
// besides its 2 M N K, and 12 N bytes written; a separate pass over the output would read 4 M N bytes and be a launch.
template <class Products>
__device__ __forceinline__ void write_moments(
    Products& products, void* shared, uint32_t rows, uint32_t end, float* to, uint32_t channels) {
    const int N = Products::Tile::N, SHARES = Products::SHARES;
    float *pilots = static_cast<float*>(shared), *sums = pilots + N, *squares = sums + SHARES * N;
    __syncthreads();  // every thread has read the last slab, which is overwritten
    if (products.row(0) == 0) {
        UNROLL
        for (int j = 0; j < Products::COLUMNS; j++) pilots[products.column(j)] = products.at(0, j);
    }
    __syncthreads();  // `pilots` is written
    UNROLL
    for (int j = 0; j < Products::COLUMNS; j++) {
        int column = products.column(j);
        float pilot = pilots[column], sum = 0.0f, square = 0.0f;
        UNROLL
        for (int i = 0; i < Products::ROWS; i++) {
            float distance = static_cast<uint32_t>(products.row(i)) < rows ? products.at(i, j) - pilot : 0.0f;
            sum += distance;
            square = fmaf(distance, distance, square);
        }
        sums[products.share() * N + column] = sum;
        squares[products.share() * N + column] = square;
    }
    __syncthreads();  // `sums` and `squares` are written
    for (uint32_t column = threadIdx.x; column < N && column < end; column += Products::Tile::THREADS) {
        float sum = 0.0f, square = 0.0f;
        for (int share = 0; share < SHARES; share++) {
            sum += sums[share * N + column];
            square += squares[share * N + column];
        }
        to[column] = pilots[column];
        to[channels + column] = sum;
        to[2 * static_cast<uint64_t>(channels) + column] = square;
    }
}
