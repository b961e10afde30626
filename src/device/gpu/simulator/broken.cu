// Kernels with one error each: the simulator's tests expect it to find each one and its place.
#include "target.cuh"

// Reads x[n].
KERNEL(broken_read_past_end, 256, float* y, const float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] + x[i + 1];
}

// Reads x[-1].
KERNEL(broken_read_before_start, 256, float* y, const float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] + x[i - 1];
}

// <= where < is right.
KERNEL(broken_write_past_end, 256, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i] = 1.0f;
}

// Does not write the last element.
KERNEL(broken_unwritten, 256, float* y, const float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n - 1) y[i] = x[i];
}

// No barrier between write and read.
KERNEL(broken_no_barrier, 256, float* y, const float* x) {
    SHARED(float, tile, [256]);
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// No barrier between the reads of one round and the writes of the next.
KERNEL(broken_no_second_barrier, 256, float* y, const float* x, int rounds) {
    SHARED(float, tile, [256]);
    float sum = 0.0f;
    for (int round = 0; round < rounds; round++) {
        tile[threadIdx.x] = x[threadIdx.x] + static_cast<float>(round);
        __syncthreads();
        sum += tile[(threadIdx.x + 1) % blockDim.x];
    }
    y[threadIdx.x] = sum;
}

// Some threads leave, the others wait for them.
KERNEL(broken_divergent_barrier, 256, float* y, const float* x, int n) {
    SHARED(float, tile, [256]);
    int i = threadIdx.x;
    if (i >= n) return;
    tile[i] = x[i];
    __syncthreads();
    y[i] = tile[0];
}

// The two halves wait at different barriers.
KERNEL(broken_two_barriers, 256, float* y) {
    if (threadIdx.x < 128) {
        __syncthreads();
        y[threadIdx.x] = 1.0f;
    } else {
        y[threadIdx.x] = 2.0f;
        __syncthreads();
    }
}

// The mask names the whole warp, but only half of it arrives.
KERNEL(broken_shuffle, 256, float* y) {
    float value = static_cast<float>(threadIdx.x);
    if (threadIdx.x % 32 < 16) value += __shfl_xor_sync(0xffffffffu, value, 1);
    y[threadIdx.x] = value;
}

// Past the end of an array in shared memory.
KERNEL(broken_shared_index, 64, float* y, int shift) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x + shift];
}

// Uses 1 KiB of dynamic shared memory, even if the launch gives less.
KERNEL(broken_dynamic_shared, 256, float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = static_cast<float>(threadIdx.x);
    __syncthreads();
    y[threadIdx.x] = tile[255 - threadIdx.x];
}

// Reads the target of another thread's asynchronous copy before it has completed.
KERNEL(broken_copy_not_awaited, 32, float* y, const float* x) {
    SHARED(float, tile, [128]);
    copy_async16(&tile[threadIdx.x * 4], &x[threadIdx.x * 4]);
    copy_async_commit();
    __syncthreads();
    for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[127 - (threadIdx.x * 4 + i)];
}

// 16 bytes from an address that is a multiple of 4.
KERNEL(broken_misaligned, 32, float4* y, const float* x) {
    y[threadIdx.x] = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x + 1);
}

// 256 KiB of local variables.
KERNEL(broken_stack, 32, float* y, int shift) {
    volatile float large[65536];
    large[shift + threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = large[shift + threadIdx.x];
}

KERNEL(broken_assertion, 32, float* y, int n) {
    assert(n > 0);
    y[threadIdx.x] = 1.0f;
}

KERNEL(broken_division, 32, int* y, int n) {
    y[threadIdx.x] = 100 / n;
}

// Waits for a value that no other block writes.
KERNEL(broken_endless, 32, float* flag) {
    while (*static_cast<volatile float*>(flag) != 1.0f) {
    }
}

// No barrier of the warp between write and read.
KERNEL(broken_no_warp_barrier, 64, float* y, const float* x) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// A shuffle does not order memory.
KERNEL(broken_shuffle_as_barrier, 64, float* y, const float* x) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
    float other = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
    y[threadIdx.x] = tile[threadIdx.x ^ 1] + other;
}

// A barrier of the warp does not order other warps.
KERNEL(broken_warp_barrier_for_block, 64, float* y, const float* x) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}

// All blocks write the first element.
KERNEL(broken_two_blocks_write, 32, float* y, const float* x) {
    if (threadIdx.x == 0) y[0] = x[blockIdx.x];
}

// A block reads what the block before it writes, without synchronisation.
KERNEL(broken_block_reads_neighbour, 32, float* y, const float* x) {
    unsigned i = blockIdx.x * 32 + threadIdx.x;
    y[i] = x[i];
    __syncthreads();
    if (threadIdx.x == 0 && blockIdx.x > 0) y[i] += y[i - 1];
}

