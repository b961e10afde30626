// Catch-up: classifiers with a small posterior take the posterior-weighted mean of all classifiers' weights. The launch
// is in src/ops/update/catch_up.rs.
//
//   mean_e = sum_j a_j w_je / sum_j a_j     over the classifiers j whose w_je is finite
//   w_je  <- mean_e                         where log a_j < threshold and the mean is finite
//
//   parameters    [N, length]
//   log_posterior [N], f64
//
// Bytes per element: 4 N read, 4 written for each classifier below the threshold; 4 N operations in f64, as on the CPU.
// Usually no classifier is below it, and then the kernel reads only the N log-posteriors. The test is on the device so
// that the host need not wait for the posterior. A thread holds four consecutive elements of all classifiers, loaded as
// 16 bytes, where the length is a multiple of 4, else one; blocks of 256. All classifiers are read before the first is
// written, by the same thread. The only barrier is that for the shares, which the whole block uses.
//
// No buffer may overlap another.
#include "common.cuh"

struct CatchUpSizes {
    uint64_t length;
    double threshold;
    uint32_t classifiers;
    uint32_t is_vector;  // whether length and address are multiples of 4 elements
};

template <int V>
struct CatchUpVector {
    alignas(4 * V) float x[V];

    __device__ explicit CatchUpVector(const float* from) {
        if (V == 4) {
            *reinterpret_cast<float4*>(x) = *reinterpret_cast<const float4*>(from);
        } else {
            x[0] = *from;
        }
    }

    __device__ void store(float* to) const {
        if (V == 4) {
            *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(x);
        } else {
            *to = x[0];
        }
    }
};

template <int V>
__device__ void catch_up_elements(
    float* parameters, const double* log_posterior, const double* shares, const CatchUpSizes& sizes) {
    uint64_t element = V * global_thread();
    if (element >= sizes.length) return;
    double sums[V] = {}, totals[V] = {};
    for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
        CatchUpVector<V> own(parameters + classifier * sizes.length + element);
        UNROLL
        for (int i = 0; i < V; i++) {
            bool is_finite = fabsf(own.x[i]) < INFINITY;
            sums[i] += is_finite ? shares[classifier] * own.x[i] : 0.0;
            totals[i] += is_finite ? shares[classifier] : 0.0;
        }
    }
    for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
        if (!(log_posterior[classifier] < sizes.threshold)) continue;
        CatchUpVector<V> own(parameters + classifier * sizes.length + element);
        UNROLL
        for (int i = 0; i < V; i++) {
            double mean = sums[i] / totals[i];
            if (fabs(mean) < INFINITY) own.x[i] = static_cast<float>(mean);
        }
        own.store(parameters + classifier * sizes.length + element);
    }
}

KERNEL(catch_up_f32, 256, float* parameters, const double* log_posterior, CatchUpSizes sizes) {
    DYNAMIC_SHARED(double, shares);
    bool is_behind = false;
    for (uint32_t classifier = threadIdx.x; classifier < sizes.classifiers; classifier += blockDim.x) {
        shares[classifier] = exp(log_posterior[classifier]);
        is_behind |= log_posterior[classifier] < sizes.threshold;
    }
    // Barrier: the shares are written. All threads continue or none does.
    if (!__syncthreads_or(is_behind)) return;
    if (sizes.is_vector != 0) {
        catch_up_elements<4>(parameters, log_posterior, shares, sizes);
    } else {
        catch_up_elements<1>(parameters, log_posterior, shares, sizes);
    }
}
