// Elementwise kernels: functions of one tensor and their derivatives, functions of two with broadcasting, accumulation
// into a gradient, copies, fills. The launches are in src/ops/tensor/elementwise/launch.rs.
//
//   fwd           y = f(a)             relu, exp, ln, tanh, sigmoid, sqrt, square, affine (factor a + summand)
//   bwd           dx = dy f'(kept), or dx += where `add`; kept is f's input or its output, whichever makes f' cheaper;
//                 0 where a relu was 0, also if dy is infinite
//   add sub mul div    y = a op b, with a and b broadcast as in NumPy; add_bias: b is f32 where a and y are bf16
//   accumulate    to += from
//   cast          to = from or to += from, between f32 and bf16
//   copy          to = from, of any type, in units of 16, 4, 2 or 1 bytes
//   fill          to = a value of at most 8 bytes, repeated
//
//   a, b, dy, kept, from   any shape that broadcasts to the output's, with any strides
//   y, dx, to              the output's shape; may be a slice of a wider tensor
//
// A layout is the output's axes with a stride per operand, 0 where it is broadcast. The host has merged adjacent axes
// wherever all operands allow it: contiguous tensors become one axis whatever their rank, a bias or a slice of the last
// axis makes two. So an element's offsets cost no division or one.
//
// Bytes per element in f32: fwd 8, bwd 12 (affine 8), binary 12 (8 with a broadcast operand, which stays in the cache),
// accumulate 12; copy 2 and fill 1 times the size; 4 more where `add`. Half of that in bf16; cast 6. Operations: 1 to
// about 20. Memory-bound. Grid: one axis. A block of 256 threads handles 512 units, two per thread, both loaded before
// the first is stored: at least 1280 threads fit an SM, so at least 40 KB are in flight, more than the SM's share of
// the bandwidth needs. A unit is 16 bytes where the last axis, all strides and all addresses are multiples of that;
// else it is one element (three channels within a wider image, odd slices, an odd number of elements). A kernel for
// each broadcasting pattern would save a few integer operations, which memory latency hides anyway.
//
// The output overlaps no input.
#include "common.cuh"

static const int ELEMENTWISE_AXES = 6;
static const uint32_t ELEMENTWISE_THREADS = 256;
static const int ELEMENTWISE_UNITS = 2;  // per thread

struct ElementwiseLayout {
    uint64_t units;
    uint64_t extents[ELEMENTWISE_AXES];     // outermost first, the last in units; unused before `first`
    uint64_t strides[3][ELEMENTWISE_AXES];  // of the output and of two inputs, in elements
    uint32_t first;
    uint32_t width;  // elements per unit: 4, in bf16 8, or 1; for a copy the bytes: 16, 4, 2 or 1
};

// Offsets in elements of unit `unit` in the first OPERANDS operands; a unit has `width` elements. (The compiler emits a
// 32-bit division where both numbers fit.)
template <int OPERANDS>
__device__ __forceinline__ void elementwise_offsets(
    const ElementwiseLayout& layout, uint64_t unit, uint32_t width, uint64_t (&offsets)[OPERANDS]) {
    UNROLL
    for (int k = 0; k < OPERANDS; k++) offsets[k] = 0;
    UNROLL
    for (int axis = ELEMENTWISE_AXES - 1; axis >= 0; axis--) {
        if (static_cast<uint32_t>(axis) < layout.first) continue;
        uint64_t index = unit;
        if (static_cast<uint32_t>(axis) > layout.first) {
            unit = index / layout.extents[axis];
            index -= unit * layout.extents[axis];
        }
        if (axis == ELEMENTWISE_AXES - 1) index *= width;
        UNROLL
        for (int k = 0; k < OPERANDS; k++) offsets[k] += index * layout.strides[k][axis];
    }
}

// The index of this thread's unit `k`; the threads of a block have consecutive units.
__device__ __forceinline__ uint64_t elementwise_unit(int k) {
    return (static_cast<uint64_t>(blockIdx.x) * ELEMENTWISE_UNITS + k) * ELEMENTWISE_THREADS + threadIdx.x;
}

// Loads a unit; an operand with stride 0 along the last axis loads one element and repeats it.
template <int V, class T>
__device__ __forceinline__ Pack<V> elementwise_load(const T* from, uint64_t step) {
    if (V == 1 || step != 0) return load<V>(from);
    Pack<V> unit;
    float value = static_cast<float>(*from);
    UNROLL
    for (int v = 0; v < V; v++) unit.value[v] = value;
    return unit;
}

