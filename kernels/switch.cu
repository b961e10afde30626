// The posterior over the classifiers after one more observation: the switch distribution (van Erven, Grünwald and
// de Rooij 2008, algorithm 1) and Bayes' rule, in the log domain and f64. The launches are in src/ops/head/switch.rs.
//
// With l_j = -scale * loss_j, -inf where the loss is not finite, t observations so far, counted from 1, and
// pi = 1 / (t + 1):
//
//   w_ij   <- w_ij + l_j                                                          i = 0 may still switch, 1 is settled
//   log f_j = log(e^w_0j + e^w_1j) - log sum_ij e^w_ij
//   pool   =  log sum_j e^w_0j + log pi - log N
//   w_0j   <- log(e^(w_0j + log(1 - pi)) + e^(log theta + pool))
//   w_1j   <- log(e^w_1j + e^(log(1 - theta) + pool))
//   w      <- w - log sum_ij e^w_ij
//   log a_j = log(e^w_0j + e^w_1j),  t <- t + 1
//
// Bayes' rule is log a_j <- log a_j + l_j, normalised.
//
// All weights are taken relative to the largest w_ij + l_j, which does not change the normalised result: with losses of
// 10^16 and more, rounding would swamp the prior's logarithms. Where that largest one is not finite, no classifier with
// weight has a finite loss, and neither weights nor t change.
//
//   weights       [2, N]
//   log_posterior [N]: log a
//   log_filtered  [N]: log f, which predictions of values weigh by
//   losses        [N]
//   t             [1]
//
// Bytes: 7 N doubles. A few dozen operations per classifier, all on the critical path from the step's losses to the
// next step's posterior: latency counts, not throughput. So the kernel is one warp and needs no barrier, only shuffles.
// Lane j handles classifiers j, j + 32, ... throughout, so a lane reads back only what it wrote itself. More warps
// would wait at barriers for ten classifiers; a launch per formula would cost more than all of them.
//
// No buffer may overlap another.
#include "common.cuh"

struct SwitchSettings {
    double theta, scale;
    uint32_t classifiers;
    uint32_t unused;
};

static const double SWITCH_NOTHING = -INFINITY;

__device__ __forceinline__ double switch_log_likelihood(double loss, double scale) {
    return fabs(loss) < INFINITY ? -scale * loss : SWITCH_NOTHING;
}

// log(e^a + e^b)
__device__ __forceinline__ double switch_log_add_exp(double a, double b) {
    double low = a < b ? a : b, high = a < b ? b : a;
    return low == SWITCH_NOTHING ? high : high + log1p(exp(low - high));
}

KERNEL(switch_update_f64, 32, double* weights, double* log_posterior, double* log_filtered, const double* losses,
       double* t, SwitchSettings settings) {
    double* settled_weights = weights + settings.classifiers;
    double switching_largest = SWITCH_NOTHING, settled_largest = SWITCH_NOTHING;
    for (uint32_t j = threadIdx.x; j < settings.classifiers; j += WARP) {
        double likelihood = switch_log_likelihood(losses[j], settings.scale);
        switching_largest = Largest::of(switching_largest, weights[j] + likelihood);
        settled_largest = Largest::of(settled_largest, settled_weights[j] + likelihood);
    }
    switching_largest = reduce_lanes<Largest>(switching_largest);
    double largest = Largest::of(switching_largest, reduce_lanes<Largest>(settled_largest));
    if (!(fabs(largest) < INFINITY)) return;

    double switching = 0.0, filtered = 0.0;
    for (uint32_t j = threadIdx.x; j < settings.classifiers; j += WARP) {
        double likelihood = switch_log_likelihood(losses[j], settings.scale);
        double observed = weights[j] + likelihood;
        switching += observed == SWITCH_NOTHING ? 0.0 : exp(observed - switching_largest);
        log_filtered[j] = switch_log_add_exp(observed - largest, settled_weights[j] + likelihood - largest);
        filtered += exp(log_filtered[j]);
    }
    switching = reduce_lanes<Sum>(switching);
    filtered = log(reduce_lanes<Sum>(filtered));
    // Only the lane that will overwrite t reads it.
    double count = __shfl_sync(ALL_LANES, threadIdx.x == 0 ? *t : 0.0, 0);
    double pi = 1.0 / (count + 1.0), stays = log(1.0 - pi);
    double pool = switching_largest == SWITCH_NOTHING
                      ? SWITCH_NOTHING
                      : switching_largest - largest + log(switching) + log(pi) - log(double(settings.classifiers));
    double to_switching = pool + log(settings.theta), to_settled = pool + log(1.0 - settings.theta);

    // The largest of the new weights is about 1, so their sum needs no shift.
    double total = 0.0;
    for (uint32_t j = threadIdx.x; j < settings.classifiers; j += WARP) {
        double likelihood = switch_log_likelihood(losses[j], settings.scale);
        double new_switching = switch_log_add_exp(weights[j] + likelihood - largest + stays, to_switching);
        double new_settled = switch_log_add_exp(settled_weights[j] + likelihood - largest, to_settled);
        total += exp(new_switching) + exp(new_settled);
        weights[j] = new_switching;
        settled_weights[j] = new_settled;
    }
    total = log(reduce_lanes<Sum>(total));
    for (uint32_t j = threadIdx.x; j < settings.classifiers; j += WARP) {
        weights[j] -= total;
        settled_weights[j] -= total;
        log_posterior[j] = switch_log_add_exp(weights[j], settled_weights[j]);
        log_filtered[j] -= filtered;
    }
    if (threadIdx.x == 0) *t = count + 1.0;
}

KERNEL(switch_bayesian_f64, 32, double* log_posterior, const double* losses, SwitchSettings settings) {
    double largest = SWITCH_NOTHING;
    for (uint32_t j = threadIdx.x; j < settings.classifiers; j += WARP) {
        largest = Largest::of(largest, log_posterior[j] + switch_log_likelihood(losses[j], settings.scale));
    }
    largest = reduce_lanes<Largest>(largest);
    if (!(fabs(largest) < INFINITY)) return;
    double total = 0.0;
    for (uint32_t j = threadIdx.x; j < settings.classifiers; j += WARP) {
        double joint = log_posterior[j] + switch_log_likelihood(losses[j], settings.scale) - largest;
        total += exp(joint);
        log_posterior[j] = joint;
    }
    total = log(reduce_lanes<Sum>(total));
    for (uint32_t j = threadIdx.x; j < settings.classifiers; j += WARP) log_posterior[j] -= total;
}
