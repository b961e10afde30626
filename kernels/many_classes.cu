// The head of classifiers.cu for many classes. Logits are never stored: each pass recomputes them tile by tile, on
// tensor cores in tf32. The formulas are in classifiers.cu, the launches in src/ops/head/many_classes.rs.
//
//   z               [B, d]         with a row pitch
//   weight          [N, K, d]
//   bias            [N, K]
//   classes         [B]
//   log_posterior   [N], f64
//   parts           [B, N, 2 splits]       the largest logit and the sum of e^(x - largest) over part of the classes
//   target_outputs  [B, N]                 the logit of the sample's own class
//   softmaxes       [B, N]                 shift, factor, share, responsibility, as in classifier_row.cuh
//   statistics      [B, N + 2], f64        as in classifiers.cu
//   bests           [B, 2 splits]          the mixture's likeliest class among part of the classes
//   target_mixtures [B]                    the mixture's probability of the sample's own class
//   dz_parts        [splits, B, d]
//
// Five launches replace the three products and the kernels between them. `softmax` computes the parts from all logits.
// `mix` turns them into likelihoods and responsibilities, one warp per sample. `mixture`, or `input` where z needs a
// gradient, recomputes the logits for the likeliest class and dz; `weight` recomputes them for dW and db. `correct` tells
// whether the likeliest class is the sample's own.
//
// All of them share one loop. A block holds 64 rows of one factor in shared memory and streams the rows of the other
// through it, 64 at a time:
//
//                  passing [64, d]           held      passing                   used by
//                 +---------------+          samples   a classifier's classes    softmax, mixture, input
//                 +---------------+          classes   samples                   weight
//     held        | logits  64x64 |  held passing^T, on tensor cores
//     [64, d]     +---------------+
//                 | g       64x64 |  from registers to shared memory
//                 +---------------+
//     sums +=       g passing         [64, d], in registers: dz or dW
//
// Operations: 2 B N K d for each of three passes over the logits and two products with g: 5/3 of the version that
// stores them. Bytes: the passing rows, mostly from L2: 4 d for 128 d operations or twice that, so with tiles of 64x64
// at least 32 operations per byte. A stored logit would be written and read, and come back as g and r g to be read
// again: 24 bytes, 2 GB for 1,400 samples and 6 classifiers of 9,999 words.
//
// d is at most 128: a block's sums are 64 x 64 or 64 x 128, in the registers of 4 warps. Shared memory: 16 KiB for each
// 32 of d and 16 KiB for g: 80 KiB at d > 64, so that two blocks fit on an SM with 164 KB. While one block waits for
// its passing rows the other computes. Double buffering would leave room for only one block.
//
// z and W are rounded to tf32 once, on their way to shared memory, and g when it is written: each is read for several
// fragments. e^x is that of the special function unit (ApproximateExp): the logits' own error is far larger.
//
// Where z or W is not finite, the second product must not compute 0 * inf. Such a number makes every logit that uses it
// not finite, so the passing tile is cleaned only if one of its logits is not finite. That vote rides on a barrier that
// is needed anyway.
//
// No buffer may overlap another.
#include "classifier_row.cuh"
#include "output_tile.cuh"

struct ManyClasses {
    uint32_t z_row_bytes;
    uint32_t samples, inputs, classifiers, outputs;
    uint32_t splits, chunks;  // parts of the classes, and chunks of 64 classes per part
    uint32_t z_is_aligned, weight_is_aligned;  // whether every fourth element of every row is 16-byte aligned; any length
    uint32_t add_weight, add_bias;
};

typedef SoftmaxBy<ApproximateExp> ManyClassesSoftmax;

struct ManyClassesBest {
    float mixture;
    uint32_t outcome;
};

// The samples and classes of a block.
struct ManyClassesBlock {
    uint32_t first_sample, samples;    // at most 64
    uint32_t split, first_class, last_class;
    uint32_t rest;

    __device__ __forceinline__ explicit ManyClassesBlock(const ManyClasses& sizes) {
        uint32_t tiles = divide_up(sizes.samples, MANY_CLASSES_ROWS), block = blockIdx.x;
        first_sample = block % tiles * MANY_CLASSES_ROWS;
        samples = min(sizes.samples - first_sample, MANY_CLASSES_ROWS);
        block /= tiles;
        split = block % sizes.splits, rest = block / sizes.splits;
        first_class = split * sizes.chunks * MANY_CLASSES_ROWS;
        last_class = min(first_class + sizes.chunks * MANY_CLASSES_ROWS, sizes.outputs);
    }
};

