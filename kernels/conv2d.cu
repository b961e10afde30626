// Convolution of channels-last images in f32: the output, the gradient of the input and that of the weights, each as one
// matrix product whose operands are read where they lie. No patch is ever copied to memory. The launches are in
// src/ops/conv2d/launch.rs; kernels of one pixel with stride 1 go to matmul.cu.
//
//   y[n, p, q, k] = bias[k] + sum_rsc x[n, p stride + r - padding, q stride + s - padding, c] weight[k, r, s, c]
//
//   x, dx        [N, H, W, groups C]         pixels x_pitch apart
//   weight, dw   [groups K, R, S, C]
//   bias         [groups K], or null
//   y, dy        [N, P, Q, groups K]         pixels y_pitch apart
//
//               rows of the product    columns     inner axis         A                        B
//   fwd         pixels of y            K           taps, then C       patches of x             weight, transposed
//   dx_bwd      pixels of dx           C           taps, then K       patches of dy            weight
//   dw_bwd      K                      R S C       pixels of y        dy, transposed           patches of x
//
// Operations: 2 N P Q K R S C each. Bytes from memory at least those of the three tensors; a block reads 4 (M + N) bytes
// for each of its steps, as a product's (matmul.cu), and the taps of a pixel after the first find it in L1 or L2.
//
// A patch is an address and a test: of a slab of the inner axis a thread reads always the same pixels (or, for dw, the
// same columns of the weight), so it takes them apart once, and each slab costs two divisions for its tap. Lookup tables
// of offsets would cost a read each; patches written to memory would cost R S times the image, written and read.
//
// With a stride, a pixel of dx is read by every stride-th tap alone. So the pixels of dx fall into stride^2 phases by
// their place modulo the stride; each phase is a product of its own with its own taps, and no block multiplies zeros.
// (A gather from dy with a test for divisibility would multiply stride^2 as much.)
//
// Where the product has few tiles, the inner axis is cut into `splits` parts, whose sums go to a tensor of their own
// [splits, ..] and are added in order by matmul_sum_f32. The bias belongs to the first part.
//
// Grid: tiles x splits x groups x phases in one line, tiles along the columns first. Threads: those of the tile.
//
// Channels, pitches or bases that are no multiple of 4 elements (three channels) are copied 4 bytes at a time, as
// asynchronously, and their four taps are taken apart one by one. y, dx and dw may overlap nothing else.
#include "tile.cuh"

struct Conv2dShape {
    uint64_t x_pitch, y_pitch;
    uint64_t out_pitch, out_split;  // of what is written: elements from one row to the next, and from one part to the next
    uint32_t images, height, width, channels;
    uint32_t kernel_height, kernel_width, features;
    uint32_t out_height, out_width, stride, padding, groups;
    uint32_t splits, add;
    uint32_t x_is_aligned, y_is_aligned;  // whether every fourth channel of every pixel and group lies on 16 bytes
    uint32_t weight_is_aligned;           // whether every fourth element of every row that the kernel reads does
    uint32_t out_is_aligned;              // the same for what is written
};

// What a block does: its tile, its part of the inner axis, its group and its phase.
struct Conv2dBlock {
    uint32_t first_row, first_column, split, group, phase;

    template <class Tile>
    static __device__ Conv2dBlock of(const Conv2dShape& shape, uint32_t rows, uint32_t columns, Tile) {
        uint32_t across = divide_up(columns, Tile::N), down = divide_up(rows, Tile::M), block = blockIdx.x;
        Conv2dBlock own;
        own.first_column = block % across * Tile::N;
        block /= across;
        own.first_row = block % down * Tile::M;
        block /= down;
        own.split = block % shape.splits;
        block /= shape.splits;
        own.group = block % shape.groups;
        own.phase = block / shape.groups;
        return own;
    }
};

// Slabs `first` to `last` of an inner axis cut into parts.
struct Conv2dPart {
    uint32_t first, last;
    __device__ Conv2dPart(uint32_t split, uint32_t splits, uint32_t slabs) {
        uint32_t length = divide_up(slabs, splits);
        first = min(split * length, slabs);
        last = min(first + length, slabs);
    }
};

// A grid of pixels, and the pixel of a source that each reads by a tap: place * step + start + direction * tap, on both
// axes.
struct Conv2dWalk {
    uint32_t grid_height, grid_width;
    uint32_t source_height, source_width;
    uint32_t taps_across;
    int step, start_y, start_x, direction;

