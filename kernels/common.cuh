// What kernels share: reductions in a fixed order, Philox, division of a grid.
#pragma once

#include "target.cuh"

static const int WARP = 32;
static const uint32_t ALL_LANES = 0xffffffffu;

__device__ __forceinline__ uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

// The number of this thread among all of a one-dimensional grid: 64 bits, since tensors may pass 2^31 elements.
__device__ __forceinline__ uint64_t global_thread() {
    return static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ bool is_aligned16(const void* pointer) {
    return (reinterpret_cast<uintptr_t>(pointer) & 15) == 0;
}

// What reductions combine with. Each has its neutral element.
struct Sum {
    template <class T>
    static __device__ __forceinline__ T of(T a, T b) {
        return a + b;
    }
    template <class T>
    static __device__ __forceinline__ T neutral() {
        return T(0);
    }
};

// NaN is never the largest.
struct Largest {
    template <class T>
    static __device__ __forceinline__ T of(T a, T b) {
        return b > a || a != a ? b : a;
    }
    template <class T>
    static __device__ __forceinline__ T neutral() {
        return T(-INFINITY);
    }
};

// Combines the values of groups of `width` neighbouring lanes, a power of 2; every lane of a group gets the result. All
// lanes of the warp must come. The order is a tree of halves: the same for every launch.
template <class Op, class T>
__device__ __forceinline__ T reduce_lanes(T value, int width = WARP) {
    for (int distance = width / 2; distance > 0; distance /= 2) {
        value = Op::of(value, __shfl_xor_sync(ALL_LANES, value, distance));
    }
    return value;
}

// Combines the values of all threads of a block of THREADS, a multiple of 32, at most 1024; every thread gets the result.
// All threads must come. Before it is called again in the same kernel, a barrier has to stand.
template <class Op, int THREADS, class T>
__device__ __forceinline__ T reduce_block(T value) {
    value = reduce_lanes<Op>(value);
    if (THREADS == WARP) return value;
    SHARED(T, warps, [THREADS / WARP]);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();  // `warps` is written
    // Every warp combines the warps' values for itself, in the same order: no third barrier to send the result around.
    T partial = threadIdx.x % WARP < THREADS / WARP ? warps[threadIdx.x % WARP] : Op::template neutral<T>();
    return reduce_lanes<Op>(partial);
}

// Philox4x32-10 (Salmon et al. 2011): the four numbers at `counter` under `key`, as src/random.rs draws them.
__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
    UNROLL
    for (int round = 0; round < 10; round++) {
        uint32_t left_high = __umulhi(0xD2511F53u, counter.x), left_low = 0xD2511F53u * counter.x;
        uint32_t right_high = __umulhi(0xCD9E8D57u, counter.z), right_low = 0xCD9E8D57u * counter.z;
        counter = make_uint4(right_high ^ counter.y ^ key.x, right_low, left_high ^ counter.w ^ key.y, left_low);
        key = make_uint2(key.x + 0x9E3779B9u, key.y + 0xBB67AE85u);
    }
    return counter;
}

// The numbers of `purpose` at `index` of `step`, below 2^48.
__device__ __forceinline__ uint4 philox_at(uint64_t seed, uint32_t purpose, uint64_t step, uint64_t index) {
    uint32_t upper = (static_cast<uint32_t>(step >> 32) & 0xffffu) | purpose << 16;
    uint4 counter = make_uint4(
        static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(step), upper);
    return philox(counter, make_uint2(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)));
}

// Which row of a data set a batch's row i is: the one at the cursor plus i, in the order of their use where there is one.
// Without a cursor the data set is the batch.
__device__ __forceinline__ uint32_t selected_row(const int* order, const int* cursor, uint32_t i) {
    uint32_t place = cursor ? static_cast<uint32_t>(*cursor) + i : i;
    return order ? static_cast<uint32_t>(order[place]) : place;
}

// A gradient is stored, or added to what is there, as its slot says.
__device__ __forceinline__ void store(float* target, float value, bool add) {
    *target = add ? *target + value : value;
}
