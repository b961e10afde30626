// Channel gates (squeeze and excitation, Hu et al. 2018). The launches are in src/ops/layers/squeeze_excite/launch.rs.
//
//   mean[n, c]   = sum over pixels p of x[n, p, c] / P
//   hidden[n, h] = max(sum over c of squeeze[h, c] mean[n, c] + squeeze_bias[h], 0)
//   gate[n, c]   = sigmoid(sum over h of excite[c, h] hidden[n, h] + excite_bias[c])
//   y[n, p, c]   = x[n, p, c] gate[n, c] + residual[n, p, c], if there is a residual
//
//   Backward: dexcite [N, C] and dsqueeze [N, H] are the gradients before the sigmoid and before the ReLU:
//   dexcite[n, c]  = gate (1 - gate) sum over p of dy[n, p, c] x[n, p, c]
//   dsqueeze[n, h] = sum over c of dexcite[n, c] excite[c, h], or 0 where hidden is 0
//   dmean[n, c]    = sum over h of dsqueeze[n, h] squeeze[h, c] / P: the share of each pixel
//   dx[n, p, c]    = dy[n, p, c] gate[n, c] + dmean[n, c], or dx += where `add`
//   The gradients of the layers are sums over the images: of dsqueeze[n, h] mean[n, c] for squeeze[h, c], of
//   dexcite[n, c] hidden[n, h] for excite[c, h], of dsqueeze and dexcite for the biases; stored, or += where `add`.
//
//   x, residual, y, dy, dx [N, P, C]: f32 or bf16, each with its own pixel pitch
//   squeeze [H, C], excite [C, H], contiguous: as x; squeeze_bias [H], excite_bias [C]: f32
//   means, gates, dexcite, dmeans [N, C], hidden, dsqueeze [N, H], contiguous; all gradients of the layers: f32
//
// Bytes per element of x in f32: gates_fwd 4, apply_fwd 12 (8 without a residual), gates_bwd 8, input_bwd 8 (12 where
// `add`); half of that in bf16. Operations per element: 1 or 2. The two layers have 2 C H products an image, few beside
// P C elements. So all kernels are memory-bound, or bound by latency where images are small.
//
// The gates need all of an image's pixels, so there are at least two launches forward, and two backward. gates: a block
// of 512 threads per image computes the means and both layers, or their backward pass, with barriers alone. At batch 32
// three quarters of an H100's SMs are idle, but an image of 1024 pixels and 64 channels is only 256 KB, and 8 loads of
// 16 bytes in flight for each thread are 64 KB for each SM. Several blocks per image would need one more launch to add
// their sums, which takes about as long as they save. Separate ops took 19 launches and more, one after the other.
// apply, input: a thread has two times V channels of a pixel. V elements are 16 bytes where C, pitches and addresses
// allow it; else V = 1.
// weights: a thread sums one element of a gradient over the images. Sums over parts of the images would be one more
// launch, and usual batches are small.
//
// Sums run in an order that depends on the shape alone. No two buffers may overlap.
#include "common.cuh"

static const int GATES_THREADS = 512;
static const int GATES_IN_FLIGHT = 8;
static const uint32_t UNIT_THREADS = 256;
static const int UNITS = 2;  // of V channels, per thread of apply_fwd and input_bwd

struct SqueezeExciteShape {
    uint64_t x_pitch, y_pitch;  // of x, and of y or dy
    uint64_t other_pitch;       // of the residual, or of dx
    uint32_t images, pixels, channels, hidden;
    Divisor by_groups;  // groups of V channels
    uint32_t blocks;    // of an image, in apply_fwd and input_bwd
    uint32_t add;       // whether dx is accumulated; in weights_bwd a bit for each gradient
    uint32_t unused;
};

// The smallest power of 2 from `count` on, but at most `most`, itself a power of 2.
__device__ __forceinline__ uint32_t lanes_for(uint32_t count, uint32_t most) {
    uint32_t lanes = 1;
    while (lanes < count && lanes < most) lanes *= 2;
    return lanes;
}