template <int V, class Out, class A, class B, class Function>
__device__ __forceinline__ void elementwise_units(
    Out* out, const A* a, const B* b, const ElementwiseLayout& layout, bool add, const Function& function) {
    const int LAST = ELEMENTWISE_AXES - 1;
    const int OPERANDS = Function::INPUTS + 1;
    Pack<V> values[ELEMENTWISE_UNITS][3];
    uint64_t targets[ELEMENTWISE_UNITS];
    UNROLL
    for (int k = 0; k < ELEMENTWISE_UNITS; k++) {
        if (elementwise_unit(k) >= layout.units) continue;
        uint64_t offsets[OPERANDS];
        elementwise_offsets(layout, elementwise_unit(k), V, offsets);
        targets[k] = offsets[0];
        values[k][0] = elementwise_load<V>(a + offsets[1], layout.strides[1][LAST]);
        if (Function::INPUTS > 1) values[k][1] = elementwise_load<V>(b + offsets[OPERANDS - 1], layout.strides[2][LAST]);
        if (add) values[k][2] = load<V>(out + targets[k]);
    }
    UNROLL
    for (int k = 0; k < ELEMENTWISE_UNITS; k++) {
        if (elementwise_unit(k) >= layout.units) continue;
        Pack<V> result;
        UNROLL
        for (int v = 0; v < V; v++) {
            float own = function(values[k][0].value[v], values[k][Function::INPUTS > 1 ? 1 : 0].value[v]);
            result.value[v] = add ? values[k][2].value[v] + own : own;
        }
        store<V>(out + targets[k], result);
    }
}

template <class Function, class Out, class A, class B>
__device__ __forceinline__ void elementwise_map(
    Out* out, const A* a, const B* b, const ElementwiseLayout& layout, bool add,
    const Function& function = Function()) {
    // 16 bytes of the narrower type.
    const int V = sizeof(Out) == 2 || sizeof(A) == 2 ? 8 : 4;
    if (layout.width == V) {
        elementwise_units<V>(out, a, b, layout, add, function);
    } else {
        elementwise_units<1>(out, a, b, layout, add, function);
    }
}

// ---- functions of one tensor ---------------------------------------------------------------------------------------

#define ELEMENTWISE_FUNCTION(type, inputs, expression)                        \
    struct type {                                                             \
        static const int INPUTS = inputs;                                     \
        __device__ __forceinline__ float operator()(float a, float b) const { \
            (void)b;                                                          \
            return expression;                                                \
        }                                                                     \
    };

