// expects: order-dependent at 20
// The warps add their sums to the result by atomic additions of floats, whose rounding depends on their order.
//@ computes = "sum"
//@ [[launch]]
//@ kernel = "clear"
//@ block = 32
//@ grid = 1
//@ [[launch]]
//@ kernel = "add"
//@ block = 256

__global__ void clear(float* out) {
    if (threadIdx.x == 0) out[0] = 0.0f;
}

__global__ void add(const float* x, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = i < n ? x[i] : 0.0f;
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    if (threadIdx.x % 32 == 0) atomicAdd(out, sum);
}
