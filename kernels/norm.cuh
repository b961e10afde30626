// Sums over rows that a batch norm needs, for the kernels that compute them in passes over a tensor [rows, C]: batch_norm.cu,
// depthwise.cu and pool.cu. A block has `columns` threads of V channels each, by NORM_THREADS / columns threads along the rows.
#pragma once

#include "common.cuh"

static const int NORM_THREADS = 256;

// Sums two packs over the threads of a block that have the same channels, in a fixed order; the threads of the block's
// first row get the result. All threads must call it.
template <int V>
__device__ void reduce_rows(Pack<V>& a, Pack<V>& b, uint32_t columns) {
    SHARED(float, sums, [2 * V][NORM_THREADS]);
    UNROLL
    for (int v = 0; v < V; v++) {
        sums[v][threadIdx.x] = a.value[v];
        sums[V + v][threadIdx.x] = b.value[v];
    }
    for (uint32_t half = NORM_THREADS / 2; half >= columns; half /= 2) {
        __syncthreads();  // the upper half's sums are written
        if (threadIdx.x < half) {
            UNROLL
            for (int v = 0; v < 2 * V; v++) sums[v][threadIdx.x] += sums[v][threadIdx.x + half];
        }
    }
    // Each remaining thread reads only sums that it wrote itself: no barrier.
    UNROLL
    for (int v = 0; v < V; v++) {
        a.value[v] = sums[v][threadIdx.x];
        b.value[v] = sums[V + v][threadIdx.x];
    }
}

// Mean, scale and bias of a thread's channels.
template <int V>
struct Affine {
    Pack<V> mean, scale, bias;

    __device__ Affine() : mean{}, scale{}, bias{} {}
    __device__ Affine(const float* affine, uint32_t channel, uint32_t channels)
        : mean(load<V>(affine + channel)),
          scale(load<V>(affine + channels + channel)),
          bias(load<V>(affine + 2 * static_cast<uint64_t>(channels) + channel)) {}

    __device__ float before_relu(float deviation, int v) const {
        return deviation * scale.value[v] + bias.value[v];
    }
};

template <int V>
__device__ __forceinline__ float gradient_before_relu(
    const Affine<V>& affine, float deviation, float dy, int v, uint32_t relu) {
    return relu && affine.before_relu(deviation, v) <= 0.0f ? 0.0f : dy;
}

// The moments of a thread's rows. The first row is the pilot.
template <int V>
struct ThreadMoments {
    Pack<V> pilot = {}, sum = {}, squares = {};
    float count = 0.0f;

    __device__ __forceinline__ void add(const Pack<V>& row) {
        if (count == 0.0f) pilot = row;
        count += 1.0f;
        UNROLL
        for (int v = 0; v < V; v++) {
            float deviation = row.value[v] - pilot.value[v];
            sum.value[v] += deviation;
            squares.value[v] = fmaf(deviation, deviation, squares.value[v]);
        }
    }

    // Writes the moments of all rows of the block to `to`, [3, channels] from the thread's channel on, relative to the first
    // thread's pilot. All threads must call it; `is_inside`: whether the thread has channels. The first threads have rows.
    __device__ __forceinline__ void write(float* to, uint32_t columns, bool is_inside, uint32_t channels) {
        SHARED(float, pilots, [V][NORM_THREADS]);
        uint32_t column = threadIdx.x % columns;
        if (threadIdx.x < columns) {
            UNROLL
            for (int v = 0; v < V; v++) pilots[v][column] = pilot.value[v];
        }
        __syncthreads();  // `pilots` is written
        UNROLL
        for (int v = 0; v < V; v++) {
            float own = pilots[v][column];
            if (count == 0.0f) continue;  // its sums are zero
            // Sums of x - pilot become sums of x - own = (x - pilot) + shift.
            float shift = pilot.value[v] - own, shifted = fmaf(count, shift, sum.value[v]);
            squares.value[v] += shift * (sum.value[v] + shifted);
            sum.value[v] = shifted;
            pilot.value[v] = own;
        }
        reduce_rows<V>(sum, squares, columns);
        if (!is_inside || threadIdx.x >= columns) return;
        store<V>(to, pilot);
        store<V>(to + channels, sum);
        store<V>(to + 2 * static_cast<uint64_t>(channels), squares);
    }
};