// The logits of the held samples for 64 classes of a classifier.
template <int SLABS>
__device__ __forceinline__ void many_classes_outputs(
    const float* held, float* passing, const float* weight, uint32_t classifier, uint32_t first_class,
    const ManyClasses& sizes, ManyClassesOutputs& outputs) {
    const float* from = weight + (static_cast<uint64_t>(classifier) * sizes.outputs + first_class) * sizes.inputs;
    uint32_t count = min(sizes.outputs - first_class, MANY_CLASSES_ROWS);
    ManyClassesRows<SLABS> rows(from, sizes.inputs * 4, count, sizes.inputs, sizes.weight_is_aligned != 0);
    __syncthreads();  // all threads have read the previous classes
    rows.store(passing);
    __syncthreads();  // all rows are written, the held ones too
    outputs.multiply<SLABS>(held, passing);
}

// The bias of a lane's classes; -inf past the last one, so that e^x is 0.
struct ManyClassesBias {
    float own[ManyClassesOutputs::WIDE][2];

    __device__ __forceinline__ ManyClassesBias(
        const float* bias, uint32_t classifier, uint32_t first_class, const ManyClasses& sizes) {
        const float* from = bias + static_cast<uint64_t>(classifier) * sizes.outputs;
        UNROLL
        for (int j = 0; j < ManyClassesOutputs::WIDE; j++) {
            UNROLL
            for (int k = 0; k < 2; k++) {
                uint32_t outcome = first_class + ManyClassesOutputs::column(j, k);
                own[j][k] = outcome < sizes.outputs ? from[outcome] : -INFINITY;
            }
        }
    }
};

// ---- likelihoods ---------------------------------------------------------------------------------------------------

// Grid: tiles of samples, fastest, so that neighbouring blocks read the same classes; splits; classifiers.
template <int SLABS>
__device__ __forceinline__ void many_classes_softmax(
    float* held, const float* __restrict__ z, const float* __restrict__ weight, const float* __restrict__ bias,
    const int* classes,
    float2* parts, float* target_outputs, const ManyClasses& sizes) {
    const int DOWN = ManyClassesOutputs::DOWN, WIDE = ManyClassesOutputs::WIDE;
    float* passing = held + ManyClassesRows<SLABS>::FLOATS;
    ManyClassesBlock block(sizes);
    uint32_t classifier = block.rest;
    ManyClassesRows<SLABS>(
        row_at(z, block.first_sample, sizes.z_row_bytes), sizes.z_row_bytes, block.samples, sizes.inputs,
        sizes.z_is_aligned != 0)
        .store(held);
    float2 own[DOWN];
    uint32_t targets[DOWN];
    UNROLL
    for (int i = 0; i < DOWN; i++) {
        uint32_t row = ManyClassesOutputs::row(i);
        own[i] = ManyClassesSoftmax::neutral();
        targets[i] = row < block.samples ? static_cast<uint32_t>(classes[block.first_sample + row]) : UINT32_MAX;
    }
    for (uint32_t first = block.first_class; first < block.last_class; first += MANY_CLASSES_ROWS) {
        ManyClassesOutputs outputs;
        many_classes_outputs<SLABS>(held, passing, weight, classifier, first, sizes, outputs);
        ManyClassesBias biases(bias, classifier, first, sizes);
        UNROLL
        for (int i = 0; i < DOWN; i++) {
            float x[2 * WIDE];
            UNROLL
            for (int j = 0; j < 2 * WIDE; j++) x[j] = outputs.at(i, j / 2, j % 2) + biases.own[j / 2][j % 2];
            own[i] = ManyClassesSoftmax::add(own[i], x);
            // Rare: most rows have their class in another tile.
            if (targets[i] - first >= MANY_CLASSES_ROWS) continue;
            uint64_t sample = block.first_sample + ManyClassesOutputs::row(i);
            UNROLL
            for (int j = 0; j < 2 * WIDE; j++) {
                if (first + ManyClassesOutputs::column(j / 2, j % 2) != targets[i]) continue;
                target_outputs[sample * sizes.classifiers + classifier] = x[j];
            }
        }
    }
    UNROLL
    for (int i = 0; i < DOWN; i++) {
        UNROLL
        for (int distance = 1; distance < 4; distance *= 2) {
            float x = __shfl_xor_sync(ALL_LANES, own[i].x, distance), y = __shfl_xor_sync(ALL_LANES, own[i].y, distance);
            own[i] = ManyClassesSoftmax::merge(own[i], make_float2(x, y));
        }
        uint32_t row = ManyClassesOutputs::row(i);
        if (threadIdx.x % 4 != 0 || row >= block.samples) continue;
        uint64_t place = (block.first_sample + row) * static_cast<uint64_t>(sizes.classifiers) + classifier;
        uint32_t half = ManyClassesOutputs::warp_column() == 0 ? 0 : 1;
        parts[place * 2 * sizes.splits + 2 * block.split + half] = own[i];
    }
}

