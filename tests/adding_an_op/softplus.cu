// Softplus. x, y, dy, dx: [n], all f32 or all bf16. Bytes an element in f32: forward 8, backward 12.
//
//   fwd   y = log(1 + e^x)
//   bwd   dx = dy / (1 + e^-x), or dx += where `add`
#include "common.cuh"

template <class T>
__device__ __forceinline__ void softplus_forward(const T* x, T* y, uint64_t n) {
    uint64_t i = global_thread();
    if (i >= n) return;
    float value = static_cast<float>(x[i]);
    y[i] = static_cast<T>(fmaxf(value, 0.0f) + log1pf(expf(-fabsf(value))));
}

template <class T>
__device__ __forceinline__ void softplus_backward(const T* x, const T* dy, T* dx, uint64_t n, bool add) {
    uint64_t i = global_thread();
    if (i >= n) return;
    store(dx + i, static_cast<float>(dy[i]) / (1.0f + expf(-static_cast<float>(x[i]))), add);
}

KERNEL(softplus_fwd_f32, 256, const float* x, float* y, uint64_t n) {
    softplus_forward(x, y, n);
}

KERNEL(softplus_fwd_bf16, 256, const bf16* x, bf16* y, uint64_t n) {
    softplus_forward(x, y, n);
}

KERNEL(softplus_bwd_f32, 256, const float* x, const float* dy, float* dx, uint64_t n, uint32_t add) {
    softplus_backward(x, dy, dx, n, add);
}

KERNEL(softplus_bwd_bf16, 256, const bf16* x, const bf16* dy, bf16* dx, uint64_t n, uint32_t add) {
    softplus_backward(x, dy, dx, n, add);
}
