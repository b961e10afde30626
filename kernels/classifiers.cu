// The head: N classifiers of K outputs each. Computes losses, the mixture's loss and accuracy, and gradients from the
// products z W^T of all classifiers. The formulas are in src/ops/head/classifiers.rs, the launches in
// src/ops/head/classifiers/launch.rs.
//
// For sample i and classifier j, with logits x_ijk (product plus bias) and class y_i:
//
//   log p_ij  = x_ijy - largest_k x_ijk - log sum_k e^(x_ijk - largest)      -inf where it is not finite
//   log p_i   = log sum_j e^(log a_j + log p_ij)
//   r_ij      = e^(log a_j + log p_ij - log p_i)
//   g_ijk     = (e^x_ijk / sum_k' e^x_ijk' - [k = y_i]) / B                  zero where log p_ij is -inf
//   correct_i = y_i is the first class with the largest sum_j a_j p_ijk
//
// In regression, x is the difference from the targets, log p_ij = -|x_ij|^2 / 2 - K/2 log 2 pi, and g = x / B. With a
// chosen output c_i for each sample, log p_ij = -x_ijc^2 / 2 - 1/2 log 2 pi; there g is the error x_ijc / B, clamped
// to +-limit / B, and zero at all other outputs, finite or not. For a class or a chosen output outside 0..K, every
// classifier counts as diverged on the sample.
//
//   scores         [B, N, K]   the products, f32
//   gradients      [B, N, K]   g: f32, in place of the scores, or bf16
//   weighted       [B, N, K]   r_ij g_ijk, of the same type; null where no gradient of z is needed
//   bias           [N, K]
//   classes        [B]         or values [B, K] with a pitch; or chosen [B] and values [B]
//   log_posterior  [N], f64
//   statistics     [B, N + 2], f64: log p_ij, log p_i, correct_i
//
// A step has three launches. `classes`, `values` or `chosen` computes g, r g and the statistics from the products: 12
// bytes per output (4 read, 8 written) and about 20 operations. `summary` reduces the statistics over the batch.
// `operands` prepares the operands of the backward products, and the bias gradient. Writing r g beside g costs 4 bytes
// per output; a launch that scaled g afterwards would move 8. Where z and W are bf16, so are g and r g, for the sake of
// the products, and 8 bytes per output move; logits, losses and the bias gradient stay f32.
//
// A block handles one sample, so that likelihoods, mixture and responsibilities are exchanged through shared memory
// within one launch. A row of at most 10,240 outputs is read once into shared memory and written from there, 16 bytes
// at a time wherever N K is a multiple of 4. A longer row is read twice, the second time from L2: one block of 1024
// threads fills an SM, so at most 132 rows are in flight, 32 MB with 6 classifiers of 10,000 words. A group of lanes
// just wide enough reduces one classifier's outputs, or several warps where there are many classes: with ten
// classifiers of ten classes, one warp per classifier would leave two thirds of its lanes idle. One warp does the work
// in f64.
//
// With chosen outputs nothing is staged: a warp reads one number per classifier, and the block writes g and r g, mostly
// zeros: 8 bytes per output.
//
// No buffer may overlap another.
#include "classifier_row.cuh"

// ---- g --------------------------------------------------------------------------------------------------------------

// A sample's g and r g in global memory.
template <class T>
struct ClassifierGradients {
    T *own, *weighted;

    __device__ ClassifierGradients(T* all, T* all_weighted, const ClassifierSizes& sizes) {
        uint64_t first = static_cast<uint64_t>(blockIdx.x) * sizes.classifiers * sizes.outputs;
        own = all + first;
        weighted = all_weighted == nullptr ? nullptr : all_weighted + first;
    }
};

template <int V, class T>
__device__ __forceinline__ void classifiers_store_gradient(T* to, const float (&x)[V]) {
    Pack<V> pack;
    UNROLL
    for (int i = 0; i < V; i++) pack.value[i] = x[i];
    store<V>(to, pack);
}

// Puts g into the staged row, or writes it to global memory together with r g.
template <class Row, class T>
__device__ void classifiers_put(
    const ClassifierArrays& arrays, const ClassifierGradients<T>& gradients, uint32_t classifier, uint32_t element,
    float (&g)[Row::WIDTH]) {
    if (Row::IS_STAGED) {
        arrays.row[element] = g[0];
        return;
    }
    classifiers_store_gradient(gradients.own + element, g);
    if (gradients.weighted == nullptr) return;
    UNROLL
    for (int i = 0; i < Row::WIDTH; i++) g[i] *= arrays.responsibilities[classifier];
    classifiers_store_gradient(gradients.weighted + element, g);
}