    // The output's pixels, and those of the input.
    __device__ static __forceinline__ Conv2dWalk forward(const Conv2dShape& shape) {
        Conv2dWalk walk;
        walk.grid_height = shape.out_height, walk.grid_width = shape.out_width;
        walk.source_height = shape.height, walk.source_width = shape.width;
        walk.taps_across = shape.kernel_width;
        walk.step = static_cast<int>(shape.stride), walk.direction = 1;
        walk.start_y = walk.start_x = -static_cast<int>(shape.padding);
        return walk;
    }
};

// Where a grid's pixel reads by tap 0; outside every image for a pixel past the last.
struct Conv2dPlace {
    uint32_t image;  // the first pixel of its image in the source
    int y, x;

    __device__ static __forceinline__ Conv2dPlace of(const Conv2dWalk& walk, uint32_t pixel, uint32_t pixels) {
        uint32_t row = pixel / walk.grid_width, image = row / walk.grid_height;
        Conv2dPlace place;
        place.image = image * walk.source_height * walk.source_width;
        place.y = static_cast<int>(row % walk.grid_height) * walk.step + walk.start_y;
        place.x = static_cast<int>(pixel % walk.grid_width) * walk.step + walk.start_x;
        if (pixel >= pixels) place.y = INT32_MIN / 2;
        return place;
    }

    // The number of the source's pixel that is read by tap (r, s); whether there is one.
    __device__ __forceinline__ bool find(const Conv2dWalk& walk, uint32_t r, uint32_t s, uint32_t& pixel) const {
        uint32_t row = static_cast<uint32_t>(y + walk.direction * static_cast<int>(r));
        uint32_t column = static_cast<uint32_t>(x + walk.direction * static_cast<int>(s));
        pixel = image + row * walk.source_width + column;
        return row < walk.source_height && column < walk.source_width;
    }
};

// A tap and a channel, counted together, channels first.
struct Conv2dTap {
    uint32_t r, s, channel;

    __device__ static __forceinline__ Conv2dTap of(uint32_t index, uint32_t channels, uint32_t taps_across) {
        uint32_t tap = index / channels;
        Conv2dTap own = {tap / taps_across, tap % taps_across, index % channels};
        return own;
    }

    __device__ __forceinline__ void advance(uint32_t channels, uint32_t taps_across) {
        if (++channel < channels) return;
        channel = 0;
        if (++s < taps_across) return;
        s = 0;
        r++;
    }
};

