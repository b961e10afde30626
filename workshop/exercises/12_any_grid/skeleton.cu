// out[i] = x[n - 1 - i] for any n, with four blocks.
//
//@ computes = "reverse"
//@ block = 128
//@ grid = 4
//@ shapes = [[1], [5000], [4096]]

__global__ void reverse(const float* x, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = x[n - 1 - i];  // TODO: the elements beyond the first 512
}
