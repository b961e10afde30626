// Functions that a GPU computes less accurately than the host. cuda_on_host.h includes this file.
#pragma once

namespace simulator {

// Moves a value by `units` units in the last place; a hash of the argument chooses the direction.
inline float off_by(int32_t units, float value, float argument) {
    bool is_exact = argument == 0.0f || value == 0.0f || !isfinite(value);
    bool is_down = __float_as_uint(argument) * 0x9e3779b9u >> 31;
    return is_exact ? value : __int_as_float(__float_as_int(value) + (is_down ? -units : units));
}

// The largest errors of single-precision functions, as the CUDA C++ programming guide states them.
inline float exp_of_gpu(float x) {
    return off_by(2, expf(x), x);
}
inline float log_of_gpu(float x) {
    return off_by(1, logf(x), x);
}
inline float tanh_of_gpu(float x) {
    float value = tanhf(x);
    return fabsf(value) == 1.0f ? value : off_by(2, value, x);
}
inline float sinh_of_gpu(float x) {
    return off_by(3, sinhf(x), x);
}

}  // namespace simulator

// Checked kernels use the host's functions, and their products and sums are not fused, so that kernels are tested with both
// arithmetics.
#ifndef SIMULATOR_HOST_ARITHMETIC
#define expf simulator::exp_of_gpu
#define logf simulator::log_of_gpu
#define tanhf simulator::tanh_of_gpu
#define sinhf simulator::sinh_of_gpu
#endif