// g of all classifiers, and whether `correct` is the mixture's likeliest class. All threads of the block must call it.
template <class Row, class T>
__device__ bool classifiers_classes_gradient(
    const Row& row, const ClassifierArrays& arrays, const ClassifierGradients<T>& gradients, uint32_t correct,
    const ClassifierSizes& sizes) {
    const int V = Row::WIDTH;
    SHARED(float, own, [1]);
    float scale = static_cast<float>(1.0 / sizes.samples), best = -1.0f;
    uint32_t best_class = 0;
    if (threadIdx.x == 0 && correct >= sizes.outputs) own[0] = 0.0f;
    for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
        float mixture[V] = {};
        for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
            float x[V] = {}, factor = arrays.factors[classifier];
            // Uniform across the warp. The logits of a diverged classifier are not read.
            if (factor >= 0.0f) {
                row.load(classifier, k, x);
                UNROLL
                for (int i = 0; i < V; i++) {
                    float p = expf(x[i] - arrays.shifts[classifier]) * factor;
                    mixture[i] += arrays.shares[classifier] * p;
                    x[i] = (k + i == correct ? p - 1.0f : p) * scale;
                }
            }
            classifiers_put<Row>(arrays, gradients, classifier, classifier * sizes.outputs + k, x);
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

template <class Row, class T>
__device__ void classifiers_values_gradient(
    const Row& row, const ClassifierArrays& arrays, const ClassifierGradients<T>& gradients,
    const ClassifierSizes& sizes) {
    const int V = Row::WIDTH;
    float scale = static_cast<float>(1.0 / sizes.samples);
    for (uint32_t k = V * threadIdx.x; k < sizes.outputs; k += V * blockDim.x) {
        for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
            float x[V] = {};
            if (arrays.factors[classifier] >= 0.0f) {
                row.load(classifier, k, x);
                UNROLL
                for (int i = 0; i < V; i++) x[i] *= scale;
            }
            classifiers_put<Row>(arrays, gradients, classifier, classifier * sizes.outputs + k, x);
        }
    }
    __syncthreads();  // every thread's g is in shared memory
}

// ---- writing the gradients ------------------------------------------------------------------------------------------

// An output's classifier and its index there.
struct ClassifierPlace {
    uint32_t classifier, k;

    __device__ ClassifierPlace(uint32_t element, uint32_t outputs) : classifier(element / outputs), k(element % outputs) {}
    __device__ void advance(uint32_t outputs) {
        bool is_last = k + 1 == outputs;
        classifier += is_last ? 1 : 0;
        k = is_last ? 0 : k + 1;
    }
};

// g from the staged row, F outputs at a time.
struct ClassifierStagedGradient {
    template <int F>
    __device__ void load(
        const ClassifierArrays& arrays, uint32_t element, const ClassifierSizes&, float (&g)[F]) const {
        classifiers_load<F>(arrays.row + element, g);
    }
};

// Writes g and r g, F outputs at a time.
template <int F, class Source, class T>
__device__ void classifiers_flush(
    const Source& source, const ClassifierArrays& arrays, const ClassifierGradients<T>& gradients,
    const ClassifierSizes& sizes) {
    uint32_t length = sizes.classifiers * sizes.outputs;
    for (uint32_t element = F * threadIdx.x; element < length; element += F * blockDim.x) {
        float g[F];
        source.load(arrays, element, sizes, g);
        classifiers_store_gradient(gradients.own + element, g);
        if (gradients.weighted == nullptr) continue;
        ClassifierPlace place(element, sizes.outputs);
        UNROLL
        for (int i = 0; i < F; i++) {
            g[i] *= arrays.responsibilities[place.classifier];
            place.advance(sizes.outputs);
        }
        classifiers_store_gradient(gradients.weighted + element, g);
    }
}

template <class Source, class T>
__device__ void classifiers_flush_row(
    const Source& source, const ClassifierSample& sample, const ClassifierArrays& arrays,
    const ClassifierGradients<T>& gradients, const ClassifierSizes& sizes) {
    if (sample.is_vector) {
        classifiers_flush<4>(source, arrays, gradients, sizes);
    } else {
        classifiers_flush<1>(source, arrays, gradients, sizes);
    }
}

