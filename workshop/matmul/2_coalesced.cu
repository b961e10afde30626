// Matrix product, rung 2: the threads of a warp have consecutive columns.
//
// All lanes read the same element of `a`, one sector for the whole warp, and 32 neighbours of `b`, four sectors: nothing is moved in
// vain. Only threadIdx.x and threadIdx.y have changed places. Every number is still read from device memory or its cache for each
// product that it is in.
//
//@ computes = "matmul"
//@ block = [32, 8]
//@ shapes = [[33, 65, 17], [64, 64, 64]]
//@ improves = "sectors"

__global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= m || column >= n) return;
    float sum = 0.0f;
    for (int i = 0; i < k; i++) sum += a[row * k + i] * b[i * n + column];
    c[row * n + column] = sum;
}
