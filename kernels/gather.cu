// The rows that make a batch, from a data set on the device. The launches are in src/ops/gather.rs.
//
//   out[i, k] = rows[r(i), k];  r(i) = order[cursor + i], or cursor + i where there is no order
//
//   rows     [all, width], words of 4 bytes: floats, labels, characters
//   order    rows in the order of their use; may be null
//   cursor   [1], where the batch begins
//   out      [batch, width]
//
// Bytes a word: 8. Grid: one axis over the words of `out`, a thread a word. A batch is a few thousand words, so that the
// launch is all it costs, and four words a thread would only leave more multiprocessors idle. Where the batch begins and
// the order are read from the device, so that a captured step finds the next batch by itself.
//
// out overlaps nothing.
#include "common.cuh"

KERNEL(gather_rows, 256, const uint32_t* rows, const int* order, const int* cursor, uint32_t* out, uint32_t words,
       uint32_t width) {
    uint64_t thread = global_thread();
    if (thread >= words) return;
    // A batch is far below 2^32 words, and a division of 32 bits far quicker than one of 64; the data set is not so small.
    uint32_t word = static_cast<uint32_t>(thread);
    uint64_t row = selected_row(order, cursor, word / width);
    out[word] = rows[row * width + word % width];
}
