// A product in bf16 on tensor cores: a warp for a tile of 16 x 8. m is a multiple of 16, n of 8, k of 16.
//
//@ computes = "matmul_bf16"
//@ block = 32
//@ tile = [8, 16]
//@ uses = ["mma_bf16("]

#include "target.cuh"

__device__ uint32_t two(bf16 first, bf16 second) {
    return bf16_pair(float(first), float(second));
}

__global__ void matmul(const bf16* a, const bf16* b, float* c, int n, int k) {
    int lane = threadIdx.x, row = lane / 4, pair = 2 * (lane % 4);
    int first_row = blockIdx.y * 16, column = blockIdx.x * 8;
    float d[4] = {};
    for (int inner = 0; inner < k; inner += 16) {
        uint32_t fragment_a[4], fragment_b[2];
        for (int part = 0; part < 4; part++) {
            const bf16* place = a + (first_row + row + part % 2 * 8) * k + inner + pair + part / 2 * 8;
            fragment_a[part] = two(place[0], place[1]);
        }
        for (int part = 0; part < 2; part++) {
            const bf16* place = b + (inner + pair + part * 8) * n + column + row;
            fragment_b[part] = two(place[0], place[n]);
        }
        mma_bf16(d, fragment_a, fragment_b);
    }
    for (int e = 0; e < 4; e++) c[(first_row + row + e / 2 * 8) * n + column + pair + e % 2] = d[e];
}
