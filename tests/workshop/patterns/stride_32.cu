// Neighbouring lanes read floats 32 apart: 32 sectors for each request.
//@ computes = "vector_add"
//@ block = 256
//@ shapes = [[4096]]

__global__ void pattern(const float* a, const float* b, float* out, int n) {
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    int i = t % (n / 32) * 32 + t / (n / 32);
    float first = a[i];  // READ
    out[i] = first + b[i];
}
