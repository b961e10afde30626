// y[i] = alpha x[i] + y[i] for any n.
//
//@ computes = "scale_add"
//@ block = 256
//@ needs = { lanes = 100 }

__global__ void scale_add(const float* x, float* y, float alpha, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = alpha * x[i] + y[i];
}
