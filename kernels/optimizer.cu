// One update of all parameters of a model, classifiers included, in one launch over the flat buffers, with a learning
// rate for each feature. SGD, SGD with momentum, Adam. The launch is in src/ops/update/optimizer/launch.rs.
//
// For element e of a parameter with gradient g:
//
//   eta = schedule * rates[rate_base + (e / inner) % features]
//   g <- clip * g + weight_decay * w          (clip = 1 for the classifiers' parameters)
//   SGD        w <- w - eta g
//   momentum   v <- momentum v + g, w <- w - eta v                                            (PyTorch's, no dampening)
//   Adam       m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, w <- w (1 - eta decoupled_decay),
//              w <- w - eta m / (1 - b1^t) / (sqrt(v) / sqrt(1 - b2^t) + epsilon)             (Kingma and Ba 2015;
//              AdamW's decay, apart from g, by Loshchilov and Hutter 2019)
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
// feature and stay in the cache. Operations per element: 3, 5, 16. Memory-bound, so what counts is the number of bytes
// in flight: in a full chunk, as nearly all of a large model are, a thread loads four 16-byte vectors of every buffer before
// it computes with the first. A check of the bounds around each load would keep the compiler from moving it up. One block of
// 256 threads per chunk. A chunk lies in one parameter, so the rate lookup is only (e / inner) % features, by factors from
// the host in place of divisions: some ten instructions, for which the schedulers have the time. One launch per parameter would be hundreds of launches of a few
// microseconds each; a table of chunks needs only one.
//
// No buffer may overlap another.
#include "parameter_chunk.cuh"

struct OptimizerSettings {
    double first_decay, second_decay;  // momentum, or Adam's b1; Adam's b2
    float epsilon;
    float weight_decay;
    float decoupled_decay;
    float unused;
};

// The direction in which an element moves. Reads and writes the moments.
struct Plain {
    static const int MOMENTS = 0;
    __device__ Plain(const OptimizerSettings&, const int64_t*) {}
    __device__ float direction(float gradient, float&, float&) const {
        return gradient;
    }
    __device__ float pulled(float value, float) const {
        return value;
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
    __device__ float pulled(float value, float) const {
        return value;
    }
};

struct Adam {
    static const int MOMENTS = 2;
    float keep_first, take_first, keep_second, take_second, correct_first, correct_second, epsilon, decay;
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
        decay = settings.decoupled_decay;
    }
    __device__ float direction(float gradient, float& first, float& second) const {
        first = keep_first * first + take_first * gradient;
        second = keep_second * second + take_second * gradient * gradient;
        return first * correct_first / (sqrtf(second) * correct_second + epsilon);
    }
    __device__ float pulled(float value, float rate) const {
        return value * (1.0f - rate * decay);
    }
};

// 16 bytes of every buffer.
struct Vectors {
    Pack<4> value, gradient, first, second;
};

// Everything that the elements of a chunk share, and how many elements this thread skipped. The buffers begin with the
// chunk.
template <class Rule>
struct Update {
    const Rule& rule;
    const ParameterChunk& chunk;
    float* values;
    bf16* copy;
    const float* gradients;
    float *first, *second;
    const float* rates;
    const unsigned char* diverged;
    float schedule, clip, weight_decay;
    uint32_t skipped;

    __device__ __forceinline__ Vectors load_vectors(uint32_t element) const {
        Vectors own = {};
        own.value = load<4>(values + element);
        float4 four = __ldcs(reinterpret_cast<const float4*>(gradients + element));
        own.gradient = {{four.x, four.y, four.z, four.w}};
        if (Rule::MOMENTS > 0) own.first = load<4>(first + element);
        if (Rule::MOMENTS > 1) own.second = load<4>(second + element);
        return own;
    }

