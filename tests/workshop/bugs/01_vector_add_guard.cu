// expects: out-of-bounds at 9
// The guard lets the thread with i equal to n through, so it reads and writes one element past the end.
//@ computes = "vector_add"
//@ block = 128

__global__ void vector_add(const float* a, const float* b, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i > n) return;
    out[i] = a[i] + b[i];
}
