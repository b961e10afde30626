// Batch normalisation over the last axis (Ioffe and Szegedy 2015) with an optional fused ReLU, forward and backward.
// The launches are in src/ops/layers/batch_norm/launch.rs.
//
//   y  = relu?((x - mean) scale + bias + residual),   scale = weight / sqrt(variance + epsilon)
//   g  = 0 where a ReLU gave 0, also if dy is infinite; else dy. With a residual: dy, which the host has masked
//   dbias = sum g,   dweight = sum g (x - mean) / sqrt(variance + epsilon)
//   dx = g scale + (x - mean) slope + constant,   slope = -scale/n sum g (x - mean) / (variance + epsilon),
//                                                 constant = -scale/n sum g       (both 0 for running statistics)
//
//   x, y, dy, dx   [rows, C], each with its own row pitch: f32 or bf16; everything else is f32 or f64
//   residual       as x, or null
//   partial        forward [parts, 3, C]: for each part of the rows, a pilot value and the sums of x - pilot and of its
//                  square; backward [parts, 2, C]: the sums of g and of g (x - mean)
//   split          [splits, rows, C]: x as the sum of a product's parts, to which a bias [C] or null is added
//   affine         [3, C]: mean, scale, bias          inverse  [C], f64: 1 / sqrt(variance + epsilon)
//   slopes         [2, C]: slope, constant
//   running_mean, running_variance   [C]; a channel whose new values are not finite keeps the old ones, and so do all
//                                    in a batch of one row or none
//
// Bytes per element: forward 4 (statistics) + 8 (apply; with a residual 12), backward 8 (sums) + 12 (dx); half of that in
// bf16. Where a product is split into parts, the statistics come from the pass that adds the parts, and read nothing. The
// ReLU's mask is recomputed from x, not stored. About ten operations per element: memory-bound.
//
// A grid-wide sum is two launches: one over parts of the rows, then one with 64 threads for each channel, which add the
// parts in f64 in a fixed order. Its blocks have 4 neighbouring channels, half of a sector of 32 bytes; with 8 there would
// be too few blocks for all SMs to help. Within a part, sums are taken relative to the part's first row, so that a large
// mean does not cancel the variance. The parts' sums are then shifted to the first part's pilot and added, without a
// division. A block of the first launch is `columns` threads of V channels each by 256 / columns rows. With channels last,
// a warp's accesses are coalesced, and a channel's constants stay in registers over all rows of the thread. V makes
// accesses of 16 bytes, 4 elements in f32 and 8 in bf16, where C and every pitch are multiples of V; else V is 1.
//
// residual may be x, or a slice of its buffer; dx may be dy, or lie in the same buffer as x's gradient. No other buffers
// may overlap.
#include "common.cuh"

struct BatchNormShape {
    uint64_t rows;
    uint64_t rows_of_part;  // of a block; the grid's second axis counts the parts
    uint64_t x_pitch, y_pitch, dx_pitch, residual_pitch;
    uint32_t channels;
    uint32_t columns;  // threads of a block along the channels, a power of 2, at most 256
    uint32_t relu;
    uint32_t add;       // whether dx is accumulated
    uint32_t of_batch;  // whether the statistics are the batch's, so that dx depends on them
    uint32_t splits;    // of a product, or 0
};

struct BatchNormFinish {
    double rows_of_part, rows_of_last;  // of each part but the last, and of the last
    double inverse_rows;                // 1 / n; 0 without rows
    double unbiased;                    // n / (n - 1): Bessel's correction
    double momentum, epsilon;
    uint32_t channels;
    uint32_t parts;
};

static const int BATCH_NORM_THREADS = 256;

// The channels and rows of a thread.
template <int V>
struct Place {
    uint32_t channel;
    bool is_inside;
    uint64_t first, step, end;

    __device__ explicit Place(const BatchNormShape& shape) {
        uint32_t column = threadIdx.x % shape.columns;
        channel = (blockIdx.x * shape.columns + column) * V;
        is_inside = channel < shape.channels;
        uint64_t start = blockIdx.y * shape.rows_of_part;
        first = start + threadIdx.x / shape.columns;
        step = BATCH_NORM_THREADS / shape.columns;
        end = min(start + shape.rows_of_part, shape.rows);
    }
};

