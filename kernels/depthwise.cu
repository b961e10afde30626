// Depthwise convolution of channels-last images in f32 or bf16: each channel has its own kernel. The launches are in
// src/ops/layers/depthwise/launch.rs.
//
//   y[n, p, q, c] = bias[c] + sum_rs x[n, p stride + r - padding, q stride + s - padding, c] weight[r, s, c]
//
//   x, dx        [N, H, W, C]     pixels x_pitch apart
//   weight, dw   [R, S, C]        dw is f32
//   bias         [C], or null     f32
//   y, dy        [N, P, Q, C]     pixels y_pitch apart
//   moments      [parts, 3, C], or null: partial statistics of y for batch_norm.cu
//   norm_x, affine, sums   the norm that wrote x, or null; then dx is x's whole gradient, and the partial sums over it that the
//                norm's backward pass needs are written, [parts, 2, C]
//
// Bytes: 4 (bf16: 2) per element of x and of y. The R S multiply-adds (9) per element are far below what a GPU can do
// in that time: all three kernels are memory-bound. L1 can still be the bottleneck: a thread that computes one element
// reads 2 R S numbers from it, while 2 numbers pass through memory.
//
// Neighbouring threads take neighbouring channels, so a warp's access is coalesced over one pixel or two, whatever the
// tap. A thread takes the channels of one 16-byte access, 4 in f32 or 8 in bf16 (_4_, _8_ and _3_), or one channel
// (_1_) where channels, pitches or base addresses are not multiples of that.
//
//   _3_   3x3, stride 1, 4 or 8 channels: a thread computes 4 neighbouring pixels of a row and reads their 18 inputs
//         once and each row of weights once: 27 reads for 4 outputs instead of 72. dx is the same sum over dy with the
//         taps flipped, by the same code.
//   _4_, _8_   any kernel and stride, 4 or 8 channels: one pixel per thread. For dx only the taps that match the stride
//         are visited: with stride 2, at most 4 of 9.
//   _1_   the same, one channel.
//
// A tile in shared memory would only save reads that already hit L1, and cost a barrier.
//
// Grid of these: blocks along the channels, by parts of the image rows. A block has `columns` threads along the channels and 256 /
// columns along the pixels or runs, so that it can sum over its part what it writes.
//
// dw sums over all pixels in two launches. Block (part, channels, tap) sums the pixels of its part: threads along 32
// channels and along pixels accumulate in registers (_3_: all 9 taps at once, so that dy is read once; else one tap per
// block), then across the block in a fixed order. matmul_sum_many_f32 adds the parts.
//
// Outputs may overlap nothing else.
#include "norm.cuh"

struct DepthwiseShape {
    uint64_t x_pitch, y_pitch;
    uint64_t norm_pitch;  // dx: of the input of the norm that wrote x
    uint32_t images, height, width, channels;
    uint32_t kernel_height, kernel_width, out_height, out_width;
    uint32_t stride, padding;
    uint32_t add;
    uint32_t relu;          // dx: whether the norm has a ReLU
    uint32_t columns;       // y, dx: threads of a block along the channels, a power of 2
    uint32_t rows_of_part;  // y, dx: image rows of a block; the grid's second axis counts the parts
    uint32_t part_pixels;   // dw: pixels of y in a part
    uint32_t unused;
};

template <int V>
__device__ __forceinline__ void multiply_add(const Pack<V>& a, const Pack<V>& b, Pack<V>& sum) {
    UNROLL
    for (int v = 0; v < V; v++) sum.value[v] = fmaf(a.value[v], b.value[v], sum.value[v]);
}

// The moments of a pass's outputs for a norm behind it, if there is one.
template <int V, class T>
struct DepthwiseMoments {
    float* moments;
    ThreadMoments<V> own;

    __device__ __forceinline__ void add(uint64_t, const RowTile<V>&, const Pack<V>& output) {
        if (moments != nullptr) own.add(output);
    }
    __device__ __forceinline__ void write(const RowTile<V>& place) {
        if (moments == nullptr) return;
        float* to = moments + static_cast<uint64_t>(blockIdx.y) * 3 * place.channels + place.channel;
        own.write(to, place.columns, place.is_inside, place.channels);
    }
};