// Gives `finish` each V columns and the sums over all rows of `value(row, column)`, a Pack<V>. A group of threads has
// neighbouring columns, and a part of the rows; a tree adds the groups. `sums` is [V][GATES_THREADS]. All threads of
// the block must call it. What `finish` writes can be read afterwards.
template <int V, class Value, class Finish>
__device__ __forceinline__ void sum_columns(
    uint32_t rows, uint32_t columns, float* sums, const Value& value, const Finish& finish) {
    uint32_t lanes = lanes_for(columns / V, GATES_THREADS), groups = GATES_THREADS / lanes;
    uint32_t lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
    for (uint32_t first = 0; first < columns; first += lanes * V) {
        uint32_t column = first + lane * V;
        Pack<V> sum = {};
        if (column < columns) {
            uint32_t row = group;
            for (; row + (GATES_IN_FLIGHT - 1) * groups < rows; row += GATES_IN_FLIGHT * groups) {
                Pack<V> values[GATES_IN_FLIGHT];
                UNROLL
                for (int k = 0; k < GATES_IN_FLIGHT; k++) values[k] = value(row + k * groups, column);
                UNROLL
                for (int k = 0; k < GATES_IN_FLIGHT; k++) add_to(sum, values[k]);
            }
            ROLLED
            for (; row < rows; row += groups) add_to(sum, value(row, column));
        }
        UNROLL
        for (int v = 0; v < V; v++) sums[v * GATES_THREADS + threadIdx.x] = sum.value[v];
        for (uint32_t half = groups / 2; half > 0; half /= 2) {
            __syncthreads();  // the upper half's sums are written
            if (group >= half) continue;
            UNROLL
            for (int v = 0; v < V; v++) {
                float* own = sums + v * GATES_THREADS + threadIdx.x;
                sum.value[v] += own[half * lanes];
                *own = sum.value[v];
            }
        }
        if (group == 0 && column < columns) finish(column, sum);
        __syncthreads();  // `sums` is read, and what `finish` writes is written
    }
}

// Gives `finish` each row of `matrix` [rows, columns] and its product with `vector`. The lanes of a row, at most a
// warp, have neighbouring columns, V at a time; ROWS rows are in flight. All threads of the block must call it.
template <int V, int ROWS, class T, class Finish>
__device__ __forceinline__ void row_products(
    const T* matrix, const float* vector, uint32_t rows, uint32_t columns, const Finish& finish) {
    uint32_t lanes = lanes_for(columns / V, WARP), step = GATES_THREADS / lanes;
    uint32_t lane = threadIdx.x % lanes;
    for (uint32_t first = 0; first < rows; first += ROWS * step) {
        uint32_t row = first + threadIdx.x / lanes;
        float sums[ROWS] = {};
        for (uint32_t column = lane * V; column < columns; column += lanes * V) {
            Pack<V> factors = load<V>(vector + column), weights[ROWS];
            UNROLL
            for (int k = 0; k < ROWS; k++) {
                weights[k] = Pack<V>{};
                if (row + k * step >= rows) continue;
                weights[k] = load<V>(matrix + static_cast<uint64_t>(row + k * step) * columns + column);
            }
            UNROLL
            for (int k = 0; k < ROWS; k++) {
                UNROLL
                for (int v = 0; v < V; v++) sums[k] += weights[k].value[v] * factors.value[v];
            }
        }
        UNROLL
        for (int k = 0; k < ROWS; k++) {
            float sum = reduce_lanes<Sum>(sums[k], static_cast<int>(lanes));
            if (lane == 0 && row + k * step < rows) finish(row + k * step, sum);
        }
    }
}