// Sums two packs over the threads of a block that have the same channels, in a fixed order; the threads of the block's
// first row get the result. All threads must call it.
template <int V>
__device__ void reduce_rows(Pack<V>& a, Pack<V>& b, uint32_t columns) {
    SHARED(float, sums, [2 * V][BATCH_NORM_THREADS]);
    UNROLL
    for (int v = 0; v < V; v++) {
        sums[v][threadIdx.x] = a.value[v];
        sums[V + v][threadIdx.x] = b.value[v];
    }
    for (uint32_t half = BATCH_NORM_THREADS / 2; half >= columns; half /= 2) {
        __syncthreads();  // the upper half's sums are written
        if (threadIdx.x < half) {
            UNROLL
            for (int v = 0; v < 2 * V; v++) sums[v][threadIdx.x] += sums[v][threadIdx.x + half];
        }
    }
    // Each remaining thread reads only sums that it wrote itself: no barrier.
    UNROLL
    for (int v = 0; v < V; v++) {
        a.value[v] = sums[v][threadIdx.x];
        b.value[v] = sums[V + v][threadIdx.x];
    }
}

// Rows of x.
template <int V, class T>
struct Rows {
    const T* x;
    uint64_t pitch;

    __device__ __forceinline__ Pack<V> load_row(uint64_t row) const {
        return load<V>(x + row * pitch);
    }
    __device__ __forceinline__ void keep(uint64_t, const Pack<V>&) const {}
};

// Rows of a product that is split into parts; they are added in order, as matmul_sum adds them, and stored in y.
template <int V, class T>
struct SplitRows {
    const float *split, *bias;
    T* y;
    uint64_t elements, pitch;  // of a part; of y
    uint32_t channels, splits;

    __device__ __forceinline__ Pack<V> load_row(uint64_t row) const {
        const float* own = split + row * channels;
        Pack<V> sum = load<V>(own);
        ROLLED  // several loads in flight would need registers, and leave room for fewer threads
        for (uint32_t part = 1; part < splits; part++) add(sum, load<V>(own + part * elements));
        if (bias != nullptr) add(sum, load<V>(bias));
        return sum;
    }
    __device__ __forceinline__ void keep(uint64_t row, const Pack<V>& sum) const {
        store<V>(y + row * pitch, sum);
    }

private:
    static __device__ __forceinline__ void add(Pack<V>& sum, const Pack<V>& more) {
        UNROLL
        for (int v = 0; v < V; v++) sum.value[v] += more.value[v];
    }
};

// `rows`: from the thread's channel on.
template <int V, class Source>
__device__ void batch_norm_statistics(
    const Place<V>& place, const Source& rows, float* __restrict__ partial, const BatchNormShape& shape) {
    Pack<V> pilot = {}, sum = {}, squares = {};
    if (place.is_inside) {
        pilot = rows.load_row(blockIdx.y * shape.rows_of_part);
        for (uint64_t row = place.first; row < place.end; row += place.step) {
            Pack<V> own = rows.load_row(row);
            rows.keep(row, own);
            UNROLL
            for (int v = 0; v < V; v++) {
                float deviation = own.value[v] - pilot.value[v];
                sum.value[v] += deviation;
                squares.value[v] += deviation * deviation;
            }
        }
    }
    reduce_rows<V>(sum, squares, shape.columns);
    if (place.is_inside && threadIdx.x < shape.columns) {
        float* out = partial + static_cast<uint64_t>(blockIdx.y) * 3 * shape.channels + place.channel;
        store<V>(out, pilot);
        store<V>(out + shape.channels, sum);
        store<V>(out + 2 * static_cast<uint64_t>(shape.channels), squares);
    }
}

template <int V, class T>
__device__ void batch_norm_whole(const T* __restrict__ x, float* __restrict__ partial, const BatchNormShape& shape) {
    Place<V> place(shape);
    Rows<V, T> rows = {x + place.channel, shape.x_pitch};
    batch_norm_statistics<V>(place, rows, partial, shape);
}

template <int V, class T>
__device__ void batch_norm_split(
    const float* __restrict__ split, const float* __restrict__ bias, T* __restrict__ y, float* __restrict__ partial,
    const BatchNormShape& shape) {
    Place<V> place(shape);
    SplitRows<V, T> rows = {
        split + place.channel, bias == nullptr ? nullptr : bias + place.channel, y + place.channel,
        shape.rows * shape.channels, shape.y_pitch, shape.channels, shape.splits};
    batch_norm_statistics<V>(place, rows, partial, shape);
}

