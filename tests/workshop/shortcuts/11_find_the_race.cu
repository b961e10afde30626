// One thread adds along the row.
//
//@ computes = "prefix_sum"
//@ block = 1024
//@ tile = 1

__global__ void prefix_sum(const float* x, float* out, int columns) {
    if (threadIdx.x > 0) return;
    float sum = 0.0f;
    for (int c = 0; c < columns; c++) {
        sum += x[blockIdx.x * columns + c];
        out[blockIdx.x * columns + c] = sum;
    }
}
