// A sample's row: the K outputs of each of the N classifiers. Shared by classifiers.cu, prediction.cu and
// many_classes.cu.
//
// A thread block handles one sample. A short row is staged in shared memory with the bias added, a long one is read
// from global memory. Groups of lanes then reduce each classifier's outputs.
#pragma once

#include "common.cuh"

struct ClassifierSizes {
    uint64_t value_pitch;
    double constant;  // K/2 log 2 pi
    uint32_t samples, classifiers, outputs;
    uint32_t lanes;   // per group: a power of 2, at most 32
    uint32_t slices;  // groups that share a classifier's outputs
    uint32_t staged;  // outputs of a row staged in shared memory: all, or 0
};

static const float CLASSIFIER_LOWEST = -3.402823466e38f;
static const double CLASSIFIER_NOTHING = -INFINITY;

// ---- a sample's row ------------------------------------------------------------------------------------------------

// The classifiers' results for one sample.
struct ClassifierArrays {
    double* log_likelihoods;  // [N]
    double* joints;           // [N]
    float* shifts;            // [N]: the largest logit
    float* factors;           // [N]: 1 / sum e^(x - shift); negative for a classifier that diverged on this sample
    float* shares;            // [N]: a_j, up to a common factor
    float* responsibilities;  // [N]
    float2* parts;            // [N, slices]
    float* row;               // [staged]

    __device__ ClassifierArrays(void* memory, const ClassifierSizes& sizes) {
        uint32_t classifiers = sizes.classifiers;
        log_likelihoods = static_cast<double*>(memory);
        joints = log_likelihoods + classifiers;
        shifts = reinterpret_cast<float*>(joints + classifiers);
        factors = shifts + classifiers;
        shares = factors + classifiers;
        responsibilities = shares + classifiers;
        parts = reinterpret_cast<float2*>(responsibilities + classifiers);
        row = reinterpret_cast<float*>(log_likelihoods + divide_up(classifiers * (4 + sizes.slices), 2) * 2);
    }
};

template <int V>
__device__ __forceinline__ void classifiers_load(const float* from, float (&x)[V]) {
    if (V == 4) {
        float4 vector = *reinterpret_cast<const float4*>(from);
        x[0] = vector.x, x[1 % V] = vector.y, x[2 % V] = vector.z, x[3 % V] = vector.w;
    } else {
        x[0] = *from;
    }
}

template <int V>
__device__ __forceinline__ void classifiers_store(float* to, const float (&x)[V]) {
    if (V == 4) {
        *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1 % V], x[2 % V], x[3 % V]);
    } else {
        *to = x[0];
    }
}

// The outputs of all classifiers for one sample, in regression minus the targets. Loads V of them at a time.
template <bool STAGED, int V>
struct ClassifierRow {
    static const int WIDTH = V;
    static const bool IS_STAGED = STAGED;
    const float* scores;  // [N, K]: in shared memory where staged
    const float* bias;    // [N, K]
    const float* values;  // [K], or null
    uint32_t outputs;

    __device__ void load(uint32_t classifier, uint32_t k, float (&x)[V]) const {
        uint32_t element = classifier * outputs + k;
        classifiers_load<V>(scores + element, x);
        if (STAGED) return;
        float b[V], v[V];
        classifiers_load<V>(bias + element, b);
        UNROLL
        for (int i = 0; i < V; i++) x[i] += b[i];
        if (values == nullptr) return;
        classifiers_load<V>(values + k, v);
        UNROLL
        for (int i = 0; i < V; i++) x[i] -= v[i];
    }
};

// Stages a row in shared memory, F outputs at a time. A barrier must follow.
template <int F>
__device__ void classifiers_stage(
    float* row, const float* scores, const float* bias, const float* values, const ClassifierSizes& sizes) {
    uint32_t length = sizes.classifiers * sizes.outputs;
    for (uint32_t element = F * threadIdx.x; element < length; element += F * blockDim.x) {
        float x[F], b[F];
        classifiers_load<F>(scores + element, x);
        classifiers_load<F>(bias + element, b);
        uint32_t k = values == nullptr ? 0 : element % sizes.outputs;
        UNROLL
        for (int i = 0; i < F; i++) {
            x[i] += b[i];
            if (values == nullptr) continue;
            x[i] -= values[k];
            k = k + 1 == sizes.outputs ? 0 : k + 1;
        }
        classifiers_store<F>(row + element, x);
    }
}

