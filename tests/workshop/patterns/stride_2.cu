// Neighbouring lanes read floats two apart: 8 sectors for each request.
//@ computes = "vector_add"
//@ block = 256
//@ shapes = [[4096]]

__global__ void pattern(const float* a, const float* b, float* out, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x, half = n / 2;
    int i = t < half ? 2 * t : 2 * (t - half) + 1;
    float first = a[i];  // READ
    out[i] = first + b[i];
}
