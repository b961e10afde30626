// expects: order-dependent at 23
// Four threads share an element of c and add their parts of the sum by atomic additions of floats, in any order.
//@ computes = "matmul"
//@ [[launch]]
//@ kernel = "clear"
//@ block = [32, 8]
//@ [[launch]]
//@ kernel = "multiply"
//@ block = [32, 4]
//@ tile = [32, 1]

__global__ void clear(float* c, int m, int n) {
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < m && column < n) c[row * n + column] = 0.0f;
}

__global__ void multiply(const float* a, const float* b, float* c, int n, int k) {
    int row = blockIdx.y, column = blockIdx.x * 32 + threadIdx.x;
    if (column >= n) return;
    float sum = 0.0f;
    for (int i = threadIdx.y; i < k; i += 4) sum += a[row * k + i] * b[i * n + column];
    atomicAdd(&c[row * n + column], sum);
}