// ---- reductions over a classifier's outputs -------------------------------------------------------------------------

// Each is a pair of numbers that is computed by parts and merged.

struct ExactExp {
    static __device__ __forceinline__ float of(float x) {
        return expf(x);
    }
};

// Two instructions in place of nine. The relative error is about 2^-22 + 1.2 |x| 2^-24, the absolute one at most 2^-22
// for any x below 0.
struct ApproximateExp {
    static __device__ __forceinline__ float of(float x) {
        return exp2_approximate(x * 1.44269504f);
    }
};

// Online softmax: the largest logit and the sum of e^(x - largest), in one pass. Starts from the lowest finite number,
// since -inf - -inf is NaN. The maximum ignores NaN, but the sum does not.
template <class Exp>
struct SoftmaxBy {
    static __device__ float2 neutral() {
        return make_float2(CLASSIFIER_LOWEST, 0.0f);
    }
    template <int V>
    static __device__ float2 add(float2 part, const float (&x)[V]) {
        float largest = part.x;
        UNROLL
        for (int i = 0; i < V; i++) largest = Largest::of(largest, x[i]);
        float total = part.y * Exp::of(part.x - largest);
        UNROLL
        for (int i = 0; i < V; i++) total += Exp::of(x[i] - largest);
        return make_float2(largest, total);
    }
    static __device__ float2 merge(float2 a, float2 b) {
        float largest = Largest::of(a.x, b.x);
        return make_float2(largest, a.y * Exp::of(a.x - largest) + b.y * Exp::of(b.x - largest));
    }
};

typedef SoftmaxBy<ExactExp> ClassifierSoftmax;

// The sum of squares.
struct ClassifierSquares {
    static __device__ float2 neutral() {
        return make_float2(0.0f, 0.0f);
    }
    template <int V>
    static __device__ float2 add(float2 part, const float (&x)[V]) {
        UNROLL
        for (int i = 0; i < V; i++) part.y += x[i] * x[i];
        return part;
    }
    static __device__ float2 merge(float2 a, float2 b) {
        return make_float2(0.0f, a.y + b.y);
    }
};

// The parts of all classifiers, to shared memory. A barrier must follow.
template <class Kind, class Row>
__device__ void classifiers_parts(const Row& row, const ClassifierArrays& arrays, const ClassifierSizes& sizes) {
    const int V = Row::WIDTH;
    uint32_t lane = threadIdx.x % sizes.lanes, group = threadIdx.x / sizes.lanes;
    uint32_t groups = blockDim.x / sizes.lanes, parts = sizes.classifiers * sizes.slices;
    // Every lane takes part in every shuffle, whether its group has work or not.
    for (uint32_t first = 0; first < parts; first += groups) {
        uint32_t number = first + group;
        float2 part = Kind::neutral();
        if (number < parts) {
            uint32_t classifier = number / sizes.slices, slice = number % sizes.slices;
            uint32_t step = sizes.slices * sizes.lanes * V;
            for (uint32_t k = (slice * sizes.lanes + lane) * V; k < sizes.outputs; k += step) {
                float x[V];
                row.load(classifier, k, x);
                part = Kind::add(part, x);
            }
        }
        for (uint32_t distance = sizes.lanes / 2; distance > 0; distance /= 2) {
            float x = __shfl_xor_sync(ALL_LANES, part.x, distance), y = __shfl_xor_sync(ALL_LANES, part.y, distance);
            part = Kind::merge(part, make_float2(x, y));
        }
        if (number < parts && lane == 0) arrays.parts[number] = part;
    }
}