// f(a), and with b = kept: a f'(b).
#define ELEMENTWISE_UNARY(name, Name, forward, backward)   \
    ELEMENTWISE_FUNCTION(Name, 1, forward)                 \
    ELEMENTWISE_FUNCTION(Name##Derivative, 2, backward)    \
    ELEMENTWISE_UNARY_IN(name, Name, float, f32)           \
    ELEMENTWISE_UNARY_IN(name, Name, bf16, bf16)

#define ELEMENTWISE_UNARY_IN(name, Name, T, type)                                                     \
    KERNEL(elementwise_##name##_fwd_##type, 256, const T* a, T* y, ElementwiseLayout layout) {        \
        elementwise_map<Name>(y, a, a, layout, false);                                                \
    }                                                                                                 \
    KERNEL(elementwise_##name##_bwd_##type, 256, const T* dy, const T* kept, T* dx, uint32_t add,     \
           ElementwiseLayout layout) {                                                                \
        elementwise_map<Name##Derivative>(dx, dy, kept, layout, add != 0);                            \
    }

ELEMENTWISE_UNARY(relu, Relu, a < 0.0f ? 0.0f : a, b <= 0.0f ? 0.0f : a)
ELEMENTWISE_UNARY(exp, Exp, expf(a), a * b)
ELEMENTWISE_UNARY(ln, Ln, logf(a), a * (1.0f / b))
ELEMENTWISE_UNARY(tanh, Tanh, tanhf(a), a * (1.0f - b * b))
ELEMENTWISE_UNARY(sigmoid, Sigmoid, 1.0f / (1.0f + expf(-a)), a * (b * (1.0f - b)))
ELEMENTWISE_UNARY(sqrt, SquareRoot, sqrtf(a), 0.5f * a / b)
ELEMENTWISE_UNARY(square, Square, a * a, a * (b + b))

struct Affine {
    static const int INPUTS = 1;
    float factor, summand;
    __device__ __forceinline__ float operator()(float a, float) const {
        return factor * a + summand;
    }
};

ELEMENTWISE_FUNCTION(Same, 1, a)

#define ELEMENTWISE_LINEAR(T, type)                                                                     \
    KERNEL(elementwise_affine_fwd_##type, 256, const T* a, T* y, float factor, float summand,           \
           ElementwiseLayout layout) {                                                                  \
        elementwise_map(y, a, a, layout, false, Affine{factor, summand});                               \
    }                                                                                                   \
    KERNEL(elementwise_affine_bwd_##type, 256, const T* dy, T* dx, uint32_t add, float factor,          \
           ElementwiseLayout layout) {                                                                  \
        elementwise_map(dx, dy, dy, layout, add != 0, Affine{factor, 0.0f});                            \
    }                                                                                                   \
    KERNEL(elementwise_accumulate_##type, 256, const T* from, T* to, ElementwiseLayout layout) {        \
        elementwise_map<Same>(to, from, from, layout, true);                                            \
    }

ELEMENTWISE_LINEAR(float, f32)
ELEMENTWISE_LINEAR(bf16, bf16)

// From the other storage type to the one in the name.
KERNEL(elementwise_cast_f32, 256, const bf16* from, float* to, uint32_t add, ElementwiseLayout layout) {
    elementwise_map<Same>(to, from, from, layout, add != 0);
}

KERNEL(elementwise_cast_bf16, 256, const float* from, bf16* to, uint32_t add, ElementwiseLayout layout) {
    elementwise_map<Same>(to, from, from, layout, add != 0);
}

// ---- functions of two ----------------------------------------------------------------------------------------------

#define ELEMENTWISE_BINARY(name, Name, expression)      \
    ELEMENTWISE_FUNCTION(Name, 2, expression)           \
    ELEMENTWISE_BINARY_IN(name, Name, float, f32)       \
    ELEMENTWISE_BINARY_IN(name, Name, bf16, bf16)

#define ELEMENTWISE_BINARY_IN(name, Name, T, type)                                                            \
    KERNEL(elementwise_##name##_##type, 256, const T* a, const T* b, T* y, ElementwiseLayout layout) {        \
        elementwise_map<Name>(y, a, b, layout, false);                                                        \
    }

ELEMENTWISE_BINARY(add, Sum2, a + b)
ELEMENTWISE_BINARY(sub, Difference, a - b)
ELEMENTWISE_BINARY(mul, Product, a * b)
ELEMENTWISE_BINARY(div, Quotient, a / b)

// The bias is f32, whatever the other types.
KERNEL(elementwise_add_bias_bf16, 256, const bf16* a, const float* b, bf16* y, ElementwiseLayout layout) {
    elementwise_map<Sum2>(y, a, b, layout, false);
}

// ---- copies and constants ------------------------------------------------------------------------------------------

template <class Unit>
__device__ __forceinline__ void elementwise_copy_units(
    const unsigned char* from, unsigned char* to, const ElementwiseLayout& layout) {
    Unit values[ELEMENTWISE_UNITS];
    uint64_t targets[ELEMENTWISE_UNITS];
    UNROLL
    for (int k = 0; k < ELEMENTWISE_UNITS; k++) {
        if (elementwise_unit(k) >= layout.units) continue;
        uint64_t offsets[2];
        elementwise_offsets(layout, elementwise_unit(k), sizeof(Unit), offsets);
        targets[k] = offsets[0];
        values[k] = *reinterpret_cast<const Unit*>(from + offsets[1]);
    }
    UNROLL
    for (int k = 0; k < ELEMENTWISE_UNITS; k++) {
        if (elementwise_unit(k) < layout.units) *reinterpret_cast<Unit*>(to + targets[k]) = values[k];
    }
}

// The last axis and all strides are in bytes.
KERNEL(elementwise_copy, 256, const unsigned char* from, unsigned char* to, ElementwiseLayout layout) {
    if (layout.width == 16) {
        elementwise_copy_units<uint4>(from, to, layout);
    } else if (layout.width == 4) {
        elementwise_copy_units<uint32_t>(from, to, layout);
    } else if (layout.width == 2) {
        elementwise_copy_units<uint16_t>(from, to, layout);
    } else {
        elementwise_copy_units<unsigned char>(from, to, layout);
    }
}

// `low` and `high` are the 8 bytes to repeat. `to` is 16-byte aligned.
KERNEL(elementwise_fill, 256, unsigned char* to, uint32_t low, uint32_t high, uint64_t bytes) {
    uint64_t start = 16 * global_thread();
    if (start + 16 <= bytes) {
        *reinterpret_cast<uint4*>(to + start) = make_uint4(low, high, low, high);
        return;
    }
    for (uint64_t at = start; at < bytes; at++) {
        uint32_t half = at & 4 ? high : low;
        to[at] = static_cast<unsigned char>(half >> 8 * (at & 3));
    }
}