// ---- sums over the parts -------------------------------------------------------------------------------------------

static const int FINISH_CHANNELS = 4;  // of a block
static const int FINISH_LANES = BATCH_NORM_THREADS / FINISH_CHANNELS;  // threads of a channel

// A thread's channel and its first part, as it loads them.
struct FinishPlace {
    uint32_t channel, part;
    bool is_inside;

    __device__ explicit FinishPlace(uint32_t channels)
        : channel(blockIdx.x * FINISH_CHANNELS + threadIdx.x % FINISH_CHANNELS), part(threadIdx.x / FINISH_CHANNELS),
          is_inside(channel < channels) {}
};

// Adds a and b over the threads with the same channel, in a fixed order. Returns the channel whose sums this thread gets,
// or `channels` if it gets none. All threads must call it.
__device__ inline uint32_t reduce_channels(double& a, double& b, uint32_t channels) {
    const int WARPS = BATCH_NORM_THREADS / WARP;
    static_assert(FINISH_CHANNELS * WARPS == WARP);  // one warp adds the sums of all
    SHARED(double, sums, [2][WARP]);
    UNROLL
    for (int distance = WARP / 2; distance >= FINISH_CHANNELS; distance /= 2) {
        a += __shfl_xor_sync(ALL_LANES, a, distance);
        b += __shfl_xor_sync(ALL_LANES, b, distance);
    }
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (lane < FINISH_CHANNELS) sums[0][lane * WARPS + warp] = a, sums[1][lane * WARPS + warp] = b;
    __syncthreads();  // every warp's sums are written
    // By all warps: a warp that might be left alone would need a second, slower form of the shuffles.
    a = reduce_lanes<Sum>(sums[0][lane], WARPS);
    b = reduce_lanes<Sum>(sums[1][lane], WARPS);
    uint32_t channel = blockIdx.x * FINISH_CHANNELS + lane / WARPS;
    return warp == 0 && lane % WARPS == 0 ? min(channel, channels) : channels;
}

__device__ inline void store_affine(
    double mean, double variance, double epsilon, float weight, float bias, uint32_t channel, uint32_t channels,
    float* affine, double* inverse) {
    double own_inverse = 1.0 / sqrt(variance + epsilon);
    inverse[channel] = own_inverse;
    affine[channel] = static_cast<float>(mean);
    affine[channels + channel] = static_cast<float>(weight * own_inverse);
    affine[2 * channels + channel] = bias;
}

KERNEL(batch_norm_finish_f32, BATCH_NORM_THREADS, const float* partial, const float* weight, const float* bias,
       float* running_mean, float* running_variance, float* affine, double* inverse, BatchNormFinish finish) {
    FinishPlace place(finish.channels);
    double sum = 0.0, squares = 0.0;  // of x - pilot, and of its square
    if (place.is_inside && finish.parts > 0) {
        const float *pilots = partial + place.channel, *deviations = pilots + finish.channels;
        const float* of_squares = deviations + finish.channels;
        float pilot = pilots[0];
        const uint32_t TOGETHER = 4;  // parts whose loads are in flight together
        for (uint32_t first = place.part; first < finish.parts; first += TOGETHER * FINISH_LANES) {
            float own[TOGETHER][3];
            UNROLL
            for (uint32_t i = 0; i < TOGETHER; i++) {
                // The host has checked that indices have 32 bits.
                uint32_t part = first + i * FINISH_LANES, at = part * (3 * finish.channels);
                bool is_part = part < finish.parts;
                own[i][0] = is_part ? pilots[at] : 0.0f;
                own[i][1] = is_part ? deviations[at] : 0.0f;
                own[i][2] = is_part ? of_squares[at] : 0.0f;
            }
            UNROLL
            for (uint32_t i = 0; i < TOGETHER; i++) {
                uint32_t part = first + i * FINISH_LANES;
                if (part >= finish.parts) break;
                double count = part + 1 < finish.parts ? finish.rows_of_part : finish.rows_of_last;
                double shift = static_cast<double>(own[i][0]) - pilot, shifted = own[i][1] + count * shift;
                sum += shifted;
                squares += own[i][2] + shift * (own[i][1] + shifted);
            }
        }
    }
    uint32_t channel = reduce_channels(sum, squares, finish.channels);
    if (channel >= finish.channels) return;
    float pilot = finish.parts > 0 ? partial[channel] : 0.0f;
    double deviation = sum * finish.inverse_rows, mean = pilot + deviation;
    double variance = squares * finish.inverse_rows - deviation * deviation;
    // fmax would turn NaN into 0.
    if (variance < 0.0) variance = 0.0;
    if (!isfinite(mean)) variance = NAN;
    store_affine(mean, variance, finish.epsilon, weight[channel], bias[channel], channel, finish.channels, affine, inverse);
    double keep = 1.0 - finish.momentum, unbiased = variance * finish.unbiased;
    float new_mean = static_cast<float>(running_mean[channel] * keep + finish.momentum * mean);
    float new_variance = static_cast<float>(running_variance[channel] * keep + finish.momentum * unbiased);
    if (finish.parts > 0 && isfinite(new_mean) && isfinite(new_variance)) {
        running_mean[channel] = new_mean;
        running_variance[channel] = new_variance;
    }
}

