// Matrix product, rung 1: a thread for each element of c, in the wrong order.
//
// A warp is 32 threads with consecutive threadIdx.x. Here they have consecutive rows, so in each step they read 32 numbers of `a` that
// are k apart: 32 sectors of 32 bytes, of which 4 bytes each are used. They write c in the same way.
//
//@ computes = "matmul"
//@ block = [32, 8]
//@ grid = [2, 8]
//@ shapes = [[64, 64, 64]]

__global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    int column = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= m || column >= n) return;
    float sum = 0.0f;
    for (int i = 0; i < k; i++) sum += a[row * k + i] * b[i * n + column];
    c[row * n + column] = sum;
}
