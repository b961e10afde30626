// Running sums of what the steps come to, and the tick of the step's number and the data's cursor. The launches are in
// src/ops/step_statistics.rs.
//
//   loss += batch's mean loss * samples, correct +=, samples +=, dead_samples +=,
//   flagged += number of flagged classifiers,
//   streak = 0 where the loss is finite, else streak + 1;  longest = max(longest, streak)
//
//   loss [1], f64;  correct, dead_samples [1];  flagged [classifiers];  sums [7], f64, in the order above
//
// A few dozen bytes: the launch is all it costs, and one warp is enough. In f64, so that an epoch's sum of a million
// samples is as good as any one loss; on the device, so that no step waits for the host. No buffer overlaps another.
#include "common.cuh"

static const int LOSS = 0, CORRECT = 1, SAMPLES = 2, DEAD_SAMPLES = 3, FLAGGED = 4,
                 STREAK = 5, LONGEST_STREAK = 6;

KERNEL(step_statistics_add, 32, const double* loss, const int* correct, const int* dead_samples, const unsigned char* flagged,
       double* sums, double samples, uint32_t classifiers) {
    uint32_t flags = 0;
    for (uint32_t j = threadIdx.x; j < classifiers; j += WARP) flags += flagged[j];
    flags = reduce_lanes<Sum>(flags);
    if (threadIdx.x != 0) return;
    sums[LOSS] += *loss * samples;
    sums[CORRECT] += *correct;
    sums[SAMPLES] += samples;
    sums[DEAD_SAMPLES] += *dead_samples;
    sums[FLAGGED] += flags;
    double streak = fabs(*loss) < INFINITY ? 0.0 : sums[STREAK] + 1.0;
    sums[STREAK] = streak;
    if (streak > sums[LONGEST_STREAK]) sums[LONGEST_STREAK] = streak;
}

// number += 1, cursor += rows: the next step is another one, and its batch begins behind this one's. Either may be null.
KERNEL(step_statistics_advance, 1, int* number, int* cursor, int rows) {
    if (number) *number += 1;
    if (cursor) *cursor += rows;
}
