// The factor that clips a gradient's norm to a limit. The launches are in src/ops/update/clip.rs.
//
//   factor = min(1, limit / (norm + 1e-6)), norm = sqrt(sum of the squares of the finite elements)     (as PyTorch)
//
//   gradients   [count], any contiguous range
//   partial     [parts], f64
//   factor      [1], f64
//
// Bytes per element: 4, read once. 2 operations in f64, which data-centre GPUs run at half the f32 rate: the squares of
// 20 million elements take a fifth of the time of their bytes. In f64 the norm stays finite for gradients up to 1e19
// and beyond, and rounding in the sum is below the resolution of an f32 weight; the order is fixed all the same. Two
// launches: a block of 256 threads for each part of 4096 elements (larger parts, if there would be more than 1024),
// then one block that sums the parts. Loads are 16 bytes where aligned, else single elements.
//
// No buffer overlaps another.
#include "common.cuh"

static const int CLIP_THREADS = 256;

__device__ __forceinline__ double clip_square(float value) {
    double wide = value;
    return fabsf(value) < INFINITY ? wide * wide : 0.0;
}

// Block p sums elements p * part to (p + 1) * part; part is a multiple of 4.
KERNEL(clip_squares_f32, 256, const float* gradients, double* partial, uint64_t count, uint64_t part) {
    READS_GAPS();  // gaps hold zeros or NaN; neither adds to the sum
    uint64_t start = blockIdx.x * part;
    uint64_t length = count - start < part ? count - start : part;
    gradients += start;
    double sum = 0.0;
    uint64_t vectors = is_aligned16(gradients) ? length / 4 : 0;
    for (uint64_t vector = threadIdx.x; vector < vectors; vector += CLIP_THREADS) {
        float4 value = reinterpret_cast<const float4*>(gradients)[vector];
        sum += (clip_square(value.x) + clip_square(value.y)) + (clip_square(value.z) + clip_square(value.w));
    }
    for (uint64_t at = 4 * vectors + threadIdx.x; at < length; at += CLIP_THREADS) sum += clip_square(gradients[at]);
    sum = reduce_block<Sum, CLIP_THREADS>(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

KERNEL(clip_factor, 256, const double* partial, double* factor, double limit, uint32_t parts) {
    double sum = 0.0;
    for (uint32_t part = threadIdx.x; part < parts; part += CLIP_THREADS) sum += partial[part];
    sum = reduce_block<Sum, CLIP_THREADS>(sum);
    if (threadIdx.x == 0) factor[0] = fmin(1.0, limit / (sqrt(sum) + 1e-6));
}
