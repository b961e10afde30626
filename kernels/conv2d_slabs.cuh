// Operands of conv2d.cu's products: slabs of patches and weights, copied to shared memory like the matrices of
// tile.cuh.
#pragma once

#include "epilogue.cuh"

struct Conv2dShape {
    uint64_t out_pitch, out_split;  // of the result: elements from one row to the next, and from one split to the next
    uint64_t norm_pitch;            // dx_bwd: of the input of the norm that wrote x
    uint32_t x_pixel_bytes, y_pixel_bytes;  // from one pixel to the next
    uint32_t images, height, width, channels;
    uint32_t kernel_height, kernel_width, features;
    uint32_t out_height, out_width, stride, padding, groups;
    uint32_t splits, add;
    uint32_t out_is_bf16;                 // in bf16 kernels: whether the result is bf16, or else f32
    uint32_t x_is_aligned, y_is_aligned;  // whether the channels of every pixel and group are whole runs, 16-byte aligned
    uint32_t weight_is_aligned;           // whether the weight's rows (fwd: of a feature; dx: of a tap) are
    uint32_t out_is_aligned;              // as in Output
    uint32_t relu;                        // on the output, after the bias; dx_bwd: on the norm's output
    Divisor by_channels;                  // channels of a tap: of a group of x, or for dx_bwd of dy
    Divisor by_taps[2];                   // taps of a kernel row; for dx_bwd [0] the most of a phase, [1] one fewer
    Divisor by_width, by_height;          // of the output
    uint32_t unused;
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
    int step, start_y, start_x, direction;

    // The output's pixels, reading the input.
    __device__ static __forceinline__ Conv2dWalk forward(const Conv2dShape& shape) {
        Conv2dWalk walk;
        walk.grid_height = shape.out_height, walk.grid_width = shape.out_width;
        walk.source_height = shape.height, walk.source_width = shape.width;
        walk.step = static_cast<int>(shape.stride), walk.direction = 1;
        walk.start_y = walk.start_x = -static_cast<int>(shape.padding);
        return walk;
    }
};

// A position on the (tap, channel) axis, channels fastest.
struct Conv2dTap {
    uint32_t r, s, channel;

    __device__ static __forceinline__ Conv2dTap of(uint32_t index, const Divisor& by_channels, const Divisor& by_taps) {
        uint32_t tap = quotient(index, by_channels), r = quotient(tap, by_taps);
        return {r, tap - r * by_taps.value, index - tap * by_channels.value};
    }

    __device__ __forceinline__ void advance(const Divisor& by_channels, const Divisor& by_taps) {
        if (++channel < by_channels.value) return;
        channel = 0;
        if (++s < by_taps.value) return;
        s = 0;
        r++;
    }
};

// The distance from the source pixel of tap 0 to that of another tap.
struct Conv2dOffset {
    int y, x;
    uint32_t pixel;

    __device__ __forceinline__ Conv2dOffset(const Conv2dWalk& walk, const Conv2dTap& tap) {
        y = walk.direction * static_cast<int>(tap.r), x = walk.direction * static_cast<int>(tap.s);
        pixel = static_cast<uint32_t>(y) * walk.source_width + static_cast<uint32_t>(x);
    }
};

// The source pixel that a grid's pixel reads by tap 0.
struct Conv2dPlace {
    uint32_t pixel;  // its index, modulo 2^32 where it is outside of its image
    int y, x;

    // Of pixel (row, column) of the grid's image.
    __device__ __forceinline__ Conv2dPlace(const Conv2dWalk& walk, uint32_t image, uint32_t row, uint32_t column) {
        y = static_cast<int>(row) * walk.step + walk.start_y;
        x = static_cast<int>(column) * walk.step + walk.start_x;
        pixel = (image * walk.source_height + static_cast<uint32_t>(y)) * walk.source_width + static_cast<uint32_t>(x);
    }

    __device__ __forceinline__ Conv2dPlace() {}

    // Whether its image has the source pixel of another tap.
    __device__ __forceinline__ bool has(const Conv2dWalk& walk, const Conv2dOffset& offset) const {
        return static_cast<uint32_t>(y + offset.y) < walk.source_height &&
               static_cast<uint32_t>(x + offset.x) < walk.source_width;
    }
};

// Slabs of patches, pixels by (taps, channels), as the A of fwd and dx_bwd. A thread copies the same pixels in each
// slab.
template <class Slab, int THREADS>
struct Conv2dPatches {
    typedef typename Slab::Element Element;
    typedef SlabRuns<Slab, THREADS> Runs;
    const Element* source;
    uint32_t pixel_bytes;
    Conv2dWalk walk;
    Divisor by_channels, by_taps;
    uint32_t depth;
    bool is_aligned;
    Conv2dPlace places[Runs::PASSES];

    // A pixel past the last gets a place outside of every image.
    __device__ __forceinline__ void find_places(uint32_t first_pixel, uint32_t pixels) {
        UNROLL
        for (int pass = 0; pass < Runs::PASSES; pass++) {
            uint32_t pixel = first_pixel + Runs::row(pass), row = pixel / walk.grid_width;
            uint32_t image = row / walk.grid_height;
            places[pass] = Conv2dPlace(walk, image, row % walk.grid_height, pixel % walk.grid_width);
            if (pixel >= pixels) places[pass].y = INT32_MIN / 2;
        }
    }

