// Prefix sums of rows of at most 1024 numbers.
//
//@ computes = "prefix_sum"
//@ block = 1024
//@ tile = 1

// TODO: the sums are wrong
__global__ void prefix_sum(const float* x, float* out, int columns) {
    __shared__ float row[1024];
    int c = threadIdx.x;
    row[c] = c < columns ? x[blockIdx.x * columns + c] : 0.0f;
    __syncthreads();  // the row is written
    for (int distance = 1; distance < 1024; distance *= 2) {
        if (c >= distance) row[c] += row[c - distance];
        __syncthreads();  // this step is done
    }
    if (c < columns) out[blockIdx.x * columns + c] = row[c];
}
