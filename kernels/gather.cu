// Gathers a batch's rows from a data set on the device. The launches are in src/ops/input/gather.rs.
//
//   out[i, k] = rows[r(i), k];  r(i) = order[cursor + i], or cursor + i without an order
//
//   rows     [all, width], words of 4 bytes: floats, labels, characters
//   order    the epoch's order of rows; may be null
//   cursor   [1], the batch's first place in that order
//   out      [batch, width]
//
// Bytes per word: 8. Grid: one axis over the words of `out`, one thread per word. A batch is a few thousand words, so
// the kernel is launch-bound, and four words per thread would only leave more SMs idle. Cursor and order are read from
// the device, so that a captured step finds the next batch by itself.
//
// out overlaps no other buffer.
#include "common.cuh"

KERNEL(gather_rows, 256, const uint32_t* rows, const int* order, const int* cursor, uint32_t* out, uint32_t words,
       uint32_t width) {
    uint64_t thread = global_thread();
    if (thread >= words) return;
    // A batch has far fewer than 2^32 words, and a 32-bit division is much faster; the data set needs 64 bits.
    uint32_t word = static_cast<uint32_t>(thread);
    uint64_t row = selected_row(order, cursor, word / width);
    out[word] = rows[row * width + word % width];
}