// One block of one warp per sample.
KERNEL(many_classes_mix_fwd_f32, 32, const float2* parts, const float* target_outputs, const int* classes,
       const double* log_posterior, float4* softmaxes, double* statistics, ManyClasses sizes) {
    DYNAMIC_SHARED(double, memory);
    ClassifierSizes own{};
    own.classifiers = sizes.classifiers;
    ClassifierArrays arrays(memory, own);
    uint64_t first = blockIdx.x * static_cast<uint64_t>(sizes.classifiers);
    bool is_class = static_cast<uint32_t>(classes[blockIdx.x]) < sizes.outputs;
    for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
        const float2* own_parts = parts + (first + j) * 2 * sizes.splits;
        float2 part = own_parts[0];
        for (uint32_t i = 1; i < 2 * sizes.splits; i++) part = ClassifierSoftmax::merge(part, own_parts[i]);
        double likelihood = CLASSIFIER_NOTHING;
        if (is_class) likelihood = classifiers_finite_or_nothing(target_outputs[first + j] - part.x - logf(part.y));
        arrays.log_likelihoods[j] = likelihood;
        arrays.shifts[j] = part.x;
        arrays.factors[j] = likelihood == CLASSIFIER_NOTHING ? -1.0f : 1.0f / part.y;
    }
    classifiers_mix(arrays, log_posterior, statistics + blockIdx.x * static_cast<uint64_t>(sizes.classifiers + 2), own);
    // Lane j reads only what it wrote.
    for (uint32_t j = threadIdx.x; j < sizes.classifiers; j += WARP) {
        softmaxes[first + j] =
            make_float4(arrays.shifts[j], arrays.factors[j], arrays.shares[j], arrays.responsibilities[j]);
    }
}

// ---- the mixture, and dz -------------------------------------------------------------------------------------------

// For each of a lane's rows, the mixture's first likeliest class among the lane's classes.
struct ManyClassesBests {
    static const int DOWN = ManyClassesOutputs::DOWN;
    ManyClassesBest own[DOWN];

    __device__ __forceinline__ ManyClassesBests() {
        UNROLL
        for (int i = 0; i < DOWN; i++) own[i].mixture = -1.0f, own[i].outcome = 0;
    }

    __device__ __forceinline__ void add(int i, float mixture, uint32_t outcome) {
        bool is_better = mixture > own[i].mixture || (mixture == own[i].mixture && outcome < own[i].outcome);
        if (is_better) own[i].mixture = mixture, own[i].outcome = outcome;
    }

    __device__ __forceinline__ void write(
        ManyClassesBest* bests, const ManyClassesBlock& block, const ManyClasses& sizes) {
        UNROLL
        for (int i = 0; i < DOWN; i++) {
            UNROLL
            for (int distance = 1; distance < 4; distance *= 2) {
                float mixture = __shfl_xor_sync(ALL_LANES, own[i].mixture, distance);
                uint32_t outcome = __shfl_xor_sync(ALL_LANES, own[i].outcome, distance);
                add(i, mixture, outcome);
            }
            uint32_t row = ManyClassesOutputs::row(i), half = ManyClassesOutputs::warp_column() == 0 ? 0 : 1;
            if (threadIdx.x % 4 != 0 || row >= block.samples) continue;
            uint64_t sample = block.first_sample + row;
            bests[sample * 2 * sizes.splits + 2 * block.split + half] = own[i];
        }
    }
};

