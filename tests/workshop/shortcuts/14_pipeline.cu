// All copies are waited for, also those of the next piece.
//
//@ computes = "row_sum"
//@ block = 32
//@ tile = 1
//@ shapes = [[1, 1024], [16, 1024]]
#include "target.cuh"

const int PIECE = 128;

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float pieces[2][PIECE];
    int lane = threadIdx.x, count = columns / PIECE;
    const float* row = x + blockIdx.x * columns;
    float sum = 0.0f;
    copy_async16(&pieces[0][4 * lane], row + 4 * lane);
    copy_async_commit();
    for (int p = 0; p < count; p++) {
        if (p + 1 < count) {
            copy_async16(&pieces[(p + 1) % 2][4 * lane], row + (p + 1) * PIECE + 4 * lane);
            copy_async_commit();
            copy_async_wait<0>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();  // the piece of all lanes is there
        for (int c = lane; c < PIECE; c += 32) sum += pieces[p % 2][c];
        __syncthreads();  // the piece is read
    }
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    if (lane == 0) out[blockIdx.x] = sum;
}
