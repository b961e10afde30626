// Batch normalisation over the last axis (Ioffe and Szegedy 2015) with an optional fused ReLU, forward and backward.
// The launches are in src/ops/layers/batch_norm/launch.rs.
//
//   y  = relu?((x - mean) scale + bias + residual),   scale = weight / sqrt(variance + epsilon)
//   g  = 0 where a ReLU gave 0, also if dy is infinite; else dy. With a residual it is stored, by batch_norm_masked_sums
//   dbias = sum g,   dweight = sum g (x - mean) / sqrt(variance + epsilon)
//   dx = g scale + (x - mean) slope + constant,   slope = -scale/n sum g (x - mean) / (variance + epsilon),
//                                                 constant = -scale/n sum g       (both 0 for running statistics)
//
//   x, y, dy, g, dx   [rows, C], each with its own row pitch: f32 or bf16; everything else is f32 or f64
//   residual       as x, or null
//   partial        forward [parts, 3, C]: for each part of the rows, a pilot value and the sums of x - pilot and of its
//                  square; backward [parts, 2, C]: the sums of g and of g (x - mean)
//   split          [splits, rows, C]: x or dy as the sum of a product's parts; to x a bias [C] or null is added
//   affine         [3, C]: mean, scale, bias          inverse  [C], f64: 1 / sqrt(variance + epsilon)
//   slopes         [2, C]: slope, constant
//   running_mean, running_variance   [C]; a channel whose new values are not finite keeps the old ones, and so do all
//                                    in a batch of one row or none
//
// Bytes per element: forward 4 (statistics) + 8 (apply; with a residual 12), backward 8 (sums) + 12 (dx); half of that in
// bf16. The op that writes x may compute the statistics, and the op that completes dy the sums: in the epilogue of a product
// (epilogue.cuh), or in the pass that adds a product's parts or applies a ReLU's mask (split, split_sums, masked_sums). The
// ReLU's mask is recomputed from x where there is no residual. About ten operations per element: memory-bound.
//
// A grid-wide sum is two launches: one over parts of the rows, then one with 64 threads for each channel, which add the
// parts in f64 in a fixed order. Its blocks have 4 neighbouring channels, half of a sector of 32 bytes; with 8 there would
// be too few blocks for all SMs to help. Where the parts are few, the second launch is saved: each block of the pass that
// follows adds the parts of its own channels. On sm_90 eight such blocks form a cluster and share this work, through distributed
// shared memory, so that eight times as many parts are few. Within a part, sums are taken relative to the part's first row, so that a large
// mean does not cancel the variance. The parts' sums are then shifted to the first part's pilot and added, without a
// division. A block of the first launch is `columns` threads of V channels each by 256 / columns rows. With channels last,
// a warp's accesses are coalesced, and a channel's constants stay in registers over all rows of the thread. V makes
// accesses of 16 bytes, 4 elements in f32 and 8 in bf16, where C and every pitch are multiples of V; else V is 1.
//
// residual may be x, or a slice of its buffer; dx may be dy, or lie in the same buffer as x's gradient. No other buffers
// may overlap.
#include "batch_norm_finish.cuh"

struct BatchNormShape {
    uint64_t rows;
    uint64_t rows_of_part;  // of a block; the grid's second axis counts the parts
    uint64_t x_pitch, y_pitch, dy_pitch, dx_pitch, residual_pitch;
    uint32_t channels;
    uint32_t columns;  // threads of a block along the channels, a power of 2, at most 256
    uint32_t relu;
    uint32_t add;       // whether dx, or a split dy, is accumulated
    uint32_t of_batch;  // whether the statistics are the batch's, so that dx depends on them
    uint32_t splits;    // of a product, or 0
    uint32_t to_tf32;   // f32: whether dx is rounded to tf32, for the products that read it
    uint32_t unused;
};

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
        step = NORM_THREADS / shape.columns;
        end = min(start + shape.rows_of_part, shape.rows);
    }
};

// Rows as they lie in memory.
template <int V, class T>
struct Rows {
    const T* x;
    uint64_t pitch;

    __device__ __forceinline__ Pack<V> load_row(uint64_t row) const {
        return load<V>(x + row * pitch);
    }
    __device__ __forceinline__ void keep(uint64_t, const Pack<V>&) const {}
};

// Rows of a product that is split into parts; they are added in order, as matmul_sum adds them, and stored in y, or
// accumulated there.
template <int V, class T>
struct SplitRows {
    const float *split, *bias;
    T* y;
    uint64_t elements, pitch;  // of a part; of y
    uint32_t channels, splits, accumulate;

