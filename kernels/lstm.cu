// The recurrence of an LSTM layer (Hochreiter and Schmidhuber 1997), with PyTorch's equations and gate order. The
// launches, and the products over all time steps before and after, are in src/ops/layers/lstm/launch.rs.
//
//   i, f, o = sigmoid(x' + U h' + b),  g = tanh(x' + U h' + b),  c = f c' + i g,  h = o tanh(c)
//
// x' = W x is already computed for all time steps; h' and c' are the previous step's. Backward, dh is the gradient from
// the layer above plus U^T times the next step's gate gradients, and dc comes from the next step:
//
//   dc += dh o (1 - tanh(c)^2),  d_o = dh tanh(c) o (1 - o),  d_i = dc g i (1 - i),  d_g = dc i (1 - g^2),
//   d_f = dc c' f (1 - f),  dc <- dc f
//
//   gates      [T, B, 4H]       forward: x', replaced by each gate's saved value, in f32 the activated gate;
//                               backward: these, replaced by gradients
//   h, c       [T + 1, B, H]    starting with the initial state
//   weight     U, [4H, H] with a row pitch
//   bias_ih, bias_hh   [4H]; b is their sum
//   dy         [T, B, H] with a row pitch
//   dc         [B, H]
//   state_h, state_c   [B, H]   `layer`: the state before the first time step; afterwards that after the last one, if it is
//                               carried to the next call
//   bias_parts [B, 4H]          `layer`, or null: each sample's gradients of the biases; matmul_sum_many adds the samples
//
// gates, h, weight and dy are f32 or bf16, all others f32: the cell state accumulates over all time steps. A step
// passes on the rounded h, whether through memory or registers.
//
// In bf16 the saved value of a gate is e^x, that of g sinh x. Both give the function and its slope with a few
// operations and a relative error of one rounding, near saturation too. The activated gate would not do: near 1,
// neighbouring bf16 numbers are 1/256 apart, and the slope of a gate that is 0.99 open is 0.01.
//
// A time step costs 8 B H^2 operations and, if U comes from memory, 16 H^2 bytes; H = 100 and B = 20 make 1.6 million
// and 160 KB. That is a microsecond's work, T times in sequence, so latency between steps dominates. Two variants:
//
// - H up to 100, `layer`: one launch for all time steps, one block per sample. Samples are independent, so no block waits
//   for another. U, 160 KB, stays in the block's registers: each thread holds a row (backward: part of a column). A time
//   step is 25 16-byte broadcast reads of h from shared memory and 100 multiply-adds per thread, about 400 cycles per
//   block, and one barrier. A launch for each time step would be 70 launches of about two microseconds.
// - any H, `step`: one launch for each time step. A block computes 8 units of 8 samples. Its 8 warps split the sum over
//   U's rows or columns, so that 256 threads have loads in flight and U is read in whole sectors, once for 8 samples.
//
// In both, four neighbouring lanes hold the four gates of a unit and exchange them by shuffles, without a barrier.
//
// No two buffers may overlap, but one call's buffers may be different time steps of the same tensor.
#include "common.cuh"

struct LstmSizes {
    uint64_t weight_pitch;
    uint64_t dy_pitch;
    uint32_t times, batch, hidden;
    uint32_t is_vector;   // whether U's rows are 16-byte aligned and H is a multiple of 4
    uint32_t is_carried;  // whether the state is replaced by that after the last time step
    uint32_t unused;
};

static const uint32_t LSTM_RESIDENT = 100;  // the largest H whose weights stay in registers
static const uint32_t LSTM_UNITS = 8;       // per block of `step`
static const uint32_t LSTM_SAMPLES = 8;
static const uint32_t LSTM_WARPS = 8;

enum LstmGate { LSTM_INPUT = 0, LSTM_FORGET = 1, LSTM_CANDIDATE = 2, LSTM_OUTPUT = 3 };

__device__ __forceinline__ float lstm_activate(float x, uint32_t gate) {
    return gate == LSTM_CANDIDATE ? tanhf(x) : 1.0f / (1.0f + expf(-x));
}

// The value held by the lane of another gate of the same unit.
__device__ __forceinline__ float lstm_of_gate(float value, uint32_t gate) {
    return __shfl_sync(ALL_LANES, value, (threadIdx.x % WARP & ~3u) | gate);
}

// c from the activated gates of four lanes. All lanes of the warp must call it.
__device__ __forceinline__ float lstm_cell(float activated, float c_before) {
    float forgotten = lstm_of_gate(activated, LSTM_FORGET) * c_before;
    return forgotten + lstm_of_gate(activated, LSTM_INPUT) * lstm_of_gate(activated, LSTM_CANDIDATE);
}

