// The last layer in N copies of K outputs each: losses, the mixture's loss and accuracy, the gradients, the prediction.
// From the products z W^T of all copies on; the formulas are in src/ops/classifiers.rs, the launches in
// src/ops/classifiers/launch.rs.
//
// For sample i and copy j, with x_ijk the product plus the bias and y_i the class:
//
//   log p_ij  = x_ijy - largest_k x_ijk - log sum_k e^(x_ijk - largest)      minus infinity where it is not finite
//   log p_i   = log sum_j e^(log a_j + log p_ij)
//   r_ij      = e^(log a_j + log p_ij - log p_i)
//   g_ijk     = (e^x_ijk / sum_k' e^x_ijk' - [k = y_i]) / B                  zero where log p_ij is minus infinity
//   correct_i = the first of the largest sum_j a_j p_ijk is k = y_i
//
// In regression, x is the difference from the targets, log p_ij = -|x_ij|^2 / 2 - K/2 log 2 pi, and g = x / B.
//
// A class outside 0..K makes its sample one without a finite copy.
//
//   scores         [B, N, K]   the products; what goes back is g, in their place
//   weighted       [B, N, K]   r_ij g_ijk, or null where no gradient of z is wanted
//   bias           [N, K]
//   classes        [B]         or values [B, K] with a pitch
//   log_posterior  [N], f64
//   statistics     [B, N + 2], f64: log p_ij, log p_i, correct_i
//
// Three launches serve a step. `classes` or `values` goes from the products to g, r g and the statistics: 12 bytes an
// output (4 read, 8 written) and about 20 operations. `summary` adds the statistics up over the batch. `operands` makes
// what the products of the way back are to take, and the bias gradient. Writing r g beside g costs 4 bytes an output;
// a launch that scaled g afterwards would move 8.
//
// A block is a sample, so that likelihoods, mixture and responsibilities are shared memory's matter and not another
// launch's. A row of at most 10,240 outputs is read once, by 16 bytes at a time whatever K is, into shared memory, and
// written from there the same way. Longer ones are read twice, the second time from the caches: one block of 1024
// threads fills an SM, so that no more than 132 rows are on their way, 32 MB of them with 6 copies of 10,000 words.
// Each of a copy's likelihoods is the work of a group of lanes just wide enough, or, of many classes, of several warps:
// with ten copies of ten classes a warp a copy would idle two thirds of its lanes. What is f64 takes one warp.
//
// No buffer may overlap another.
#include "common.cuh"

struct ClassifierSizes {
    uint64_t value_pitch;
    double constant;  // K/2 log 2 pi
    uint32_t samples, copies, outputs;
    uint32_t lanes;   // of a group: a power of 2, at most 32
    uint32_t slices;  // groups that share a copy's outputs
    uint32_t staged;  // outputs of a row in shared memory: all, or none
};

static const float CLASSIFIER_LOWEST = -3.402823466e38f;
static const double CLASSIFIER_NOTHING = -INFINITY;

// ---- a sample's row ------------------------------------------------------------------------------------------------

// What the copies say of one sample.
struct ClassifierCopies {
    double* log_likelihoods;  // [N]
    double* joints;           // [N]
    float* shifts;            // [N]: the largest output
    float* factors;           // [N]: 1 / sum e^(x - shift); negative for a copy that has no part in this sample
    float* shares;            // [N]: a_j, up to a common factor
    float* responsibilities;  // [N]
    float2* parts;            // [N, slices]
    float* row;               // [staged]

