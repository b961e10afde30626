// Neighbouring lanes read neighbouring floats: 4 sectors for each request.
//@ computes = "vector_add"
//@ block = 256
//@ shapes = [[4096]]

__global__ void pattern(const float* a, const float* b, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float first = a[i];  // READ
    out[i] = first + b[i];
}
