// out[i] = x[n - 1 - i] for any n, with four blocks.
//
//@ computes = "reverse"
//@ block = 128
//@ grid = 4
//@ shapes = [[1], [5000], [4096]]
//@ needs = { sectors = 5.0, lanes = 100 }

__global__ void reverse(const float* x, float* out, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) out[i] = x[n - 1 - i];
}