// The same from running statistics: one thread per channel.
KERNEL(batch_norm_running_f32, 256, const float* running_mean, const float* running_variance, const float* weight,
       const float* bias, float* affine, double* inverse, BatchNormFinish finish) {
    uint32_t channel = blockIdx.x * BATCH_NORM_THREADS + threadIdx.x;
    if (channel >= finish.channels) return;
    store_affine(running_mean[channel], running_variance[channel], finish.epsilon, weight[channel], bias[channel],
                 channel, finish.channels, affine, inverse);
}

// Mean, scale and bias of a thread's channels.
template <int V>
struct Affine {
    Pack<V> mean, scale, bias;

    __device__ Affine(const float* affine, uint32_t channel, uint32_t channels)
        : mean(load<V>(affine + channel)),
          scale(load<V>(affine + channels + channel)),
          bias(load<V>(affine + 2 * static_cast<uint64_t>(channels) + channel)) {}

    __device__ float before_relu(float deviation, int v) const {
        return deviation * scale.value[v] + bias.value[v];
    }
};

template <int V, class T>
__device__ void batch_norm_apply(
    const T* __restrict__ x, const float* __restrict__ affine, const T* __restrict__ residual, T* __restrict__ y,
    const BatchNormShape& shape) {
    Place<V> place(shape);
    if (!place.is_inside) return;
    Affine<V> own(affine, place.channel, shape.channels);
    for (uint64_t row = place.first; row < place.end; row += place.step) {
        Pack<V> pack = load<V>(x + row * shape.x_pitch + place.channel), more = {};
        if (residual != nullptr) more = load<V>(residual + row * shape.residual_pitch + place.channel);
        UNROLL
        for (int v = 0; v < V; v++) {
            float result = own.before_relu(pack.value[v] - own.mean.value[v], v) + more.value[v];
            // A comparison and not fmaxf, so that NaN stays NaN.
            pack.value[v] = shape.relu && result < 0.0f ? 0.0f : result;
        }
        store<V>(y + row * shape.y_pitch + place.channel, pack);
    }
}

template <int V>
__device__ __forceinline__ float gradient_before_relu(
    const Affine<V>& affine, float deviation, float dy, int v, uint32_t relu) {
    return relu && affine.before_relu(deviation, v) <= 0.0f ? 0.0f : dy;
}

template <int V, class T>
__device__ void batch_norm_sums(
    const T* __restrict__ x, const T* __restrict__ dy, const float* __restrict__ affine,
    float* __restrict__ partial, const BatchNormShape& shape) {
    Place<V> place(shape);
    Pack<V> sum = {}, products = {};
    if (place.is_inside) {
        Affine<V> own(affine, place.channel, shape.channels);
        for (uint64_t row = place.first; row < place.end; row += place.step) {
            Pack<V> input = load<V>(x + row * shape.x_pitch + place.channel);
            Pack<V> gradient = load<V>(dy + row * shape.y_pitch + place.channel);
            UNROLL
            for (int v = 0; v < V; v++) {
                float deviation = input.value[v] - own.mean.value[v];
                float g = gradient_before_relu<V>(own, deviation, gradient.value[v], v, shape.relu);
                sum.value[v] += g;
                products.value[v] += g * deviation;
            }
        }
    }
    reduce_rows<V>(sum, products, shape.columns);
    if (place.is_inside && threadIdx.x < shape.columns) {
        float* out = partial + static_cast<uint64_t>(blockIdx.y) * 2 * shape.channels + place.channel;
        store<V>(out, sum);
        store<V>(out + shape.channels, products);
    }
}

