// The end of batch_norm.cu's sums over the parts of a tensor's rows: the parts of a channel are added in f64, in a fixed order.
#pragma once

#include "norm.cuh"

struct BatchNormFinish {
    double rows_of_part, rows_of_last;  // of each part but the last, and of the last
    double inverse_rows;                // 1 / n; 0 without rows
    double unbiased;                    // n / (n - 1): Bessel's correction
    double momentum, epsilon;
    uint32_t channels;
    uint32_t parts;
};

// Adds parts `first`, first + step, .. of a channel, `partial` from the channel on: the sums of x - pilot and of its square, with
// the first part's pilot.
__device__ inline void add_moments(
    const float* partial, uint32_t first, uint32_t step, const BatchNormFinish& finish, double& sum, double& squares) {
    if (finish.parts == 0) return;
    const float *deviations = partial + finish.channels, *of_squares = deviations + finish.channels;
    float pilot = partial[0];
    const uint32_t TOGETHER = 4;  // parts whose loads are in flight together
    for (; first < finish.parts; first += TOGETHER * step) {
        float own[TOGETHER][3];
        UNROLL
        for (uint32_t i = 0; i < TOGETHER; i++) {
            // The host has checked that indices have 32 bits.
            uint32_t part = first + i * step, at = part * (3 * finish.channels);
            bool is_part = part < finish.parts;
            own[i][0] = is_part ? partial[at] : 0.0f;
            own[i][1] = is_part ? deviations[at] : 0.0f;
            own[i][2] = is_part ? of_squares[at] : 0.0f;
        }
        UNROLL
        for (uint32_t i = 0; i < TOGETHER; i++) {
            uint32_t part = first + i * step;
            if (part >= finish.parts) break;
            double count = part + 1 < finish.parts ? finish.rows_of_part : finish.rows_of_last;
            double shift = static_cast<double>(own[i][0]) - pilot, shifted = own[i][1] + count * shift;
            sum += shifted;
            squares += own[i][2] + shift * (own[i][1] + shifted);
        }
    }
}

// Adds such parts of the sums of g and of g (x - mean).
__device__ inline void add_gradient_sums(
    const float* partial, uint32_t first, uint32_t step, const BatchNormFinish& finish, double& sum, double& products) {
    for (uint32_t part = first; part < finish.parts; part += step) {
        const float* own = partial + static_cast<uint64_t>(part) * 2 * finish.channels;
        sum += own[0];
        products += own[finish.channels];
    }
}

// The statistics of a channel.
struct ChannelStatistics {
    double mean, variance, inverse;

    __device__ ChannelStatistics(double mean, double variance, double epsilon)
        : mean(mean), variance(variance), inverse(1.0 / sqrt(variance + epsilon)) {}

    // From the sums of x - pilot and of its square over all parts.
    __device__ ChannelStatistics(double sum, double squares, float pilot, const BatchNormFinish& finish) {
        double deviation = sum * finish.inverse_rows;
        mean = pilot + deviation;
        variance = squares * finish.inverse_rows - deviation * deviation;
        // fmax would turn NaN into 0.
        if (variance < 0.0) variance = 0.0;
        if (!isfinite(mean)) variance = NAN;
        inverse = 1.0 / sqrt(variance + finish.epsilon);
    }

    __device__ float scale(float weight) const {
        return static_cast<float>(weight * inverse);
    }

    __device__ void store(
        float weight, float bias, uint32_t channel, uint32_t channels, float* affine, double* inverses) const {
        inverses[channel] = inverse;
        affine[channel] = static_cast<float>(mean);
        affine[channels + channel] = scale(weight);
        affine[2 * channels + channel] = bias;
    }

    __device__ void update(float* running_mean, float* running_variance, const BatchNormFinish& finish) const {
        double keep = 1.0 - finish.momentum, unbiased = variance * finish.unbiased;
        float new_mean = static_cast<float>(*running_mean * keep + finish.momentum * mean);
        float new_variance = static_cast<float>(*running_variance * keep + finish.momentum * unbiased);
        if (isfinite(new_mean) && isfinite(new_variance)) *running_mean = new_mean, *running_variance = new_variance;
    }
};

// The gradients of a channel, from the sums over all parts.
struct ChannelGradients {
    float slope, constant, dweight, dbias;

    __device__ ChannelGradients(
        double sum, double products, float scale, double inverse, const BatchNormFinish& finish) {
        double factor = -static_cast<double>(scale) * finish.inverse_rows;
        slope = static_cast<float>(factor * products * inverse * inverse);
        constant = static_cast<float>(factor * sum);
        dweight = static_cast<float>(products * inverse);
        dbias = static_cast<float>(sum);
    }

    __device__ void store(uint32_t channel, float* to_weight, float* to_bias, uint32_t add) const {
        if (to_weight != nullptr) ::store(to_weight + channel, dweight, add & 1);
        if (to_bias != nullptr) ::store(to_bias + channel, dbias, add & 2);
    }
};

// The channels of a block that adds their parts itself: `width` of them, a power of 2, with NORM_THREADS / width threads each. The
// blocks of a cluster have the same channels, and share the parts.
struct BlockChannels {
    uint32_t column, channel, lanes, first, step;  // the thread takes parts first, first + step, ..
    bool is_inside;

    __device__ BlockChannels(uint32_t width, uint32_t channels)
        : column(threadIdx.x % width), channel(blockIdx.x * width + column), lanes(NORM_THREADS / width),
          first(cluster_rank() * lanes + threadIdx.x / width), step(cluster_size() * lanes), is_inside(channel < channels) {}

    // Adds a and b over the threads of a channel, then over the blocks of the cluster, in a fixed order. Returns whether this thread
    // gets a channel's sums. All threads must call it.
    __device__ bool reduce(double& a, double& b) const {
        SHARED(double2, sums, [NORM_THREADS]);
        sums[threadIdx.x] = make_double2(a, b);
        __syncthreads();  // every thread's sums are written
        bool is_first = threadIdx.x < NORM_THREADS / lanes;
        double2 sum = make_double2(a, b);
        if (is_first) {
            for (uint32_t other = threadIdx.x + NORM_THREADS / lanes; other < NORM_THREADS; other += NORM_THREADS / lanes) {
                sum.x += sums[other].x, sum.y += sums[other].y;
            }
        }
        cluster_sum(sum, is_first ? sums + threadIdx.x : nullptr);  // the slot that only this thread has read
        a = sum.x, b = sum.y;
        return is_first && is_inside;
    }
};
