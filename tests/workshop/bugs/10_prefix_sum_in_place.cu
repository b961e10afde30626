// expects: race at 13, 14
// An element is changed in place without a barrier after the reads, so a neighbour may read the new number instead of the old one.
//@ computes = "prefix_sum"
//@ block = 1024
//@ tile = 1

__global__ void prefix_sum(const float* x, float* out, int columns) {
    __shared__ float row[1024];
    int c = threadIdx.x;
    row[c] = c < columns ? x[blockIdx.x * columns + c] : 0.0f;
    __syncthreads();
    for (int distance = 1; distance < 1024; distance *= 2) {
        float before = c >= distance ? row[c - distance] : 0.0f;
        row[c] += before;
        __syncthreads();
    }
    if (c < columns) out[blockIdx.x * columns + c] = row[c];
}
