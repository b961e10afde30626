// The sum of each row: a block for a row.
//
//@ computes = "row_sum"
//@ block = 128
//@ tile = 1
//@ needs = { requests = 1100 }

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float sums[128];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int c = t; c < columns; c += 128) sum += x[blockIdx.x * columns + c];
    sums[t] = sum;
    __syncthreads();  // all sums are written
    for (int distance = 64; distance > 0; distance /= 2) {
        if (t < distance) sums[t] += sums[t + distance];
        __syncthreads();  // this level is done
    }
    if (t == 0) out[blockIdx.x] = sums[0];
}