// Grid: tiles of samples, splits. A block goes over all classifiers for 64 classes, then for the next 64, so that the
// mixture of these classes is complete within the block.
template <int SLABS, bool GRADIENT>
__device__ __forceinline__ void many_classes_input(
    float* held, const float* __restrict__ z, const float* __restrict__ weight, const float* __restrict__ bias,
    const int* classes,
    const float4* __restrict__ softmaxes, ManyClassesBest* bests, float* target_mixtures, float* dz_parts,
    const ManyClasses& sizes) {
    const int DOWN = ManyClassesOutputs::DOWN, WIDE = ManyClassesOutputs::WIDE;
    float *passing = held + ManyClassesRows<SLABS>::FLOATS, *g = passing + ManyClassesRows<SLABS>::FLOATS;
    ManyClassesBlock block(sizes);
    ManyClassesRows<SLABS>(
        row_at(z, block.first_sample, sizes.z_row_bytes), sizes.z_row_bytes, block.samples, sizes.inputs,
        sizes.z_is_aligned != 0)
        .store(held);
    uint32_t targets[DOWN];
    UNROLL
    for (int i = 0; i < DOWN; i++) {
        uint32_t row = ManyClassesOutputs::row(i);
        targets[i] = row < block.samples ? static_cast<uint32_t>(classes[block.first_sample + row]) : UINT32_MAX;
    }
    float scale = static_cast<float>(1.0 / sizes.samples);
    ManyClassesBests found;
    ManyClassesSums<SLABS> sums = {};
    for (uint32_t first = block.first_class; first < block.last_class; first += MANY_CLASSES_ROWS) {
        ManyClassesOutputs mixture = {};
        for (uint32_t classifier = 0; classifier < sizes.classifiers; classifier++) {
            ManyClassesOutputs outputs;
            many_classes_outputs<SLABS>(held, passing, weight, classifier, first, sizes, outputs);
            bool is_finite = outputs.is_finite();
            ManyClassesBias biases(bias, classifier, first, sizes);
            UNROLL
            for (int i = 0; i < DOWN; i++) {
                uint64_t sample = block.first_sample + ManyClassesOutputs::row(i);
                // A row past the last sample gets a negative factor: it counts as diverged.
                float4 own = make_float4(0.0f, -1.0f, 0.0f, 0.0f);
                if (sample < sizes.samples) own = softmaxes[sample * sizes.classifiers + classifier];
                bool is_diverged = own.y < 0.0f;
                float weight_of_g = scale * own.w;
                UNROLL
                for (int j = 0; j < 2 * WIDE; j++) {
                    float& x = outputs.at(i, j / 2, j % 2);
                    float p = ApproximateExp::of(x + biases.own[j / 2][j % 2] - own.x) * own.y;
                    if (is_diverged) p = 0.0f;
                    mixture.at(i, j / 2, j % 2) += own.z * p;
                    x = p;
                }
                if (!GRADIENT) continue;
                // Rare: most rows have their class in another tile.
                if (targets[i] - first < MANY_CLASSES_ROWS && !is_diverged) {
                    UNROLL
                    for (int j = 0; j < 2 * WIDE; j++) {
                        bool is_target = first + ManyClassesOutputs::column(j / 2, j % 2) == targets[i];
                        if (is_target) outputs.at(i, j / 2, j % 2) -= 1.0f;
                    }
                }
                UNROLL
                for (int j = 0; j < WIDE; j++) {
                    many_classes_put(
                        g, ManyClassesOutputs::row(i), ManyClassesOutputs::column(j, 0),
                        outputs.at(i, j, 0) * weight_of_g, outputs.at(i, j, 1) * weight_of_g);
                }
            }
            if (!GRADIENT) continue;
            // g is written, and all threads have read the passing rows for their logits.
            if (__syncthreads_or(!is_finite)) {
                ManyClassesRows<SLABS>::clean(passing);
                __syncthreads();  // the passing rows are clean
            }
            sums.add(g, passing);
        }
        UNROLL
        for (int j = 0; j < WIDE; j++) {
            UNROLL
            for (int k = 0; k < 2; k++) {
                uint32_t outcome = first + ManyClassesOutputs::column(j, k);
                UNROLL
                for (int i = 0; i < DOWN; i++) {
                    if (outcome >= sizes.outputs) continue;
                    found.add(i, mixture.at(i, j, k), outcome);
                    uint64_t sample = block.first_sample + ManyClassesOutputs::row(i);
                    if (outcome == targets[i]) target_mixtures[sample] = mixture.at(i, j, k);
                }
            }
        }
    }
    found.write(bests, block, sizes);
    if (!GRADIENT) return;
    uint64_t first_row = static_cast<uint64_t>(block.split) * sizes.samples + block.first_sample;
    sums.store(dz_parts + first_row * sizes.inputs, block.samples, sizes.inputs, false);
}

