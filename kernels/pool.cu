// Pools over the two middle axes of images [N, H, W, C], channels last. The launches are in src/ops/layers/pool/launch.rs.
//
//   max_pool       y[n, p, q, c] = the largest x in the window; the first of equal ones; NaN if there is any
//   average_pool   y[n, p, q, c] = the mean over the window; padding counts as zeros
//   global_average_pool: one window over the whole image
//   adaptive_average_pool: the mean over window p of P, the rows from floor(p H / P) to before ceil((p + 1) H / P);
//   columns likewise
//
//   x [N, H, W, C], y [N, P, Q, C]; dy, dx likewise: f32 or bf16, each with its own pixel pitch
//   taps [N, P, Q, C], contiguous: each maximum's index in its window, in 8 bits (32 for windows over 256)
//   norm_x, affine, sums   the norm that wrote x, or null; then dx is x's whole gradient, and the partial sums over it that the norm's
//        backward pass needs are written, [parts, 2, C]
//
// Bytes per element of x for the usual 2x2 with stride 2: forward 4 read, 1 + 1/4 written (bf16: 2 and 1/2 + 1/4);
// backward the reverse. A few comparisons per element: memory-bound.
//
// A thread has V neighbouring channels of an output pixel, backward of an input pixel, so accesses are coalesced, in
// vectors of 16 bytes where C and the pitches allow it (V = 4, or 8 in bf16), else of one element (V = 1). Backward is
// a gather: each input pixel visits the few windows that cover it and takes dy from those whose maximum it is. A
// scatter from the windows would need atomics, in no fixed order.
//
// In the adaptive pool, pixel h is covered by the windows from floor(h P / H) to before ceil((h + 1) P / H): the
// forward formula with H and P exchanged. Window sizes differ, so backward divides each dy by the size of its own
// window.
//
// Global average pool has one window of H x W pixels: a thread sums one channel of an image. N C of 10^4 is enough
// threads, since the images at that depth are small.
//
// 256 threads per block, one axis over all pixels and channels; in the max-pool's backward pass blocks along the channels by parts of
// the image rows, so that a block can sum over its part what it writes. No two buffers may overlap.
#include "norm.cuh"

struct PoolShape {
    uint64_t x_pitch, y_pitch;
    uint64_t norm_pitch;  // max_pool backward: of the input of the norm that wrote x
    uint32_t images, height, width, channels;
    uint32_t out_height, out_width;
    uint32_t kernel_height, kernel_width, stride, padding;
    float factor;  // of the average
    uint32_t add;  // whether the gradient is accumulated
    uint32_t relu, columns, rows_of_part;  // max_pool backward: whether the norm has a ReLU; the block's tile (RowTile)
    uint32_t unused;
};

// A thread's pixel, among `height` x `width` pixels of each image, and its first channel.
template <int V>
struct PoolPlace {
    uint32_t image, row, column, channel;
    uint64_t pixel;
    bool is_inside;

    __device__ PoolPlace(const PoolShape& shape, uint32_t height, uint32_t width) {
        uint32_t groups = (shape.channels + V - 1) / V;
        uint64_t number = global_thread();
        channel = static_cast<uint32_t>(number % groups) * V;
        pixel = number / groups;
        is_inside = pixel < static_cast<uint64_t>(shape.images) * height * width;
        column = static_cast<uint32_t>(pixel % width);
        row = static_cast<uint32_t>(pixel / width % height);
        image = static_cast<uint32_t>(pixel / width / height);
    }
};

// Positions from `first` to before `end` along an axis.
struct PoolRange {
    uint32_t first, end;
};

// The positions that window number `window` covers along an axis, without padding.
__device__ __forceinline__ PoolRange covered(
    uint32_t window, uint32_t kernel, uint32_t extent, const PoolShape& shape) {
    uint32_t start = window * shape.stride, end = start + kernel;
    uint32_t padding = shape.padding;
    return {start > padding ? start - padding : 0, min(end > padding ? end - padding : 0, extent)};
}

