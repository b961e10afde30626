// expects: wrong-result at 13, 14, 18
// The comparison should be c >= distance, so the element at exactly this distance is not added.
//@ computes = "prefix_sum"
//@ block = 1024
//@ tile = 1

__global__ void prefix_sum(const float* x, float* out, int columns) {
    __shared__ float sums[2][1024];
    int c = threadIdx.x, now = 0;
    sums[0][c] = c < columns ? x[blockIdx.x * columns + c] : 0.0f;
    __syncthreads();
    for (int distance = 1; distance < 1024; distance *= 2) {
        float before = c > distance ? sums[now][c - distance] : 0.0f;
        sums[1 - now][c] = sums[now][c] + before;
        now = 1 - now;
        __syncthreads();
    }
    if (c < columns) out[blockIdx.x * columns + c] = sums[now][c];
}
