// Epilogues of a product, applied to its sums in registers: bias and ReLU, moments of the columns, and the sums over the
// columns of a gradient that a batch norm needs.
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

// The input x and the constants of the norm before a product, y = relu?((x - mean) scale + bias) as in batch_norm.cu; the product
// writes the gradient of y. Every address and pitch fits pairs of channels.
template <class T>
struct NormInput {
    const T* x;             // [rows, channels], rows `pitch` elements apart; null if there is no norm
    const float* affine;    // [3, channels]: mean, scale, bias
    uint64_t pitch;
    uint32_t channels;
    bool relu;
};

static const uint32_t NO_ROW = 0xffffffff;

// Two neighbouring elements of what a product has stored.
template <class T>
__device__ __forceinline__ Pack<2> load_pair(const Output& from, uint64_t at) {
    if constexpr (sizeof(T) == 2) {
        if (from.is_bf16) return load<2>(static_cast<const bf16*>(from.pointer) + at);
    }
    return load<2>(static_cast<const float*>(from.pointer) + at);
}

// Writes for every column of the tile the sums over its rows of g and of g (x - mean), for batch_norm_gradients: g is the
// gradient that the product has stored, or 0 where the norm's ReLU gave 0.
//
//   rows      the row of x and of the gradient for each of the thread's rows, or NO_ROW
//   first     the tile's first column, as a channel          end   the number of columns left, a multiple of 2
//   to        [2, channels]
//   shared    2 SHARES N floats, in place of the slabs
//
// A pass of its own would read 8 M N bytes and be a launch; the epilogue reads x, 4 M N bytes. Each thread reads an accumulated
// gradient back, which it has stored itself.
template <class Products, class T>
__device__ __forceinline__ void write_gradient_sums(
    Products& products, void* shared, const uint32_t (&rows)[Products::ROWS], const NormInput<T>& norm,
    const Output& gradient, uint64_t gradient_pitch, uint32_t first, uint32_t end, float* to) {
    const int N = Products::Tile::N, SHARES = Products::SHARES;
    float *sums = static_cast<float*>(shared), *weighted = sums + SHARES * N;
    __syncthreads();  // every thread has read the last slab, which is overwritten
    UNROLL
    for (int j = 0; j < Products::COLUMNS; j += 2) {
        uint32_t column = products.column(j), channel = first + column;
        Pack<2> sum = {}, product = {};
        if (column < end) {
            Pack<2> mean = load<2>(norm.affine + channel), scale = load<2>(norm.affine + norm.channels + channel);
            Pack<2> bias = load<2>(norm.affine + 2 * norm.channels + channel);
            UNROLL
            for (int i = 0; i < Products::ROWS; i++) {
                if (rows[i] == NO_ROW) continue;
                Pack<2> x = load<2>(norm.x + rows[i] * norm.pitch + channel), g = {products.at(i, j), products.at(i, j + 1)};
                if (gradient.add) g = load_pair<T>(gradient, rows[i] * gradient_pitch + channel);
                UNROLL
                for (int v = 0; v < 2; v++) {
                    float deviation = x.value[v] - mean.value[v];
                    bool is_zero = norm.relu && deviation * scale.value[v] + bias.value[v] <= 0.0f;
                    float own = is_zero ? 0.0f : g.value[v];
                    sum.value[v] += own;
                    product.value[v] += own * deviation;
                }
            }
        }
        store<2>(sums + products.share() * N + column, sum);
        store<2>(weighted + products.share() * N + column, product);
    }
    __syncthreads();  // `sums` and `weighted` are written
    for (uint32_t column = threadIdx.x; column < N && column < end; column += Products::Tile::THREADS) {
        float sum = 0.0f, product = 0.0f;
        for (int share = 0; share < SHARES; share++) {
            sum += sums[share * N + column];
            product += weighted[share * N + column];
        }
        to[first + column] = sum;
        to[norm.channels + first + column] = product;
    }
}