// Whether a sample's own class is the first of the likeliest. One thread per sample.
KERNEL(many_classes_correct_fwd_f32, 128, const ManyClassesBest* bests, const float* target_mixtures, const int* classes,
       double* statistics, ManyClasses sizes) {
    uint64_t sample = global_thread();
    if (sample >= sizes.samples) return;
    double* own = statistics + sample * (sizes.classifiers + 2) + sizes.classifiers;
    if (own[0] == CLASSIFIER_NOTHING) return;  // the class may be out of range
    float mixture = target_mixtures[sample];
    uint32_t target = static_cast<uint32_t>(classes[sample]);
    bool is_beaten = false;
    for (uint32_t part = 0; part < 2 * sizes.splits; part++) {
        ManyClassesBest best = bests[sample * 2 * sizes.splits + part];
        is_beaten |= best.mixture > mixture || (best.mixture == mixture && best.outcome < target);
    }
    if (!is_beaten) own[1] = 1.0;
}

// ---- dW and db -----------------------------------------------------------------------------------------------------

// Grid: tiles of classes, classifiers. Either gradient may be null.
template <int SLABS>
__device__ __forceinline__ void many_classes_weight(
    float* held, const float* __restrict__ z, const float* __restrict__ weight, const float* __restrict__ bias,
    const int* classes,
    const float4* __restrict__ softmaxes, float* weight_gradient, float* bias_gradient,
    const ManyClasses& sizes) {
    const int DOWN = ManyClassesOutputs::DOWN, WIDE = ManyClassesOutputs::WIDE;
    SHARED(float, halves, [2][MANY_CLASSES_ROWS]);
    float *passing = held + ManyClassesRows<SLABS>::FLOATS, *g = passing + ManyClassesRows<SLABS>::FLOATS;
    uint32_t tiles = divide_up(sizes.outputs, MANY_CLASSES_ROWS);
    uint32_t first_class = blockIdx.x % tiles * MANY_CLASSES_ROWS, classifier = blockIdx.x / tiles;
    uint32_t own_classes = min(sizes.outputs - first_class, MANY_CLASSES_ROWS);
    uint64_t first_row = static_cast<uint64_t>(classifier) * sizes.outputs + first_class;
    ManyClassesRows<SLABS>(
        weight + first_row * sizes.inputs, sizes.inputs * 4, own_classes, sizes.inputs, sizes.weight_is_aligned != 0)
        .store(held);
    float own_bias[DOWN], bias_sums[DOWN] = {};
    UNROLL
    for (int i = 0; i < DOWN; i++) {
        uint32_t row = ManyClassesOutputs::row(i);
        own_bias[i] = row < own_classes ? bias[first_row + row] : 0.0f;
    }
    float scale = static_cast<float>(1.0 / sizes.samples);
    ManyClassesSums<SLABS> sums = {};
    for (uint32_t first = 0; first < sizes.samples; first += MANY_CLASSES_ROWS) {
        uint32_t count = min(sizes.samples - first, MANY_CLASSES_ROWS);
        ManyClassesRows<SLABS> rows(
            row_at(z, first, sizes.z_row_bytes), sizes.z_row_bytes, count, sizes.inputs, sizes.z_is_aligned != 0);
        __syncthreads();  // all threads have read the previous samples
        rows.store(passing);
        __syncthreads();  // all rows are written, the held ones too
        ManyClassesOutputs outputs;
        outputs.multiply<SLABS>(held, passing);
        bool is_finite = outputs.is_finite();
        UNROLL
        for (int j = 0; j < WIDE; j++) {
            UNROLL
            for (int k = 0; k < 2; k++) {
                uint32_t column = ManyClassesOutputs::column(j, k), target = sizes.outputs;
                float4 own = make_float4(0.0f, -1.0f, 0.0f, 0.0f);
                if (column < count) {
                    uint64_t sample = first + column;
                    own = softmaxes[sample * sizes.classifiers + classifier];
                    target = static_cast<uint32_t>(classes[sample]);
                }
                bool is_diverged = own.y < 0.0f;
                UNROLL
                for (int i = 0; i < DOWN; i++) {
                    float& x = outputs.at(i, j, k);
                    x = ApproximateExp::of(x + own_bias[i] - own.x) * own.y * scale;
                    if (is_diverged) x = 0.0f;
                }
                // Rare: most samples have another class.
                if (target - first_class < MANY_CLASSES_ROWS && !is_diverged) {
                    UNROLL
                    for (int i = 0; i < DOWN; i++) {
                        if (first_class + ManyClassesOutputs::row(i) == target) outputs.at(i, j, k) -= scale;
                    }
                }
                UNROLL
                for (int i = 0; i < DOWN; i++) bias_sums[i] += outputs.at(i, j, k);
            }
            UNROLL
            for (int i = 0; i < DOWN; i++) {
                many_classes_put(
                    g, ManyClassesOutputs::row(i), ManyClassesOutputs::column(j, 0), outputs.at(i, j, 0),
                    outputs.at(i, j, 1));
            }
        }
        // g is written, and all threads have read the passing rows for their logits.
        if (__syncthreads_or(!is_finite)) {
            ManyClassesRows<SLABS>::clean(passing);
            __syncthreads();  // the passing rows are clean
        }
        sums.add(g, passing);
    }
    if (weight_gradient != nullptr) {
        sums.store(
            weight_gradient + first_row * sizes.inputs, own_classes, sizes.inputs, sizes.add_weight != 0);
    }
    if (bias_gradient == nullptr) return;
    UNROLL
    for (int i = 0; i < DOWN; i++) {
        float sum = reduce_lanes<Sum>(bias_sums[i], 4);
        if (threadIdx.x % 4 == 0) halves[ManyClassesOutputs::warp_column() / 32][ManyClassesOutputs::row(i)] = sum;
    }
    __syncthreads();  // both halves of the samples are summed
    if (threadIdx.x < own_classes) {
        float sum = halves[0][threadIdx.x] + halves[1][threadIdx.x];
        store(bias_gradient + first_row + threadIdx.x, sum, sizes.add_bias != 0);
    }
}