// The windows that cover a position.
__device__ __forceinline__ PoolRange covering(
    uint32_t place, uint32_t kernel, uint32_t windows, const PoolShape& shape) {
    uint32_t padded = place + shape.padding;
    uint32_t first = padded + 1 > kernel ? divide_up(padded + 1 - kernel, shape.stride) : 0;
    return {first, min(padded / shape.stride + 1, windows)};
}

// The positions that window `index` of `of` adaptive windows covers on an axis of length `extent`; extent * of is below
// 2^31.
__device__ __forceinline__ PoolRange evenly(uint32_t index, uint32_t of, uint32_t extent) {
    uint32_t start = index * extent;
    return {start / of, (start + extent + of - 1) / of};
}

__device__ __forceinline__ float pool_size(const PoolRange& range) {
    return static_cast<float>(range.end - range.first);
}

// V indices of taps, aligned to V of them.
template <int V, class Tap>
struct PoolTaps {
    Tap value[V];
};

template <int V>
__device__ __forceinline__ PoolTaps<V, unsigned char> load_taps(const unsigned char* source) {
    PoolTaps<V, unsigned char> taps;
    if constexpr (V == 1) {
        taps.value[0] = *source;
    } else {
        uint32_t words[V / 4];
        load_words(source, words);
        UNROLL
        for (int v = 0; v < V; v++) taps.value[v] = static_cast<unsigned char>(words[v / 4] >> 8 * (v % 4));
    }
    return taps;
}

template <int V>
__device__ __forceinline__ PoolTaps<V, int> load_taps(const int* source) {
    static_assert(V == 1);
    return {*source};
}

template <int V>
__device__ __forceinline__ void store_taps(unsigned char* target, const PoolTaps<V, unsigned char>& taps) {
    if constexpr (V == 1) {
        *target = taps.value[0];
    } else {
        uint32_t words[V / 4] = {};
        UNROLL
        for (int v = 0; v < V; v++) words[v / 4] |= static_cast<uint32_t>(taps.value[v]) << 8 * (v % 4);
        store_words(target, words);
    }
}

template <int V>
__device__ __forceinline__ void store_taps(int* target, const PoolTaps<V, int>& taps) {
    static_assert(V == 1);
    *target = taps.value[0];
}

template <int V, class T, class Tap>
__device__ void max_pool_forward(
    const T* __restrict__ x, T* __restrict__ y, Tap* __restrict__ taps, const PoolShape& shape) {
    PoolPlace<V> place(shape, shape.out_height, shape.out_width);
    if (!place.is_inside) return;
    PoolRange rows = covered(place.row, shape.kernel_height, shape.height, shape);
    PoolRange columns = covered(place.column, shape.kernel_width, shape.width, shape);
    Pack<V> best;
    PoolTaps<V, Tap> taken;
    uint32_t tap_row = rows.first + shape.padding - place.row * shape.stride;
    uint32_t tap_column = columns.first + shape.padding - place.column * shape.stride;
    UNROLL
    for (int v = 0; v < V; v++) {
        best.value[v] = -INFINITY;
        taken.value[v] = static_cast<Tap>(tap_row * shape.kernel_width + tap_column);
    }
    for (uint32_t row = rows.first; row < rows.end; row++) {
        uint64_t line = (static_cast<uint64_t>(place.image) * shape.height + row) * shape.width;
        for (uint32_t column = columns.first; column < columns.end; column++) {
            Pack<V> own = load<V>(x + (line + column) * shape.x_pitch + place.channel);
            uint32_t tap =
                (tap_row + row - rows.first) * shape.kernel_width + tap_column + column - columns.first;
            UNROLL
            for (int v = 0; v < V; v++) {
                // Only NaN differs from itself.
                bool wins = own.value[v] > best.value[v] || own.value[v] != own.value[v];
                best.value[v] = wins ? own.value[v] : best.value[v];
                taken.value[v] = wins ? static_cast<Tap>(tap) : taken.value[v];
            }
        }
    }
    store<V>(y + place.pixel * shape.y_pitch + place.channel, best);
    store_taps<V>(taps + place.pixel * shape.channels + place.channel, taken);
}

