// Operands of conv2d.cu's products: slabs of patches and weights, copied to shared memory like the matrices of
// tile.cuh.
#pragma once

#include "epilogue.cuh"

struct Conv2dShape {
    uint64_t x_pitch, y_pitch;
    uint64_t out_pitch, out_split;  // of the result: elements from one row to the next, and from one split to the next
    uint32_t images, height, width, channels;
    uint32_t kernel_height, kernel_width, features;
    uint32_t out_height, out_width, stride, padding, groups;
    uint32_t splits, add;
    uint32_t out_is_bf16;                 // in bf16 kernels: whether the result is bf16, or else f32
    uint32_t x_is_aligned, y_is_aligned;  // whether all channel runs of all pixels and groups are 16-byte aligned
    uint32_t weight_is_aligned;           // whether all runs of the rows that the kernel reads are
    uint32_t out_is_aligned;              // as in Output
    uint32_t relu;                        // on the output, after the bias
};

// A block's tile, its part of the inner axis, its group and its phase.
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

// Slabs `first` to `last` of an inner axis that is split into parts.
struct Conv2dPart {
    uint32_t first, last;
    __device__ Conv2dPart(uint32_t split, uint32_t splits, uint32_t slabs) {
        uint32_t length = divide_up(slabs, splits);
        first = min(split * length, slabs);
        last = min(first + length, slabs);
    }
};

// A grid of pixels. By a tap, each reads the source pixel at place * step + start + direction * tap, on both axes.
struct Conv2dWalk {
    uint32_t grid_height, grid_width;
    uint32_t source_height, source_width;
    uint32_t taps_across;
    int step, start_y, start_x, direction;

    // The output's pixels, reading the input.
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

// The source pixel that a grid's pixel reads by tap 0; for a pixel past the last, one outside every image.
struct Conv2dPlace {
    uint32_t image;  // index of its image's first pixel in the source
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

    // The index of the source pixel for tap (r, s); returns whether it exists.
    __device__ __forceinline__ bool find(const Conv2dWalk& walk, uint32_t r, uint32_t s, uint32_t& pixel) const {
        uint32_t row = static_cast<uint32_t>(y + walk.direction * static_cast<int>(r));
        uint32_t column = static_cast<uint32_t>(x + walk.direction * static_cast<int>(s));
        pixel = image + row * walk.source_width + column;
        return row < walk.source_height && column < walk.source_width;
    }
};

// A position on the (tap, channel) axis, channels fastest.
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

// Slabs of patches, pixels by (taps, channels), as the A of fwd and dx_bwd. A thread copies the same pixels in each
// slab.
template <class Slab, int THREADS>
struct Conv2dPatches {
    typedef typename Slab::Element Element;
    static const int LENGTH = Run<Element>::LENGTH, RUNS = Slab::K / LENGTH, PASSES = Slab::X * RUNS / THREADS;
    const Element* source;
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

    __device__ __forceinline__ void copy(Element* slab, uint32_t number) const {
        uint32_t k = threadIdx.x % RUNS * LENGTH, index = number * Slab::K + k;
        Conv2dTap tap = Conv2dTap::of(index, channels, walk.taps_across);
        if (is_aligned) {
            UNROLL
            for (int pass = 0; pass < PASSES; pass++) {
                Element* to = slab + Slab::offset(row(pass), k);
                uint32_t pixel;
                if (places[pass].find(walk, tap.r, tap.s, pixel) && index < depth) {
                    copy_async16(to, source + pixel * pitch + tap.channel);
                } else {
                    clear_run(to);
                }
            }
            return;
        }
        ROLLED
        for (uint32_t j = 0; j < LENGTH; j++) {
            UNROLL
            for (int pass = 0; pass < PASSES; pass++) {
                Element* to = slab + Slab::offset(row(pass), k + j);
                uint32_t pixel;
                if (places[pass].find(walk, tap.r, tap.s, pixel) && index + j < depth) {
                    copy_element(to, source + pixel * pitch + tap.channel);
                } else {
                    *to = Element(0.0f);
                }
            }
            tap.advance(channels, walk.taps_across);
        }
    }
};

// One axis of a phase. The pixels of dx are `first`, `first + stride`, ..; the taps that read them are `tap`,
// `tap + stride`, .. For the first pixel of dx, the first of these taps reads pixel `start` of dy, and each later tap
// one pixel before.
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

// Slabs of the weights as dx_bwd's B: (taps of a phase, output channels) by input channels.
template <class Slab, int THREADS>
struct Conv2dWeights {
    typedef typename Slab::Element Element;
    const Element* weight;  // at the group and the tile's first channel
    Conv2dPhase rows, columns;
    uint32_t features, channels, kernel_width, stride;
    uint64_t depth;              // elements of one output channel
    uint32_t inner, x_end;       // taps times output channels; input channels from the tile's first on
    bool is_aligned;

    __device__ __forceinline__ void copy(Element* slab, uint32_t number) const {
        const int LENGTH = Run<Element>::LENGTH, RUNS = Slab::X / LENGTH;
        uint32_t run = threadIdx.x % RUNS * LENGTH;
        UNROLL
        for (int pass = 0; pass < Slab::K * RUNS / THREADS; pass++) {
            uint32_t k = threadIdx.x / RUNS + pass * (THREADS / RUNS), index = number * Slab::K + k;
            Conv2dTap tap = Conv2dTap::of(index, features, columns.taps);
            uint32_t r = rows.tap + tap.r * stride, s = columns.tap + tap.s * stride;
            const Element* from = weight + tap.channel * depth + (r * kernel_width + s) * channels + run;
            int left = static_cast<int>(x_end - run);
            copy_run(slab + Slab::offset(run, k), from, index < inner ? left : 0, is_aligned);
        }
    }
};

// Slabs of patches, pixels by (taps, channels), as dw_bwd's B, whose inner axis is the pixels. A thread copies the same
// columns in each slab.
template <class Slab, int THREADS>
struct Conv2dColumns {
    typedef typename Slab::Element Element;
    static const int LENGTH = Run<Element>::LENGTH, RUNS = Slab::X / LENGTH;
    const Element* source;
    uint64_t pitch;
    Conv2dWalk walk;
    uint32_t channels, pixels, x_end;
    bool is_aligned;
    Conv2dTap first;

    static __device__ __forceinline__ uint32_t run() {
        return threadIdx.x % RUNS * LENGTH;
    }

    __device__ __forceinline__ void copy(Element* slab, uint32_t number) const {
        UNROLL
        for (int pass = 0; pass < Slab::K * RUNS / THREADS; pass++) {
            uint32_t k = threadIdx.x / RUNS + pass * (THREADS / RUNS);
            Conv2dPlace place = Conv2dPlace::of(walk, number * Slab::K + k, pixels);
            Element* to = slab + Slab::offset(run(), k);
            uint32_t pixel;
            if (is_aligned) {
                if (place.find(walk, first.r, first.s, pixel) && run() < x_end) {
                    copy_async16(to, source + pixel * pitch + first.channel);
                } else {
                    clear_run(to);
                }
                continue;
            }
            Conv2dTap tap = first;
            ROLLED
            for (uint32_t j = 0; j < LENGTH; j++) {
                if (place.find(walk, tap.r, tap.s, pixel) && run() + j < x_end) {
                    copy_element(to + j, source + pixel * pitch + tap.channel);
                } else {
                    to[j] = Element(0.0f);
                }
                tap.advance(channels, walk.taps_across);
            }
        }
    }
};