    __device__ __forceinline__ void copy(Element* slab, uint32_t number) const {
        uint32_t index = number * Slab::K + Runs::column();
        Conv2dTap tap = Conv2dTap::of(index, by_channels, by_taps);
        if (is_aligned) {
            Conv2dOffset offset(walk, tap);
            UNROLL
            for (int pass = 0; pass < Runs::PASSES; pass++) {
                bool is_inside = places[pass].has(walk, offset) && index < depth;
                const Element* from = row_at(source + tap.channel, places[pass].pixel + offset.pixel, pixel_bytes);
                copy_async16_or_zeros(Runs::target(slab, pass), from, is_inside);
            }
            return;
        }
        ROLLED
        for (uint32_t j = 0; j < Runs::LENGTH; j++) {
            Conv2dOffset offset(walk, tap);
            UNROLL
            for (int pass = 0; pass < Runs::PASSES; pass++) {
                Element* to = slab + Slab::offset(Runs::row(pass), Runs::column() + j);
                if (places[pass].has(walk, offset) && index + j < depth) {
                    copy_element(to, row_at(source + tap.channel, places[pass].pixel + offset.pixel, pixel_bytes));
                } else {
                    *to = Element(0.0f);
                }
            }
            tap.advance(by_channels, by_taps);
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
    typedef SlabRuns<Slab, THREADS> Runs;
    const Element* weight;  // at the group, the phase's first tap and the tile's first channel
    Divisor by_features, by_taps;
    uint32_t depth_bytes;              // of one output channel
    uint32_t down_bytes, across_bytes; // from one tap of the phase to the next
    uint32_t inner, x_end;             // taps times output channels; input channels from the tile's first on
    bool is_aligned;

    __device__ __forceinline__ const Element* row(uint32_t index) const {
        Conv2dTap tap = Conv2dTap::of(index, by_features, by_taps);
        uint32_t bytes = tap.r * down_bytes + tap.s * across_bytes;
        return row_at(row_at(weight + Runs::column(), 1, bytes), tap.channel, depth_bytes);
    }

    __device__ __forceinline__ void copy(Element* slab, uint32_t number) const {
        uint32_t column = Runs::column();
        if (is_aligned) {
            UNROLL
            for (int pass = 0; pass < Runs::PASSES; pass++) {
                uint32_t index = number * Slab::K + Runs::row(pass);
                copy_async16_or_zeros(Runs::target(slab, pass), row(index), index < inner && column < x_end);
            }
            return;
        }
        ROLLED
        for (int pass = 0; pass < Runs::PASSES; pass++) {
            uint32_t index = number * Slab::K + Runs::row(pass);
            int left = index < inner ? static_cast<int>(x_end - column) : 0;
            copy_elements(Runs::target(slab, pass), row(index), left);
        }
    }
};

// Slabs of patches, pixels by (taps, channels), as dw_bwd's B, whose inner axis is the pixels. A thread copies the same
// columns in each slab.
template <class Slab, int THREADS>
struct Conv2dColumns {
    typedef typename Slab::Element Element;
    typedef SlabRuns<Slab, THREADS> Runs;
    const Element* source;
    uint32_t pixel_bytes;
    Conv2dWalk walk;
    Divisor by_width, by_height, by_channels, by_taps;
    uint32_t pixels, x_end;
    bool is_aligned;
    Conv2dTap first;

    __device__ __forceinline__ void find_tap(uint32_t first_column) {
        first = Conv2dTap::of(first_column + Runs::column(), by_channels, by_taps);
    }

    __device__ __forceinline__ Conv2dPlace place(uint32_t pixel) const {
        uint32_t row = quotient(pixel, by_width), image = quotient(row, by_height);
        return Conv2dPlace(walk, image, row - image * by_height.value, pixel - row * by_width.value);
    }

    __device__ __forceinline__ void copy(Element* slab, uint32_t number) const {
        if (is_aligned) {
            Conv2dOffset offset(walk, first);
            UNROLL
            for (int pass = 0; pass < Runs::PASSES; pass++) {
                uint32_t pixel = number * Slab::K + Runs::row(pass);
                Conv2dPlace own = place(pixel);
                bool is_inside = own.has(walk, offset) && pixel < pixels && Runs::column() < x_end;
                const Element* from = row_at(source + first.channel, own.pixel + offset.pixel, pixel_bytes);
                copy_async16_or_zeros(Runs::target(slab, pass), from, is_inside);
            }
            return;
        }
        ROLLED
        for (int pass = 0; pass < Runs::PASSES; pass++) {
            uint32_t pixel = number * Slab::K + Runs::row(pass);
            Conv2dPlace own = place(pixel);
            Conv2dTap tap = first;
            ROLLED
            for (uint32_t j = 0; j < Runs::LENGTH; j++) {
                Conv2dOffset offset(walk, tap);
                Element* to = Runs::target(slab, pass) + j;
                if (own.has(walk, offset) && pixel < pixels && Runs::column() + j < x_end) {
                    copy_element(to, row_at(source + tap.channel, own.pixel + offset.pixel, pixel_bytes));
                } else {
                    *to = Element(0.0f);
                }
                tap.advance(by_channels, by_taps);
            }
        }
    }
};