// dweight and dbias may be null; `add` has a bit for each, bit 0 for the weight.
KERNEL(batch_norm_gradients_f32, BATCH_NORM_THREADS, const float* partial, const float* affine, const double* inverse,
       float* dweight, float* dbias, float* slopes, BatchNormFinish finish, uint32_t add) {
    FinishPlace place(finish.channels);
    double sum = 0.0, products = 0.0;
    for (uint32_t part = place.part; place.is_inside && part < finish.parts; part += FINISH_LANES) {
        const float* own = partial + static_cast<uint64_t>(part) * 2 * finish.channels + place.channel;
        sum += own[0];
        products += own[finish.channels];
    }
    uint32_t channel = reduce_channels(sum, products, finish.channels);
    if (channel >= finish.channels) return;
    double own_inverse = inverse[channel];
    double scale = -static_cast<double>(affine[finish.channels + channel]) * finish.inverse_rows;
    slopes[channel] = static_cast<float>(scale * products * own_inverse * own_inverse);
    slopes[finish.channels + channel] = static_cast<float>(scale * sum);
    if (dweight != nullptr) store(dweight + channel, static_cast<float>(products * own_inverse), add & 1);
    if (dbias != nullptr) store(dbias + channel, static_cast<float>(sum), add & 2);
}

template <int V, class T>
__device__ void batch_norm_input_gradient(
    const T* __restrict__ x, const T* dy, const float* __restrict__ affine, const float* __restrict__ slopes,
    T* dx, const BatchNormShape& shape) {
    Place<V> place(shape);
    if (!place.is_inside) return;
    Affine<V> own(affine, place.channel, shape.channels);
    Pack<V> slope = load<V>(slopes + place.channel), constant = load<V>(slopes + shape.channels + place.channel);
    for (uint64_t row = place.first; row < place.end; row += place.step) {
        Pack<V> input = load<V>(x + row * shape.x_pitch + place.channel);
        Pack<V> gradient = load<V>(dy + row * shape.y_pitch + place.channel);
        T* target = dx + row * shape.dx_pitch + place.channel;
        Pack<V> old = shape.add ? load<V>(target) : Pack<V>();
        UNROLL
        for (int v = 0; v < V; v++) {
            float deviation = input.value[v] - own.mean.value[v];
            float result = gradient_before_relu<V>(own, deviation, gradient.value[v], v, shape.relu) * own.scale.value[v];
            if (shape.of_batch) result += deviation * slope.value[v] + constant.value[v];
            gradient.value[v] = shape.add ? old.value[v] + result : result;
        }
        store<V>(target, gradient);
    }
}

#define BATCH_NORM(V, T, name)                                                                                         \
    KERNEL_RESIDENT(batch_norm_statistics_##name, 256, 4, const T* x, float* partial, BatchNormShape shape) {          \
        batch_norm_whole<V>(x, partial, shape);                                                                        \
    }                                                                                                                  \
    KERNEL(batch_norm_split_##name, 256, const float* split, const float* bias, T* y, float* partial,                  \
           BatchNormShape shape) {                                                                                     \
        batch_norm_split<V>(split, bias, y, partial, shape);                                                           \
    }                                                                                                                  \
    KERNEL(batch_norm_apply_##name, 256, const T* x, const float* affine, const T* residual, T* y,                     \
           BatchNormShape shape) {                                                                                     \
        batch_norm_apply<V>(x, affine, residual, y, shape);                                                            \
    }                                                                                                                  \
    KERNEL(batch_norm_sums_##name, 256, const T* x, const T* dy, const float* affine, float* partial,                  \
           BatchNormShape shape) {                                                                                     \
        batch_norm_sums<V>(x, dy, affine, partial, shape);                                                             \
    }                                                                                                                  \
    KERNEL(batch_norm_input_gradient_##name, 256, const T* x, const T* dy, const float* affine, const float* slopes,   \
           T* dx, BatchNormShape shape) {                                                                              \
        batch_norm_input_gradient<V>(x, dy, affine, slopes, dx, shape);                                                \
    }

BATCH_NORM(4, float, x4_f32)
BATCH_NORM(1, float, x1_f32)
BATCH_NORM(8, bf16, x8_bf16)
BATCH_NORM(1, bf16, x1_bf16)
