// The meaning of CUDA C++ when the host's C++ compiler reads a kernel. A block runs on one thread of the operating
// system. Its CUDA threads run one after another; the scheduler (worker.rs) parks a thread that has to wait.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
// Register blocks become vectors only if their loops are unrolled; GCC does not know nvcc's pragma.
#define UNROLL _Pragma("GCC unroll 32")

// ---- vector types --------------------------------------------------------------------------------------------------

#define SIMULATOR_VECTORS(type, two, three, four)                       \
    struct alignas(2 * sizeof(type)) two {                              \
        type x, y;                                                      \
    };                                                                  \
    struct three {                                                      \
        type x, y, z;                                                   \
    };                                                                  \
    struct alignas(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) four { \
        type x, y, z, w;                                                \
    };                                                                  \
    inline two make_##two(type x, type y) {                             \
        return {x, y};                                                  \
    }                                                                   \
    inline four make_##four(type x, type y, type z, type w) {           \
        return {x, y, z, w};                                            \
    }

SIMULATOR_VECTORS(float, float2, float3, float4)
SIMULATOR_VECTORS(double, double2, double3, double4)
SIMULATOR_VECTORS(int, int2, int3, int4)
SIMULATOR_VECTORS(unsigned, uint2, uint3, uint4)
SIMULATOR_VECTORS(unsigned char, uchar2, uchar3, uchar4)
typedef uint3 dim3;

// ---- types shared with Rust: abi.rs mirrors these ------------------------------------------------------------------

// A place in the source that calls into the scheduler.
struct simulator_site {
    const char* what;
    const char* file;
    int line;
};

// An array in shared memory; `number` is assigned on its first use, and 0 before.
struct simulator_array {
    const char* name;
    size_t bytes;
    uint32_t number;
};

// The state of the block that a thread of the operating system runs.
struct simulator_context {
    uint3 thread, block;
    dim3 block_size, grid_size;
    uint32_t current, next, total;  // number of the running thread, place of the next to start, threads in the block
    const uint3* threads;           // threadIdx by number
    const uint32_t* order;          // in which order threads start
    uint32_t tells_copies;          // whether copy_async's copies go to the scheduler, or are done at once
    uint32_t is_checked;            // whether accesses of an instrumented kernel are checked
    uint32_t reads_gaps;            // whether the kernel declares that it reads gaps
    uint32_t cluster, cluster_rank; // blocks of a cluster, and the running block's place among them
    void* dynamic_shared;
    void* worker;
    uintptr_t stack_end;            // the address behind the running thread's stack
};

struct simulator_kernel {
    const char* name;
    const char* parameters;
    const char* file;
    uint32_t line;
    uint32_t max_threads;
    void (*run)(void** arguments, simulator_context*);
    const uint32_t* kinds;  // of the parameters: class << 16 | size
    uint32_t count;
    const simulator_kernel* next;
};

typedef void (*simulator_collective)(void** records, uint32_t lanes);

extern "C" {
extern __thread simulator_context simulator_current;
int simulator_register(simulator_kernel*);
void simulator_block_sync(simulator_context*, const simulator_site*, void* record, simulator_collective);
void simulator_warp_sync(simulator_context*, const simulator_site*, uint32_t mask, void* record, simulator_collective);
void simulator_cluster_sync(simulator_context*, const simulator_site*, void* record, simulator_collective);
void* simulator_shared(simulator_context*, simulator_array*);
void simulator_copy(simulator_context*, const simulator_site*, void* target, const void* source, uint32_t bytes);
void simulator_read(simulator_context*, const simulator_site*, const void* address, uint32_t bytes);
void simulator_copy_commit(simulator_context*);
void simulator_copy_wait(simulator_context*, uint32_t groups);
[[noreturn]] void simulator_trap(simulator_context*, const simulator_site*);
}

#define SIMULATOR_SITE(what)                                                  \
    ([]() -> const simulator_site* {                                          \
        static constexpr simulator_site site = {what, __FILE__, __LINE__};    \
        return &site;                                                         \
    }())

