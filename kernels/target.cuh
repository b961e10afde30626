// What a kernel may use beyond plain CUDA C++. Only this file knows which compiler reads the kernels: nvcc, or for the
// simulator the host's C++ compiler.
//
//   KERNEL(name, max_threads, parameters...)   an entry point, found by its name from Rust
//   KERNEL_RESIDENT(name, max_threads, blocks, parameters...)   the same, with its registers limited so that at least
//                                              `blocks` thread blocks fit on an SM
//   SHARED(type, name, [extents])              an array in shared memory
//   DYNAMIC_SHARED(type, name)                 dynamic shared memory, sized by the launch, 128-byte aligned
//   UNROLL                                     before a loop with constant bounds: unroll it
//   ROLLED                                     before a loop: do not unroll it
//   copy_async16(shared, global)               16 bytes to shared memory without passing through registers (cp.async.cg)
//   copy_async16_or_zeros(shared, global, is_inside)   as copy_async16; where `is_inside` is false, writes zeros and reads
//                                              nothing
//   copy_async4(shared, global)                as copy_async16 for 4 bytes, where 16-byte alignment is missing (cp.async.ca)
//   copy_async_commit()                        closes a group of such copies
//   copy_async_wait<N>()                       waits until at most the last N groups are in flight; a barrier must follow
//   load_matrix_x4(registers, shared)          four 8x8 matrices of 16-bit elements (ldmatrix)
//   load_matrix_transposed_x4(registers, shared)   the same, each transposed (ldmatrix.trans)
//   mma_bf16(d, a, b), mma_tf32(d, a, b)       d += a b on a warp's fragments: m16n8k16 and m16n8k8 (mma.sync)
//   READS_GAPS()                               this kernel reads the gaps between the parameters of a flat buffer and
//                                              ignores the values: tells the simulator to allow it
//   round_to_tf32(x)                           rounds to the nearest tf32 number (10 bits of fraction)
//   exp2_approximate(x)                        2^x with a relative error of 2^-22; 0 in place of a subnormal (ex2.approx.ftz)
//   bf16_pair(first, second)                   rounds two numbers to bf16 and packs them, the first in the low half
//   cluster_size(), cluster_rank()             the number of thread blocks in this block's cluster, and its place among them; 1 and 0
//                                              for a launch without clusters and on GPUs before sm_90
//   cluster_sum(value, slot)                   adds a double2 over the blocks of the cluster, by rank: every thread of every block must
//                                              call it. `slot`, in shared memory, is at the same place in each block, and the thread's
//                                              own; null for a thread without a value
#pragma once

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <stdint.h>

#define KERNEL(name, max_threads, ...) extern "C" __global__ void __launch_bounds__(max_threads) name(__VA_ARGS__)
#define KERNEL_RESIDENT(name, max_threads, blocks, ...) \
    extern "C" __global__ void __launch_bounds__(max_threads, blocks) name(__VA_ARGS__)
#define SHARED(type, name, extents) __shared__ __align__(16) type name extents
#define DYNAMIC_SHARED(type, name)                                          \
    extern __shared__ __align__(128) unsigned char dynamic_shared_memory[]; \
    type* name = reinterpret_cast<type*>(dynamic_shared_memory)
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#define READS_GAPS() ((void)0)

typedef __nv_bfloat16 bf16;

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void copy_async16(void* shared, const void* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

__device__ __forceinline__ void copy_async16_or_zeros(void* shared, const void* global, bool is_inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(is_inside ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void copy_async4(void* shared, const void* global) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}

__device__ __forceinline__ void copy_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], const void* shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}

__device__ __forceinline__ void load_matrix_transposed_x4(uint32_t (&r)[4], const void* shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}

__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ uint32_t round_to_tf32(float x) {
    uint32_t rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
}

__device__ __forceinline__ float exp2_approximate(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

__device__ __forceinline__ uint32_t bf16_pair(float first, float second) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

#if __CUDA_ARCH__ >= 900

__device__ __forceinline__ uint32_t cluster_size() {
    uint32_t size;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
    return size;
}

__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ __forceinline__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}

__device__ __forceinline__ double2 load_of_block(const double2* slot, uint32_t rank) {
    double2 value;
    uint32_t address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(slot)), "r"(rank));
    asm volatile("ld.shared::cluster.v2.f64 {%0, %1}, [%2];" : "=d"(value.x), "=d"(value.y) : "r"(address) : "memory");
    return value;
}

__device__ __forceinline__ void cluster_sum(double2& value, double2* slot) {
    uint32_t size = cluster_size();
    if (size == 1) return;
    if (slot != nullptr) *slot = value;
    cluster_barrier();  // the slots of all blocks are written
    if (slot != nullptr) {
        value = load_of_block(slot, 0);
        for (uint32_t rank = 1; rank < size; rank++) {
            double2 other = load_of_block(slot, rank);
            value.x += other.x, value.y += other.y;
        }
    }
    cluster_barrier();  // no block ends before the others have read its slots
}

#else

__device__ __forceinline__ uint32_t cluster_size() {
    return 1;
}

__device__ __forceinline__ uint32_t cluster_rank() {
    return 0;
}

__device__ __forceinline__ void cluster_sum(double2&, double2*) {}

#endif

#else

#include "cuda_on_host.h"

#define KERNEL_RESIDENT(name, max_threads, blocks, ...) KERNEL(name, max_threads, __VA_ARGS__)
#define ROLLED

#endif
