// The sum of two vectors: out[i] = a[i] + b[i].
//
//@ computes = "vector_add"
//@ block = 64
//@ shapes = [[64], [4096]]
//@ needs = { lanes = 100 }

__global__ void add(const float* a, const float* b, float* out) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = a[i] + b[i];
}