// The sums of g and of g (x - mean) over a thread's rows, for a norm's backward pass.
template <int V>
struct ThreadGradientSums {
    Pack<V> sum = {}, products = {};

    __device__ __forceinline__ void add(const Affine<V>& affine, const Pack<V>& x, const Pack<V>& dy, uint32_t relu) {
        UNROLL
        for (int v = 0; v < V; v++) {
            float deviation = x.value[v] - affine.mean.value[v];
            float g = gradient_before_relu<V>(affine, deviation, dy.value[v], v, relu);
            sum.value[v] += g;
            products.value[v] += g * deviation;
        }
    }

    // Writes the sums over all rows of the block to `to`, [2, channels] from the thread's channel on. All threads must call it.
    __device__ __forceinline__ void write(float* to, uint32_t columns, bool is_inside, uint32_t channels) {
        reduce_rows<V>(sum, products, columns);
        if (!is_inside || threadIdx.x >= columns) return;
        store<V>(to, sum);
        store<V>(to + channels, products);
    }
};

// ---- kernels over rows of images that sum what they write ------------------------------------------------------------

// A thread's channels, and the runs of pixels of its block's part; `runs` runs make an image row. The grid's first axis counts blocks
// of `columns` threads along the channels, the second parts of `rows_of_part` image rows. All rows have fewer than 2^32 runs.
template <int V>
struct RowTile {
    uint32_t columns, channels, channel, first, step, end;
    bool is_inside;

    __device__ RowTile(uint32_t columns, uint32_t rows_of_part, uint32_t channels, uint32_t runs, uint32_t rows)
        : columns(columns), channels(channels) {
        channel = (blockIdx.x * columns + threadIdx.x % columns) * V;
        is_inside = channel < channels;
        uint32_t first_row = blockIdx.y * rows_of_part;
        first = first_row * runs + threadIdx.x / columns;
        step = NORM_THREADS / columns;
        end = is_inside ? min(first_row + rows_of_part, rows) * runs : 0;
    }
};

// A run of pixels: its number in a row, the row in an image, and the image.
struct RowRun {
    uint32_t run, row, image;

    __device__ __forceinline__ RowRun(uint32_t number, uint32_t runs, uint32_t height) {
        run = number % runs;
        uint32_t rest = number / runs;
        row = rest % height;
        image = rest / height;
    }
};

// The sums over a gradient that such a kernel writes, for the norm before it. x is the norm's input, with a row pitch, or null if there
// is no norm.
template <int V, class T>
struct RowGradientSums {
    const T* x;
    float* sums;
    uint64_t pitch;
    uint32_t relu;
    Affine<V> affine;
    ThreadGradientSums<V> own;

    __device__ __forceinline__ RowGradientSums(
        const T* x, const float* affine, float* sums, uint64_t pitch, uint32_t relu, const RowTile<V>& place)
        : x(x), sums(sums), pitch(pitch), relu(relu),
          affine(place.is_inside && x != nullptr ? Affine<V>(affine, place.channel, place.channels) : Affine<V>()) {}

    __device__ __forceinline__ void add(uint64_t pixel, const RowTile<V>& place, const Pack<V>& gradient) {
        if (x != nullptr) own.add(affine, load<V>(x + pixel * pitch + place.channel), gradient, relu);
    }

    // All threads must call it.
    __device__ __forceinline__ void write(const RowTile<V>& place) {
        if (x == nullptr) return;
        float* to = sums + static_cast<uint64_t>(blockIdx.y) * 2 * place.channels + place.channel;
        own.write(to, place.columns, place.is_inside, place.channels);
    }
};
