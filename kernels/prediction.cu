// Predictions of the mixture of N classifiers. The launches are in src/ops/head/classifiers/launch.rs.
//
//   log_probabilities   out_ik = log sum_j a_j softmax(x_ij)_k
//   mean                out_ik = sum_j f_j x_ijk / sum_j f_j
//
// with x the product plus the bias. Left out: in log_probabilities the classifiers without a finite softmax, in mean
// those with an output that is not finite. If that leaves no weight, log_probabilities is -inf and mean is NaN.
//
//   scores         [B, N, K]   the products
//   bias           [N, K]
//   log_weights    [N], f64: log a, or log f
//   out            [B, K]
//
// Bytes: 4 read per output, 4 / N written; about 30 operations. A block handles one sample, as in classifiers.cu, so
// that the softmax of each classifier stays in shared memory. A thread then takes a class, or four, and loops over all
// classifiers.
//
// No buffer may overlap another.
#include "classifier_row.cuh"

// Counts the numbers that are not finite.
struct PredictionNotFinite {
    static __device__ float2 neutral() {
        return make_float2(0.0f, 0.0f);
    }
    template <int V>
    static __device__ float2 add(float2 part, const float (&x)[V]) {
        UNROLL
        for (int i = 0; i < V; i++) part.y += fabsf(x[i]) < INFINITY ? 0.0f : 1.0f;
        return part;
    }
    static __device__ float2 merge(float2 a, float2 b) {
        return make_float2(0.0f, a.y + b.y);
    }
};

// log sum_j a_j p_ijk over the classifiers with a finite softmax.
struct PredictionOfClasses {
    template <class Row>
    static __device__ void predict(
        const Row& row, const ClassifierArrays& arrays, const double* log_weights, float* out,
        const ClassifierSizes& sizes) {
        const int V = Row::WIDTH;
        classifiers_parts<ClassifierSoftmax>(row, arrays, sizes);
        __syncthreads();  // the parts are written
        for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += blockDim.x) {
            float2 part = classifiers_part<ClassifierSoftmax>(arrays, j, sizes.slices);
            arrays.shifts[j] = part.x;
            arrays.shares[j] = static_cast<float>(log_weights[j]) - logf(part.y);
        }
        __syncthreads();  // shifts and shares are written
        for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
            float x[V], largest[V], total[V] = {};
            UNROLL
            for (int i = 0; i < V; i++) largest[i] = -INFINITY;
            for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
                row.load(classifier, k, x);
                UNROLL
                for (int i = 0; i < V; i++) {
                    largest[i] = Largest::of(largest[i], x[i] - arrays.shifts[classifier] + arrays.shares[classifier]);
                }
            }
            for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
                row.load(classifier, k, x);
                UNROLL
                for (int i = 0; i < V; i++) {
                    float joint = x[i] - arrays.shifts[classifier] + arrays.shares[classifier];
                    total[i] += joint > -INFINITY ? expf(joint - largest[i]) : 0.0f;
                }
            }
            UNROLL
            for (int i = 0; i < V; i++) x[i] = total[i] > 0.0f ? largest[i] + logf(total[i]) : -INFINITY;
            classifiers_store<V>(out + k, x);
        }
    }
};

// The weighted average of the outputs of those classifiers whose outputs are all finite.
struct PredictionOfValues {
    template <class Row>
    static __device__ void predict(
        const Row& row, const ClassifierArrays& arrays, const double* log_weights, float* out,
        const ClassifierSizes& sizes) {
        const int V = Row::WIDTH;
        classifiers_parts<PredictionNotFinite>(row, arrays, sizes);
        __syncthreads();  // the parts are written
        if (threadIdx.x < WARP) share(arrays, log_weights, sizes);
        __syncthreads();  // shares are written
        for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
            float x[V], sum[V] = {};
            bool has_weight = false;
            for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
                if (arrays.shares[classifier] < 0.0f) continue;
                has_weight = true;
                row.load(classifier, k, x);
                UNROLL
                for (int i = 0; i < V; i++) sum[i] += arrays.shares[classifier] * x[i];
            }
            UNROLL
            for (int i = 0; i < V; i++) sum[i] = has_weight ? sum[i] : NAN;
            classifiers_store<V>(out + k, sum);
        }
    }

    // One warp computes the shares, -1 for a classifier that is left out. They are taken relative to the largest that
    // remains: the weights of the others may be so small that their exponentials are all zero.
    static __device__ void share(
        const ClassifierArrays& arrays, const double* log_weights, const ClassifierSizes& sizes) {
        double largest = CLASSIFIER_NOTHING, total = 0.0;
        for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
            bool is_finite = classifiers_part<PredictionNotFinite>(arrays, j, sizes.slices).y == 0.0f;
            arrays.joints[j] = is_finite ? log_weights[j] : CLASSIFIER_NOTHING;
            largest = Largest::of(largest, arrays.joints[j]);
        }
        largest = reduce_lanes<Largest>(largest);
        for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
            if (arrays.joints[j] > CLASSIFIER_NOTHING) total += exp(arrays.joints[j] - largest);
        }
        total = reduce_lanes<Sum>(total);
        for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
            bool is_used = arrays.joints[j] > CLASSIFIER_NOTHING;
            arrays.shares[j] = is_used ? static_cast<float>(exp(arrays.joints[j] - largest) / total) : -1.0f;
        }
    }
};

// A block's sample, staged or read from global memory.
template <class Kind>
__device__ void prediction(
    void* memory, const float* scores, const float* bias, const double* log_weights, float* out,
    const ClassifierSizes& sizes) {
    ClassifierArrays arrays(memory, sizes);
    ClassifierSample sample(const_cast<float*>(scores), nullptr, bias, nullptr, sizes);
    out += static_cast<uint64_t>(blockIdx.x) * sizes.outputs;
    if (sizes.staged != 0) {
        sample.stage(arrays, sizes);
        Kind::predict(sample.row<true, 1>(arrays, sizes), arrays, log_weights, out, sizes);
    } else if (sample.has_vectors(sizes)) {
        Kind::predict(sample.row<false, 4>(arrays, sizes), arrays, log_weights, out, sizes);
    } else {
        Kind::predict(sample.row<false, 1>(arrays, sizes), arrays, log_weights, out, sizes);
    }
}

KERNEL(prediction_log_probabilities_fwd_f32, 512, const float* scores, const float* bias,
       const double* log_weights, float* out, ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    prediction<PredictionOfClasses>(memory, scores, bias, log_weights, out, sizes);
}

KERNEL(prediction_mean_fwd_f32, 512, const float* scores, const float* bias, const double* log_weights, float* out,
       ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    prediction<PredictionOfValues>(memory, scores, bias, log_weights, out, sizes);
}
