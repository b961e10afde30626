// expects: race at 15
// The tree has no barrier after each level, so a thread adds a sum that another warp may not have completed.
//@ computes = "row_sum"
//@ block = 256
//@ tile = 1

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float sums[256];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int c = t; c < columns; c += 256) sum += x[blockIdx.x * columns + c];
    sums[t] = sum;
    __syncthreads();
    for (int distance = 128; distance > 0; distance /= 2) {
        if (t < distance) sums[t] += sums[t + distance];
    }
    if (t == 0) out[blockIdx.x] = sums[0];
}