template <class Row, class T>
__device__ void classifiers_evaluate_classes(
    const Row& row, const ClassifierSample& sample, const ClassifierArrays& arrays,
    const ClassifierGradients<T>& gradients, int target, const double* log_posterior, const ClassifierSizes& sizes) {
    uint32_t correct = static_cast<uint32_t>(target);
    classifiers_parts<ClassifierSoftmax>(row, arrays, sizes);
    __syncthreads();  // the parts are written
    if (threadIdx.x < WARP) {
        for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
            float2 part = classifiers_part<ClassifierSoftmax>(arrays, j, sizes.slices);
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
            arrays.log_likelihoods[j] = likelihood;
            arrays.shifts[j] = part.x;
            arrays.factors[j] = likelihood == CLASSIFIER_NOTHING ? -1.0f : 1.0f / part.y;
        }
        classifiers_mix(arrays, log_posterior, sample.statistics, sizes);
    }
    __syncthreads();  // shifts, factors, shares and responsibilities are written
    bool is_correct = classifiers_classes_gradient(row, arrays, gradients, correct, sizes);
    // Only the thread that wrote the mixture's likelihood may read it without another barrier.
    if (threadIdx.x == 0 && is_correct && sample.statistics[sizes.classifiers] != CLASSIFIER_NOTHING) {
        sample.statistics[sizes.classifiers + 1] = 1.0;
    }
}

template <class Row, class T>
__device__ void classifiers_evaluate_values(
    const Row& row, const ClassifierSample& sample, const ClassifierArrays& arrays,
    const ClassifierGradients<T>& gradients, const double* log_posterior, const ClassifierSizes& sizes) {
    classifiers_parts<ClassifierSquares>(row, arrays, sizes);
    __syncthreads();  // the parts are written
    if (threadIdx.x < WARP) {
        for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
            double square = classifiers_part<ClassifierSquares>(arrays, j, sizes.slices).y;
            arrays.log_likelihoods[j] = classifiers_finite_or_nothing(-0.5 * square - sizes.constant);
            arrays.factors[j] = arrays.log_likelihoods[j] == CLASSIFIER_NOTHING ? -1.0f : 1.0f;
        }
        classifiers_mix(arrays, log_posterior, sample.statistics, sizes);
    }
    __syncthreads();  // factors and responsibilities are written
    classifiers_values_gradient(row, arrays, gradients, sizes);
}

template <class T>
__device__ __forceinline__ void classifiers_classes(
    double* memory, float* scores, T* all_gradients, T* all_weighted, double* statistics, const float* bias,
    const int* classes, const double* log_posterior, const ClassifierSizes& sizes) {
    ClassifierArrays arrays(memory, sizes);
    ClassifierSample sample(scores, statistics, bias, nullptr, sizes);
    ClassifierGradients<T> gradients(all_gradients, all_weighted, sizes);
    int target = classes[blockIdx.x];
    if (sizes.staged != 0) {
        sample.stage(arrays, sizes);
        classifiers_evaluate_classes(
            sample.row<true, 1>(arrays, sizes), sample, arrays, gradients, target, log_posterior, sizes);
        classifiers_flush_row(ClassifierStagedGradient(), sample, arrays, gradients, sizes);
    } else if (sample.has_vectors(sizes)) {
        classifiers_evaluate_classes(
            sample.row<false, 4>(arrays, sizes), sample, arrays, gradients, target, log_posterior, sizes);
    } else {
        classifiers_evaluate_classes(
            sample.row<false, 1>(arrays, sizes), sample, arrays, gradients, target, log_posterior, sizes);
    }
}

template <class T>
__device__ __forceinline__ void classifiers_values(
    double* memory, float* scores, T* all_gradients, T* all_weighted, double* statistics, const float* bias,
    const float* values, const double* log_posterior, const ClassifierSizes& sizes) {
    ClassifierArrays arrays(memory, sizes);
    ClassifierSample sample(scores, statistics, bias, values, sizes);
    ClassifierGradients<T> gradients(all_gradients, all_weighted, sizes);
    if (sizes.staged != 0) {
        sample.stage(arrays, sizes);
        classifiers_evaluate_values(sample.row<true, 1>(arrays, sizes), sample, arrays, gradients, log_posterior, sizes);
        classifiers_flush_row(ClassifierStagedGradient(), sample, arrays, gradients, sizes);
    } else if (sample.has_vectors(sizes)) {
        classifiers_evaluate_values(sample.row<false, 4>(arrays, sizes), sample, arrays, gradients, log_posterior, sizes);
    } else {
        classifiers_evaluate_values(sample.row<false, 1>(arrays, sizes), sample, arrays, gradients, log_posterior, sizes);
    }
}

