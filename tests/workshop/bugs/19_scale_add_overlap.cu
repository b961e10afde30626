// expects: race at 10
// Blocks are 255 elements apart but have 256 threads without a guard, so two blocks update the same element.
//@ computes = "scale_add"
//@ block = 256
//@ tile = 255

__global__ void scale_add(const float* x, float* y, float alpha, int n) {
    int i = blockIdx.x * 255 + threadIdx.x;
    if (i >= n) return;
    y[i] = alpha * x[i] + y[i];
}