// Stores or accumulates an output, and passes it on.
template <int V, class T, class Then>
__device__ __forceinline__ void depthwise_put(
    T* out, uint64_t pixel, uint64_t pitch, Pack<V> output, bool add, const RowTile<V>& place, Then& then) {
    T* to = out + pixel * pitch + place.channel;
    if (add) add_to(output, load<V>(to));
    store<V>(to, output);
    then.add(pixel, place, output);
}

// out[row, column] (+)= start + sum_rs source[row + first + r, column + first + s] weight[r, s], with the taps flipped
// where TURNED.
template <bool TURNED, int V, class T, class Then>
__device__ __forceinline__ void depthwise_3x3(
    const T* __restrict__ source, const T* __restrict__ weight, const float* __restrict__ bias, T* __restrict__ out,
    uint32_t source_height, uint32_t source_width, uint32_t height, uint32_t width, uint64_t source_pitch, uint64_t pitch,
    int start, bool add, const RowTile<V>& place, Then& then) {
    const int PIXELS = 4;
    uint32_t runs = divide_up(width, PIXELS);
    for (uint32_t number = place.first; number < place.end; number += place.step) {
        RowRun own(number, runs, height);
        Pack<V> first{};
        if (bias != nullptr) first = load<V>(bias + place.channel);
        Pack<V> sums[PIXELS] = {first, first, first, first};
        int left = static_cast<int>(own.run) * PIXELS + start, top = static_cast<int>(own.row) + start;
        UNROLL
        for (int r = 0; r < 3; r++) {
            uint32_t row = static_cast<uint32_t>(top + r);
            if (row >= source_height) continue;
            Pack<V> taps[3];
            UNROLL
            for (int s = 0; s < 3; s++) {
                taps[s] = load<V>(weight + (TURNED ? 8 - 3 * r - s : 3 * r + s) * place.channels + place.channel);
            }
            const T* from =
                source + (static_cast<uint64_t>(own.image) * source_height + row) * source_width * source_pitch;
            UNROLL
            for (int j = 0; j < PIXELS + 2; j++) {
                uint32_t column = static_cast<uint32_t>(left + j);
                Pack<V> x{};
                if (column < source_width) x = load<V>(from + column * source_pitch + place.channel);
                UNROLL
                for (int s = 0; s < 3; s++) {
                    int pixel = j - s;
                    if (pixel >= 0 && pixel < PIXELS) multiply_add(x, taps[s], sums[pixel]);
                }
            }
        }
        uint64_t to = (static_cast<uint64_t>(own.image) * height + own.row) * width + own.run * PIXELS;
        UNROLL
        for (int pixel = 0; pixel < PIXELS; pixel++) {
            if (own.run * PIXELS + pixel >= width) continue;
            depthwise_put<V>(out, to + pixel, pitch, sums[pixel], add, place, then);
        }
    }
    then.write(place);
}

template <int V, class T>
__device__ __forceinline__ void depthwise_forward(
    const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias, T* __restrict__ y,
    float* __restrict__ moments, const DepthwiseShape& shape) {
    RowTile<V> place(shape.columns, shape.rows_of_part, shape.channels, shape.out_width, shape.images * shape.out_height);
    DepthwiseMoments<V, T> then = {moments, {}};
    for (uint32_t number = place.first; number < place.end; number += place.step) {
        RowRun own(number, shape.out_width, shape.out_height);
        Pack<V> sum{};
        if (bias != nullptr) sum = load<V>(bias + place.channel);
        for (uint32_t r = 0; r < shape.kernel_height; r++) {
            uint32_t row = own.row * shape.stride + r - shape.padding;
            if (row >= shape.height) continue;
            uint64_t first = (static_cast<uint64_t>(own.image) * shape.height + row) * shape.width;
            for (uint32_t s = 0; s < shape.kernel_width; s++) {
                uint32_t column = own.run * shape.stride + s - shape.padding;
                if (column >= shape.width) continue;
                Pack<V> tap = load<V>(weight + (r * shape.kernel_width + s) * shape.channels + place.channel);
                multiply_add(load<V>(x + (first + column) * shape.x_pitch + place.channel), tap, sum);
            }
        }
        depthwise_put<V>(y, number, shape.y_pitch, sum, false, place, then);
    }
    then.write(place);
}