    __device__ __forceinline__ Pack<V> load_row(uint64_t row) const {
        const float* own = split + row * channels;
        Pack<V> sum = load<V>(own);
        ROLLED  // several loads in flight would need registers, and leave room for fewer threads
        for (uint32_t part = 1; part < splits; part++) add(sum, load<V>(own + part * elements));
        if (bias != nullptr) add(sum, load<V>(bias));
        if (accumulate) add(sum, load<V>(y + row * pitch));
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

// Rows of dy, or 0 where a ReLU's output y is 0, stored in g.
template <int V, class T>
struct MaskedRows {
    const T *dy, *y;
    T* g;
    uint64_t dy_pitch, y_pitch, g_pitch;

    __device__ __forceinline__ Pack<V> load_row(uint64_t row) const {
        Pack<V> own = load<V>(dy + row * dy_pitch), output = load<V>(y + row * y_pitch);
        UNROLL
        for (int v = 0; v < V; v++) own.value[v] = output.value[v] <= 0.0f ? 0.0f : own.value[v];
        return own;
    }
    __device__ __forceinline__ void keep(uint64_t row, const Pack<V>& own) const {
        store<V>(g + row * g_pitch, own);
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
        shape.rows * shape.channels, shape.y_pitch, shape.channels, shape.splits, 0};
    batch_norm_statistics<V>(place, rows, partial, shape);
}

// ---- sums over the parts -------------------------------------------------------------------------------------------

static const int FINISH_CHANNELS = 4;  // of a block
static const int FINISH_LANES = NORM_THREADS / FINISH_CHANNELS;  // threads of a channel

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
    const int WARPS = NORM_THREADS / WARP;
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

KERNEL(batch_norm_finish_f32, NORM_THREADS, const float* partial, const float* weight, const float* bias,
       float* running_mean, float* running_variance, float* affine, double* inverse, BatchNormFinish finish) {
    FinishPlace place(finish.channels);
    double sum = 0.0, squares = 0.0;
    if (place.is_inside) add_moments(partial + place.channel, place.part, FINISH_LANES, finish, sum, squares);
    uint32_t channel = reduce_channels(sum, squares, finish.channels);
    if (channel >= finish.channels) return;
    float pilot = finish.parts > 0 ? partial[channel] : 0.0f;
    ChannelStatistics own(sum, squares, pilot, finish);
    own.store(weight[channel], bias[channel], channel, finish.channels, affine, inverse);
    if (finish.parts > 0) own.update(running_mean + channel, running_variance + channel, finish);
}

// The same from running statistics: one thread per channel.
KERNEL(batch_norm_running_f32, 256, const float* running_mean, const float* running_variance, const float* weight,
       const float* bias, float* affine, double* inverse, BatchNormFinish finish) {
    uint32_t channel = blockIdx.x * NORM_THREADS + threadIdx.x;
    if (channel >= finish.channels) return;
    ChannelStatistics own(running_mean[channel], running_variance[channel], finish.epsilon);
    own.store(weight[channel], bias[channel], channel, finish.channels, affine, inverse);
}

template <int V, class T>
__device__ __forceinline__ void batch_norm_apply(
    const Place<V>& place, const Affine<V>& own, const T* __restrict__ x, const T* __restrict__ residual,
    T* __restrict__ y, const BatchNormShape& shape) {
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

// batch_norm_finish and the pass over x in one launch: every block adds the parts of its channels itself, and the blocks of the
// first part of the rows store the results.
template <int V, class T>
__device__ __forceinline__ void batch_norm_finish_apply(
    const T* __restrict__ x, const float* __restrict__ partial, const float* __restrict__ weight,
    const float* __restrict__ bias, const T* __restrict__ residual, T* __restrict__ y, float* __restrict__ running_mean,
    float* __restrict__ running_variance, float* __restrict__ affine, double* __restrict__ inverse,
    const BatchNormShape& shape, const BatchNormFinish& finish) {
    SHARED(float, constants, [3][NORM_THREADS]);
    BlockChannels block(shape.columns * V, shape.channels);
    double sum = 0.0, squares = 0.0;
    if (block.is_inside) add_moments(partial + block.channel, block.first, block.step, finish, sum, squares);
    if (block.reduce(sum, squares)) {
        ChannelStatistics own(sum, squares, partial[block.channel], finish);
        float own_weight = weight[block.channel], own_bias = bias[block.channel];
        constants[0][block.column] = static_cast<float>(own.mean);
        constants[1][block.column] = own.scale(own_weight);
        constants[2][block.column] = own_bias;
        if (blockIdx.y == 0) {
            own.store(own_weight, own_bias, block.channel, shape.channels, affine, inverse);
            own.update(running_mean + block.channel, running_variance + block.channel, finish);
        }
    }
    __syncthreads();  // `constants` is written
    Place<V> place(shape);
    if (!place.is_inside) return;
    Affine<V> own(&constants[0][0], threadIdx.x % shape.columns * V, NORM_THREADS);
    batch_norm_apply(place, own, x, residual, y, shape);
}

// The sums over a part of `rows`, the rows of the gradient dy from the thread's channel on.
template <int V, class T, class Source>
__device__ void batch_norm_sums(
    const Place<V>& place, const Source& rows, const T* __restrict__ x, const float* __restrict__ affine,
    float* __restrict__ partial, const BatchNormShape& shape) {
    ThreadGradientSums<V> sums;
    if (place.is_inside) {
        Affine<V> own(affine, place.channel, shape.channels);
        for (uint64_t row = place.first; row < place.end; row += place.step) {
            Pack<V> input = load<V>(x + row * shape.x_pitch + place.channel);
            Pack<V> gradient = rows.load_row(row);
            rows.keep(row, gradient);
            sums.add(own, input, gradient, shape.relu);
        }
    }
    float* out = partial + static_cast<uint64_t>(blockIdx.y) * 2 * shape.channels + place.channel;
    sums.write(out, shape.columns, place.is_inside, shape.channels);
}

// dweight and dbias may be null; `add` has a bit for each, bit 0 for the weight.
KERNEL(batch_norm_gradients_f32, NORM_THREADS, const float* partial, const float* affine, const double* inverse,
       float* dweight, float* dbias, float* slopes, BatchNormFinish finish, uint32_t add) {
    FinishPlace place(finish.channels);
    double sum = 0.0, products = 0.0;
    if (place.is_inside) add_gradient_sums(partial + place.channel, place.part, FINISH_LANES, finish, sum, products);
    uint32_t channel = reduce_channels(sum, products, finish.channels);
    if (channel >= finish.channels) return;
    ChannelGradients own(sum, products, affine[finish.channels + channel], inverse[channel], finish);
    slopes[channel] = own.slope;
    slopes[finish.channels + channel] = own.constant;
    own.store(channel, dweight, dbias, add);
}

// Slope and constant: those of a thread's channels.
template <int V, class T>
__device__ __forceinline__ void batch_norm_input_gradient(
    const Place<V>& place, const Pack<V>& slope, const Pack<V>& constant, const T* __restrict__ x, const T* dy,
    const float* __restrict__ affine, T* dx, const BatchNormShape& shape) {
    Affine<V> own(affine, place.channel, shape.channels);
    for (uint64_t row = place.first; row < place.end; row += place.step) {
        Pack<V> input = load<V>(x + row * shape.x_pitch + place.channel);
        Pack<V> gradient = load<V>(dy + row * shape.dy_pitch + place.channel);
        T* target = dx + row * shape.dx_pitch + place.channel;
        Pack<V> old = shape.add ? load<V>(target) : Pack<V>();
        UNROLL
        for (int v = 0; v < V; v++) {
            float deviation = input.value[v] - own.mean.value[v];
            float result = gradient_before_relu<V>(own, deviation, gradient.value[v], v, shape.relu) * own.scale.value[v];
            if (shape.of_batch) result += deviation * slope.value[v] + constant.value[v];
            gradient.value[v] = shape.add ? old.value[v] + result : result;
            if (sizeof(T) == 4 && shape.to_tf32) gradient.value[v] = __uint_as_float(round_to_tf32(gradient.value[v]));
        }
        store<V>(target, gradient);
    }
}

template <int V, class T>
__device__ __forceinline__ void batch_norm_whole_input_gradient(
    const T* x, const T* dy, const float* affine, const float* slopes, T* dx, const BatchNormShape& shape) {
    Place<V> place(shape);
    if (!place.is_inside) return;
    Pack<V> slope = load<V>(slopes + place.channel), constant = load<V>(slopes + shape.channels + place.channel);
    batch_norm_input_gradient(place, slope, constant, x, dy, affine, dx, shape);
}

// batch_norm_gradients and the pass that computes dx in one launch, as batch_norm_finish_apply.
template <int V, class T>
__device__ __forceinline__ void batch_norm_gradients_input(
    const T* x, const T* dy, const float* __restrict__ partial, const float* __restrict__ affine,
    const double* __restrict__ inverse, T* dx, float* __restrict__ dweight, float* __restrict__ dbias,
    const BatchNormShape& shape, const BatchNormFinish& finish, uint32_t add) {
    SHARED(float, slopes, [2][NORM_THREADS]);
    BlockChannels block(shape.columns * V, shape.channels);
    double sum = 0.0, products = 0.0;
    if (block.is_inside) add_gradient_sums(partial + block.channel, block.first, block.step, finish, sum, products);
    if (block.reduce(sum, products)) {
        ChannelGradients own(sum, products, affine[shape.channels + block.channel], inverse[block.channel], finish);
        slopes[0][block.column] = own.slope;
        slopes[1][block.column] = own.constant;
        if (blockIdx.y == 0) own.store(block.channel, dweight, dbias, add);
    }
    __syncthreads();  // `slopes` is written
    Place<V> place(shape);
    if (!place.is_inside) return;
    uint32_t column = threadIdx.x % shape.columns * V;
    Pack<V> slope = load<V>(slopes[0] + column), constant = load<V>(slopes[1] + column);
    batch_norm_input_gradient(place, slope, constant, x, dy, affine, dx, shape);
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
        Place<V> place(shape);                                                                                         \
        if (!place.is_inside) return;                                                                                  \
        Affine<V> own(affine, place.channel, shape.channels);                                                          \
        batch_norm_apply(place, own, x, residual, y, shape);                                                           \
    }                                                                                                                  \
    KERNEL(batch_norm_finish_apply_##name, 256, const T* x, const float* partial, const float* weight,                 \
           const float* bias, const T* residual, T* y, float* running_mean, float* running_variance, float* affine,    \
           double* inverse, BatchNormShape shape, BatchNormFinish finish) {                                            \
        batch_norm_finish_apply<V>(                                                                                    \
            x, partial, weight, bias, residual, y, running_mean, running_variance, affine, inverse, shape, finish);    \
    }                                                                                                                  \
    KERNEL(batch_norm_sums_##name, 256, const T* x, const T* dy, const float* affine, float* partial,                  \
           BatchNormShape shape) {                                                                                     \
        Place<V> place(shape);                                                                                         \
        Rows<V, T> rows = {dy + place.channel, shape.dy_pitch};                                                        \
        batch_norm_sums<V>(place, rows, x, affine, partial, shape);                                                    \
    }                                                                                                                  \
    KERNEL(batch_norm_masked_sums_##name, 256, const T* x, const T* dy, const T* y, const float* affine, T* g,         \
           float* partial, BatchNormShape shape) {                                                                     \
        Place<V> place(shape);                                                                                         \
        MaskedRows<V, T> rows = {                                                                                      \
            dy + place.channel, y + place.channel, g + place.channel, shape.dy_pitch, shape.y_pitch, shape.dx_pitch};  \
        batch_norm_sums<V>(place, rows, x, affine, partial, shape);                                                    \
    }                                                                                                                  \
    KERNEL(batch_norm_split_sums_##name, 256, const float* split, const T* x, const float* affine, T* dy,              \
           float* partial, BatchNormShape shape) {                                                                     \
        Place<V> place(shape);                                                                                         \
        SplitRows<V, T> rows = {                                                                                       \
            split + place.channel, nullptr, dy + place.channel, shape.rows * shape.channels, shape.dy_pitch,           \
            shape.channels, shape.splits, shape.add};                                                                  \
        batch_norm_sums<V>(place, rows, x, affine, partial, shape);                                                    \
    }                                                                                                                  \
    KERNEL(batch_norm_input_gradient_##name, 256, const T* x, const T* dy, const float* affine, const float* slopes,   \
           T* dx, BatchNormShape shape) {                                                                              \
        batch_norm_whole_input_gradient<V>(x, dy, affine, slopes, dx, shape);                                          \
    }                                                                                                                  \
    KERNEL(batch_norm_gradients_input_##name, 256, const T* x, const T* dy, const float* partial,                      \
           const float* affine, const double* inverse, T* dx, float* dweight, float* dbias, BatchNormShape shape,      \
           BatchNormFinish finish, uint32_t add) {                                                                     \
        batch_norm_gradients_input<V>(x, dy, partial, affine, inverse, dx, dweight, dbias, shape, finish, add);        \
    }

BATCH_NORM(4, float, x4_f32)
BATCH_NORM(1, float, x1_f32)
BATCH_NORM(8, bf16, x8_bf16)
BATCH_NORM(1, bf16, x1_bf16)
