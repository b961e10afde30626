// From stored images to the model's input: crop, flip, normalise. The launches are in src/ops/input/augment.rs.
//
//   out[i, y, x, c] = f(images[r(i), y + down, x' + right, c]), x' = width - 1 - x where flipped, else x; pixels
//   outside the image are f(0)
//   r(i) = order[cursor + i]; cursor + i without an order; i without a cursor
//   f(byte) = (byte / 255 - mean[c]) / deviation[c], in f32;  f(float) = float
//   down, right in -padding..padding and the flip are drawn for each image by Philox from seed, step and i
//
//   images            [all, height, width, channels], bytes or f32, contiguous
//   order, cursor     the epoch's order of images, and the batch's first place in it, [1]; both may be null
//   out               [batch, height, width, channels], f32 or bf16
//   mean, deviation   [channels], f64
//   step              [1], the step number; read only where something is drawn
//
// Bytes per element: 5 from bytes, 8 from f32; to bf16 3 and 6. Operations: two divisions. (The CPU divides once for
// each of the 256 byte values of a channel; in a block, filling that table would cost more divisions than the block has
// elements.) Grid: images x parts of 1024 elements, along one axis. A block of 256 threads stays within one image, so
// its first thread draws the crop for all. Each thread computes 4 elements for any number of channels, and stores them
// as 16 bytes (bf16: 8) where an image's elements are a multiple of 4, else one by one. The reads are single elements,
// since a crop or flip may shift them to any address; neighbouring threads hit the same cache lines. The kernel selects
// the batch's images itself: a separate gather would read and write every byte once more.
//
// out overlaps no other buffer.
#include "common.cuh"

struct AugmentShape {
    uint64_t seed;
    uint32_t height, width, channels;
    uint32_t padding;
    uint32_t is_random;
    uint32_t parts;  // blocks per image
};

static const uint32_t AUGMENT_PURPOSE = 4;  // of the random stream, as in src/random.rs
static const uint32_t AUGMENT_THREADS = 256;

// The crop of an image within the padded one.
struct AugmentCut {
    int down, right, mirrored;
};

// Selects the batch's images.
struct AugmentSelection {
    const int *order, *cursor;
};

__device__ __forceinline__ int augment_shift(uint32_t bits, uint32_t padding) {
    return static_cast<int>(__umulhi(bits, 2 * padding + 1)) - static_cast<int>(padding);
}

__device__ __forceinline__ AugmentCut augment_cut(const AugmentShape& shape, const int64_t* step, uint32_t image) {
    if (!shape.is_random) return AugmentCut{0, 0, 0};
    uint4 bits = philox_at(shape.seed, AUGMENT_PURPOSE, static_cast<uint64_t>(*step), image);
    return AugmentCut{
        augment_shift(bits.x, shape.padding), augment_shift(bits.y, shape.padding), static_cast<int>(bits.z >> 31)};
}

struct AugmentNormalised {
    typedef unsigned char Source;
    const double *mean, *deviation;
    __device__ __forceinline__ float operator()(unsigned char byte, uint32_t channel) const {
        return (static_cast<float>(byte) / 255.0f - static_cast<float>(mean[channel])) /
               static_cast<float>(deviation[channel]);
    }
};

struct AugmentSame {
    typedef float Source;
    __device__ __forceinline__ float operator()(float value, uint32_t) const {
        return value;
    }
};

template <class Convert, class T>
__device__ void augment_images(
    const typename Convert::Source* images, const AugmentSelection& selection, const int64_t* step, T* out,
    const AugmentShape& shape, const Convert& convert) {
    SHARED(AugmentCut, cut, [1]);
    uint32_t image = blockIdx.x / shape.parts, part = blockIdx.x % shape.parts;
    if (threadIdx.x == 0) cut[0] = augment_cut(shape, step, image);
    __syncthreads();  // the crop is drawn
    uint32_t line = shape.width * shape.channels, size = shape.height * line;
    uint32_t first = 4 * (part * AUGMENT_THREADS + threadIdx.x);
    if (first >= size) return;
    images += static_cast<uint64_t>(selected_row(selection.order, selection.cursor, image)) * size;
    out += static_cast<uint64_t>(image) * size + first;

    uint32_t row = first / line, column = first % line / shape.channels, channel = first % shape.channels;
    Pack<4> values;
    UNROLL
    for (int k = 0; k < 4; k++) {
        int y = static_cast<int>(row) + cut[0].down;
        int x = static_cast<int>(cut[0].mirrored ? shape.width - 1 - column : column) + cut[0].right;
        // As unsigned, a negative coordinate is too large.
        bool inside = static_cast<uint32_t>(y) < shape.height && static_cast<uint32_t>(x) < shape.width;
        uint32_t from = (static_cast<uint32_t>(y) * shape.width + static_cast<uint32_t>(x)) * shape.channels + channel;
        values.value[k] = convert(inside ? images[from] : typename Convert::Source(0), channel);
        if (++channel == shape.channels) {
            channel = 0;
            if (++column == shape.width) {
                column = 0;
                row++;
            }
        }
    }
    if (size % 4 == 0) {
        store(out, values);
        return;
    }
    UNROLL
    for (uint32_t k = 0; k < 4; k++) {
        if (first + k < size) out[k] = static_cast<T>(values.value[k]);
    }
}

#define AUGMENT(T, type)                                                                                           \
    KERNEL(augment_bytes_##type, 256, const unsigned char* images, const int* order, const int* cursor,            \
           const double* mean, const double* deviation, const int64_t* step, T* out, AugmentShape shape) {             \
        AugmentSelection selection{order, cursor};                                                                 \
        augment_images(images, selection, step, out, shape, AugmentNormalised{mean, deviation});                   \
    }                                                                                                              \
    KERNEL(augment_floats_##type, 256, const float* images, const int* order, const int* cursor, const int64_t* step,  \
           T* out, AugmentShape shape) {                                                                           \
        augment_images(images, AugmentSelection{order, cursor}, step, out, shape, AugmentSame());                  \
    }

AUGMENT(float, f32)
AUGMENT(bf16, bf16)