#define threadIdx simulator_current.thread
#define blockIdx simulator_current.block
#define blockDim simulator_current.block_size
#define gridDim simulator_current.grid_size

#undef assert
#define assert(condition) \
    ((condition) ? (void)0 : simulator_trap(&simulator_current, SIMULATOR_SITE("assert(" #condition ")")))
#define __trap() simulator_trap(&simulator_current, SIMULATOR_SITE("__trap()"))

// An array at the same address for every thread of the block.
#define SHARED(type, name, extents)                                                                         \
    typedef type name##_array extents;                                                                      \
    static simulator_array name##_record = {#name, sizeof(name##_array), 0};                                \
    name##_array& name = *static_cast<name##_array*>(simulator_shared(&simulator_current, &name##_record))
#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(simulator_current.dynamic_shared)

#define READS_GAPS() (simulator_current.reads_gaps = 1)

// ---- kernels -------------------------------------------------------------------------------------------------------

namespace simulator {

template <class A>
constexpr uint32_t kind() {
    constexpr uint32_t type = std::is_pointer_v<A>          ? 1
                              : std::is_floating_point_v<A> ? 2
                              : std::is_integral_v<A>       ? (std::is_signed_v<A> ? 3 : 4)
                                                            : 5;
    return type << 16 | sizeof(A);
}

template <auto K>
struct Entry;

template <class... A, void (*K)(A...)>
struct Entry<K> {
    static constexpr uint32_t kinds[sizeof...(A) + 1] = {kind<std::remove_cv_t<A>>()..., 0};
    static constexpr uint32_t count = sizeof...(A);

    // Runs the block's threads one after another until one has to wait. That thread keeps the stack; the loop continues
    // on the stack that the scheduler calls this on next.
    static void run(void** arguments, simulator_context* context) {
        run_threads(arguments, context, std::index_sequence_for<A...>{});
    }

    template <size_t... I>
    static void run_threads(void** arguments, simulator_context* context, std::index_sequence<I...>) {
        while (context->next < context->total) {
            context->current = context->order[context->next++];
            context->thread = context->threads[context->current];
            K(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
        }
    }
};

}  // namespace simulator

#define KERNEL(name, max_threads, ...)                                                                               \
    static void name(__VA_ARGS__);                                                                                   \
    static simulator_kernel simulator_kernel_##name = {                                                              \
        #name,                                                                                                       \
        #__VA_ARGS__,                                                                                                \
        __FILE__,                                                                                                    \
        __LINE__,                                                                                                    \
        max_threads,                                                                                                 \
        &simulator::Entry<&name>::run,                                                                               \
        simulator::Entry<&name>::kinds,                                                                              \
        simulator::Entry<&name>::count,                                                                              \
        nullptr};                                                                                                    \
    __attribute__((used)) static const int simulator_registered_##name = simulator_register(&simulator_kernel_##name); \
    static void name(__VA_ARGS__)

// ---- barriers and warp collectives, all by two calls into the scheduler --------------------------------------------

// Values in registers must be written to memory before another thread may run.
#define SIMULATOR_FENCE() asm volatile("" ::: "memory")

namespace simulator {

__forceinline__ void block_sync(const simulator_site* site, void* record = nullptr, simulator_collective f = nullptr) {
    SIMULATOR_FENCE();
    simulator_block_sync(&simulator_current, site, record, f);
    SIMULATOR_FENCE();
}

__forceinline__ void warp_sync(
    const simulator_site* site, uint32_t mask = ~0u, void* record = nullptr, simulator_collective f = nullptr) {
    SIMULATOR_FENCE();
    simulator_warp_sync(&simulator_current, site, mask, record, f);
    SIMULATOR_FENCE();
}

struct Vote {
    int predicate;
    uint32_t result;
};

inline void count_votes(void** records, uint32_t threads) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < threads; i++) count += static_cast<Vote*>(records[i])->predicate != 0;
    for (uint32_t i = 0; i < threads; i++) static_cast<Vote*>(records[i])->result = count;
}

inline int block_count(const simulator_site* site, int predicate) {
    Vote vote{predicate, 0};
    block_sync(site, &vote, count_votes);
    return static_cast<int>(vote.result);
}

// Records of lanes outside the mask are null.
template <class T>
struct Shuffle {
    T value, result;
    int source;
};

template <class T>
void exchange(void** records, uint32_t mask) {
    for (int lane = 0; lane < 32; lane++) {
        if (!(mask >> lane & 1)) continue;
        auto* own = static_cast<Shuffle<T>*>(records[lane]);
        auto* source = static_cast<Shuffle<T>*>(records[own->source & 31]);
        own->result = source ? source->value : own->value;
    }
}

template <class T>
__forceinline__ T shuffle_from(const simulator_site* site, uint32_t mask, T value, int source) {
    Shuffle<T> record{value, value, source};
    warp_sync(site, mask, &record, exchange<T>);
    return record.result;
}

inline int lane() {
    return static_cast<int>(simulator_current.current & 31);
}

template <class T>
inline T shuffle(const simulator_site* site, uint32_t mask, T value, int source, int width = 32) {
    return shuffle_from(site, mask, value, (lane() & ~(width - 1)) | (source & (width - 1)));
}

template <class T>
inline T shuffle_xor(const simulator_site* site, uint32_t mask, T value, int bits, int width = 32) {
    int own = lane(), source = own ^ bits;
    return shuffle_from(site, mask, value, source > (own | (width - 1)) ? own : source);
}

template <class T>
inline T shuffle_down(const simulator_site* site, uint32_t mask, T value, int distance, int width = 32) {
    int own = lane(), source = own + distance;
    return shuffle_from(site, mask, value, source > (own | (width - 1)) ? own : source);
}

template <class T>
inline T shuffle_up(const simulator_site* site, uint32_t mask, T value, int distance, int width = 32) {
    int own = lane(), source = own - distance;
    return shuffle_from(site, mask, value, source < (own & ~(width - 1)) ? own : source);
}

inline void cast_ballot(void** records, uint32_t mask) {
    uint32_t ballot = 0;
    for (int lane = 0; lane < 32; lane++) {
        if (mask >> lane & 1) ballot |= static_cast<uint32_t>(static_cast<Vote*>(records[lane])->predicate != 0) << lane;
    }
    for (int lane = 0; lane < 32; lane++) {
        if (mask >> lane & 1) static_cast<Vote*>(records[lane])->result = ballot;
    }
}

// Records of threads with the same number in all blocks of a cluster, by rank.
inline void add_values(void** records, uint32_t blocks) {
    double2 sum = *static_cast<double2*>(records[0]);
    for (uint32_t rank = 1; rank < blocks; rank++) {
        auto* other = static_cast<double2*>(records[rank]);
        sum.x += other->x, sum.y += other->y;
    }
    for (uint32_t rank = 0; rank < blocks; rank++) *static_cast<double2*>(records[rank]) = sum;
}

inline void cluster_sum(const simulator_site* site, double2& value, double2* slot) {
    if (simulator_current.cluster == 1) return;
    if (slot) *slot = value;
    double2 record = value;
    SIMULATOR_FENCE();
    simulator_cluster_sync(&simulator_current, site, &record, add_values);
    SIMULATOR_FENCE();
    if (slot) value = record;
}

inline uint32_t ballot(const simulator_site* site, uint32_t mask, int predicate) {
    Vote vote{predicate, 0};
    warp_sync(site, mask, &vote, cast_ballot);
    return vote.result;
}

}  // namespace simulator

#define __syncthreads() simulator::block_sync(SIMULATOR_SITE("__syncthreads"))
#define __syncthreads_count(p) simulator::block_count(SIMULATOR_SITE("__syncthreads_count"), p)
#define __syncthreads_or(p) (simulator::block_count(SIMULATOR_SITE("__syncthreads_or"), p) != 0)
#define __syncwarp(...) simulator::warp_sync(SIMULATOR_SITE("__syncwarp") __VA_OPT__(, ) __VA_ARGS__)
#define cluster_sum(value, slot) simulator::cluster_sum(SIMULATOR_SITE("cluster_sum"), value, slot)
#define cluster_size() simulator_current.cluster
#define cluster_rank() simulator_current.cluster_rank
#define __shfl_sync(...) simulator::shuffle(SIMULATOR_SITE("__shfl_sync"), __VA_ARGS__)
#define __shfl_xor_sync(...) simulator::shuffle_xor(SIMULATOR_SITE("__shfl_xor_sync"), __VA_ARGS__)
#define __shfl_down_sync(...) simulator::shuffle_down(SIMULATOR_SITE("__shfl_down_sync"), __VA_ARGS__)
#define __shfl_up_sync(...) simulator::shuffle_up(SIMULATOR_SITE("__shfl_up_sync"), __VA_ARGS__)
#define __ballot_sync(mask, p) simulator::ballot(SIMULATOR_SITE("__ballot_sync"), mask, p)
#define __any_sync(mask, p) (simulator::ballot(SIMULATOR_SITE("__any_sync"), mask, p) != 0)
#define __all_sync(mask, p) (simulator::ballot(SIMULATOR_SITE("__all_sync"), mask, !(p)) == 0)

// ---- scalars -------------------------------------------------------------------------------------------------------

template <class T>
inline T __ldg(const T* p) {
    return *p;
}
template <class T>
inline T __ldcs(const T* p) {
    return *p;
}
template <class T>
inline void __stcs(T* p, T value) {
    *p = value;
}
inline float __int_as_float(int bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline int __float_as_int(float value) {
    int bits;
    memcpy(&bits, &value, 4);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    return __int_as_float(static_cast<int>(bits));
}
inline unsigned __float_as_uint(float value) {
    return static_cast<unsigned>(__float_as_int(value));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __clz(int x) {
    return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
template <class A, class B>
inline auto min(A a, B b) -> std::common_type_t<A, B> {
    typedef std::common_type_t<A, B> C;
    return static_cast<C>(b) < static_cast<C>(a) ? static_cast<C>(b) : static_cast<C>(a);
}
template <class A, class B>
inline auto max(A a, B b) -> std::common_type_t<A, B> {
    typedef std::common_type_t<A, B> C;
    return static_cast<C>(a) < static_cast<C>(b) ? static_cast<C>(b) : static_cast<C>(a);
}

#include "gpu_arithmetic.h"

// ---- integer atomics, exact in any order; there are none on floats -------------------------------------------------

inline int atomicAdd(int* p, int value) {
    return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
inline unsigned atomicAdd(unsigned* p, unsigned value) {
    return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long value) {
    return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}

// ---- bf16 ----------------------------------------------------------------------------------------------------------

struct bf16 {
    uint16_t bits;
    bf16() = default;
    inline bf16(float value) {
        uint32_t u = __float_as_uint(value);
        bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
        bits = is_nan ? 0x7fff : static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
    }
    inline operator float() const {
        return __uint_as_float(static_cast<uint32_t>(bits) << 16);
    }
};
inline float __bfloat162float(bf16 value) {
    return value;
}
inline bf16 __float2bfloat16(float value) {
    return bf16(value);
}
inline uint32_t bf16_pair(float first, float second) {
    return bf16(first).bits | static_cast<uint32_t>(bf16(second).bits) << 16;
}

// ---- asynchronous copies, matrix loads, tensor cores ---------------------------------------------------------------

namespace simulator {

template <uint32_t BYTES>
inline void copy_async(const simulator_site* site, void* shared, const void* global, bool is_inside = true) {
    uintptr_t addresses = reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global);
    if (addresses % BYTES || (is_inside && !global)) simulator_trap(&simulator_current, site);
    // The scheduler takes null for zeros.
    if (!is_inside) global = nullptr;
    if (simulator_current.tells_copies) {
        simulator_copy(&simulator_current, site, shared, global, BYTES);
    } else if (global) {
        memcpy(shared, global, BYTES);
    } else {
        memset(shared, 0, BYTES);
    }
}

struct MatrixLoad {
    const char* row;
    uint32_t* registers;
};

// PTX ISA, ldmatrix: the rows of matrix j are given by lanes 8 j to 8 j + 7; lane l receives elements 2 (l % 4) and
// 2 (l % 4) + 1 of row l / 4.
inline void load_matrices(void** records, uint32_t) {
    for (int matrix = 0; matrix < 4; matrix++) {
        for (int lane = 0; lane < 32; lane++) {
            const char* row = static_cast<MatrixLoad*>(records[8 * matrix + lane / 4])->row;
            memcpy(&static_cast<MatrixLoad*>(records[lane])->registers[matrix], row + 4 * (lane % 4), 4);
        }
    }
}

// With .trans: lane l receives elements l / 4 of rows 2 (l % 4) and 2 (l % 4) + 1.
inline void load_transposed_matrices(void** records, uint32_t) {
    for (int matrix = 0; matrix < 4; matrix++) {
        for (int lane = 0; lane < 32; lane++) {
            char* two = reinterpret_cast<char*>(&static_cast<MatrixLoad*>(records[lane])->registers[matrix]);
            for (int i = 0; i < 2; i++) {
                const char* row = static_cast<MatrixLoad*>(records[8 * matrix + 2 * (lane % 4) + i])->row;
                memcpy(two + 2 * i, row + 2 * (lane / 4), 2);
            }
        }
    }
}

inline void load_matrix(
    const simulator_site* site, simulator_collective load, uint32_t (&registers)[4], const void* shared) {
    if (reinterpret_cast<uintptr_t>(shared) & 15) simulator_trap(&simulator_current, site);
    if (simulator_current.is_checked) simulator_read(&simulator_current, site, shared, 16);
    MatrixLoad record{static_cast<const char*>(shared), registers};
    warp_sync(site, ~0u, &record, load);
}

struct Fragments {
    float* d;
    const uint32_t *a, *b;
};

void multiply_bf16(void** records, uint32_t);
void multiply_tf32(void** records, uint32_t);

inline void mma(
    const simulator_site* site, simulator_collective multiply, float (&d)[4], const uint32_t (&a)[4],
    const uint32_t (&b)[2]) {
    Fragments record{d, a, b};
    warp_sync(site, ~0u, &record, multiply);
}

}  // namespace simulator

#define copy_async16(shared, global) \
    simulator::copy_async<16>(SIMULATOR_SITE("copy_async16: an address is null or not a multiple of 16"), shared, global)
#define copy_async16_or_zeros(shared, global, is_inside)                                                       \
    simulator::copy_async<16>(                                                                        \
        SIMULATOR_SITE("copy_async16_or_zeros: an address is null or not a multiple of 16"), shared, global, is_inside)
#define copy_async4(shared, global) \
    simulator::copy_async<4>(SIMULATOR_SITE("copy_async4: an address is null or not a multiple of 4"), shared, global)
inline void copy_async_commit() {
    if (simulator_current.tells_copies) simulator_copy_commit(&simulator_current);
}
template <int N>
inline void copy_async_wait() {
    SIMULATOR_FENCE();
    if (simulator_current.tells_copies) simulator_copy_wait(&simulator_current, N);
    SIMULATOR_FENCE();
}
#define load_matrix_x4(registers, shared) \
    simulator::load_matrix(SIMULATOR_SITE("load_matrix_x4"), simulator::load_matrices, registers, shared)
#define load_matrix_transposed_x4(registers, shared)                                                       \
    simulator::load_matrix(                                                                                \
        SIMULATOR_SITE("load_matrix_transposed_x4"), simulator::load_transposed_matrices, registers, shared)
#define mma_bf16(d, a, b) simulator::mma(SIMULATOR_SITE("mma_bf16"), simulator::multiply_bf16, d, a, b)
#define mma_tf32(d, a, b) simulator::mma(SIMULATOR_SITE("mma_tf32"), simulator::multiply_tf32, d, a, b)

inline float exp2_approximate(float x) {
    float power = exp2f(x);
    return power < 1.17549435e-38f ? 0.0f : power;
}

// Rounds to nearest, ties away from zero, as cvt.rna does.
inline uint32_t round_to_tf32(float x) {
    uint32_t bits = __float_as_uint(x);
    bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
    return is_finite ? (bits + 0x1000u) & 0xffffe000u : bits;
}