// ---- one chosen output ---------------------------------------------------------------------------------------------

// g that is zero except at the chosen output, where each classifier's value is in its `shifts`.
struct ClassifierChosenGradient {
    uint32_t chosen;

    template <int F>
    __device__ void load(
        const ClassifierArrays& arrays, uint32_t element, const ClassifierSizes& sizes, float (&g)[F]) const {
        ClassifierPlace place(element, sizes.outputs);
        UNROLL
        for (int i = 0; i < F; i++) {
            g[i] = place.k == chosen ? arrays.shifts[place.classifier] : 0.0f;
            place.advance(sizes.outputs);
        }
    }
};

template <class T>
__device__ __forceinline__ void classifiers_chosen(
    double* memory, float* scores, T* all_gradients, T* all_weighted, double* statistics, const float* bias,
    const int* chosen, const float* values, float limit, const double* log_posterior, const ClassifierSizes& sizes) {
    ClassifierArrays arrays(memory, sizes);
    ClassifierSample sample(scores, statistics, bias, nullptr, sizes);
    ClassifierGradients<T> gradients(all_gradients, all_weighted, sizes);
    uint32_t output = static_cast<uint32_t>(chosen[blockIdx.x]);
    if (threadIdx.x < WARP) {
        float value = values[blockIdx.x], scale = static_cast<float>(1.0 / sizes.samples);
        for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
            double likelihood = CLASSIFIER_NOTHING;
            float difference = 0.0f;
            if (output < sizes.outputs) {
                uint32_t element = j * sizes.outputs + output;
                difference = sample.scores[element] + bias[element] - value;
                likelihood = classifiers_finite_or_nothing(
                    -0.5 * static_cast<double>(difference * difference) - sizes.constant);
            }
            arrays.log_likelihoods[j] = likelihood;
            arrays.shifts[j] = likelihood == CLASSIFIER_NOTHING ? 0.0f : fminf(fmaxf(difference, -limit), limit) * scale;
        }
        classifiers_mix(arrays, log_posterior, sample.statistics, sizes);
    }
    __syncthreads();  // shifts and responsibilities are written, and the scores that g replaces are read
    classifiers_flush_row(ClassifierChosenGradient{output}, sample, arrays, gradients, sizes);
}

#define CLASSIFIERS(T, type)                                                                                           \
    KERNEL(classifiers_classes_fwd_##type, 1024, float* scores, T* gradients, T* weighted, double* statistics,         \
           const float* bias, const int* classes, const double* log_posterior, ClassifierSizes sizes) {                \
        DYNAMIC_SHARED(double, memory);                                                                                \
        classifiers_classes(memory, scores, gradients, weighted, statistics, bias, classes, log_posterior, sizes);     \
    }                                                                                                                  \
    KERNEL(classifiers_values_fwd_##type, 512, float* scores, T* gradients, T* weighted, double* statistics,           \
           const float* bias, const float* values, const double* log_posterior, ClassifierSizes sizes) {               \
        DYNAMIC_SHARED(double, memory);                                                                                \
        classifiers_values(memory, scores, gradients, weighted, statistics, bias, values, log_posterior, sizes);       \
    }                                                                                                                  \
    KERNEL(classifiers_chosen_fwd_##type, 512, float* scores, T* gradients, T* weighted, double* statistics,           \
           const float* bias, const int* chosen, const float* values, float limit, const double* log_posterior,        \
           ClassifierSizes sizes) {                                                                                    \
        DYNAMIC_SHARED(double, memory);                                                                                \
        classifiers_chosen(                                                                                            \
            memory, scores, gradients, weighted, statistics, bias, chosen, values, limit, log_posterior, sizes);       \
    }

CLASSIFIERS(float, f32)
CLASSIFIERS(bf16, bf16)

// ---- sums over the batch -------------------------------------------------------------------------------------------

