// Shared by all kernels: loads and stores of f32 and bf16, reductions in a fixed order, Philox, row selection.
#pragma once

#include "target.cuh"

static const int WARP = 32;
static const uint32_t ALL_LANES = 0xffffffffu;

__device__ __forceinline__ uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

// A divisor that the host knows. A division by a number in a register takes some 18 instructions, this one three
// (Granlund and Montgomery 1994); src/ops/divisor.rs computes the factor. Dividends are below 2^31.
struct Divisor {
    uint32_t value, factor, shift;
};

__device__ __forceinline__ uint32_t quotient(uint32_t n, const Divisor& by) {
    return __umulhi(2 * n, by.factor) >> by.shift;
}

// Row `index` of a matrix whose rows are `row_bytes` bytes apart: one instruction, where a pitch in elements takes three.
template <class T>
__device__ __forceinline__ const T* row_at(const T* first, uint32_t index, uint32_t row_bytes) {
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(first) + static_cast<uint64_t>(index) * row_bytes);
}

// Global index of this thread in a one-dimensional grid. 64 bits, since tensors may pass 2^31 elements.
__device__ __forceinline__ uint64_t global_thread() {
    return static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ bool is_aligned16(const void* pointer) {
    return (reinterpret_cast<uintptr_t>(pointer) & 15) == 0;
}

// ---- loads and stores ----------------------------------------------------------------------------------------------

// Arithmetic is in f32 whatever the storage type: float, or bf16. A store to bf16 rounds to nearest, ties to even.

// V consecutive elements.
template <int V>
struct Pack {
    float value[V];
};

// Loads WORDS words of 4 bytes with 16-byte accesses, or one 8-byte access where WORDS is 2.
template <int WORDS>
__device__ __forceinline__ void load_words(const void* source, uint32_t (&words)[WORDS]) {
    if constexpr (WORDS % 4 == 0) {
        UNROLL
        for (int w = 0; w < WORDS; w += 4) {
            uint4 four = reinterpret_cast<const uint4*>(source)[w / 4];
            words[w] = four.x, words[w + 1] = four.y, words[w + 2] = four.z, words[w + 3] = four.w;
        }
    } else if constexpr (WORDS == 2) {
        uint2 two = *static_cast<const uint2*>(source);
        words[0] = two.x, words[1] = two.y;
    } else {
        static_assert(WORDS == 1);
        words[0] = *static_cast<const uint32_t*>(source);
    }
}

template <int WORDS>
__device__ __forceinline__ void store_words(void* target, const uint32_t (&words)[WORDS]) {
    if constexpr (WORDS % 4 == 0) {
        UNROLL
        for (int w = 0; w < WORDS; w += 4) {
            reinterpret_cast<uint4*>(target)[w / 4] = make_uint4(words[w], words[w + 1], words[w + 2], words[w + 3]);
        }
    } else if constexpr (WORDS == 2) {
        *static_cast<uint2*>(target) = make_uint2(words[0], words[1]);
    } else {
        static_assert(WORDS == 1);
        *static_cast<uint32_t*>(target) = words[0];
    }
}

// The source is aligned to the size of the whole pack, at most 16 bytes.
template <int V>
__device__ __forceinline__ Pack<V> load(const float* source) {
    Pack<V> pack;
    uint32_t words[V];
    load_words(source, words);
    UNROLL
    for (int v = 0; v < V; v++) pack.value[v] = __uint_as_float(words[v]);
    return pack;
}

template <int V>
__device__ __forceinline__ Pack<V> load(const bf16* source) {
    Pack<V> pack;
    if constexpr (V == 1) {
        pack.value[0] = static_cast<float>(*source);
    } else {
        uint32_t words[V / 2];
        load_words(source, words);
        UNROLL
        for (int v = 0; v < V; v += 2) {
            pack.value[v] = __uint_as_float(words[v / 2] << 16);
            pack.value[v + 1] = __uint_as_float(words[v / 2] & 0xffff0000u);
        }
    }
    return pack;
}

template <int V>
__device__ __forceinline__ void store(float* target, const Pack<V>& pack) {
    uint32_t words[V];
    UNROLL
    for (int v = 0; v < V; v++) words[v] = __float_as_uint(pack.value[v]);
    store_words(target, words);
}

template <int V>
__device__ __forceinline__ void store(bf16* target, const Pack<V>& pack) {
    if constexpr (V == 1) {
        *target = static_cast<bf16>(pack.value[0]);
    } else {
        uint32_t words[V / 2];
        UNROLL
        for (int v = 0; v < V; v += 2) words[v / 2] = bf16_pair(pack.value[v], pack.value[v + 1]);
        store_words(target, words);
    }
}

template <int V>
__device__ __forceinline__ void add_to(Pack<V>& sum, const Pack<V>& pack) {
    UNROLL
    for (int v = 0; v < V; v++) sum.value[v] += pack.value[v];
}

// Stores a gradient, or accumulates it into the target where `add`.
template <class T>
__device__ __forceinline__ void store(T* target, float value, bool add) {
    *target = static_cast<T>(add ? static_cast<float>(*target) + value : value);
}

template <int V, class T>
__device__ __forceinline__ void store(T* target, Pack<V> pack, bool add) {
    if (add) {
        Pack<V> old = load<V>(target);
        UNROLL
        for (int v = 0; v < V; v++) pack.value[v] = old.value[v] + pack.value[v];
    }
    store<V>(target, pack);
}

// ---- reductions ----------------------------------------------------------------------------------------------------

// Operators of a reduction, each with its neutral element.
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

// Ignores NaN.
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

// Reduces over groups of `width` neighbouring lanes, a power of 2; every lane of a group gets the result. All lanes of
// the warp must call it. Butterfly order: the same for every launch.
template <class Op, class T>
__device__ __forceinline__ T reduce_lanes(T value, int width = WARP) {
    for (int distance = width / 2; distance > 0; distance /= 2) {
        value = Op::of(value, __shfl_xor_sync(ALL_LANES, value, distance));
    }
    return value;
}

// Reduces over all threads of a block of THREADS, a multiple of 32, at most 1024; every thread gets the result. All
// threads must call it. A barrier must separate two calls in the same kernel.
template <class Op, int THREADS, class T>
__device__ __forceinline__ T reduce_block(T value) {
    value = reduce_lanes<Op>(value);
    if (THREADS == WARP) return value;
    SHARED(T, warps, [THREADS / WARP]);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();  // `warps` is written
    // Every warp reduces the warps' values redundantly, in the same order: no third barrier to broadcast the result.
    T partial = threadIdx.x % WARP < THREADS / WARP ? warps[threadIdx.x % WARP] : Op::template neutral<T>();
    return reduce_lanes<Op>(partial);
}

// ---- random numbers ------------------------------------------------------------------------------------------------

// Philox4x32-10 (Salmon et al. 2011): the four words at `counter` under `key`, as src/random.rs draws them.
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

// The random words of `purpose` at `index` of `step`; steps are below 2^48.
__device__ __forceinline__ uint4 philox_at(uint64_t seed, uint32_t purpose, uint64_t step, uint64_t index) {
    uint32_t upper = (static_cast<uint32_t>(step >> 32) & 0xffffu) | purpose << 16;
    uint4 counter = make_uint4(
        static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(step), upper);
    return philox(counter, make_uint2(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)));
}

// The data set's row that becomes row i of the batch: order[cursor + i], or cursor + i without an order. Without a
// cursor the data set is the batch itself.
__device__ __forceinline__ uint32_t selected_row(const int* order, const int* cursor, uint32_t i) {
    uint32_t place = cursor ? static_cast<uint32_t>(*cursor) + i : i;
    return order ? static_cast<uint32_t>(order[place]) : place;
}