// Merges all parts of one classifier.
template <class Kind>
__device__ float2 classifiers_part(const ClassifierArrays& arrays, uint32_t classifier, uint32_t slices) {
    float2 part = arrays.parts[classifier * slices];
    for (uint32_t slice = 1; slice < slices; slice++) part = Kind::merge(part, arrays.parts[classifier * slices + slice]);
    return part;
}

// ---- the mixture ---------------------------------------------------------------------------------------------------

// One warp computes the mixture's log-likelihood and the responsibilities from the log-likelihoods. Lane j handles
// classifiers j, j + 32, ... throughout, so no barrier is needed.
__device__ __forceinline__ void classifiers_mix(
    const ClassifierArrays& arrays, const double* log_posterior, double* statistics, const ClassifierSizes& sizes) {
    double largest = CLASSIFIER_NOTHING, largest_posterior = CLASSIFIER_NOTHING;
    for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
        double likelihood = arrays.log_likelihoods[j];
        arrays.joints[j] = likelihood + log_posterior[j];
        largest = Largest::of(largest, arrays.joints[j]);
        if (likelihood != CLASSIFIER_NOTHING) largest_posterior = Largest::of(largest_posterior, log_posterior[j]);
        statistics[j] = likelihood;
    }
    largest = reduce_lanes<Largest>(largest);
    largest_posterior = reduce_lanes<Largest>(largest_posterior);
    bool has_none = largest == CLASSIFIER_NOTHING;
    double total = 0.0;
    for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
        arrays.joints[j] = has_none ? 0.0 : exp(arrays.joints[j] - largest);
        total += arrays.joints[j];
    }
    total = reduce_lanes<Sum>(total);
    for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
        bool counts = arrays.log_likelihoods[j] != CLASSIFIER_NOTHING && log_posterior[j] != CLASSIFIER_NOTHING;
        arrays.responsibilities[j] = has_none ? 0.0f : static_cast<float>(arrays.joints[j] / total);
        arrays.shares[j] = counts ? static_cast<float>(exp(log_posterior[j] - largest_posterior)) : 0.0f;
    }
    if (threadIdx.x == 0) {
        statistics[sizes.classifiers] = has_none ? CLASSIFIER_NOTHING : largest + log(total);
        statistics[sizes.classifiers + 1] = 0.0;
    }
}

__device__ __forceinline__ double classifiers_finite_or_nothing(double likelihood) {
    return fabs(likelihood) < INFINITY ? likelihood : CLASSIFIER_NOTHING;
}

// ---- a block's sample -----------------------------------------------------------------------------------------------

// The pointers of a block's sample, used by all its threads.
struct ClassifierSample {
    float* scores;
    double* statistics;
    const float *bias, *values;
    bool is_vector;  // whether a whole row may be moved 16 bytes at a time

    __device__ ClassifierSample(
        float* all_scores, double* all_statistics, const float* bias, const float* all_values,
        const ClassifierSizes& sizes)
        : bias(bias) {
        uint64_t sample = blockIdx.x, length = static_cast<uint64_t>(sizes.classifiers) * sizes.outputs;
        scores = all_scores + sample * length;
        statistics = all_statistics + sample * (sizes.classifiers + 2);
        values = all_values == nullptr ? nullptr : all_values + sample * sizes.value_pitch;
        is_vector = length % 4 == 0 && is_aligned16(bias);
    }

    __device__ void stage(const ClassifierArrays& arrays, const ClassifierSizes& sizes) const {
        if (is_vector) {
            classifiers_stage<4>(arrays.row, scores, bias, values, sizes);
        } else {
            classifiers_stage<1>(arrays.row, scores, bias, values, sizes);
        }
        __syncthreads();  // the row is staged
    }

    // Whether one classifier's outputs, and the targets, may be read 16 bytes at a time.
    __device__ bool has_vectors(const ClassifierSizes& sizes) const {
        return sizes.outputs % 4 == 0 && is_vector && is_aligned16(values);
    }

    template <bool STAGED, int V>
    __device__ ClassifierRow<STAGED, V> row(const ClassifierArrays& arrays, const ClassifierSizes& sizes) const {
        return ClassifierRow<STAGED, V>{STAGED ? arrays.row : scores, bias, values, sizes.outputs};
    }
};
