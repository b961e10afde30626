// One warp adds up everything.
//
//@ computes = "sum"
//@ [[launch]]
//@ kernel = "add_all"
//@ block = 32
//@ grid = 1

__global__ void add_all(const float* x, float* out, int n) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += 32) sum += x[i];
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    if (threadIdx.x == 0) out[0] = sum;
}
