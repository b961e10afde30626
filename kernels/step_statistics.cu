// Statistics over steps: running sums of losses and counts, and the counters of steps and of the data's cursor. The
// launches are in src/ops/update/step_statistics.rs.
//
//   loss += batch's mean loss * samples, correct +=, samples +=, samples_without_finite +=,
//   diverged += number of diverged classifiers,
//   streak = 0 where the loss is finite, else streak + 1;  longest = max(longest, streak)
//
//   loss [1], f64;  correct [1];  samples_without_finite [1]: samples without a finite classifier
//   diverged [classifiers]: 1 for one that diverged;  sums [7], f64, in the order above
//
// A few dozen bytes: launch-bound, and one warp is enough. In f64, so that the sum over an epoch of a million samples
// stays as accurate as a single loss; on the device, so that no step waits for the host. No buffer overlaps another.
#include "common.cuh"

static const int LOSS = 0, CORRECT = 1, SAMPLES = 2, SAMPLES_WITHOUT_FINITE = 3, DIVERGED = 4, STREAK = 5, LONGEST_STREAK = 6;

KERNEL(step_statistics_add, 32, const double* loss, const int* correct, const int* samples_without_finite,
       const unsigned char* diverged, double* sums, double samples, uint32_t classifiers) {
    uint32_t flags = 0;
    for (uint32_t j = threadIdx.x; j < classifiers; j += WARP) flags += diverged[j];
    flags = reduce_lanes<Sum>(flags);
    if (threadIdx.x != 0) return;
    sums[LOSS] += *loss * samples;
    sums[CORRECT] += *correct;
    sums[SAMPLES] += samples;
    sums[SAMPLES_WITHOUT_FINITE] += *samples_without_finite;
    sums[DIVERGED] += flags;
    double streak = fabs(*loss) < INFINITY ? 0.0 : sums[STREAK] + 1.0;
    sums[STREAK] = streak;
    if (streak > sums[LONGEST_STREAK]) sums[LONGEST_STREAK] = streak;
}

// Advances to the next step: number += 1, cursor += rows of the batch. Either may be null. The cursor begins anew with
// each epoch; the number does not, so it has 64 bits.
KERNEL(step_statistics_advance, 1, int64_t* number, int* cursor, int rows) {
    if (number) *number += 1;
    if (cursor) *cursor += rows;
}
