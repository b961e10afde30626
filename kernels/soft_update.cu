// Soft update: a target network follows the online network (Lillicrap et al. 2015). The launch is in
// src/ops/update/soft_update.rs.
//
//   target = keep * target + take * online       keep = tau, take = 1 - tau
//
//   target, online   [all parameters], each parameter at a multiple of 16 elements
//   chunks           [grid]: at most 4096 elements of one parameter each, the optimizer's table
//
// Bytes per element: 12; 2 operations. Memory-bound, so the design is the optimizer's: a block of 256 threads per
// chunk; a thread loads four 16-byte vectors of both buffers before it computes with the first. It works by chunks and
// not on whole buffers, since the gaps between parameters must not be written.
//
// No buffer may overlap another.
#include "parameter_chunk.cuh"

struct SoftUpdate {
    float keep, take;

    __device__ float of(float target, float online) const {
        return keep * target + take * online;
    }
    __device__ Pack<4> of(const Pack<4>& target, const Pack<4>& online) const {
        Pack<4> pack;
        UNROLL
        for (int i = 0; i < 4; i++) pack.value[i] = of(target.value[i], online.value[i]);
        return pack;
    }
};

KERNEL(soft_update_f32, 256, float* __restrict__ target, const float* __restrict__ online,
       const ParameterChunk* __restrict__ chunks, float keep, float take) {
    SoftUpdate update{keep, take};
    uint32_t length = chunks[blockIdx.x].length;
    target += chunks[blockIdx.x].base;
    online += chunks[blockIdx.x].base;
    // Nearly all chunks of a large model have this length. Without a bounds check around each load, the compiler hoists
    // all loads above the first store.
    if (length == CHUNK_LENGTH) {
        Pack<4> own[CHUNK_VECTORS], other[CHUNK_VECTORS];
        UNROLL
        for (uint32_t k = 0; k < CHUNK_VECTORS; k++) {
            uint32_t element = 4 * (k * CHUNK_THREADS + threadIdx.x);
            own[k] = load<4>(target + element);
            other[k] = load<4>(online + element);
        }
        UNROLL
        for (uint32_t k = 0; k < CHUNK_VECTORS; k++) {
            store(target + 4 * (k * CHUNK_THREADS + threadIdx.x), update.of(own[k], other[k]));
        }
        return;
    }
    uint32_t whole = length / 4;
    ROLLED
    for (uint32_t vector = threadIdx.x; vector < whole; vector += CHUNK_THREADS) {
        store(target + 4 * vector, update.of(load<4>(target + 4 * vector), load<4>(online + 4 * vector)));
    }
    // At most three elements are left.
    uint32_t element = 4 * whole + threadIdx.x;
    if (element < length) target[element] = update.of(target[element], online[element]);
}
