// What a kernel file may use beyond cuda_on_host.h, which stands before it: names of CUDA's that the engine's own kernels do without.
#pragma once

#include <stdio.h>

// What kernels print before they fail is not lost in a buffer.
__attribute__((constructor, no_sanitize("thread"))) static void simulator_print_lines() {
    setvbuf(stdout, nullptr, _IOLBF, 1 << 12);
}

typedef bf16 __nv_bfloat16;
static const int warpSize = 32;

inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}
inline double rsqrt(double x) {
    return 1.0 / sqrt(x);
}
inline float __expf(float x) {
    return expf(x);
}
inline float __logf(float x) {
    return logf(x);
}
inline float __fdividef(float a, float b) {
    return a / b;
}
inline float __saturatef(float x) {
    return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;
}
inline void __threadfence() {
    SIMULATOR_FENCE();
}
inline void __threadfence_block() {
    SIMULATOR_FENCE();
}

// Atomic operations beyond those of the engine, which has none on floats: the order of their additions is not fixed.
namespace simulator {

template <class T, class F>
__attribute__((noinline, no_sanitize("thread"))) T change(T* p, F next) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "an atomic operation is on 4 or 8 bytes");
    typedef std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t> Bits;
    if (simulator_current.is_checked) {
        simulator_access(&simulator_current, p, sizeof(T), ATOMIC, __builtin_return_address(0));
    }
    Bits* bits = reinterpret_cast<Bits*>(p);
    Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED), after;
    T old;
    do {
        memcpy(&old, &before, sizeof(T));
        T value = next(old);
        memcpy(&after, &value, sizeof(T));
    } while (!__atomic_compare_exchange_n(bits, &before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}

}  // namespace simulator

__forceinline__ float atomicAdd(float* p, float value) {
    return simulator::change(p, [=](float old) { return old + value; });
}
__forceinline__ double atomicAdd(double* p, double value) {
    return simulator::change(p, [=](double old) { return old + value; });
}

#define SIMULATOR_ATOMIC(name, expression)                                                                  \
    template <class T>                                                                                      \
    __forceinline__ T name(T* p, std::common_type_t<T> value) {                                             \
        return simulator::change(p, [=](T old) -> T { return expression; });                               \
    }
SIMULATOR_ATOMIC(atomicSub, old - value)
SIMULATOR_ATOMIC(atomicMin, value < old ? value : old)
SIMULATOR_ATOMIC(atomicMax, old < value ? value : old)
SIMULATOR_ATOMIC(atomicExch, value)
SIMULATOR_ATOMIC(atomicAnd, old & value)
SIMULATOR_ATOMIC(atomicOr, old | value)
SIMULATOR_ATOMIC(atomicXor, old ^ value)

template <class T>
__forceinline__ T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> value) {
    return simulator::change(p, [=](T old) -> T { return old == expected ? value : old; });
}