    __device__ __forceinline__ void move(Vectors& own, uint32_t element) {
        UNROLL
        for (int i = 0; i < 4; i++) {
            move(own.value.value[i], own.gradient.value[i], own.first.value[i], own.second.value[i], rate(element + i));
        }
        store<4>(values + element, own.value);
        if (copy != nullptr) store<4>(copy + element, own.value);
        if (Rule::MOMENTS > 0) store<4>(first + element, own.first);
        if (Rule::MOMENTS > 1) store<4>(second + element, own.second);
    }

    __device__ void move_one(uint32_t element) {
        float unused = 0.0f;
        float& own_first = Rule::MOMENTS > 0 ? first[element] : unused;
        float& own_second = Rule::MOMENTS > 1 ? second[element] : unused;
        move(values[element], gradients[element], own_first, own_second, rate(element));
        if (copy != nullptr) copy[element] = static_cast<bf16>(values[element]);
    }

private:
    // The learning rate of an element, or a negative number for a classifier that diverged.
    __device__ __forceinline__ float rate(uint32_t element) const {
        uint32_t feature = feature_of(chunk, element);
        bool is_skipped = diverged != nullptr && diverged[feature] != 0;
        return is_skipped ? -1.0f : rates[feature] * schedule;
    }

    // By selections: with branches, elements of one vector would be computed one after the other.
    __device__ __forceinline__ void move(float& value, float gradient, float& first, float& second, float rate) {
        gradient *= clip;
        bool is_finite = fabsf(gradient) < INFINITY, is_updated = rate >= 0.0f;
        skipped += is_updated && !is_finite ? 1 : 0;
        is_updated = is_updated && is_finite;
        gradient = weight_decay != 0.0f ? gradient + weight_decay * value : gradient;
        float new_first = first, new_second = second;
        float direction = rule.direction(gradient, new_first, new_second);
        first = is_updated ? new_first : first;
        second = is_updated ? new_second : second;
        // A frozen element has rate 0; 0 times a moment that has overflowed would be NaN.
        value = is_updated && rate != 0.0f ? rule.pulled(value, rate) - rate * direction : value;
    }
};

template <class Rule>
__device__ void optimizer_update(
    float* __restrict__ values, bf16* __restrict__ copy, const float* __restrict__ gradients, float* __restrict__ first,
    float* __restrict__ second, const float* __restrict__ rates, const ParameterChunk* __restrict__ chunks,
    const double* __restrict__ scales, const unsigned char* __restrict__ diverged, const int64_t* __restrict__ step,
    unsigned long long* __restrict__ skipped, const OptimizerSettings& settings) {
    ParameterChunk chunk = chunks[blockIdx.x];
    Rule rule(settings, step);
    Update<Rule> update{
        rule, chunk, values + chunk.base, copy == nullptr ? nullptr : copy + chunk.base, gradients + chunk.base,
        Rule::MOMENTS > 0 ? first + chunk.base : nullptr, Rule::MOMENTS > 1 ? second + chunk.base : nullptr,
        rates + chunk.rate_base, chunk.in_head ? diverged : nullptr, static_cast<float>(scales[0]),
        chunk.in_head ? 1.0f : static_cast<float>(scales[1]), settings.weight_decay, 0};
    if (chunk.length == CHUNK_LENGTH) {
        Vectors own[CHUNK_VECTORS];
        UNROLL
        for (uint32_t k = 0; k < CHUNK_VECTORS; k++) {
            own[k] = update.load_vectors(4 * (k * CHUNK_THREADS + threadIdx.x));
        }
        UNROLL
        for (uint32_t k = 0; k < CHUNK_VECTORS; k++) {
            update.move(own[k], 4 * (k * CHUNK_THREADS + threadIdx.x));
        }
    } else {
        uint32_t whole = chunk.length / 4;
        ROLLED
        for (uint32_t vector = threadIdx.x; vector < whole; vector += CHUNK_THREADS) {
            Vectors own = update.load_vectors(4 * vector);
            update.move(own, 4 * vector);
        }
        // At most three elements are left; the gap behind them must not be written.
        uint32_t element = 4 * whole + threadIdx.x;
        if (element < chunk.length) update.move_one(element);
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
