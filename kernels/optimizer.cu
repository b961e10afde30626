// One update of all parameters of a model, classifiers included, in one launch over the flat buffers, with a learning
// rate for each feature. SGD, SGD with momentum, Adam. The launch is in src/ops/update/optimizer/launch.rs.
//
// For element e of a parameter with gradient g:
//
//   eta = schedule * rates[rate_base + (e / inner) % features]
//   g <- clip * g + weight_decay * w          (clip = 1 for the classifiers' parameters)
//   SGD        w <- w - eta g
//   momentum   v <- momentum v + g, w <- w - eta v                                            (PyTorch's, no dampening)
//   Adam       m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,
//              w <- w - eta m / (1 - b1^t) / (sqrt(v) / sqrt(1 - b2^t) + epsilon)             (Kingma and Ba 2015)
//
// An element whose clipped gradient is not finite is skipped, with its moments, and counted. A classifier that diverged
// in this step is skipped whole, uncounted.
//
//   values, gradients, first, second   [all parameters], each parameter at a multiple of 16 elements
//   copy                               [all parameters]: values rounded to bf16; or null
//   rates                              [all features]
//   chunks                             [grid]: at most 4096 elements of one parameter each; `in_head`: a classifier's
//   scales                             [2], f64: the schedule's factor and the clip's
//   diverged                           [classifiers]: nonzero for one that diverged; or null
//   step                               [1]: t, 1 for the first update; 64 bits, since a day of Q-learning passes 2^31
//   skipped                            [1]: the count is added to it
//
// Bytes per element: SGD 12 (w read and written, g read), momentum 20, Adam 28, and 2 for the copy; rates are per
// feature and stay in the cache. Operations per element: 3, 5, 14. Memory-bound, so what counts is the number of bytes
// in flight: a thread loads four 16-byte vectors of every buffer before it computes with the first. One block of 256
// threads per chunk. A chunk lies in one parameter, so the rate lookup is only (e / inner) % features; where inner is a
// multiple of 4 it is done once per vector. One launch per parameter would be hundreds of launches of a few
// microseconds each; a table of chunks needs only one.
//
// No buffer may overlap another.
#include "parameter_chunk.cuh"

struct OptimizerSettings {
    double first_decay, second_decay;  // momentum, or Adam's b1; Adam's b2
    float epsilon;
    float weight_decay;
};

// The direction in which an element moves. Reads and writes the moments.
struct Plain {
    static const int MOMENTS = 0;
    __device__ Plain(const OptimizerSettings&, const int64_t*) {}
    __device__ float direction(float gradient, float&, float&) const {
        return gradient;
    }
};

struct Momentum {
    static const int MOMENTS = 1;
    float momentum;
    __device__ Momentum(const OptimizerSettings& settings, const int64_t*)
        : momentum(static_cast<float>(settings.first_decay)) {}
    __device__ float direction(float gradient, float& first, float&) const {
        return first = momentum * first + gradient;
    }
};

struct Adam {
    static const int MOMENTS = 2;
    float keep_first, take_first, keep_second, take_second, correct_first, correct_second, epsilon;
    __device__ Adam(const OptimizerSettings& settings, const int64_t* step) {
        // Two pow() in f64 cost as much as hundreds of updates: only one thread of the block computes them.
        SHARED(float, corrections, [2]);
        if (threadIdx.x == 0) {
            double t = static_cast<double>(*step);
            corrections[0] = static_cast<float>(1.0 / (1.0 - pow(settings.first_decay, t)));
            corrections[1] = static_cast<float>(1.0 / sqrt(1.0 - pow(settings.second_decay, t)));
        }
        __syncthreads();  // corrections are written
        keep_first = static_cast<float>(settings.first_decay);
        take_first = static_cast<float>(1.0 - settings.first_decay);
        keep_second = static_cast<float>(settings.second_decay);
        take_second = static_cast<float>(1.0 - settings.second_decay);
        correct_first = corrections[0];
        correct_second = corrections[1];
        epsilon = settings.epsilon;
    }
    __device__ float direction(float gradient, float& first, float& second) const {
        first = keep_first * first + take_first * gradient;
        second = keep_second * second + take_second * gradient * gradient;
        return first * correct_first / (sqrtf(second) * correct_second + epsilon);
    }
};

// Everything that the elements of a chunk share, and how many elements this thread skipped.
template <class Rule>
struct Update {
    const Rule& rule;
    const ParameterChunk& chunk;
    const float* rates;
    const unsigned char* diverged;
    float schedule, clip, weight_decay;
    uint32_t skipped;

    __device__ uint32_t feature(uint32_t element) const {
        return chunk.features == 1
                   ? 0
                   : static_cast<uint32_t>((chunk.offset + element) / chunk.inner % chunk.features);
    }

    // The learning rate of a feature, or a negative number for a classifier that diverged.
    __device__ float rate(uint32_t feature) const {
        bool is_skipped = chunk.in_head && diverged != nullptr && diverged[feature] != 0;
        return is_skipped ? -1.0f : rates[chunk.rate_base + feature] * schedule;
    }

    __device__ void move(float& value, float gradient, float& first, float& second, float rate) {
        if (rate < 0.0f) return;
        gradient *= clip;
        if (!(fabsf(gradient) < INFINITY)) {
            skipped++;
            return;
        }
        if (weight_decay != 0.0f) gradient += weight_decay * value;
        float direction = rule.direction(gradient, first, second);
        // A frozen element has rate 0; 0 times a moment that has overflowed would be NaN.
        if (rate != 0.0f) value -= rate * direction;
    }
};