__device__ __forceinline__ void clear_four(float* shared) {
    *reinterpret_cast<float4*>(shared) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

// Slabs of patches, pixels by (taps, channels): of the A of fwd and dx_bwd. A thread has always the same pixels.
template <class Slab, int THREADS>
struct Conv2dPatches {
    static const int RUNS = Slab::K / 4, PASSES = Slab::X * RUNS / THREADS;
    const float* source;
    uint64_t pitch;
    Conv2dWalk walk;
    uint32_t channels, depth;
    bool is_aligned;
    Conv2dPlace places[PASSES];

    __device__ __forceinline__ void find_places(uint32_t first_pixel, uint32_t pixels) {
        UNROLL
        for (int pass = 0; pass < PASSES; pass++) {
            places[pass] = Conv2dPlace::of(walk, first_pixel + row(pass), pixels);
        }
    }

    static __device__ __forceinline__ uint32_t row(int pass) {
        return threadIdx.x / RUNS + pass * (THREADS / RUNS);
    }

    __device__ __forceinline__ void copy(float* slab, uint32_t number) const {
        uint32_t k = threadIdx.x % RUNS * 4, index = number * Slab::K + k;
        Conv2dTap tap = Conv2dTap::of(index, channels, walk.taps_across);
        if (is_aligned) {
            UNROLL
            for (int pass = 0; pass < PASSES; pass++) {
                float* to = slab + Slab::offset(row(pass), k);
                uint32_t pixel;
                if (places[pass].find(walk, tap.r, tap.s, pixel) && index < depth) {
                    copy_async16(to, source + pixel * pitch + tap.channel);
                } else {
                    clear_four(to);
                }
            }
            return;
        }
        ROLLED
        for (uint32_t j = 0; j < 4; j++) {
            UNROLL
            for (int pass = 0; pass < PASSES; pass++) {
                float* to = slab + Slab::offset(row(pass), k + j);
                uint32_t pixel;
                if (places[pass].find(walk, tap.r, tap.s, pixel) && index + j < depth) {
                    copy_async4(to, source + pixel * pitch + tap.channel);
                } else {
                    *to = 0.0f;
                }
            }
            tap.advance(channels, walk.taps_across);
        }
    }
};

template <class Tile>
__device__ __forceinline__ void conv2d_forward(
    const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias,
    float* __restrict__ y, const Conv2dShape& shape) {
    typedef SlabA<Tile, true> A;
    typedef SlabB<Tile, true> B;
    SHARED(float, shared, [Tile::STAGES * (A::FLOATS + B::FLOATS)]);
    uint32_t pixels = shape.images * shape.out_height * shape.out_width;
    uint32_t depth = shape.kernel_height * shape.kernel_width * shape.channels;
    Conv2dBlock block = Conv2dBlock::of(shape, pixels, shape.features, Tile());
    uint32_t columns = shape.features - block.first_column;
    uint32_t feature = block.group * shape.features + block.first_column;

    Conv2dPatches<A, Tile::THREADS> patches;
    patches.source = x + block.group * shape.channels;
    patches.pitch = shape.x_pitch;
    patches.walk = Conv2dWalk::forward(shape);
    patches.channels = shape.channels;
    patches.depth = depth;
    patches.is_aligned = shape.x_is_aligned != 0;
    patches.find_places(block.first_row, pixels);
    const float* own_weight = weight + static_cast<uint64_t>(feature) * depth;
    MatrixSlabs<B, Tile::THREADS> weights{own_weight, depth, columns, depth, shape.weight_is_aligned != 0};

    Place<Tile> place;
    float sums[Tile::ROWS][Tile::COLUMNS] = {};
    if (bias != nullptr && block.split == 0) {
        UNROLL
        for (int j = 0; j < Tile::COLUMNS; j++) {
            uint32_t column = B::position(place.across, j);
            float own = column < columns ? bias[feature + column] : 0.0f;
            UNROLL
            for (int i = 0; i < Tile::ROWS; i++) sums[i][j] = own;
        }
    }
    Conv2dPart part(block.split, shape.splits, divide_up(depth, Tile::K));
    add_products<Tile, A, B>(patches, weights, part.first, part.last, shared, place, sums);
    y += block.split * shape.out_split + feature;
    UNROLL
    for (int i = 0; i < Tile::ROWS; i++) {
        uint32_t pixel = block.first_row + A::position(place.down, i);
        if (pixel >= pixels) continue;
        store_row<Tile, B>(y + pixel * shape.out_pitch, sums[i], place.across, columns, false, false);
    }
}

// One axis of a phase: the pixels of dx at `first`, `first + stride`, ..; the taps that read them are `tap`, `tap +
// stride`, ..; the first of these reads pixel `start` of dy for the first pixel of dx, the next ones those before it.
struct Conv2dPhase {
    uint32_t first, pixels, tap, taps;
    int start;

    __device__ Conv2dPhase(uint32_t first, uint32_t extent, uint32_t kernel, uint32_t stride, uint32_t padding)
        : first(first) {
        pixels = first < extent ? divide_up(extent - first, stride) : 0;
        tap = (first + padding) % stride;
        taps = tap < kernel ? divide_up(kernel - tap, stride) : 0;
        start = static_cast<int>((first + padding) / stride);
    }
};

// Slabs of the weights as dx_bwd's B: (taps of a phase, features) by channels.
template <class Slab, int THREADS>
struct Conv2dWeights {
    const float* weight;  // of the group and the tile's first channel
    Conv2dPhase rows, columns;
    uint32_t features, channels, kernel_width, stride;
    uint64_t depth;              // of a feature
    uint32_t inner, x_end;       // taps times features; channels from the tile's first on
    bool is_aligned;

    __device__ __forceinline__ void copy(float* slab, uint32_t number) const {
        const int RUNS = Slab::X / 4;
        uint32_t run = threadIdx.x % RUNS * 4;
        UNROLL
        for (int pass = 0; pass < Slab::K * RUNS / THREADS; pass++) {
            uint32_t k = threadIdx.x / RUNS + pass * (THREADS / RUNS), index = number * Slab::K + k;
            Conv2dTap tap = Conv2dTap::of(index, features, columns.taps);
            uint32_t r = rows.tap + tap.r * stride, s = columns.tap + tap.s * stride;
            const float* from = weight + tap.channel * depth + (r * kernel_width + s) * channels + run;
            int left = static_cast<int>(x_end - run);
            copy_four(slab + Slab::offset(run, k), from, index < inner ? left : 0, is_aligned);
        }
    }
};

template <class Tile>
__device__ __forceinline__ void conv2d_input_gradient(
    const float* __restrict__ dy, const float* __restrict__ weight, float* __restrict__ dx, const Conv2dShape& shape) {
    typedef SlabA<Tile, true> A;
    typedef SlabB<Tile, false> B;
    SHARED(float, shared, [Tile::STAGES * (A::FLOATS + B::FLOATS)]);
    uint32_t most_down = divide_up(shape.height, shape.stride), most_across = divide_up(shape.width, shape.stride);
    Conv2dBlock block = Conv2dBlock::of(shape, shape.images * most_down * most_across, shape.channels, Tile());
    Conv2dPhase down(
        block.phase / shape.stride, shape.height, shape.kernel_height, shape.stride, shape.padding);
    Conv2dPhase across(block.phase % shape.stride, shape.width, shape.kernel_width, shape.stride, shape.padding);
    uint32_t pixels = shape.images * down.pixels * across.pixels;
    // The first phases have the most pixels.
    if (block.first_row >= pixels) return;
    uint32_t inner = down.taps * across.taps * shape.features;
    uint32_t channel = block.group * shape.channels + block.first_column;
    uint32_t depth = shape.kernel_height * shape.kernel_width * shape.channels;

    Conv2dPatches<A, Tile::THREADS> patches;
    patches.source = dy + block.group * shape.features;
    patches.pitch = shape.y_pitch;
    // A phase without taps has no slabs either; its divisor is not 0 all the same.
    uint32_t taps_across = max(across.taps, 1u);
    patches.walk = {down.pixels, across.pixels, shape.out_height, shape.out_width, taps_across,
                    1, down.start, across.start, -1};
    patches.channels = shape.features;
    patches.depth = inner;
    patches.is_aligned = shape.y_is_aligned != 0;
    patches.find_places(block.first_row, pixels);
    const float* own_weight =
        weight + static_cast<uint64_t>(block.group) * shape.features * depth + block.first_column;
    uint32_t columns = shape.channels - block.first_column;
    Conv2dWeights<B, Tile::THREADS> weights{
        own_weight, down, across, shape.features, shape.channels, shape.kernel_width, shape.stride, depth, inner,
        columns, shape.weight_is_aligned != 0};

    Place<Tile> place;
    float sums[Tile::ROWS][Tile::COLUMNS] = {};
    Conv2dPart part(block.split, shape.splits, divide_up(inner, Tile::K));
    add_products<Tile, A, B>(patches, weights, part.first, part.last, shared, place, sums);
    dx += block.split * shape.out_split + channel;
    UNROLL
    for (int i = 0; i < Tile::ROWS; i++) {
        uint32_t pixel = block.first_row + A::position(place.down, i);
        if (pixel >= pixels) continue;
        uint32_t row = pixel / across.pixels, image = row / down.pixels;
        uint32_t y = row % down.pixels * shape.stride + down.first;
        uint32_t x = pixel % across.pixels * shape.stride + across.first;
        uint64_t at = static_cast<uint64_t>(image * shape.height + y) * shape.width + x;
        store_row<Tile, B>(
            dx + at * shape.out_pitch, sums[i], place.across, columns, shape.out_is_aligned != 0, shape.add != 0);
    }
}

// Slabs of patches, pixels by (taps, channels), as dw_bwd's B, whose inner axis is the pixels. A thread has always the
// same columns.
template <class Slab, int THREADS>
struct Conv2dColumns {
    const float* source;
    uint64_t pitch;
    Conv2dWalk walk;
    uint32_t channels, pixels, x_end;
    bool is_aligned;
    Conv2dTap first;

    static __device__ __forceinline__ uint32_t run() {
        return threadIdx.x % (Slab::X / 4) * 4;
    }

    __device__ __forceinline__ void copy(float* slab, uint32_t number) const {
        const int RUNS = Slab::X / 4;
        UNROLL
        for (int pass = 0; pass < Slab::K * RUNS / THREADS; pass++) {
            uint32_t k = threadIdx.x / RUNS + pass * (THREADS / RUNS);
            Conv2dPlace place = Conv2dPlace::of(walk, number * Slab::K + k, pixels);
            float* to = slab + Slab::offset(run(), k);
            uint32_t pixel;
            if (is_aligned) {
                if (place.find(walk, first.r, first.s, pixel) && run() < x_end) {
                    copy_async16(to, source + pixel * pitch + first.channel);
                } else {
                    clear_four(to);
                }
                continue;
            }
            Conv2dTap tap = first;
            ROLLED
            for (uint32_t j = 0; j < 4; j++) {
                if (place.find(walk, tap.r, tap.s, pixel) && run() + j < x_end) {
                    copy_async4(to + j, source + pixel * pitch + tap.channel);
                } else {
                    to[j] = 0.0f;
                }
                tap.advance(channels, walk.taps_across);
            }
        }
    }
};

template <class Tile>
__device__ __forceinline__ void conv2d_weight_gradient(
    const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dw, const Conv2dShape& shape) {
    typedef SlabA<Tile, false> A;
    typedef SlabB<Tile, false> B;
    SHARED(float, shared, [Tile::STAGES * (A::FLOATS + B::FLOATS)]);
    uint32_t pixels = shape.images * shape.out_height * shape.out_width;
    uint32_t depth = shape.kernel_height * shape.kernel_width * shape.channels;
    Conv2dBlock block = Conv2dBlock::of(shape, shape.features, depth, Tile());
    uint32_t rows = shape.features - block.first_row, columns = depth - block.first_column;
    uint32_t feature = block.group * shape.features + block.first_row;

    MatrixSlabs<A, Tile::THREADS> gradients{dy + feature, shape.y_pitch, rows, pixels, shape.y_is_aligned != 0};
    Conv2dColumns<B, Tile::THREADS> patches;
    patches.source = x + block.group * shape.channels;
    patches.pitch = shape.x_pitch;
    patches.walk = Conv2dWalk::forward(shape);
    patches.channels = shape.channels;
    patches.pixels = pixels;
    patches.x_end = columns;
    patches.is_aligned = shape.x_is_aligned != 0;
    patches.first = Conv2dTap::of(block.first_column + patches.run(), shape.channels, shape.kernel_width);

    Place<Tile> place;
    float sums[Tile::ROWS][Tile::COLUMNS] = {};
    Conv2dPart part(block.split, shape.splits, divide_up(pixels, Tile::K));
    add_products<Tile, A, B>(gradients, patches, part.first, part.last, shared, place, sums);
    dw += block.split * shape.out_split + static_cast<uint64_t>(feature) * depth + block.first_column;
    UNROLL
    for (int i = 0; i < Tile::ROWS; i++) {
        uint32_t row = A::position(place.down, i);
        if (row >= rows) continue;
        store_row<Tile, B>(
            dw + static_cast<uint64_t>(row) * depth, sums[i], place.across, columns, shape.out_is_aligned != 0,
            shape.add != 0);
    }
}

#define CONV2D(tile, Tile)                                                                                          \
    KERNEL_RESIDENT(                                                                                                \
        conv2d_##tile##_fwd_f32, Tile::THREADS, Tile::RESIDENT, const float* x, const float* weight,                \
        const float* bias, float* y, Conv2dShape shape) {                                                           \
        conv2d_forward<Tile>(x, weight, bias, y, shape);                                                            \
    }                                                                                                               \
    KERNEL_RESIDENT(                                                                                                \
        conv2d_##tile##_dx_bwd_f32, Tile::THREADS, Tile::RESIDENT, const float* dy, const float* weight, float* dx, \
        Conv2dShape shape) {                                                                                        \
        conv2d_input_gradient<Tile>(dy, weight, dx, shape);                                                         \
    }                                                                                                               \
    KERNEL_RESIDENT(                                                                                                \
        conv2d_##tile##_dw_bwd_f32, Tile::THREADS, Tile::RESIDENT, const float* x, const float* dy, float* dw,      \
        Conv2dShape shape) {                                                                                        \
        conv2d_weight_gradient<Tile>(x, dy, dw, shape);                                                             \
    }

CONV2D(128, Tile128)
CONV2D(64, Tile64)
CONV2D(32, Tile32)