template <int V, class T>
__device__ __forceinline__ void depthwise_input_gradient(
    const T* __restrict__ dy, const T* __restrict__ weight, const T* __restrict__ norm_x,
    const float* __restrict__ affine, T* __restrict__ dx, float* __restrict__ sums, const DepthwiseShape& shape) {
    RowTile<V> place(shape.columns, shape.rows_of_part, shape.channels, shape.width, shape.images * shape.height);
    RowGradientSums<V, T> then(norm_x, affine, sums, shape.norm_pitch, shape.relu, place);
    for (uint32_t number = place.first; number < place.end; number += place.step) {
        RowRun own(number, shape.width, shape.height);
        Pack<V> sum{};
        uint32_t y = own.row + shape.padding, x = own.run + shape.padding;
        // Tap r reads this pixel for output row (y - r) / stride, if that is an integer and within the output.
        for (uint32_t r = y % shape.stride; r < shape.kernel_height && r <= y; r += shape.stride) {
            uint32_t row = (y - r) / shape.stride;
            if (row >= shape.out_height) continue;
            uint64_t first = (static_cast<uint64_t>(own.image) * shape.out_height + row) * shape.out_width;
            for (uint32_t s = x % shape.stride; s < shape.kernel_width && s <= x; s += shape.stride) {
                uint32_t column = (x - s) / shape.stride;
                if (column >= shape.out_width) continue;
                Pack<V> tap = load<V>(weight + (r * shape.kernel_width + s) * shape.channels + place.channel);
                multiply_add(load<V>(dy + (first + column) * shape.y_pitch + place.channel), tap, sum);
            }
        }
        depthwise_put<V>(dx, number, shape.x_pitch, sum, shape.add != 0, place, then);
    }
    then.write(place);
}

static const int DEPTHWISE_CHANNELS = 32;  // per block of dw

// parts[part, tap, c] = sum over the part's pixels of x dy. Grid: parts, blocks of channels, taps / TAPS.
template <int V, int TAPS, class T>
__device__ __forceinline__ void depthwise_weight_gradient(
    const T* __restrict__ x, const T* __restrict__ dy, float* __restrict__ parts, const DepthwiseShape& shape) {
    const int LANES = DEPTHWISE_CHANNELS / V;  // threads along the channels
    const int WARPS = NORM_THREADS / WARP;
    uint32_t lane = threadIdx.x % LANES, channel = blockIdx.y * DEPTHWISE_CHANNELS + lane * V;
    uint32_t pixels = shape.images * shape.out_height * shape.out_width;
    uint32_t begin = blockIdx.x * shape.part_pixels, end = min(begin + shape.part_pixels, pixels);
    uint32_t width = TAPS == 9 ? 3 : shape.kernel_width;
    bool has_channel = channel < shape.channels;

    Pack<V> sums[TAPS] = {};
    for (uint32_t pixel = begin + threadIdx.x / LANES; has_channel && pixel < end; pixel += NORM_THREADS / LANES) {
        uint32_t q = pixel % shape.out_width, row = pixel / shape.out_width;
        uint32_t p = row % shape.out_height, image = row / shape.out_height;
        Pack<V> gradient = load<V>(dy + pixel * shape.y_pitch + channel);
        UNROLL
        for (int t = 0; t < TAPS; t++) {
            uint32_t tap = blockIdx.z * TAPS + t;
            uint32_t from_row = p * shape.stride + tap / width - shape.padding;
            uint32_t from_column = q * shape.stride + tap % width - shape.padding;
            if (from_row >= shape.height || from_column >= shape.width) continue;
            uint64_t from = (static_cast<uint64_t>(image) * shape.height + from_row) * shape.width + from_column;
            multiply_add(load<V>(x + from * shape.x_pitch + channel), gradient, sums[t]);
        }
    }

    // First across the pixels of a warp, then across warps.
    SHARED(float, shared, [WARPS * TAPS * DEPTHWISE_CHANNELS]);
    uint32_t warp = threadIdx.x / WARP;
    UNROLL
    for (int t = 0; t < TAPS; t++) {
        UNROLL
        for (int v = 0; v < V; v++) {
            float sum = sums[t].value[v];
            UNROLL
            for (int distance = WARP / 2; distance >= LANES; distance /= 2) {
                sum += __shfl_xor_sync(ALL_LANES, sum, distance);
            }
            if (threadIdx.x % WARP < LANES) shared[(warp * TAPS + t) * DEPTHWISE_CHANNELS + lane * V + v] = sum;
        }
    }
    __syncthreads();  // every warp's sums are written
    uint32_t taps = shape.kernel_height * shape.kernel_width;
    for (uint32_t index = threadIdx.x; index < TAPS * DEPTHWISE_CHANNELS; index += NORM_THREADS) {
        uint32_t t = index / DEPTHWISE_CHANNELS, c = blockIdx.y * DEPTHWISE_CHANNELS + index % DEPTHWISE_CHANNELS;
        if (c >= shape.channels) continue;
        float sum = 0.0f;
        for (int w = 0; w < WARPS; w++) sum += shared[w * TAPS * DEPTHWISE_CHANNELS + index];
        parts[(static_cast<uint64_t>(blockIdx.x) * taps + blockIdx.z * TAPS + t) * shape.channels + c] = sum;
    }
}