template <int V, class T, class Tap>
__device__ void max_pool_backward(
    const T* __restrict__ dy, const Tap* __restrict__ taps, const T* __restrict__ norm_x,
    const float* __restrict__ affine, T* __restrict__ dx, float* __restrict__ sums, const PoolShape& shape) {
    RowTile<V> place(shape.columns, shape.rows_of_part, shape.channels, shape.width, shape.images * shape.height);
    RowGradientSums<V, T> then(norm_x, affine, sums, shape.norm_pitch, shape.relu, place);
    for (uint32_t number = place.first; number < place.end; number += place.step) {
        RowRun own(number, shape.width, shape.height);
        PoolRange rows = covering(own.row, shape.kernel_height, shape.out_height, shape);
        PoolRange columns = covering(own.run, shape.kernel_width, shape.out_width, shape);
        Pack<V> sum = {};
        for (uint32_t row = rows.first; row < rows.end; row++) {
            uint32_t tap_row = own.row + shape.padding - row * shape.stride;
            uint64_t line = (static_cast<uint64_t>(own.image) * shape.out_height + row) * shape.out_width;
            for (uint32_t column = columns.first; column < columns.end; column++) {
                uint32_t tap = tap_row * shape.kernel_width + own.run + shape.padding - column * shape.stride;
                uint64_t pixel = line + column;
                PoolTaps<V, Tap> taken = load_taps<V>(taps + pixel * shape.channels + place.channel);
                Pack<V> gradient = load<V>(dy + pixel * shape.y_pitch + place.channel);
                UNROLL
                for (int v = 0; v < V; v++) {
                    if (taken.value[v] == static_cast<Tap>(tap)) sum.value[v] += gradient.value[v];
                }
            }
        }
        T* target = dx + number * shape.x_pitch + place.channel;
        Pack<V> old = {};
        if (shape.add) old = load<V>(target);
        UNROLL
        for (int v = 0; v < V; v++) sum.value[v] = old.value[v] + sum.value[v];
        store<V>(target, sum);
        then.add(number, place, sum);
    }
    then.write(place);
}

template <int V, bool IS_EVEN, class T>
__device__ void average_pool_forward(const T* __restrict__ x, T* __restrict__ y, const PoolShape& shape) {
    PoolPlace<V> place(shape, shape.out_height, shape.out_width);
    if (!place.is_inside) return;
    PoolRange rows = IS_EVEN ? evenly(place.row, shape.out_height, shape.height)
                             : covered(place.row, shape.kernel_height, shape.height, shape);
    PoolRange columns = IS_EVEN ? evenly(place.column, shape.out_width, shape.width)
                                : covered(place.column, shape.kernel_width, shape.width, shape);
    float factor = IS_EVEN ? 1.0f / (pool_size(rows) * pool_size(columns)) : shape.factor;
    Pack<V> sum = {};
    for (uint32_t row = rows.first; row < rows.end; row++) {
        uint64_t line = (static_cast<uint64_t>(place.image) * shape.height + row) * shape.width;
        for (uint32_t column = columns.first; column < columns.end; column++) {
            Pack<V> own = load<V>(x + (line + column) * shape.x_pitch + place.channel);
            UNROLL
            for (int v = 0; v < V; v++) sum.value[v] += own.value[v];
        }
    }
    UNROLL
    for (int v = 0; v < V; v++) sum.value[v] *= factor;
    store<V>(y + place.pixel * shape.y_pitch + place.channel, sum);
}