__device__ inline float* parts(float4& vector) {
    return reinterpret_cast<float*>(&vector);
}

__device__ inline void store_copy(bf16* copy, float4 vector) {
    store(copy, Pack<4>{{vector.x, vector.y, vector.z, vector.w}});
}

template <class Rule>
__device__ void optimizer_update(
    float* __restrict__ values, bf16* __restrict__ copy, const float* __restrict__ gradients, float* __restrict__ first,
    float* __restrict__ second, const float* __restrict__ rates, const ParameterChunk* __restrict__ chunks,
    const double* __restrict__ scales, const unsigned char* __restrict__ diverged, const int64_t* __restrict__ step,
    unsigned long long* __restrict__ skipped, const OptimizerSettings& settings) {
    ParameterChunk chunk = chunks[blockIdx.x];
    Rule rule(settings, step);
    float clip = chunk.in_head ? 1.0f : static_cast<float>(scales[1]);
    Update<Rule> update{rule, chunk, rates, diverged, static_cast<float>(scales[0]), clip, settings.weight_decay, 0};
    values += chunk.base;
    if (copy != nullptr) copy += chunk.base;
    gradients += chunk.base;
    if (Rule::MOMENTS > 0) first += chunk.base;
    if (Rule::MOMENTS > 1) second += chunk.base;

    const float4 zeros = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float4 w[CHUNK_VECTORS], g[CHUNK_VECTORS], m[CHUNK_VECTORS], v[CHUNK_VECTORS];
    uint32_t whole = chunk.length / 4;
    UNROLL
    for (uint32_t k = 0; k < CHUNK_VECTORS; k++) {
        uint32_t vector = k * CHUNK_THREADS + threadIdx.x;
        if (vector < whole) {
            w[k] = reinterpret_cast<const float4*>(values)[vector];
            g[k] = __ldcs(reinterpret_cast<const float4*>(gradients) + vector);
            m[k] = Rule::MOMENTS > 0 ? reinterpret_cast<const float4*>(first)[vector] : zeros;
            v[k] = Rule::MOMENTS > 1 ? reinterpret_cast<const float4*>(second)[vector] : zeros;
        }
    }
    bool has_one_rate = chunk.inner % 4 == 0 || chunk.features == 1;
    UNROLL
    for (uint32_t k = 0; k < CHUNK_VECTORS; k++) {
        uint32_t vector = k * CHUNK_THREADS + threadIdx.x;
        if (vector < whole) {
            float common = has_one_rate ? update.rate(update.feature(4 * vector)) : 0.0f;
            UNROLL
            for (int i = 0; i < 4; i++) {
                float rate = has_one_rate ? common : update.rate(update.feature(4 * vector + i));
                update.move(parts(w[k])[i], parts(g[k])[i], parts(m[k])[i], parts(v[k])[i], rate);
            }
            reinterpret_cast<float4*>(values)[vector] = w[k];
            if (copy != nullptr) store_copy(copy + 4 * vector, w[k]);
            if (Rule::MOMENTS > 0) reinterpret_cast<float4*>(first)[vector] = m[k];
            if (Rule::MOMENTS > 1) reinterpret_cast<float4*>(second)[vector] = v[k];
        }
    }
    // At most three elements are left; the gap behind them must not be written.
    uint32_t element = 4 * whole + threadIdx.x;
    if (element < chunk.length) {
        float unused = 0.0f;
        float& own_first = Rule::MOMENTS > 0 ? first[element] : unused;
        float& own_second = Rule::MOMENTS > 1 ? second[element] : unused;
        update.move(
            values[element], gradients[element], own_first, own_second, update.rate(update.feature(element)));
        if (copy != nullptr) copy[element] = static_cast<bf16>(values[element]);
    }
    // An integer count is exact in any order, so an atomic is allowed here.
    if (update.skipped != 0) atomicAdd(skipped, static_cast<unsigned long long>(update.skipped));
}

KERNEL(optimizer_sgd_f32, 256, float* values, bf16* copy, const float* gradients, const float* rates,
       const ParameterChunk* chunks, const double* scales, const unsigned char* diverged, unsigned long long* skipped,
       OptimizerSettings settings) {
    optimizer_update<Plain>(
        values, copy, gradients, nullptr, nullptr, rates, chunks, scales, diverged, nullptr, skipped, settings);
}

KERNEL(optimizer_momentum_f32, 256, float* values, bf16* copy, const float* gradients, float* first,
       const float* rates, const ParameterChunk* chunks, const double* scales, const unsigned char* diverged,
       unsigned long long* skipped, OptimizerSettings settings) {
    optimizer_update<Momentum>(
        values, copy, gradients, first, nullptr, rates, chunks, scales, diverged, nullptr, skipped, settings);
}

KERNEL(optimizer_adam_f32, 256, float* values, bf16* copy, const float* gradients, float* first, float* second,
       const float* rates, const ParameterChunk* chunks, const double* scales, const unsigned char* diverged,
       const int64_t* step, unsigned long long* skipped, OptimizerSettings settings) {
    optimizer_update<Adam>(
        values, copy, gradients, first, second, rates, chunks, scales, diverged, step, skipped, settings);
}