#define DEPTHWISE_3(V, T, type)                                                                                        \
    KERNEL_RESIDENT(                                                                                                   \
        depthwise_3_fwd_##type, NORM_THREADS, 1, const T* x, const T* weight, const float* bias, T* y,               \
        float* moments, DepthwiseShape shape) {                                                                        \
        RowTile<V> place(                                                                                              \
            shape.columns, shape.rows_of_part, shape.channels, divide_up(shape.out_width, 4),                          \
            shape.images * shape.out_height);                                                                          \
        DepthwiseMoments<V, T> then = {moments, {}};                                                                   \
        depthwise_3x3<false, V>(                                                                                       \
            x, weight, bias, y, shape.height, shape.width, shape.out_height, shape.out_width, shape.x_pitch,           \
            shape.y_pitch, -static_cast<int>(shape.padding), false, place, then);                                      \
    }                                                                                                                  \
    KERNEL_RESIDENT(                                                                                                   \
        depthwise_3_dx_bwd_##type, NORM_THREADS, 1, const T* dy, const T* weight, const T* norm_x,                   \
        const float* affine, T* dx, float* sums, DepthwiseShape shape) {                                               \
        RowTile<V> place(                                                                                              \
            shape.columns, shape.rows_of_part, shape.channels, divide_up(shape.width, 4),                              \
            shape.images * shape.height);                                                                              \
        RowGradientSums<V, T> then(norm_x, affine, sums, shape.norm_pitch, shape.relu, place);                         \
        depthwise_3x3<true, V>(                                                                                        \
            dy, weight, nullptr, dx, shape.out_height, shape.out_width, shape.height, shape.width, shape.y_pitch,      \
            shape.x_pitch, static_cast<int>(shape.padding) - 2, shape.add != 0, place, then);                          \
    }                                                                                                                  \
    KERNEL(                                                                                                            \
        depthwise_3_dw_bwd_##type, NORM_THREADS, const T* x, const T* dy, float* parts, DepthwiseShape shape) {   \
        depthwise_weight_gradient<V, 9>(x, dy, parts, shape);                                                          \
    }

DEPTHWISE_3(4, float, f32)
DEPTHWISE_3(8, bf16, bf16)

#define DEPTHWISE(V, T, type)                                                                                          \
    KERNEL_RESIDENT(                                                                                                   \
        depthwise_##V##_fwd_##type, NORM_THREADS, 2, const T* x, const T* weight, const float* bias, T* y,           \
        float* moments, DepthwiseShape shape) {                                                                        \
        depthwise_forward<V>(x, weight, bias, y, moments, shape);                                                      \
    }                                                                                                                  \
    KERNEL_RESIDENT(                                                                                                   \
        depthwise_##V##_dx_bwd_##type, NORM_THREADS, 2, const T* dy, const T* weight, const T* norm_x,               \
        const float* affine, T* dx, float* sums, DepthwiseShape shape) {                                               \
        depthwise_input_gradient<V>(dy, weight, norm_x, affine, dx, sums, shape);                                      \
    }                                                                                                                  \
    KERNEL(                                                                                                            \
        depthwise_##V##_dw_bwd_##type, NORM_THREADS, const T* x, const T* dy, float* parts,                       \
        DepthwiseShape shape) {                                                                                        \
        depthwise_weight_gradient<V, 1>(x, dy, parts, shape);                                                          \
    }

DEPTHWISE(4, float, f32)
DEPTHWISE(1, float, f32)
DEPTHWISE(8, bf16, bf16)
DEPTHWISE(1, bf16, bf16)
