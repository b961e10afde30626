// expects: wrong-result at 11, 12
// A row of b has n elements, but the index steps by k from one row to the next.
//@ computes = "matmul"
//@ block = [32, 8]

__global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= m || column >= n) return;
    float sum = 0.0f;
    for (int i = 0; i < k; i++) sum += a[row * k + i] * b[i * k + column];
    c[row * n + column] = sum;
}
