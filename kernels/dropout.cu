// Dropout by a mask that is drawn, not stored; forward and backward are the same kernel. The launch is in
// src/ops/dropout.rs.
//
//   y = 0 where 24 random bits are below the threshold, else scale x; y = or y +=     (inverted dropout, Srivastava 2014)
//
// The bits of element e of x in row-major order are the upper 24 of word e % 4 of Philox's numbers for the seed, the step
// and index layer << 32 | e / 4. Backward, x is dy and y is dx: the same numbers are drawn again.
//
//   x      [rows, columns] with any pitch
//   y      the same shape without gaps
//   step   [1], the step's number
//
// Bytes an element: 8 (12 where added); a stored mask would cost 1 more each way, and memory of its own. Operations: about
// 100 integer ones for four elements, a third of what the multiprocessors do while the bytes pass. Grid: one axis; a
// block of 256 threads does 1024 elements, the four of one draw to a thread. Where x has no gaps that is one load and one
// store of 16 bytes, but for the last thread's where the number of elements is odd; rows with gaps take four loads,
// whose rows are divided out, unless columns and pitch are multiples of 4.
//
// y overlaps nothing.
#include "common.cuh"

struct DropoutShape {
    uint64_t seed;
    uint64_t elements;
    uint64_t columns, pitch;  // of x; one row of all elements where it has no gaps
    uint32_t layer;
    uint32_t threshold;
    float scale;
    uint32_t add;
};

static const uint32_t DROPOUT_PURPOSE = 5;  // of the random numbers, as in src/random.rs

__device__ __forceinline__ float dropout_keep(uint32_t bits, float x, const DropoutShape& shape) {
    return bits >> 8 < shape.threshold ? 0.0f : x * shape.scale;
}

// Where element `element` of x lies.
__device__ __forceinline__ uint64_t dropout_place(uint64_t element, const DropoutShape& shape) {
    if (shape.columns == shape.elements) return element;
    uint64_t row = element / shape.columns;
    return row * shape.pitch + (element - row * shape.columns);
}

KERNEL(dropout_f32, 256, const float* x, float* y, const int* step, DropoutShape shape) {
    uint64_t index = global_thread(), first = 4 * index;
    if (first >= shape.elements) return;
    uint64_t place = static_cast<uint64_t>(shape.layer) << 32 | index;
    uint4 bits = philox_at(shape.seed, DROPOUT_PURPOSE, static_cast<uint32_t>(*step), place);
    bool rows_fit = shape.columns == shape.elements || (shape.columns % 4 == 0 && shape.pitch % 4 == 0);
    if (rows_fit && first + 4 <= shape.elements && is_aligned16(x) && is_aligned16(y)) {
        float4 value = *reinterpret_cast<const float4*>(x + dropout_place(first, shape));
        float4* target = reinterpret_cast<float4*>(y + first);
        float4 kept = make_float4(
            dropout_keep(bits.x, value.x, shape), dropout_keep(bits.y, value.y, shape),
            dropout_keep(bits.z, value.z, shape), dropout_keep(bits.w, value.w, shape));
        if (shape.add) {
            float4 old = *target;
            kept = make_float4(old.x + kept.x, old.y + kept.y, old.z + kept.z, old.w + kept.w);
        }
        *target = kept;
        return;
    }
    UNROLL
    for (uint32_t k = 0; k < 4; k++) {
        uint32_t own = k == 0 ? bits.x : k == 1 ? bits.y : k == 2 ? bits.z : bits.w;
        uint64_t element = first + k;
        if (element < shape.elements) {
            store(y + element, dropout_keep(own, x[dropout_place(element, shape)], shape), shape.add != 0);
        }
    }
}