// A gate's value to save for the backward pass, from `x`.
template <class T>
__device__ __forceinline__ T lstm_keep(float activated, float x, uint32_t gate);

template <>
__device__ __forceinline__ float lstm_keep<float>(float activated, float, uint32_t) {
    return activated;
}

template <>
__device__ __forceinline__ bf16 lstm_keep<bf16>(float, float x, uint32_t gate) {
        // Clamped: the gate is saturated beyond, and its square would overflow. NaN passes.
    x = x > 40.0f ? 40.0f : x < -40.0f ? -40.0f : x;
    return bf16(gate == LSTM_CANDIDATE ? sinhf(x) : expf(x));
}

// A gate's activation and its slope, from the saved value.
struct LstmKept {
    float activated, slope;

    __device__ __forceinline__ LstmKept(float kept, uint32_t gate) {
        activated = kept;
        slope = gate == LSTM_CANDIDATE ? 1.0f - activated * activated : activated * (1.0f - activated);
    }

    __device__ __forceinline__ LstmKept(bf16 kept, uint32_t gate) {
        float own = static_cast<float>(kept);
        if (gate == LSTM_CANDIDATE) {
            slope = 1.0f / (1.0f + own * own);
            activated = own * sqrtf(slope);
        } else {
            float closed = 1.0f / (1.0f + own);
            activated = own * closed;
            slope = activated * closed;
        }
    }
};

// The gradient at the input of a lane's gate, and dc for the previous step. All lanes of the warp must call it.
__device__ __forceinline__ float lstm_gate_gradient(
    uint32_t gate, LstmKept kept, float c_before, float c, float dh, float& dc) {
    float activated = kept.activated;
    float i = lstm_of_gate(activated, LSTM_INPUT), f = lstm_of_gate(activated, LSTM_FORGET);
    float g = lstm_of_gate(activated, LSTM_CANDIDATE), o = lstm_of_gate(activated, LSTM_OUTPUT);
    float squashed = tanhf(c);
    dc += dh * o * (1.0f - squashed * squashed);
    float upstream = gate == LSTM_INPUT       ? dc * g
                     : gate == LSTM_FORGET    ? dc * c_before
                     : gate == LSTM_CANDIDATE ? dc * i
                                              : dh * squashed;
    dc *= f;
    return upstream * kept.slope;
}

// Rounds to the storage type.
template <class T>
__device__ __forceinline__ float lstm_stored(float value) {
    return static_cast<float>(static_cast<T>(value));
}

// ---- all time steps in one launch ----------------------------------------------------------------------------------