template <int V, class T>
__device__ void gates_forward(
    const T* __restrict__ x, const T* __restrict__ squeeze, const float* __restrict__ squeeze_bias,
    const T* __restrict__ excite, const float* __restrict__ excite_bias, float* means, float* all_hidden, float* gates,
    const SqueezeExciteShape& shape) {
    SHARED(float, sums, [V * GATES_THREADS]);
    uint64_t image = blockIdx.x;
    x += image * shape.pixels * shape.x_pitch;
    means += image * shape.channels;
    gates += image * shape.channels;
    float* hidden = all_hidden + image * shape.hidden;
    float factor = 1.0f / static_cast<float>(shape.pixels);
    sum_columns<V>(
        shape.pixels, shape.channels, sums,
        [&](uint32_t pixel, uint32_t channel) { return load<V>(x + pixel * shape.x_pitch + channel); },
        [&](uint32_t channel, Pack<V> sum) {
            UNROLL
            for (int v = 0; v < V; v++) sum.value[v] *= factor;
            store<V>(means + channel, sum);
        });
    row_products<V, 2>(squeeze, means, shape.hidden, shape.channels, [&](uint32_t unit, float sum) {
        float value = sum + squeeze_bias[unit];
        hidden[unit] = value < 0.0f ? 0.0f : value;
    });
    __syncthreads();  // `hidden` is written
    row_products<1, 8>(excite, hidden, shape.channels, shape.hidden, [&](uint32_t channel, float sum) {
        gates[channel] = 1.0f / (1.0f + expf(-(sum + excite_bias[channel])));
    });
}

template <int V, class T>
__device__ void gates_backward(
    const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ squeeze, const T* __restrict__ excite,
    const float* __restrict__ all_hidden, const float* __restrict__ gates, float* dexcite, float* dsqueeze,
    float* dmeans, const SqueezeExciteShape& shape) {
    SHARED(float, sums, [V * GATES_THREADS]);
    uint64_t image = blockIdx.x;
    x += image * shape.pixels * shape.x_pitch;
    dy += image * shape.pixels * shape.y_pitch;
    gates += image * shape.channels;
    dexcite += image * shape.channels;
    dmeans += image * shape.channels;
    dsqueeze += image * shape.hidden;
    const float* hidden = all_hidden + image * shape.hidden;
    sum_columns<V>(
        shape.pixels, shape.channels, sums,
        [&](uint32_t pixel, uint32_t channel) {
            Pack<V> own = load<V>(x + pixel * shape.x_pitch + channel);
            Pack<V> gradient = load<V>(dy + pixel * shape.y_pitch + channel);
            UNROLL
            for (int v = 0; v < V; v++) own.value[v] *= gradient.value[v];
            return own;
        },
        [&](uint32_t channel, Pack<V> sum) {
            Pack<V> gate = load<V>(gates + channel);
            UNROLL
            for (int v = 0; v < V; v++) sum.value[v] *= gate.value[v] * (1.0f - gate.value[v]);
            store<V>(dexcite + channel, sum);
        });
    sum_columns<1>(
        shape.channels, shape.hidden, sums,
        [&](uint32_t channel, uint32_t unit) {
            float weight = static_cast<float>(excite[static_cast<uint64_t>(channel) * shape.hidden + unit]);
            return Pack<1>{{weight * dexcite[channel]}};
        },
        [&](uint32_t unit, Pack<1> sum) { dsqueeze[unit] = hidden[unit] <= 0.0f ? 0.0f : sum.value[0]; });
    float factor = 1.0f / static_cast<float>(shape.pixels);
    sum_columns<V>(
        shape.hidden, shape.channels, sums,
        [&](uint32_t unit, uint32_t channel) {
            Pack<V> weights = load<V>(squeeze + static_cast<uint64_t>(unit) * shape.channels + channel);
            UNROLL
            for (int v = 0; v < V; v++) weights.value[v] *= dsqueeze[unit];
            return weights;
        },
        [&](uint32_t channel, Pack<V> sum) {
            UNROLL
            for (int v = 0; v < V; v++) sum.value[v] *= factor;
            store<V>(dmeans + channel, sum);
        });
}

