// Predictions of the mixture of N classifiers. The launches are in src/ops/classifiers/launch.rs.
//
//   log_probabilities   out_ik = log sum_j a_j softmax(x_ij)_k
//   mean                out_ik = sum_j a_j x_ijk
//
// with x the product plus the bias. Left out, without renormalising: in log_probabilities the classifiers without a
// finite softmax, in mean those with an output that is not finite.
//
//   scores         [B, N, K]   the products
//   bias           [N, K]
//   log_posterior  [N], f64
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
        const Row& row, const ClassifierCopies& copies, const double* log_posterior, float* out,
        const ClassifierSizes& sizes) {
        const int V = Row::WIDTH;
        classifiers_parts<ClassifierSoftmax>(row, copies, sizes);
        __syncthreads();  // the parts are written
        for (uint32_t j = threadIdx.x; j < sizes.copies; j += blockDim.x) {
            float2 part = classifiers_part<ClassifierSoftmax>(copies, j, sizes.slices);
            copies.shifts[j] = part.x;
            copies.shares[j] = static_cast<float>(log_posterior[j]) - logf(part.y);
        }
        __syncthreads();  // shifts and shares are written
        for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
            float x[V], largest[V], total[V] = {};
            UNROLL
            for (int i = 0; i < V; i++) largest[i] = -INFINITY;
            for (uint32_t copy = 0; copy < sizes.copies; copy++) {
                row.load(copy, k, x);
                UNROLL
                for (int i = 0; i < V; i++) {
                    largest[i] = Largest::of(largest[i], x[i] - copies.shifts[copy] + copies.shares[copy]);
                }
            }
            for (uint32_t copy = 0; copy < sizes.copies; copy++) {
                row.load(copy, k, x);
                UNROLL
                for (int i = 0; i < V; i++) {
                    float joint = x[i] - copies.shifts[copy] + copies.shares[copy];
                    total[i] += joint > -INFINITY ? expf(joint - largest[i]) : 0.0f;
                }
            }
            UNROLL
            for (int i = 0; i < V; i++) x[i] = total[i] > 0.0f ? largest[i] + logf(total[i]) : -INFINITY;
            classifiers_store<V>(out + k, x);
        }
    }
};

// sum_j a_j x_ijk over the classifiers whose outputs are all finite.
struct PredictionOfValues {
    template <class Row>
    static __device__ void predict(
        const Row& row, const ClassifierCopies& copies, const double* log_posterior, float* out,
        const ClassifierSizes& sizes) {
        const int V = Row::WIDTH;
        classifiers_parts<PredictionNotFinite>(row, copies, sizes);
        __syncthreads();  // the parts are written
        for (uint32_t j = threadIdx.x; j < sizes.copies; j += blockDim.x) {
            bool is_finite = classifiers_part<PredictionNotFinite>(copies, j, sizes.slices).y == 0.0f;
            copies.shares[j] = is_finite ? static_cast<float>(exp(log_posterior[j])) : -1.0f;
        }
        __syncthreads();  // shares are written
        for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
            float x[V], sum[V] = {};
            for (uint32_t copy = 0; copy < sizes.copies; copy++) {
                if (copies.shares[copy] < 0.0f) continue;
                row.load(copy, k, x);
                UNROLL
                for (int i = 0; i < V; i++) sum[i] += copies.shares[copy] * x[i];
            }
            classifiers_store<V>(out + k, sum);
        }
    }
};

// A block's sample, staged or read from global memory.
template <class Kind>
__device__ void prediction(
    void* memory, const float* scores, const float* bias, const double* log_posterior, float* out,
    const ClassifierSizes& sizes) {
    ClassifierCopies copies(memory, sizes);
    ClassifierSample sample(const_cast<float*>(scores), nullptr, bias, nullptr, sizes);
    out += static_cast<uint64_t>(blockIdx.x) * sizes.outputs;
    if (sizes.staged != 0) {
        sample.stage(copies, sizes);
        Kind::predict(sample.row<true, 1>(copies, sizes), copies, log_posterior, out, sizes);
    } else if (sample.has_vectors(sizes)) {
        Kind::predict(sample.row<false, 4>(copies, sizes), copies, log_posterior, out, sizes);
    } else {
        Kind::predict(sample.row<false, 1>(copies, sizes), copies, log_posterior, out, sizes);
    }
}

KERNEL(prediction_log_probabilities_fwd_f32, 512, const float* scores, const float* bias,
       const double* log_posterior, float* out, ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    prediction<PredictionOfClasses>(memory, scores, bias, log_posterior, out, sizes);
}

KERNEL(prediction_mean_fwd_f32, 512, const float* scores, const float* bias, const double* log_posterior, float* out,
       ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    prediction<PredictionOfValues>(memory, scores, bias, log_posterior, out, sizes);
}
