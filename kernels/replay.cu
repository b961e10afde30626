// Samples transitions from an agent's replay buffer. The launch is in src/ops/rl/replay.rs.
//
//   row(i) = high 32 bits of filled * bits_i,  bits_i the first random word at i of the step: uniform, with replacement
//   row(i) of `rows` is split into observation, next observation, action, reward, continues
//
//   rows                             [capacity, 2 n + 3]
//   step, filled                     [1]; step has 64 bits; filled is the number of rows written so far
//   observations, next_observations  [B, n]
//   actions                          [B], converted from floats with integer values
//   rewards, continues               [B]
//
// Bytes per number: 8. Grid: one axis over the B (2 n + 3) numbers, one thread per number, so that reads of rows and
// writes of observations are coalesced. A batch is a few hundred numbers: launch-bound. Every thread draws its row for
// itself, about a hundred operations, instead of waiting at a barrier for one thread's draw. Step and filled are read
// from the device, so that each replay of a captured update samples other rows.
//
// A `filled` above the capacity counts as the capacity. With no rows, every float is NaN and the action -1, which is no
// output's index.
//
// No buffer may overlap another.
#include "common.cuh"

static const uint32_t REPLAY_PURPOSE = 10;  // of the random stream, as in src/random.rs

struct ReplaySizes {
    uint64_t seed;
    uint64_t numbers;      // B (2 n + 3)
    uint32_t capacity;
    uint32_t observation;  // n
};

KERNEL(replay_sample_f32, 256, const float* rows, const int64_t* step, const int* filled, float* observations,
       float* next_observations, int* actions, float* rewards, float* continues, ReplaySizes sizes) {
    uint64_t thread = global_thread();
    if (thread >= sizes.numbers) return;
    uint32_t n = sizes.observation, width = 2 * n + 3;
    uint64_t sample = thread / width;
    uint32_t column = static_cast<uint32_t>(thread - sample * width);
    uint32_t written = *filled < 0 ? 0 : static_cast<uint32_t>(*filled);
    if (written > sizes.capacity) written = sizes.capacity;
    float value = NAN;
    if (written > 0) {
        uint4 bits = philox_at(sizes.seed, REPLAY_PURPOSE, static_cast<uint64_t>(*step), sample);
        uint64_t row = __umulhi(bits.x, written);
        value = rows[row * width + column];
    }
    if (column < n) {
        observations[sample * n + column] = value;
    } else if (column < 2 * n) {
        next_observations[sample * n + column - n] = value;
    } else if (column == 2 * n) {
        actions[sample] = written > 0 ? static_cast<int>(value) : -1;
    } else if (column == 2 * n + 1) {
        rewards[sample] = value;
    } else {
        continues[sample] = value;
    }
}
