// Peak throughput of the arithmetic units, without memory traffic. Other kernels are compared with it. Launched by
// src/ops/peak.rs.
//
//   fma    x_j = x_j / 2 + 1, from x_j = j         out[t] = sum of the 8 x_j
//   mma    D_j += A B, from 0, A = 1/2, B = 1/4    out[t] = sum of a lane's part of the 8 D_j
//
//   out [blocks * 256]
//
// 4 bytes per thread, written once. A round is 16 steps of 8 independent chains: 256 operations per thread in f32,
// 8,192 in tf32 (16x8x8 per warp) and 16,384 in bf16 (16x8x16). More chains would need more registers and lower the
// occupancy; fewer would not hide the units' latency. The factors are arguments, so that the compiler cannot fold the
// result.
#include "common.cuh"

static const int CHAINS = 8, STEPS = 16;

KERNEL(peak_fma_f32, 256, float* out, float factor, float summand, uint32_t rounds) {
    float x[CHAINS];
    UNROLL
    for (int j = 0; j < CHAINS; j++) x[j] = static_cast<float>(j);
    ROLLED
    for (uint32_t round = 0; round < rounds; round++) {
        UNROLL
        for (int step = 0; step < STEPS; step++) {
            UNROLL
            for (int j = 0; j < CHAINS; j++) x[j] = fmaf(x[j], factor, summand);
        }
    }
    float sum = 0.0f;
    UNROLL
    for (int j = 0; j < CHAINS; j++) sum += x[j];
    out[global_thread()] = sum;
}

struct Tf32Product {
    static __device__ __forceinline__ void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        mma_tf32(d, a, b);
    }
};

struct Bf16Product {
    static __device__ __forceinline__ void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        mma_bf16(d, a, b);
    }
};

// `left`, `right`: a register of A and of B.
template <class Product>
__device__ __forceinline__ void multiply(float* out, uint32_t left, uint32_t right, uint32_t rounds) {
    float d[CHAINS][4];
    uint32_t a[4] = {left, left, left, left}, b[2] = {right, right};
    UNROLL
    for (int j = 0; j < CHAINS; j++) {
        UNROLL
        for (int i = 0; i < 4; i++) d[j][i] = 0.0f;
    }
    ROLLED
    for (uint32_t round = 0; round < rounds; round++) {
        UNROLL
        for (int step = 0; step < STEPS; step++) {
            UNROLL
            for (int j = 0; j < CHAINS; j++) Product::add(d[j], a, b);
        }
    }
    float sum = 0.0f;
    UNROLL
    for (int j = 0; j < CHAINS; j++) {
        UNROLL
        for (int i = 0; i < 4; i++) sum += d[j][i];
    }
    out[global_thread()] = sum;
}

KERNEL(peak_mma_tf32, 256, float* out, uint32_t left, uint32_t right, uint32_t rounds) {
    multiply<Tf32Product>(out, left, right, rounds);
}

KERNEL(peak_mma_bf16, 256, float* out, uint32_t left, uint32_t right, uint32_t rounds) {
    multiply<Bf16Product>(out, left, right, rounds);
}
