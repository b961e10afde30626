// expects: race at 9, 11
// A lane reads what another lane of its warp wrote to shared memory without a __syncwarp in between.
//@ computes = "reverse"
//@ block = 32

__global__ void reverse(const float* x, float* out, int n) {
    __shared__ float part[32];
    int lane = threadIdx.x, start = blockIdx.x * 32;
    if (start + lane < n) part[lane] = x[start + lane];
    int mirrored = 31 - lane;
    if (start + mirrored < n) out[n - 1 - start - mirrored] = part[mirrored];
}
