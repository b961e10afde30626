// expects: wrong-result at 7
// The loop ends one element early, so the last element of out is never written.
//@ computes = "reverse"
//@ block = 128
//@ grid = 4

__global__ void reverse(const float* x, float* out, int n) {
    int stride = gridDim.x * blockDim.x;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n - 1; i += stride) {
        out[i] = x[n - 1 - i];
    }
}
