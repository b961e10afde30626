// Dropout. The mask is recomputed in the backward pass, not stored; forward and backward are the same kernel. The
// launch is in src/ops/layers/dropout.rs.
//
//   y = x - x where 24 random bits are below the threshold, else scale x, or y +=  (inverted dropout, Srivastava 2014)
//
// The bits of element e of x in row-major order are the upper 24 of word e % 4 of Philox at seed, step and index
// layer << 32 | e / 4. In the backward pass x is dy and y is dx, and Philox gives the same bits.
//
//   x      [rows, columns] with any row pitch: f32 or bf16
//   y      the same shape and type, contiguous
//   step   [1], the step's number, 64 bits
//
// Bytes per element: 8 (12 with accumulation), half of it in bf16; a stored mask would cost 1 more each way, and its
// memory. About 100 integer operations for four elements: a third of what the SMs can do in the time of the bytes (in
// bf16 two thirds). Grid: one axis. A thread computes the four elements of one Philox draw, in bf16 the eight of two,
// so a block of 256 threads covers 1024 or 2048. Contiguous x takes one 16-byte load and store per thread, except in
// the last thread where the number of elements is odd. Rows with a pitch take one load per element and a division for
// the row, unless columns and pitch are multiples of a thread's elements.
//
// y overlaps no other buffer.
#include "common.cuh"

struct DropoutShape {
    uint64_t seed;
    uint64_t elements;
    uint64_t columns, pitch;  // of x; a contiguous x is one row
    uint32_t layer;
    uint32_t threshold;
    float scale;
    uint32_t add;
};

static const uint32_t DROPOUT_PURPOSE = 5;  // of the random stream, as in src/random.rs

__device__ __forceinline__ float dropout_keep(uint32_t bits, float x, const DropoutShape& shape) {
    // Dropped, a finite number gives 0, and any other NaN: PyTorch multiplies by 0.
    return bits >> 8 < shape.threshold ? x - x : x * shape.scale;
}

// The offset of element `element` of x.
__device__ __forceinline__ uint64_t dropout_place(uint64_t element, const DropoutShape& shape) {
    if (shape.columns == shape.elements) return element;
    uint64_t row = element / shape.columns;
    return row * shape.pitch + (element - row * shape.columns);
}

// V elements per thread: those of V / 4 draws.
template <int V, class T>
__device__ __forceinline__ void dropout_elements(const T* x, T* y, const int64_t* step, const DropoutShape& shape) {
    uint64_t index = global_thread() * (V / 4), first = 4 * index;
    if (first >= shape.elements) return;
    uint32_t bits[V];
    UNROLL
    for (int v = 0; v < V; v += 4) {
        uint64_t place = static_cast<uint64_t>(shape.layer) << 32 | (index + v / 4);
        uint4 drawn = philox_at(shape.seed, DROPOUT_PURPOSE, static_cast<uint64_t>(*step), place);
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

KERNEL(dropout_f32, 256, const float* x, float* y, const int64_t* step, DropoutShape shape) {
    dropout_elements<4>(x, y, step, shape);
}

KERNEL(dropout_bf16, 256, const bf16* x, bf16* y, const int64_t* step, DropoutShape shape) {
    dropout_elements<8>(x, y, step, shape);
}