#define MANY_CLASSES(depth, SLABS)                                                                                      \
    KERNEL_RESIDENT(                                                                                                    \
        many_classes_##depth##_softmax_fwd_tf32, MANY_CLASSES_THREADS, 2, const float* z, const float* weight,            \
        const float* bias, const int* classes, float2* parts, float* target_outputs, ManyClasses sizes) {               \
        DYNAMIC_SHARED(float, shared);                                                                                  \
        many_classes_softmax<SLABS>(shared, z, weight, bias, classes, parts, target_outputs, sizes);                    \
    }                                                                                                                   \
    KERNEL_RESIDENT(                                                                                                    \
        many_classes_##depth##_mixture_fwd_tf32, MANY_CLASSES_THREADS, 2, const float* z, const float* weight,            \
        const float* bias, const int* classes, const float4* softmaxes, ManyClassesBest* bests, float* target_mixtures, \
        ManyClasses sizes) {                                                                                            \
        DYNAMIC_SHARED(float, shared);                                                                                  \
        many_classes_input<SLABS, false>(                                                                               \
            shared, z, weight, bias, classes, softmaxes, bests, target_mixtures, nullptr, sizes);                      \
    }                                                                                                                   \
    KERNEL_RESIDENT(                                                                                                    \
        many_classes_##depth##_input_fwd_tf32, MANY_CLASSES_THREADS, 2, const float* z, const float* weight,              \
        const float* bias, const int* classes, const float4* softmaxes, ManyClassesBest* bests, float* target_mixtures, \
        float* dz_parts, ManyClasses sizes) {                                                                           \
        DYNAMIC_SHARED(float, shared);                                                                                  \
        many_classes_input<SLABS, true>(                                                                                \
            shared, z, weight, bias, classes, softmaxes, bests, target_mixtures, dz_parts, sizes);                     \
    }                                                                                                                   \
    KERNEL_RESIDENT(                                                                                                    \
        many_classes_##depth##_weight_bwd_tf32, MANY_CLASSES_THREADS, 2, const float* z, const float* weight,             \
        const float* bias, const int* classes, const float4* softmaxes, float* weight_gradient, float* bias_gradient,  \
        ManyClasses sizes) {                                                                                            \
        DYNAMIC_SHARED(float, shared);                                                                                  \
        many_classes_weight<SLABS>(shared, z, weight, bias, classes, softmaxes, weight_gradient, bias_gradient, sizes); \
    }

MANY_CLASSES(64, 2)
MANY_CLASSES(128, 4)
