// Kernels with one error each: the simulator's tests expect it to find them all, and to say where.
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

// Leaves the last element as it was.
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

// The whole warp is named, half of it comes.
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

// Wants 1 KiB of dynamic shared memory, whatever the launch gives.
KERNEL(broken_dynamic_shared, 256, float* y) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = static_cast<float>(threadIdx.x);
    __syncthreads();
    y[threadIdx.x] = tile[255 - threadIdx.x];
}

// Reads what another thread's asynchronous copy has not brought yet.
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

// Waits for what no other block will write.
KERNEL(broken_endless, 32, float* flag) {
    while (*static_cast<volatile float*>(flag) != 1.0f) {
    }
}