// The place of a thread's unit `k`: V channels of a pixel. The units of an image are divided among `blocks` blocks.
template <int V>
struct UnitPlace {
    uint64_t pixel, gate;
    uint32_t channel;
    bool is_inside;

    __device__ __forceinline__ UnitPlace(const SqueezeExciteShape& shape, int k) {
        uint32_t image = blockIdx.x / shape.blocks, block = blockIdx.x - image * shape.blocks;
        uint32_t unit = (block * UNITS + static_cast<uint32_t>(k)) * UNIT_THREADS + threadIdx.x;
        uint32_t own = quotient(unit, shape.by_groups);
        is_inside = own < shape.pixels;
        channel = (unit - own * shape.by_groups.value) * V;
        pixel = static_cast<uint64_t>(image) * shape.pixels + own;
        gate = static_cast<uint64_t>(image) * shape.channels + channel;
    }
};

template <int V, class T>
__device__ void apply_forward(
    const T* __restrict__ x, const float* __restrict__ gates, const T* __restrict__ residual, T* __restrict__ y,
    const SqueezeExciteShape& shape) {
    Pack<V> values[UNITS], more[UNITS];
    UNROLL
    for (int k = 0; k < UNITS; k++) {
        UnitPlace<V> place(shape, k);
        more[k] = Pack<V>{};
        if (!place.is_inside) continue;
        values[k] = load<V>(x + place.pixel * shape.x_pitch + place.channel);
        if (residual != nullptr) more[k] = load<V>(residual + place.pixel * shape.other_pitch + place.channel);
    }
    UNROLL
    for (int k = 0; k < UNITS; k++) {
        UnitPlace<V> place(shape, k);
        if (!place.is_inside) continue;
        Pack<V> gate = load<V>(gates + place.gate);
        UNROLL
        for (int v = 0; v < V; v++) values[k].value[v] = values[k].value[v] * gate.value[v] + more[k].value[v];
        store<V>(y + place.pixel * shape.y_pitch + place.channel, values[k]);
    }
}

template <int V, class T>
__device__ void input_backward(
    const T* __restrict__ dy, const float* __restrict__ gates, const float* __restrict__ dmeans, T* __restrict__ dx,
    const SqueezeExciteShape& shape) {
    Pack<V> values[UNITS], old[UNITS];
    UNROLL
    for (int k = 0; k < UNITS; k++) {
        UnitPlace<V> place(shape, k);
        old[k] = Pack<V>{};
        if (!place.is_inside) continue;
        values[k] = load<V>(dy + place.pixel * shape.y_pitch + place.channel);
        if (shape.add) old[k] = load<V>(dx + place.pixel * shape.other_pitch + place.channel);
    }
    UNROLL
    for (int k = 0; k < UNITS; k++) {
        UnitPlace<V> place(shape, k);
        if (!place.is_inside) continue;
        Pack<V> gate = load<V>(gates + place.gate), dmean = load<V>(dmeans + place.gate);
        UNROLL
        for (int v = 0; v < V; v++) {
            values[k].value[v] = old[k].value[v] + (values[k].value[v] * gate.value[v] + dmean.value[v]);
        }
        store<V>(dx + place.pixel * shape.other_pitch + place.channel, values[k]);
    }
}