    __device__ ClassifierCopies(void* memory, const ClassifierSizes& sizes) {
        uint32_t copies = sizes.copies;
        log_likelihoods = static_cast<double*>(memory);
        joints = log_likelihoods + copies;
        shifts = reinterpret_cast<float*>(joints + copies);
        factors = shifts + copies;
        shares = factors + copies;
        responsibilities = shares + copies;
        parts = reinterpret_cast<float2*>(responsibilities + copies);
        row = reinterpret_cast<float*>(log_likelihoods + divide_up(copies * (4 + sizes.slices), 2) * 2);
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

// The outputs of all copies for one sample, less the targets in regression. V of them at once.
template <bool STAGED, int V>
struct ClassifierRow {
    static const int WIDTH = V;
    static const bool IS_STAGED = STAGED;
    const float* scores;  // [N, K]: in shared memory where it is staged
    const float* bias;    // [N, K]
    const float* values;  // [K], or null
    uint32_t outputs;

    __device__ void load(uint32_t copy, uint32_t k, float (&x)[V]) const {
        uint32_t element = copy * outputs + k;
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

// Copies a row to shared memory, F outputs at once. A barrier must follow.
template <int F>
__device__ void classifiers_stage(
    float* row, const float* scores, const float* bias, const float* values, const ClassifierSizes& sizes) {
    uint32_t length = sizes.copies * sizes.outputs;
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

// Writes g from shared memory, F outputs at once, and r g.
template <int F>
__device__ void classifiers_flush(
    const ClassifierCopies& copies, float* scores, float* weighted, const ClassifierSizes& sizes) {
    uint32_t length = sizes.copies * sizes.outputs;
    for (uint32_t element = F * threadIdx.x; element < length; element += F * blockDim.x) {
        float g[F];
        classifiers_load<F>(copies.row + element, g);
        classifiers_store<F>(scores + element, g);
        if (weighted == nullptr) continue;
        uint32_t copy = element / sizes.outputs, k = element % sizes.outputs;
        UNROLL
        for (int i = 0; i < F; i++) {
            g[i] *= copies.responsibilities[copy];
            bool is_last = k + 1 == sizes.outputs;
            copy += is_last ? 1 : 0;
            k = is_last ? 0 : k + 1;
        }
        classifiers_store<F>(weighted + element, g);
    }
}

// ---- what is known of a copy's outputs -----------------------------------------------------------------------------

// Each is two numbers, and goes by parts.

// The largest, and the sum of e^(x - largest), in one pass. From the lowest number on and not from minus infinity, whose
// difference from itself is none. NaN is never the largest, but enters the sum.
struct ClassifierSoftmax {
    static __device__ float2 neutral() {
        return make_float2(CLASSIFIER_LOWEST, 0.0f);
    }
    template <int V>
    static __device__ float2 add(float2 part, const float (&x)[V]) {
        float largest = part.x;
        UNROLL
        for (int i = 0; i < V; i++) largest = Largest::of(largest, x[i]);
        float total = part.y * expf(part.x - largest);
        UNROLL
        for (int i = 0; i < V; i++) total += expf(x[i] - largest);
        return make_float2(largest, total);
    }
    static __device__ float2 merge(float2 a, float2 b) {
        float largest = Largest::of(a.x, b.x);
        return make_float2(largest, a.y * expf(a.x - largest) + b.y * expf(b.x - largest));
    }
};

// The sum of the squares.
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

// How many are not finite.
struct ClassifierNotFinite {
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

// The parts of all copies, to shared memory. A barrier must follow.
template <class Kind, class Row>
__device__ void classifiers_parts(const Row& row, const ClassifierCopies& copies, const ClassifierSizes& sizes) {
    const int V = Row::WIDTH;
    uint32_t lane = threadIdx.x % sizes.lanes, group = threadIdx.x / sizes.lanes;
    uint32_t groups = blockDim.x / sizes.lanes, parts = sizes.copies * sizes.slices;
    // Every lane comes to every exchange, whether its group has work or not.
    for (uint32_t first = 0; first < parts; first += groups) {
        uint32_t number = first + group;
        float2 part = Kind::neutral();
        if (number < parts) {
            uint32_t copy = number / sizes.slices, slice = number % sizes.slices;
            uint32_t step = sizes.slices * sizes.lanes * V;
            for (uint32_t k = (slice * sizes.lanes + lane) * V; k < sizes.outputs; k += step) {
                float x[V];
                row.load(copy, k, x);
                part = Kind::add(part, x);
            }
        }
        for (uint32_t distance = sizes.lanes / 2; distance > 0; distance /= 2) {
            float x = __shfl_xor_sync(ALL_LANES, part.x, distance), y = __shfl_xor_sync(ALL_LANES, part.y, distance);
            part = Kind::merge(part, make_float2(x, y));
        }
        if (number < parts && lane == 0) copies.parts[number] = part;
    }
}

// All parts of one copy together.
template <class Kind>
__device__ float2 classifiers_part(const ClassifierCopies& copies, uint32_t copy, uint32_t slices) {
    float2 part = copies.parts[copy * slices];
    for (uint32_t slice = 1; slice < slices; slice++) part = Kind::merge(part, copies.parts[copy * slices + slice]);
    return part;
}

// ---- the mixture ---------------------------------------------------------------------------------------------------

// One warp: the mixture's likelihood and the responsibilities, from the log-likelihoods. Lane j keeps to copies j,
// j + 32, ... throughout, so that it waits for nobody.
__device__ void classifiers_mix(
    const ClassifierCopies& copies, const double* log_posterior, double* statistics, const ClassifierSizes& sizes) {
    double largest = CLASSIFIER_NOTHING, largest_posterior = CLASSIFIER_NOTHING;
    for (uint32_t j = threadIdx.x; j < sizes.copies; j += WARP) {
        double likelihood = copies.log_likelihoods[j];
        copies.joints[j] = likelihood + log_posterior[j];
        largest = Largest::of(largest, copies.joints[j]);
        if (likelihood != CLASSIFIER_NOTHING) largest_posterior = Largest::of(largest_posterior, log_posterior[j]);
        statistics[j] = likelihood;
    }
    largest = reduce_lanes<Largest>(largest);
    largest_posterior = reduce_lanes<Largest>(largest_posterior);
    bool is_dead = largest == CLASSIFIER_NOTHING;
    double total = 0.0;
    for (uint32_t j = threadIdx.x; j < sizes.copies; j += WARP) {
        copies.joints[j] = is_dead ? 0.0 : exp(copies.joints[j] - largest);
        total += copies.joints[j];
    }
    total = reduce_lanes<Sum>(total);
    for (uint32_t j = threadIdx.x; j < sizes.copies; j += WARP) {
        bool counts = copies.log_likelihoods[j] != CLASSIFIER_NOTHING && log_posterior[j] != CLASSIFIER_NOTHING;
        copies.responsibilities[j] = is_dead ? 0.0f : static_cast<float>(copies.joints[j] / total);
        copies.shares[j] = counts ? static_cast<float>(exp(log_posterior[j] - largest_posterior)) : 0.0f;
    }
    if (threadIdx.x == 0) {
        statistics[sizes.copies] = is_dead ? CLASSIFIER_NOTHING : largest + log(total);
        statistics[sizes.copies + 1] = 0.0;
    }
}

__device__ __forceinline__ double classifiers_finite_or_nothing(double likelihood) {
    return fabs(likelihood) < INFINITY ? likelihood : CLASSIFIER_NOTHING;
}

// Where g goes: to its place in shared memory, or to memory along with r g.
template <class Row>
__device__ void classifiers_put(
    const ClassifierCopies& copies, float* scores, float* weighted, uint32_t copy, uint32_t element,
    float (&g)[Row::WIDTH]) {
    if (Row::IS_STAGED) {
        copies.row[element] = g[0];
        return;
    }
    classifiers_store<Row::WIDTH>(scores + element, g);
    if (weighted == nullptr) return;
    UNROLL
    for (int i = 0; i < Row::WIDTH; i++) g[i] *= copies.responsibilities[copy];
    classifiers_store<Row::WIDTH>(weighted + element, g);
}

// g of all copies, and whether the mixture's likeliest class is `correct`. All threads of the block must come.
template <class Row>
__device__ bool classifiers_classes_gradient(
    const Row& row, const ClassifierCopies& copies, float* scores, float* weighted, uint32_t correct,
    const ClassifierSizes& sizes) {
    const int V = Row::WIDTH;
    SHARED(float, own, [1]);
    float scale = static_cast<float>(1.0 / sizes.samples), best = -1.0f;
    uint32_t best_class = 0;
    if (threadIdx.x == 0 && correct >= sizes.outputs) own[0] = 0.0f;
    for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
        float mixture[V] = {};
        for (uint32_t copy = 0; copy < sizes.copies; copy++) {
            float x[V] = {}, factor = copies.factors[copy];
            // The same for all lanes. Outputs without a softmax are not even looked at.
            if (factor >= 0.0f) {
                row.load(copy, k, x);
                UNROLL
                for (int i = 0; i < V; i++) {
                    float p = expf(x[i] - copies.shifts[copy]) * factor;
                    mixture[i] += copies.shares[copy] * p;
                    x[i] = (k + i == correct ? p - 1.0f : p) * scale;
                }
            }
            classifiers_put<Row>(copies, scores, weighted, copy, copy * sizes.outputs + k, x);
        }
        UNROLL
        for (int i = 0; i < V; i++) {
            if (k + i == correct) own[0] = mixture[i];
            if (mixture[i] > best) {
                best = mixture[i];
                best_class = k + i;
            }
        }
    }
    __syncthreads();  // own is written, and every thread's g in shared memory
    bool is_beaten = best > own[0] || (best == own[0] && best_class < correct);
    return __syncthreads_or(is_beaten) == 0;
}

template <class Row>
__device__ void classifiers_values_gradient(
    const Row& row, const ClassifierCopies& copies, float* scores, float* weighted, const ClassifierSizes& sizes) {
    const int V = Row::WIDTH;
    float scale = static_cast<float>(1.0 / sizes.samples);
    for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
        for (uint32_t copy = 0; copy < sizes.copies; copy++) {
            float x[V] = {};
            if (copies.factors[copy] >= 0.0f) {
                row.load(copy, k, x);
                UNROLL
                for (int i = 0; i < V; i++) x[i] *= scale;
            }
            classifiers_put<Row>(copies, scores, weighted, copy, copy * sizes.outputs + k, x);
        }
    }
    __syncthreads();  // every thread's g is in shared memory
}

// What every thread of a block works with, once the row is where it is read from.
struct ClassifierSample {
    float *scores, *weighted;
    double* statistics;
    const float *bias, *values;
    bool is_vector;  // whether a whole row may go by 16 bytes at once

    __device__ ClassifierSample(
        float* all_scores, float* all_weighted, double* all_statistics, const float* bias, const float* all_values,
        const ClassifierSizes& sizes)
        : bias(bias) {
        uint64_t sample = blockIdx.x, length = static_cast<uint64_t>(sizes.copies) * sizes.outputs;
        scores = all_scores + sample * length;
        weighted = all_weighted == nullptr ? nullptr : all_weighted + sample * length;
        statistics = all_statistics + sample * (sizes.copies + 2);
        values = all_values == nullptr ? nullptr : all_values + sample * sizes.value_pitch;
        is_vector = length % 4 == 0 && is_aligned16(bias);
    }

    __device__ void stage(const ClassifierCopies& copies, const ClassifierSizes& sizes) const {
        if (is_vector) {
            classifiers_stage<4>(copies.row, scores, bias, values, sizes);
        } else {
            classifiers_stage<1>(copies.row, scores, bias, values, sizes);
        }
        __syncthreads();  // the row is staged
    }

    __device__ void flush(const ClassifierCopies& copies, const ClassifierSizes& sizes) const {
        if (is_vector) {
            classifiers_flush<4>(copies, scores, weighted, sizes);
        } else {
            classifiers_flush<1>(copies, scores, weighted, sizes);
        }
    }

    // Whether the outputs of one copy, and the targets, may be read by 16 bytes.
    __device__ bool has_vectors(const ClassifierSizes& sizes) const {
        return sizes.outputs % 4 == 0 && is_vector && is_aligned16(values);
    }

    template <bool STAGED, int V>
    __device__ ClassifierRow<STAGED, V> row(const ClassifierCopies& copies, const ClassifierSizes& sizes) const {
        return ClassifierRow<STAGED, V>{STAGED ? copies.row : scores, bias, values, sizes.outputs};
    }
};

template <class Row>
__device__ void classifiers_judge_classes(
    const Row& row, const ClassifierSample& sample, const ClassifierCopies& copies, int target,
    const double* log_posterior, const ClassifierSizes& sizes) {
    uint32_t correct = static_cast<uint32_t>(target);
    classifiers_parts<ClassifierSoftmax>(row, copies, sizes);
    __syncthreads();  // the parts are written
    if (threadIdx.x < WARP) {
        for (uint32_t j = threadIdx.x; j < sizes.copies; j += WARP) {
            float2 part = classifiers_part<ClassifierSoftmax>(copies, j, sizes.slices);
            double likelihood = CLASSIFIER_NOTHING;
            if (correct < sizes.outputs) {
                float x[Row::WIDTH];
                uint32_t first = correct / Row::WIDTH * Row::WIDTH;
                row.load(j, first, x);
                UNROLL
                for (int i = 0; i < Row::WIDTH; i++) {
                    float log_p = x[i] - part.x - logf(part.y);
                    if (first + i == correct) likelihood = classifiers_finite_or_nothing(log_p);
                }
            }
            copies.log_likelihoods[j] = likelihood;
            copies.shifts[j] = part.x;
            copies.factors[j] = likelihood == CLASSIFIER_NOTHING ? -1.0f : 1.0f / part.y;
        }
        classifiers_mix(copies, log_posterior, sample.statistics, sizes);
    }
    __syncthreads();  // shifts, factors, shares and responsibilities are written
    bool is_correct =
        classifiers_classes_gradient(row, copies, sample.scores, sample.weighted, correct, sizes);
    // Only the thread that wrote the mixture's likelihood may look at it without another barrier.
    if (threadIdx.x == 0 && is_correct && sample.statistics[sizes.copies] != CLASSIFIER_NOTHING) {
        sample.statistics[sizes.copies + 1] = 1.0;
    }
}

template <class Row>
__device__ void classifiers_judge_values(
    const Row& row, const ClassifierSample& sample, const ClassifierCopies& copies, const double* log_posterior,
    const ClassifierSizes& sizes) {
    classifiers_parts<ClassifierSquares>(row, copies, sizes);
    __syncthreads();  // the parts are written
    if (threadIdx.x < WARP) {
        for (uint32_t j = threadIdx.x; j < sizes.copies; j += WARP) {
            double square = classifiers_part<ClassifierSquares>(copies, j, sizes.slices).y;
            copies.log_likelihoods[j] = classifiers_finite_or_nothing(-0.5 * square - sizes.constant);
            copies.factors[j] = copies.log_likelihoods[j] == CLASSIFIER_NOTHING ? -1.0f : 1.0f;
        }
        classifiers_mix(copies, log_posterior, sample.statistics, sizes);
    }
    __syncthreads();  // factors and responsibilities are written
    classifiers_values_gradient(row, copies, sample.scores, sample.weighted, sizes);
}

KERNEL(classifiers_classes_fwd_f32, 1024, float* scores, float* weighted, double* statistics, const float* bias,
       const int* classes, const double* log_posterior, ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    ClassifierCopies copies(memory, sizes);
    ClassifierSample sample(scores, weighted, statistics, bias, nullptr, sizes);
    int target = classes[blockIdx.x];
    if (sizes.staged != 0) {
        sample.stage(copies, sizes);
        classifiers_judge_classes(sample.row<true, 1>(copies, sizes), sample, copies, target, log_posterior, sizes);
        sample.flush(copies, sizes);
    } else if (sample.has_vectors(sizes)) {
        classifiers_judge_classes(sample.row<false, 4>(copies, sizes), sample, copies, target, log_posterior, sizes);
    } else {
        classifiers_judge_classes(sample.row<false, 1>(copies, sizes), sample, copies, target, log_posterior, sizes);
    }
}

KERNEL(classifiers_values_fwd_f32, 512, float* scores, float* weighted, double* statistics, const float* bias,
       const float* values, const double* log_posterior, ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    ClassifierCopies copies(memory, sizes);
    ClassifierSample sample(scores, weighted, statistics, bias, values, sizes);
    if (sizes.staged != 0) {
        sample.stage(copies, sizes);
        classifiers_judge_values(sample.row<true, 1>(copies, sizes), sample, copies, log_posterior, sizes);
        sample.flush(copies, sizes);
    } else if (sample.has_vectors(sizes)) {
        classifiers_judge_values(sample.row<false, 4>(copies, sizes), sample, copies, log_posterior, sizes);
    } else {
        classifiers_judge_values(sample.row<false, 1>(copies, sizes), sample, copies, log_posterior, sizes);
    }
}

// ---- sums over the batch -------------------------------------------------------------------------------------------

// One block; a warp takes a column of the statistics. A flagged copy's loss is infinite, as is the mixture's with a dead
// sample; the objective goes without what is not finite.
KERNEL(classifiers_summary_fwd_f32, 1024, const double* statistics, float* objective, double* loss, int* correct,
       double* classifier_losses, unsigned char* flagged, int* dead_samples, uint32_t samples, uint32_t copies) {
    SHARED(double, terms, [WARP]);
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP, width = copies + 2;
    double own = 0.0;
    for (uint32_t column = warp; column < width; column += warps) {
        double sum = 0.0;
        int missing = 0;
        for (uint64_t sample = lane; sample < samples; sample += WARP) {
            double value = statistics[sample * width + column];
            sum += value == CLASSIFIER_NOTHING ? 0.0 : value;
            missing += value == CLASSIFIER_NOTHING;
        }
        sum = reduce_lanes<Sum>(sum);
        missing = reduce_lanes<Sum>(missing);
        double mean = missing > 0 ? INFINITY : (0.0 - sum) / samples;
        if (column <= copies) own -= sum;
        if (lane != 0) continue;
        if (column < copies) {
            classifier_losses[column] = mean;
            flagged[column] = missing > 0;
        } else if (column == copies) {
            *loss = mean;
            *dead_samples = missing;
        } else {
            *correct = static_cast<int>(sum);
        }
    }
    if (lane == 0) terms[warp] = own;
    __syncthreads();  // the warps' terms are written
    if (threadIdx.x == 0) {
        double total = 0.0;
        for (uint32_t i = 0; i < warps; i++) total += terms[i];
        *objective = static_cast<float>(total / samples);
    }
}

// ---- the way back --------------------------------------------------------------------------------------------------

struct ClassifierOperands {
    uint64_t z_pitch;
    uint64_t z_elements, weight_elements;
    uint32_t samples, inputs, columns;  // B, d, N K
    uint32_t sum_blocks, z_blocks;      // the first blocks' jobs; the others copy the weights
    uint32_t sum_width;                 // columns of a block: a power of 2, at most 32
    uint32_t add;
    uint32_t unused;
};

static const uint32_t CLASSIFIER_THREADS = 256;
static const uint32_t CLASSIFIER_VECTORS = 4;  // of 4 elements, a thread

__device__ __forceinline__ float classifiers_finite(float x) {
    return fabsf(x) < INFINITY ? x : 0.0f;
}

// `to` is `from` with zeros for what is not finite: 4096 elements a block.
__device__ void classifiers_copy_finite(
    const float* from, uint64_t pitch, uint32_t width, float* to, uint64_t elements, uint64_t block) {
    uint64_t base = block * CLASSIFIER_THREADS * CLASSIFIER_VECTORS * 4;
    bool is_flat = pitch == width && is_aligned16(from);
    float4 x[CLASSIFIER_VECTORS];
    UNROLL
    for (uint32_t i = 0; i < CLASSIFIER_VECTORS; i++) {
        uint64_t element = base + 4 * (i * CLASSIFIER_THREADS + threadIdx.x);
        if (is_flat && element + 4 <= elements) x[i] = *reinterpret_cast<const float4*>(from + element);
    }
    UNROLL
    for (uint32_t i = 0; i < CLASSIFIER_VECTORS; i++) {
        uint64_t element = base + 4 * (i * CLASSIFIER_THREADS + threadIdx.x);
        if (is_flat && element + 4 <= elements) {
            x[i] = make_float4(
                classifiers_finite(x[i].x), classifiers_finite(x[i].y), classifiers_finite(x[i].z),
                classifiers_finite(x[i].w));
            *reinterpret_cast<float4*>(to + element) = x[i];
            continue;
        }
        for (uint64_t one = element; one < element + 4 && one < elements; one++) {
            uint64_t row = pitch == width ? 0 : one / width;
            to[one] = classifiers_finite(from[row * pitch + one - row * width]);
        }
    }
}

// The sums over the batch of `width` columns of g: a thread takes every (256 / width)-th sample of one column.
__device__ void classifiers_bias_gradient(const float* g, float* bias_gradient, const ClassifierOperands& sizes) {
    SHARED(float, sums, [CLASSIFIER_THREADS]);
    uint32_t width = sizes.sum_width, column = blockIdx.x * width + threadIdx.x % width;
    float sum = 0.0f;
    if (column < sizes.columns) {
        for (uint32_t sample = threadIdx.x / width; sample < sizes.samples; sample += CLASSIFIER_THREADS / width) {
            sum += g[static_cast<uint64_t>(sample) * sizes.columns + column];
        }
    }
    sums[threadIdx.x] = sum;
    for (uint32_t half = CLASSIFIER_THREADS / 2; half >= width; half /= 2) {
        __syncthreads();  // the upper half is complete
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    // The last addition to this sum was this thread's own.
    if (threadIdx.x < width && column < sizes.columns) store(bias_gradient + column, sums[threadIdx.x], sizes.add != 0);
}

// db = sum_i g_i, and z and W with zeros for what is not finite: where they are not, g is zero, and 0 * inf has to stay
// out of the products. Three jobs of a microsecond each in one launch, since none is large; each block has one of them.
KERNEL(classifiers_operands_bwd_f32, 256, const float* g, float* bias_gradient, const float* z, float* finite_z,
       const float* weight, float* finite_weight, ClassifierOperands sizes) {
    uint32_t block = blockIdx.x;
    if (block < sizes.sum_blocks) {
        classifiers_bias_gradient(g, bias_gradient, sizes);
    } else if (block < sizes.sum_blocks + sizes.z_blocks) {
        block -= sizes.sum_blocks;
        classifiers_copy_finite(z, sizes.z_pitch, sizes.inputs, finite_z, sizes.z_elements, block);
    } else {
        block -= sizes.sum_blocks + sizes.z_blocks;
        classifiers_copy_finite(weight, sizes.inputs, sizes.inputs, finite_weight, sizes.weight_elements, block);
    }
}

// ---- predictions ---------------------------------------------------------------------------------------------------

// log sum_j a_j p_ijk. A copy without a softmax has no part in it.
template <class Row>
__device__ void classifiers_predict_classes(
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

// sum_j a_j x_ijk. A copy with outputs that are not finite has no part in it.
template <class Row>
__device__ void classifiers_predict_values(
    const Row& row, const ClassifierCopies& copies, const double* log_posterior, float* out,
    const ClassifierSizes& sizes) {
    const int V = Row::WIDTH;
    classifiers_parts<ClassifierNotFinite>(row, copies, sizes);
    __syncthreads();  // the parts are written
    for (uint32_t j = threadIdx.x; j < sizes.copies; j += blockDim.x) {
        bool is_finite = classifiers_part<ClassifierNotFinite>(copies, j, sizes.slices).y == 0.0f;
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

KERNEL(classifiers_log_probabilities_fwd_f32, 512, const float* scores, const float* bias,
       const double* log_posterior, float* out, ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    ClassifierCopies copies(memory, sizes);
    ClassifierSample sample(const_cast<float*>(scores), nullptr, nullptr, bias, nullptr, sizes);
    out += static_cast<uint64_t>(blockIdx.x) * sizes.outputs;
    if (sizes.staged != 0) {
        sample.stage(copies, sizes);
        classifiers_predict_classes(sample.row<true, 1>(copies, sizes), copies, log_posterior, out, sizes);
    } else if (sample.has_vectors(sizes)) {
        classifiers_predict_classes(sample.row<false, 4>(copies, sizes), copies, log_posterior, out, sizes);
    } else {
        classifiers_predict_classes(sample.row<false, 1>(copies, sizes), copies, log_posterior, out, sizes);
    }
}

KERNEL(classifiers_mean_fwd_f32, 512, const float* scores, const float* bias, const double* log_posterior, float* out,
       ClassifierSizes sizes) {
    DYNAMIC_SHARED(double, memory);
    ClassifierCopies copies(memory, sizes);
    ClassifierSample sample(const_cast<float*>(scores), nullptr, nullptr, bias, nullptr, sizes);
    out += static_cast<uint64_t>(blockIdx.x) * sizes.outputs;
    if (sizes.staged != 0) {
        sample.stage(copies, sizes);
        classifiers_predict_values(sample.row<true, 1>(copies, sizes), copies, log_posterior, out, sizes);
    } else if (sample.has_vectors(sizes)) {
        classifiers_predict_values(sample.row<false, 4>(copies, sizes), copies, log_posterior, out, sizes);
    } else {
        classifiers_predict_values(sample.row<false, 1>(copies, sizes), copies, log_posterior, out, sizes);
    }
}
