// The mean negative log-likelihood of labels under a softmax. The launches are in src/ops/head/cross_entropy.rs.
//
//   rows   m_i = max_k x_ik, s_i = log sum_k e^(x_ik - m_i), loss_i = s_i - (x_i(y_i) - m_i)
//   mean   loss = sum_i loss_i / B
//   bwd    dx_ik = (e^(x_ik - m_i - s_i) - [k = y_i]) dy / B, or dx_ik += where `add`
//
//   x             [B, K] with any pitch, f32 or bf16
//   labels        [B], 0..K; a label outside traps
//   normalisers   [B, 2]: m and s separately, since rounding their sum would swamp a small loss
//   losses        [B]
//   loss, dy      [1]
//   dx            [B, K] with any pitch, as x
//
// Bytes per element in f32: forward 8, since rows are read twice, the second time from the cache; backward 8 (12 with
// `add`). About 20 operations each, for the exponential. Memory-bound. Forward: up to 32 threads per row and at least 8
// rows per block of 256, along one axis. Batches are small and rows short, so one block per row would leave most
// threads idle, and a reduction among lanes needs no barrier. Then one block computes the mean in a fixed order.
// Backward: the same threads per row. Loads are 4 bytes and coalesced; rows of ten classes are only 4-byte aligned.
//
// dx overlaps no other buffer, nor do the others overlap each other.
#include "common.cuh"

struct CrossEntropyShape {
    uint64_t pitch, gradient_pitch;
    uint32_t batch, classes;
    uint32_t lanes;  // threads that share a row: a power of 2, at most 32
    uint32_t add;
};

static const int CROSS_ENTROPY_THREADS = 256;

// The row of this thread.
__device__ __forceinline__ uint32_t cross_entropy_row(const CrossEntropyShape& shape) {
    return blockIdx.x * (CROSS_ENTROPY_THREADS / shape.lanes) + threadIdx.x / shape.lanes;
}

template <class T>
__device__ __forceinline__ void cross_entropy_rows(
    const T* x, const int* labels, float* normalisers, float* losses, const CrossEntropyShape& shape) {
    uint32_t row = cross_entropy_row(shape), lane = threadIdx.x % shape.lanes;
    bool inside = row < shape.batch;
    const T* own = x + (inside ? row * shape.pitch : 0);
    uint32_t classes = inside ? shape.classes : 0;
    float largest = -INFINITY;
    for (uint32_t k = lane; k < classes; k += shape.lanes) {
        largest = Largest::of(largest, static_cast<float>(own[k]));
    }
    largest = reduce_lanes<Largest>(largest, static_cast<int>(shape.lanes));
    float sum = 0.0f;
    for (uint32_t k = lane; k < classes; k += shape.lanes) {
        sum += expf(static_cast<float>(own[k]) - largest);
    }
    sum = reduce_lanes<Sum>(sum, static_cast<int>(shape.lanes));
    if (!inside || lane != 0) return;
    float log_sum = logf(sum);
    uint32_t label = static_cast<uint32_t>(labels[row]);
    if (label >= shape.classes) __trap();
    normalisers[2 * row] = largest;
    normalisers[2 * row + 1] = log_sum;
    losses[row] = log_sum - (static_cast<float>(own[label]) - largest);
}

KERNEL(cross_entropy_mean_f32, 256, const float* losses, float* loss, uint32_t batch) {
    float sum = 0.0f;
    for (uint32_t row = threadIdx.x; row < batch; row += CROSS_ENTROPY_THREADS) sum += losses[row];
    sum = reduce_block<Sum, CROSS_ENTROPY_THREADS>(sum);
    if (threadIdx.x == 0) *loss = sum / static_cast<float>(batch);
}

template <class T>
__device__ __forceinline__ void cross_entropy_backward(
    const T* x, const int* labels, const float* normalisers, const float* dy, T* dx, const CrossEntropyShape& shape) {
    uint32_t row = cross_entropy_row(shape), lane = threadIdx.x % shape.lanes;
    if (row >= shape.batch) return;
    float scale = *dy / static_cast<float>(shape.batch);
    float largest = normalisers[2 * row], log_sum = normalisers[2 * row + 1];
    uint32_t label = static_cast<uint32_t>(labels[row]);
    x += row * shape.pitch;
    dx += row * shape.gradient_pitch;
    for (uint32_t k = lane; k < shape.classes; k += shape.lanes) {
        float gradient = expf(static_cast<float>(x[k]) - largest - log_sum) * scale;
        store(dx + k, k == label ? gradient - scale : gradient, shape.add != 0);
    }
}

#define CROSS_ENTROPY(T, type)                                                                                         \
    KERNEL(cross_entropy_rows_##type, 256, const T* x, const int* labels, float* normalisers, float* losses,           \
           CrossEntropyShape shape) {                                                                                  \
        cross_entropy_rows(x, labels, normalisers, losses, shape);                                                     \
    }                                                                                                                  \
    KERNEL(cross_entropy_bwd_##type, 256, const T* x, const int* labels, const float* normalisers, const float* dy,    \
           T* dx, CrossEntropyShape shape) {                                                                           \
        cross_entropy_backward(x, labels, normalisers, dy, dx, shape);                                                 \
    }

CROSS_ENTROPY(float, f32)
CROSS_ENTROPY(bf16, bf16)
