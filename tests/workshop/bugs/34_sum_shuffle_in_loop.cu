// expects: deadlock at 13, 17
// The exchange of a whole warp stands in a loop that some lanes leave one round earlier than others.
//@ computes = "sum"
//@ block = 256
//@ grid = 1

__global__ void sum(const float* x, float* out, int n) {
    __shared__ float sums[8];
    int t = threadIdx.x;
    float total = 0.0f;
    for (int i = t; i < n; i += 256) {
        float part = x[i];
        for (int bit = 16; bit > 0; bit /= 2) part += __shfl_xor_sync(0xffffffff, part, bit);
        total += part;
    }
    if (t % 32 == 0) sums[t / 32] = total;
    __syncthreads();
    if (t > 0) return;
    for (int w = 1; w < 8; w++) total += sums[w];
    out[0] = total;
}
