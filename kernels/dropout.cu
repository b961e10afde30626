// Dropout by a mask that is drawn, not stored; forward and backward are the same kernel. The launch is in
// src/ops/dropout.rs.
//
//   y = 0 where 24 random bits are below the threshold, else scale x; y = or y +=     (inverted dropout, Srivastava 2014)
//
// The bits of element e of x in row-major order are the upper 24 of word e % 4 of Philox's numbers for the seed, the step
// and index layer << 32 | e / 4. Backward, x is dy and y is dx: the same numbers are drawn again.
//
//   x      [rows, columns] with any pitch: f32 or bf16
//   y      the same shape without gaps, the same type
//   step   [1], the step's number
//
// Bytes an element: 8 (12 where added), in bf16 half of it; a stored mask would cost 1 more each way, and memory of its own.
// Operations: about 100 integer ones for four elements, a third of what the multiprocessors do while the bytes pass (in
// bf16 two thirds). Grid: one axis; a thread does the four elements of one draw, in bf16 the eight of two, so a block of
// 256 threads 1024 or 2048. Where x has no gaps that is one load and one store of 16 bytes, but for the last thread's where
// the number of elements is odd; rows with gaps take a load an element, whose rows are divided out, unless columns and
// pitch are multiples of a thread's elements.
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

// V elements a thread: those of V / 4 draws.
template <int V, class T>
__device__ __forceinline__ void dropout_elements(const T* x, T* y, const int* step, const DropoutShape& shape) {
    uint64_t index = global_thread() * (V / 4), first = 4 * index;
    if (first >= shape.elements) return;
    uint32_t bits[V];
    UNROLL
    for (int v = 0; v < V; v += 4) {
        uint64_t place = static_cast<uint64_t>(shape.layer) << 32 | (index + v / 4);
        uint4 drawn = philox_at(shape.seed, DROPOUT_PURPOSE, static_cast<uint32_t>(*step), place);
        bits[v] = drawn.x, bits[v + 1] = drawn.y, bits[v + 2] = drawn.z, bits[v + 3] = drawn.w;
    }
    bool rows_fit = shape.columns == shape.elements || (shape.columns % V == 0 && shape.pitch % V == 0);
    if (rows_fit && first + V <= shape.elements && is_aligned16(x) && is_aligned16(y)) {
        Pack<V> pack = load<V>(x + dropout_place(first, shape));
        UNROLL
        for (int v = 0; v < V; v++) pack.value[v] = dropout_keep(bits[v], pack.value[v], shape);
        store(y + first, pack, shape.add != 0);
        return;
    }
    UNROLL
    for (int v = 0; v < V; v++) {
        uint64_t element = first + v;
        if (element < shape.elements) {
            float value = static_cast<float>(x[dropout_place(element, shape)]);
            store(y + element, dropout_keep(bits[v], value, shape), shape.add != 0);
        }
    }
}

KERNEL(dropout_f32, 256, const float* x, float* y, const int* step, DropoutShape shape) {
    dropout_elements<4>(x, y, step, shape);
}

KERNEL(dropout_bf16, 256, const bf16* x, bf16* y, const int* step, DropoutShape shape) {
    dropout_elements<8>(x, y, step, shape);
}
