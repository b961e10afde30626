// Transitions drawn from the memory of an agent. The launch is in src/ops/replay.rs.
//
//   row(i) = high 32 bits of filled * bits_i,  bits_i the first random number at i of the step: uniform, with replacement
//   row(i) of `rows` is cut into observation, next observation, action, reward, continues
//
//   rows                             [capacity, 2 n + 3]
//   step, filled                     [1]; filled is how many rows have been written
//   observations, next_observations  [B, n]
//   actions                          [B], from floats that are whole numbers
//   rewards, continues               [B]
//
// Bytes a number: 8. Grid: one axis over the B (2 n + 3) numbers, a thread a number, so that rows are read and
// observations written side by side. A batch is a few hundred numbers: the launch is all it costs. Every thread draws its
// row for itself, about a hundred operations that hide nothing else, and no barrier stands between the draw and the read.
// Step and filled are read from the device, so that a captured update finds other rows by itself.
//
// More rows filled than there are counts as all; where none is, all is NaN and the action -1, which no output answers to.
//
// No buffer may overlap another.
#include "common.cuh"

static const uint32_t REPLAY_PURPOSE = 10;  // of the random numbers, as in src/random.rs

struct ReplaySizes {
    uint64_t seed;
    uint64_t numbers;      // B (2 n + 3)
    uint32_t capacity;
    uint32_t observation;  // n
};

KERNEL(replay_sample_f32, 256, const float* rows, const int* step, const int* filled, float* observations,
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
        uint4 bits = philox_at(sizes.seed, REPLAY_PURPOSE, static_cast<uint32_t>(*step), sample);
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