// A block adds to a count without an atomic operation; other blocks add atomically.
KERNEL(broken_half_atomic, 32, int* count, int n) {
    if (blockIdx.x == 0) atomicAdd(&count[0], n);
    if (blockIdx.x == 1 && threadIdx.x == 0) count[0] += n;
}

// Reads its own asynchronous copy before it has waited for it.
KERNEL(broken_own_copy_not_awaited, 32, float* y, const float* x) {
    SHARED(float, tile, [128]);
    copy_async16(&tile[threadIdx.x * 4], &x[threadIdx.x * 4]);
    copy_async_commit();
    for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[threadIdx.x * 4 + i];
    copy_async_wait<0>();
}

// Reads another thread's asynchronous copy. That thread has waited for it, but no barrier follows the wait.
KERNEL(broken_no_barrier_after_copy, 32, float* y, const float* x) {
    SHARED(float, tile, [128]);
    copy_async16(&tile[threadIdx.x * 4], &x[threadIdx.x * 4]);
    copy_async_commit();
    __syncthreads();
    copy_async_wait<0>();
    for (int i = 0; i < 4; i++) y[threadIdx.x * 4 + i] = tile[127 - (threadIdx.x * 4 + i)];
}

// Neighbouring bytes of one word: a race only if two threads share a byte.
KERNEL(broken_bytes, 64, unsigned char* y, int shared_from) {
    int i = static_cast<int>(threadIdx.x);
    y[i < shared_from ? i : shared_from] = static_cast<unsigned char>(i);
}

// Four bytes past the end, beside the guard page.
KERNEL(broken_read_beside_end, 32, float* y, const float* x, int n) {
    if (threadIdx.x == 0) y[0] = x[n];
}

// A correct kernel: barriers of the block, of the warp and of parts of it, awaited copies, atomic sums.
KERNEL(sound_barriers, 64, float* y, const float* x, int* count) {
    SHARED(float, tile, [64]);
    SHARED(float, copied, [64]);
    unsigned i = threadIdx.x, half = i / 16 % 2 ? 0xffff0000u : 0x0000ffffu;
    copy_async4(&copied[i], &x[i]);
    copy_async_commit();
    tile[i] = x[i];
    __syncwarp(half);
    float sum = tile[i ^ 15];
    __syncthreads();
    tile[i] = sum;
    copy_async_wait<0>();
    __syncthreads();
    for (int round = 0; round < 3; round++) {
        sum = tile[63 - i] + copied[63 - i] + tile[0];
        __syncthreads();
        tile[i] = sum;
        __syncthreads();
    }
    atomicAdd(count, 1);
    y[blockIdx.x * 64 + i] = tile[i ^ 1];
}

// Every eighth element of x, and a column of a tile, which lies in one bank.
KERNEL(broken_strides, 32, float* y, const float* x, int stride) {
    SHARED(float, tile, [1024]);
    UNROLL
    for (int row = 0; row < 32; row++) tile[32 * row + threadIdx.x] = static_cast<float>(row);
    __syncthreads();
    float sum = tile[32 * threadIdx.x];
    sum += x[stride * threadIdx.x];
    y[threadIdx.x] = sum;
}

// Reads x[n], and declares that it does.
KERNEL(sound_read_of_gaps, 256, float* y, const float* x, int n) {
    READS_GAPS();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && x[i + 1] == x[i + 1]) y[i] = x[i];
}

// Declares shared memory beside the launch's dynamic shared memory.
KERNEL(declares_shared, 256, float* y) {
    SHARED(float, tile, [128]);
    DYNAMIC_SHARED(float, more);
    tile[threadIdx.x] = more[threadIdx.x] = 1.0f;
    y[threadIdx.x] = tile[threadIdx.x] + more[threadIdx.x];
}

// Adds the numbers and ranks of a cluster's blocks. Block `leaver` leaves before; `reads_back`: what shared memory held before the
// barrier is read after it.
KERNEL(broken_cluster, 256, float* y, int leaver, int reads_back) {
    SHARED(double2, slots, [8]);
    SHARED(float, before, [256]);
    int block = blockIdx.x + blockIdx.y * gridDim.x;
    if (block == leaver) return;
    before[threadIdx.x] = 1.0f;
    double2 sum = make_double2(block, cluster_rank());
    cluster_sum(sum, threadIdx.x < 8 ? slots + threadIdx.x : nullptr);
    float value = static_cast<float>(sum.x + 100.0 * sum.y);
    y[block * blockDim.x + threadIdx.x] = reads_back ? before[threadIdx.x] : value;
}