template <int V, bool IS_EVEN, class T>
__device__ void average_pool_backward(const T* __restrict__ dy, T* __restrict__ dx, const PoolShape& shape) {
    PoolPlace<V> place(shape, shape.height, shape.width);
    if (!place.is_inside) return;
    PoolRange rows = IS_EVEN ? evenly(place.row, shape.height, shape.out_height)
                             : covering(place.row, shape.kernel_height, shape.out_height, shape);
    PoolRange columns = IS_EVEN ? evenly(place.column, shape.width, shape.out_width)
                                : covering(place.column, shape.kernel_width, shape.out_width, shape);
    Pack<V> sum = {};
    for (uint32_t row = rows.first; row < rows.end; row++) {
        uint64_t line = (static_cast<uint64_t>(place.image) * shape.out_height + row) * shape.out_width;
        float height = IS_EVEN ? pool_size(evenly(row, shape.out_height, shape.height)) : 1.0f;
        // Unrolling would need too many registers.
        ROLLED
        for (uint32_t column = columns.first; column < columns.end; column++) {
            Pack<V> own = load<V>(dy + (line + column) * shape.y_pitch + place.channel);
            if (IS_EVEN) {
                float share = 1.0f / (height * pool_size(evenly(column, shape.out_width, shape.width)));
                UNROLL
                for (int v = 0; v < V; v++) own.value[v] *= share;
            }
            UNROLL
            for (int v = 0; v < V; v++) sum.value[v] += own.value[v];
        }
    }
    T* target = dx + place.pixel * shape.x_pitch + place.channel;
    Pack<V> old = {};
    if (shape.add) old = load<V>(target);
    UNROLL
    for (int v = 0; v < V; v++) sum.value[v] = old.value[v] + sum.value[v] * (IS_EVEN ? 1.0f : shape.factor);
    store<V>(target, sum);
}

#define POOL(V, T, name)                                                                                         \
    KERNEL(max_pool_fwd_##name, 256, const T* x, T* y, unsigned char* taps, PoolShape shape) {                   \
        max_pool_forward<V>(x, y, taps, shape);                                                                  \
    }                                                                                                            \
    KERNEL(max_pool_bwd_##name, NORM_THREADS, const T* dy, const unsigned char* taps, const T* norm_x,           \
           const float* affine, T* dx, float* sums, PoolShape shape) {                                           \
        max_pool_backward<V>(dy, taps, norm_x, affine, dx, sums, shape);                                         \
    }                                                                                                            \
    KERNEL(average_pool_fwd_##name, 256, const T* x, T* y, PoolShape shape) {                                    \
        average_pool_forward<V, false>(x, y, shape);                                                             \
    }                                                                                                            \
    KERNEL(average_pool_bwd_##name, 256, const T* dy, T* dx, PoolShape shape) {                                  \
        average_pool_backward<V, false>(dy, dx, shape);                                                          \
    }                                                                                                            \
    KERNEL(adaptive_average_pool_fwd_##name, 256, const T* x, T* y, PoolShape shape) {                           \
        average_pool_forward<V, true>(x, y, shape);                                                              \
    }                                                                                                            \
    KERNEL(adaptive_average_pool_bwd_##name, 256, const T* dy, T* dx, PoolShape shape) {                         \
        average_pool_backward<V, true>(dy, dx, shape);                                                           \
    }

POOL(4, float, x4_f32)
POOL(1, float, x1_f32)
POOL(8, bf16, x8_bf16)
POOL(1, bf16, x1_bf16)

// Windows of more than 256 pixels.
#define MAX_POOL_LARGE(T, type)                                                                                  \
    KERNEL(max_pool_large_fwd_##type, 256, const T* x, T* y, int* taps, PoolShape shape) {                       \
        max_pool_forward<1>(x, y, taps, shape);                                                                  \
    }                                                                                                            \
    KERNEL(max_pool_large_bwd_##type, NORM_THREADS, const T* dy, const int* taps, const T* norm_x,               \
           const float* affine, T* dx, float* sums, PoolShape shape) {                                           \
        max_pool_backward<1>(dy, taps, norm_x, affine, dx, sums, shape);                                         \
    }

MAX_POOL_LARGE(float, f32)
MAX_POOL_LARGE(bf16, bf16)
