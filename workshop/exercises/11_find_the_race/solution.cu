// Prefix sums of rows of at most 1024 numbers.
//
//@ computes = "prefix_sum"
//@ block = 1024
//@ tile = 1
//@ needs = { requests = 20000, lanes = 90 }

__global__ void prefix_sum(const float* x, float* out, int columns) {
    __shared__ float row[1024];
    int c = threadIdx.x;
    row[c] = c < columns ? x[blockIdx.x * columns + c] : 0.0f;
    __syncthreads();  // the row is written
    for (int distance = 1; distance < 1024; distance *= 2) {
        float before = c >= distance ? row[c - distance] : 0.0f;
        __syncthreads();  // all have read
        row[c] += before;
        __syncthreads();  // this step is done
    }
    if (c < columns) out[blockIdx.x * columns + c] = row[c];
}
