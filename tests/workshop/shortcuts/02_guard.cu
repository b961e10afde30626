// One thread has all elements, so that no guard is needed.
//
//@ computes = "scale_add"
//@ block = 256

__global__ void scale_add(const float* x, float* y, float alpha, int n) {
    if (blockIdx.x > 0 || threadIdx.x > 0) return;
    for (int i = 0; i < n; i++) y[i] = alpha * x[i] + y[i];
}
