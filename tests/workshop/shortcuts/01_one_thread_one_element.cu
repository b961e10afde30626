// One thread adds everything.
//
//@ computes = "vector_add"
//@ block = 64
//@ shapes = [[64], [4096]]

__global__ void add(const float* a, const float* b, float* out, int n) {
    if (blockIdx.x > 0 || threadIdx.x > 0) return;
    for (int i = 0; i < n; i++) out[i] = a[i] + b[i];
}