// Dot product of a thread's weights with a vector shared by all lanes, or by all lanes of a gate.
__device__ __forceinline__ float lstm_dot(const float (&weights)[LSTM_RESIDENT], const float* vector) {
    float sums[4] = {};
    UNROLL
    for (uint32_t k = 0; k < LSTM_RESIDENT; k += 4) {
        float4 x = *reinterpret_cast<const float4*>(vector + k);
        sums[0] += weights[k] * x.x;
        sums[1] += weights[k + 1] * x.y;
        sums[2] += weights[k + 2] * x.z;
        sums[3] += weights[k + 3] * x.w;
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// One block per sample. Thread 4 u + q has gate q of unit u, and its row of U.
template <class T>
__device__ __forceinline__ void lstm_layer_forward(
    T* gates, T* h, float* c, float* state_h, float* state_c, const T* weight, const float* bias_ih,
    const float* bias_hh, const LstmSizes& sizes) {
    SHARED(float, state, [2][LSTM_RESIDENT]);
    uint32_t gate = threadIdx.x % 4, unit = threadIdx.x / 4, hidden = sizes.hidden;
    bool is_inside = unit < hidden;
    uint32_t row = gate * hidden + unit;
    float weights[LSTM_RESIDENT];
    const T* own = weight + row * sizes.weight_pitch;
    if (sizes.is_vector != 0) {
        UNROLL
        for (uint32_t k = 0; k < LSTM_RESIDENT; k += 4) {
            Pack<4> four{};
            if (is_inside && k < hidden) four = load<4>(own + k);
            UNROLL
            for (uint32_t i = 0; i < 4; i++) weights[k + i] = four.value[i];
        }
    } else {
        UNROLL
        for (uint32_t k = 0; k < LSTM_RESIDENT; k++) {
            weights[k] = is_inside && k < hidden ? static_cast<float>(own[k]) : 0.0f;
        }
    }
    float bias = is_inside ? bias_ih[row] + bias_hh[row] : 0.0f;
    // Offsets within a time step have 32 bits, and what the block shares stays in uniform registers: the weights need the others.
    uint32_t first = blockIdx.x * hidden, cell = first + unit, own_gate = 4 * first + row;
    uint64_t step = static_cast<uint64_t>(sizes.batch) * hidden;
    float c_own = is_inside ? state_c[cell] : 0.0f;
    for (uint32_t k = threadIdx.x; k < 2 * LSTM_RESIDENT; k += blockDim.x) {
        uint32_t column = k % LSTM_RESIDENT;
        state[k / LSTM_RESIDENT][column] = column < hidden ? lstm_stored<T>(state_h[first + column]) : 0.0f;
    }
    // The backward pass needs the state, which the end overwrites.
    if (is_inside && gate == LSTM_FORGET) h[cell] = static_cast<T>(state_h[cell]);
    if (is_inside && gate == LSTM_CANDIDATE) c[cell] = c_own;
    for (uint32_t time = 0; time < sizes.times; time++) {
        float input = is_inside ? static_cast<float>(gates[own_gate]) : 0.0f;
        // The previous state is written, and all threads have read the state before it, which is overwritten next.
        __syncthreads();
        // The input arrives while the sum is computed.
        float x = input + bias + lstm_dot(weights, state[time % 2]);
        float activated = lstm_activate(x, gate);
        if (is_inside) gates[own_gate] = lstm_keep<T>(activated, x, gate);
        c_own = lstm_cell(activated, c_own);
        float h_own = lstm_stored<T>(lstm_of_gate(activated, LSTM_OUTPUT) * tanhf(c_own));
        h += step, c += step;
        if (is_inside) {
            if (gate == LSTM_INPUT) state[(time + 1) % 2][unit] = h_own;
            if (gate == LSTM_FORGET) h[cell] = static_cast<T>(h_own);
            if (gate == LSTM_CANDIDATE) c[cell] = c_own;
        }
        gates += 4 * step;
    }
    // Every thread has read the state before the loop's first barrier. These lanes hold c, and wrote the last h themselves.
    if (!is_inside || sizes.is_carried == 0) return;
    if (gate == LSTM_CANDIDATE) state_c[cell] = c_own;
    if (gate == LSTM_INPUT) state_h[cell] = state[sizes.times % 2][unit];
}

// One block per sample. Thread 4 u + q has the part of column u of U that belongs to gate q.
template <class T>
__device__ __forceinline__ void lstm_layer_backward(
    T* gates, const float* c, const T* weight, const T* dy, float* bias_parts, const LstmSizes& sizes) {
    SHARED(float, later, [2][4][LSTM_RESIDENT]);
    uint32_t gate = threadIdx.x % 4, unit = threadIdx.x / 4, hidden = sizes.hidden;
    bool is_inside = unit < hidden;
    float weights[LSTM_RESIDENT];
    const T* part = weight + gate * hidden * sizes.weight_pitch + unit;
    UNROLL
    for (uint32_t k = 0; k < LSTM_RESIDENT; k++) {
        weights[k] = is_inside && k < hidden ? static_cast<float>(*part) : 0.0f;
        part += sizes.weight_pitch;
    }
    for (uint32_t k = threadIdx.x; k < 8 * LSTM_RESIDENT; k += blockDim.x) {
        later[k / (4 * LSTM_RESIDENT)][k / LSTM_RESIDENT % 4][k % LSTM_RESIDENT] = 0.0f;
    }
    uint64_t step = static_cast<uint64_t>(sizes.batch) * hidden;
    float dc = 0.0f, of_bias = 0.0f;
    for (uint32_t time = sizes.times; time-- > 0;) {
        uint64_t sample = static_cast<uint64_t>(time) * sizes.batch + blockIdx.x, cell = sample * hidden + unit;
        T* own = gates + sample * 4 * hidden + gate * hidden + unit;
        float c_before = 0.0f, c_after = 0.0f, dh = 0.0f;
        T kept{};
        if (is_inside) {
            kept = *own;
            c_before = c[cell];
            c_after = c[cell + step];
            dh = static_cast<float>(dy[sample * sizes.dy_pitch + unit]);
        }
        // The next step's gradients are written, and all threads have read those of the step after it, which are
        // overwritten next.
        __syncthreads();
        float recurrent = lstm_dot(weights, later[(time + 1) % 2][gate]);
        dh += reduce_lanes<Sum>(recurrent, 4);
        float gradient = lstm_gate_gradient(gate, LstmKept(kept, gate), c_before, c_after, dh, dc);
        if (is_inside) {
            *own = static_cast<T>(gradient);
            later[time % 2][gate][unit] = lstm_stored<T>(gradient);
            of_bias += lstm_stored<T>(gradient);
        }
    }
    if (is_inside && bias_parts != nullptr) bias_parts[(blockIdx.x * 4 + gate) * hidden + unit] = of_bias;
}

// ---- one launch per time step --------------------------------------------------------------------------------------

// Reduces across the warps: the sum of lane `lane` for sample `sample`.
__device__ __forceinline__ float lstm_over_warps(
    float (&parts)[LSTM_WARPS][LSTM_SAMPLES][WARP], const float (&sums)[LSTM_SAMPLES], uint32_t sample, uint32_t lane) {
    UNROLL
    for (uint32_t i = 0; i < LSTM_SAMPLES; i++) parts[threadIdx.x / WARP][i][threadIdx.x % WARP] = sums[i];
    __syncthreads();  // every warp's parts are written
    float total = 0.0f;
    UNROLL
    for (uint32_t warp = 0; warp < LSTM_WARPS; warp++) total += parts[warp][sample][lane];
    return total;
}

// sums[i] += dot product of the weights with sample i's vector over this warp's share of k.
template <int V, class T>
__device__ __forceinline__ void lstm_rows(
    float (&sums)[LSTM_SAMPLES], const T* weights, const T* vectors, uint32_t length, uint32_t samples) {
    for (uint32_t k = V * (threadIdx.x / WARP); k < length; k += V * LSTM_WARPS) {
        Pack<V> w = load<V>(weights + k);
        UNROLL
        for (uint32_t i = 0; i < LSTM_SAMPLES; i++) {
            // Past the last sample, repeats the last one; that sum is not used.
            Pack<V> x = load<V>(vectors + static_cast<uint64_t>(min(i, samples - 1)) * length + k);
            if constexpr (V == 4) {
                sums[i] += (w.value[0] * x.value[0] + w.value[1] * x.value[1]) +
                           (w.value[2] * x.value[2] + w.value[3] * x.value[3]);
            } else {
                sums[i] += w.value[0] * x.value[0];
            }
        }
    }
}

// One time step. Block x has units, block y samples. Lane 4 u + q of every warp has gate q of unit u; the warps split
// its row of U. After the reduction, warp i has sample i.
template <class T>
__device__ __forceinline__ void lstm_step_forward(
    T* gates, const T* h_before, const float* c_before, T* h, float* c, const T* weight, const float* bias_ih,
    const float* bias_hh, const LstmSizes& sizes) {
    SHARED(float, parts, [LSTM_WARPS][LSTM_SAMPLES][WARP]);
    uint32_t lane = threadIdx.x % WARP, gate = lane % 4, hidden = sizes.hidden;
    uint32_t unit = blockIdx.x * LSTM_UNITS + lane / 4, first = blockIdx.y * LSTM_SAMPLES;
    uint32_t row = gate * hidden + unit, samples = min(LSTM_SAMPLES, sizes.batch - first);
    float sums[LSTM_SAMPLES] = {};
    if (unit < hidden) {
        const T* own = weight + row * sizes.weight_pitch;
        const T* vectors = h_before + static_cast<uint64_t>(first) * hidden;
        if (sizes.is_vector != 0) {
            lstm_rows<4>(sums, own, vectors, hidden, samples);
        } else {
            lstm_rows<1>(sums, own, vectors, hidden, samples);
        }
    }
    uint32_t sample = threadIdx.x / WARP;
    float recurrent = lstm_over_warps(parts, sums, sample, lane);
    bool is_inside = unit < hidden && sample < samples;
    uint64_t number = first + sample, cell = number * hidden + unit;
    float x = 0.0f, activated = 0.0f, c_old = 0.0f;
    if (is_inside) {
        x = static_cast<float>(gates[number * 4 * hidden + row]) + bias_ih[row] + bias_hh[row] + recurrent;
        activated = lstm_activate(x, gate);
        c_old = c_before[cell];
    }
    float c_own = lstm_cell(activated, c_old), output = lstm_of_gate(activated, LSTM_OUTPUT);
    if (!is_inside) return;
    gates[number * 4 * hidden + row] = lstm_keep<T>(activated, x, gate);
    if (gate == LSTM_FORGET) h[cell] = static_cast<T>(output * tanhf(c_own));
    if (gate == LSTM_CANDIDATE) c[cell] = c_own;
}

// One time step. Block x has units, block y samples. Lane 8 p + u of every warp has unit u and, of every 128 rows of U,
// the 4 rows of part p of the warp. After the reduction, lane 4 u + q of warp i has gate q of sample i. The last time
// step has no later gradients and no dc.
template <class T>
__device__ __forceinline__ void lstm_step_backward(
    T* gates, const T* later, const float* c_before, const float* c, const T* weight, const T* dy, float* dc,
    const LstmSizes& sizes) {
    SHARED(float, parts, [LSTM_WARPS][LSTM_SAMPLES][WARP]);
    uint32_t lane = threadIdx.x % WARP, hidden = sizes.hidden, first = blockIdx.y * LSTM_SAMPLES;
    uint32_t samples = min(LSTM_SAMPLES, sizes.batch - first), rows = 4 * hidden;
    uint32_t column = blockIdx.x * LSTM_UNITS + lane % LSTM_UNITS;
    float sums[LSTM_SAMPLES] = {};
    if (later != nullptr && column < hidden) {
        const T* vectors = later + static_cast<uint64_t>(first) * rows;
        uint32_t part = threadIdx.x / WARP * 4 + lane / LSTM_UNITS;
        for (uint32_t row = 4 * part; row < rows; row += 4 * 4 * LSTM_WARPS) {
            const T* own = weight + row * sizes.weight_pitch + column;
            float w[4];
            UNROLL
            for (int i = 0; i < 4; i++) w[i] = static_cast<float>(own[i * sizes.weight_pitch]);
            UNROLL
            for (uint32_t i = 0; i < LSTM_SAMPLES; i++) {
                uint64_t start = static_cast<uint64_t>(min(i, samples - 1)) * rows + row;
                Pack<4> x = load<4>(vectors + start);
                sums[i] += (w[0] * x.value[0] + w[1] * x.value[1]) + (w[2] * x.value[2] + w[3] * x.value[3]);
            }
        }
    }
    uint32_t sample = threadIdx.x / WARP, gate = lane % 4, unit = blockIdx.x * LSTM_UNITS + lane / 4;
    // Each of a unit's four lanes reduces one of the unit's four parts; then the lanes add them.
    float recurrent = lstm_over_warps(parts, sums, sample, gate * LSTM_UNITS + lane / 4);
    recurrent = reduce_lanes<Sum>(recurrent, 4);
    bool is_inside = unit < hidden && sample < samples;
    uint64_t number = first + sample, cell = number * hidden + unit;
    T* own = gates + number * rows + gate * hidden + unit;
    float c_old = 0.0f, c_new = 0.0f, dh = 0.0f, dc_own = 0.0f;
    T kept{};
    if (is_inside) {
        kept = *own;
        c_old = c_before[cell];
        c_new = c[cell];
        dh = static_cast<float>(dy[number * sizes.dy_pitch + unit]) + recurrent;
        if (later != nullptr && gate == LSTM_INPUT) dc_own = dc[cell];
    }
    // Only the lane that will overwrite dc reads it.
    dc_own = lstm_of_gate(dc_own, LSTM_INPUT);
    float gradient = lstm_gate_gradient(gate, LstmKept(kept, gate), c_old, c_new, dh, dc_own);
    if (!is_inside) return;
    *own = static_cast<T>(gradient);
    if (gate == LSTM_INPUT) dc[cell] = dc_own;
}

#define LSTM(T, type)                                                                                                  \
    KERNEL(lstm_layer_fwd_##type, 416, T* gates, T* h, float* c, float* state_h, float* state_c, const T* weight,      \
           const float* bias_ih, const float* bias_hh, LstmSizes sizes) {                                              \
        lstm_layer_forward(gates, h, c, state_h, state_c, weight, bias_ih, bias_hh, sizes);                            \
    }                                                                                                                  \
    KERNEL(lstm_layer_bwd_##type, 416, T* gates, const float* c, const T* weight, const T* dy, float* bias_parts,      \
           LstmSizes sizes) {                                                                                          \
        lstm_layer_backward(gates, c, weight, dy, bias_parts, sizes);                                                  \
    }                                                                                                                  \
    KERNEL(lstm_step_fwd_##type, 256, T* gates, const T* h_before, const float* c_before, T* h, float* c,              \
           const T* weight, const float* bias_ih, const float* bias_hh, LstmSizes sizes) {                             \
        lstm_step_forward(gates, h_before, c_before, h, c, weight, bias_ih, bias_hh, sizes);                           \
    }                                                                                                                  \
    KERNEL(lstm_step_bwd_##type, 256, T* gates, const T* later, const float* c_before, const float* c,                 \
           const T* weight, const T* dy, float* dc, LstmSizes sizes) {                                                 \
        lstm_step_backward(gates, later, c_before, c, weight, dy, dc, sizes);                                          \
    }

LSTM(float, f32)
LSTM(bf16, bf16)