// Grids: gates, a block for each image; apply and input, `blocks` blocks for each image.
#define SQUEEZE_EXCITE(V, T, name)                                                                                     \
    KERNEL_RESIDENT(squeeze_excite_gates_fwd_##name, GATES_THREADS, 1, const T* x, const T* squeeze,                   \
                    const float* squeeze_bias, const T* excite, const float* excite_bias, float* means, float* hidden, \
                    float* gates, SqueezeExciteShape shape) {                                                          \
        gates_forward<V>(x, squeeze, squeeze_bias, excite, excite_bias, means, hidden, gates, shape);                  \
    }                                                                                                                  \
    KERNEL(squeeze_excite_apply_fwd_##name, UNIT_THREADS, const T* x, const float* gates, const T* residual, T* y,     \
           SqueezeExciteShape shape) {                                                                                 \
        apply_forward<V>(x, gates, residual, y, shape);                                                                \
    }                                                                                                                  \
    KERNEL_RESIDENT(squeeze_excite_gates_bwd_##name, GATES_THREADS, 1, const T* dy, const T* x, const T* squeeze,      \
                    const T* excite, const float* hidden, const float* gates, float* dexcite, float* dsqueeze,         \
                    float* dmeans, SqueezeExciteShape shape) {                                                         \
        gates_backward<V>(dy, x, squeeze, excite, hidden, gates, dexcite, dsqueeze, dmeans, shape);                    \
    }                                                                                                                  \
    KERNEL(squeeze_excite_input_bwd_##name, UNIT_THREADS, const T* dy, const float* gates, const float* dmeans, T* dx, \
           SqueezeExciteShape shape) {                                                                                 \
        input_backward<V>(dy, gates, dmeans, dx, shape);                                                               \
    }

SQUEEZE_EXCITE(4, float, x4_f32)
SQUEEZE_EXCITE(1, float, x1_f32)
SQUEEZE_EXCITE(8, bf16, x8_bf16)
SQUEEZE_EXCITE(1, bf16, x1_bf16)

// ---- gradients of the layers ---------------------------------------------------------------------------------------

// Stores the sum over the images of left[n] right[n], or of left[n] if `right` is null, in `target`, or adds it there.
// Does nothing if `target` is null.
__device__ __forceinline__ void sum_images(
    const float* left, uint32_t left_step, const float* right, uint32_t right_step, uint32_t images, float* target,
    bool add) {
    if (target == nullptr) return;
    float sum = 0.0f;
    auto value = [&](uint64_t n) { return left[n * left_step] * (right == nullptr ? 1.0f : right[n * right_step]); };
    uint32_t image = 0;
    for (; image + GATES_IN_FLIGHT <= images; image += GATES_IN_FLIGHT) {
        float values[GATES_IN_FLIGHT];
        UNROLL
        for (int k = 0; k < GATES_IN_FLIGHT; k++) values[k] = value(image + k);
        UNROLL
        for (int k = 0; k < GATES_IN_FLIGHT; k++) sum += values[k];
    }
    ROLLED
    for (; image < images; image++) sum += value(image);
    store(target, sum, add);
}

// Each gradient may be null. A thread per element of all four.
KERNEL(squeeze_excite_weights_bwd_f32, 256, const float* means, const float* hidden, const float* dexcite,
       const float* dsqueeze, float* squeeze, float* squeeze_bias, float* excite, float* excite_bias,
       SqueezeExciteShape shape) {
    uint32_t channels = shape.channels, units = shape.hidden, weights = units * channels;
    uint32_t number = static_cast<uint32_t>(global_thread()), add = shape.add;
    if (number < weights) {
        uint32_t unit = number / channels, channel = number - unit * channels;
        float* target = squeeze == nullptr ? nullptr : squeeze + number;
        sum_images(means + channel, channels, dsqueeze + unit, units, shape.images, target, (add & 1) != 0);
        return;
    }
    number -= weights;
    if (number < weights) {
        uint32_t channel = number / units, unit = number - channel * units;
        float* target = excite == nullptr ? nullptr : excite + number;
        sum_images(hidden + unit, units, dexcite + channel, channels, shape.images, target, (add & 4) != 0);
        return;
    }
    number -= weights;
    if (number < units) {
        float* target = squeeze_bias == nullptr ? nullptr : squeeze_bias + number;
        sum_images(dsqueeze + number, units, nullptr, 0, shape.images, target, (add & 2) != 0);
        return;
    }
    number -= units;
    if (number < channels) {
        float* target = excite_bias == nullptr ? nullptr : excite_bias + number;
        sum_images(dexcite + number, channels, nullptr, 0, shape.images, target, (add & 8) != 0);
    }
}