// One block; each warp takes a column of the statistics. A diverged classifier's loss is infinite, and so is the
// mixture's loss where a sample has no finite classifier. The objective skips terms that are not finite.
KERNEL(classifiers_summary_fwd_f32, 1024, const double* statistics, float* objective, double* loss, int* correct,
       double* classifier_losses, unsigned char* diverged, int* samples_without_finite, uint32_t samples, uint32_t classifiers) {
    SHARED(double, terms, [WARP]);
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP, width = classifiers + 2;
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
        if (column <= classifiers) own -= sum;
        if (lane != 0) continue;
        if (column < classifiers) {
            classifier_losses[column] = mean;
            diverged[column] = missing > 0;
        } else if (column == classifiers) {
            *loss = mean;
            *samples_without_finite = missing;
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

// ---- backward pass --------------------------------------------------------------------------------------------------

struct ClassifierOperands {
    uint64_t z_pitch;
    uint64_t z_elements, weight_elements;
    uint32_t samples, inputs, columns;  // B, d, N K
    uint32_t sum_blocks, z_blocks;      // blocks for the bias gradient, then for z; the rest copy the weights
    uint32_t sum_width;                 // columns of a block: a power of 2, at most 32
    uint32_t add;
    uint32_t unused;
};

static const uint32_t CLASSIFIER_THREADS = 256;
static const uint32_t CLASSIFIER_COPIED = 16;  // elements per thread, 16 bytes at a time

__device__ __forceinline__ float classifiers_finite(float x) {
    return fabsf(x) < INFINITY ? x : 0.0f;
}

// Copies `from` to `to` with zeros in place of numbers that are not finite: 4096 elements per block.
template <class T>
__device__ void classifiers_copy_finite(
    const T* from, uint64_t pitch, uint32_t width, T* to, uint64_t elements, uint64_t block) {
    const int V = 16 / sizeof(T);
    const uint32_t VECTORS = CLASSIFIER_COPIED / V;
    uint64_t base = block * CLASSIFIER_THREADS * CLASSIFIER_COPIED;
    bool is_flat = pitch == width && is_aligned16(from);
    Pack<V> x[VECTORS];
    UNROLL
    for (uint32_t i = 0; i < VECTORS; i++) {
        uint64_t element = base + V * (i * CLASSIFIER_THREADS + threadIdx.x);
        if (is_flat && element + V <= elements) x[i] = load<V>(from + element);
    }
    UNROLL
    for (uint32_t i = 0; i < VECTORS; i++) {
        uint64_t element = base + V * (i * CLASSIFIER_THREADS + threadIdx.x);
        if (is_flat && element + V <= elements) {
            UNROLL
            for (int v = 0; v < V; v++) x[i].value[v] = classifiers_finite(x[i].value[v]);
            store<V>(to + element, x[i]);
            continue;
        }
        for (uint64_t one = element; one < element + V && one < elements; one++) {
            uint64_t row = pitch == width ? 0 : one / width;
            to[one] = static_cast<T>(classifiers_finite(static_cast<float>(from[row * pitch + one - row * width])));
        }
    }
}

// Sums `width` columns of g over the batch: a thread takes every (256 / width)-th sample of one column.
template <class T>
__device__ void classifiers_bias_gradient(const T* g, float* bias_gradient, const ClassifierOperands& sizes) {
    SHARED(float, sums, [CLASSIFIER_THREADS]);
    uint32_t width = sizes.sum_width, column = blockIdx.x * width + threadIdx.x % width;
    float sum = 0.0f;
    if (column < sizes.columns) {
        for (uint32_t sample = threadIdx.x / width; sample < sizes.samples; sample += CLASSIFIER_THREADS / width) {
            sum += static_cast<float>(g[static_cast<uint64_t>(sample) * sizes.columns + column]);
        }
    }
    sums[threadIdx.x] = sum;
    for (uint32_t half = CLASSIFIER_THREADS / 2; half >= width; half /= 2) {
        __syncthreads();  // the upper half is complete
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    // This thread itself did the last addition to this sum: no barrier.
    if (threadIdx.x < width && column < sizes.columns) store(bias_gradient + column, sums[threadIdx.x], sizes.add != 0);
}

// db = sum_i g_i, and copies of z and W with zeros in place of numbers that are not finite: g is zero there, and the
// products must not compute 0 * inf. One launch for three jobs of a microsecond each; each block does one of them.
template <class T>
__device__ __forceinline__ void classifiers_operands(
    const T* g, float* bias_gradient, const T* z, T* finite_z, const T* weight, T* finite_weight,
    const ClassifierOperands& sizes) {
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

#define CLASSIFIER_OPERANDS(T, type)                                                                                   \
    KERNEL(classifiers_operands_bwd_##type, 256, const T* g, float* bias_gradient, const T* z, T* finite_z,            \
           const T* weight, T* finite_weight, ClassifierOperands sizes) {                                              \
        classifiers_operands(g, bias_gradient, z, finite_z, weight, finite_weight, sizes);                             \
    }

CLASSIFIER_OPERANDS(float, f32)
CLASSIFIER_OPERANDS(bf16, bf16)
