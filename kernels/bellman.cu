// The targets of Q-learning (Watkins 1989). The launch is in src/ops/rl/bellman.rs.
//
//   target_i = r_i + discount * continues_i * max_k q_ik
//
// Where continues_i is 0 the target is exactly r_i, else NaN if some q_ik is NaN.
//
//   rewards, continues, targets   [B]
//   next_values                   [B, K] with a row pitch
//
// Bytes per sample: 4 K + 12; K + 2 operations. A batch is 32 samples of a few actions, so the kernel is launch-bound:
// one thread per sample, with independent loads. One warp per sample would read a long row better, but no environment
// here has more actions than a 32-byte sector holds.
//
// No buffer may overlap another.
#include "common.cuh"

struct BellmanSizes {
    uint64_t value_pitch;
    uint32_t samples, actions;
    float discount;
    uint32_t unused;
};

KERNEL(bellman_targets_f32, 128, const float* rewards, const float* continues, const float* next_values,
       float* targets, BellmanSizes sizes) {
    uint64_t sample = global_thread();
    if (sample >= sizes.samples) return;
    const float* values = next_values + sample * sizes.value_pitch;
    float best = -INFINITY;
    for (uint32_t k = 0; k < sizes.actions; k++) {
        float value = values[k];
        if (value > best || value != value) best = value;
    }
    float factor = continues[sample];
    targets[sample] = rewards[sample] + (factor == 0.0f ? 0.0f : sizes.discount * factor * best);
}
