// expects: deadlock at 20, 23
// Eight lanes exchange with the mask of a whole warp, while the other 24 lanes wait at the barrier below.
//@ computes = "softmax"
//@ block = 256
//@ tile = 1

__global__ void softmax(const float* x, float* out, int columns) {
    __shared__ float parts[8];
    __shared__ float total;
    int t = threadIdx.x;
    const float* row = x + blockIdx.x * columns;
    float largest = -INFINITY, sum = 0.0f;
    for (int c = 0; c < columns; c++) largest = fmaxf(largest, row[c]);
    for (int c = t; c < columns; c += 256) sum += expf(row[c] - largest);
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    if (t % 32 == 0) parts[t / 32] = sum;
    __syncthreads();
    if (t < 8) {
        sum = parts[t];
        for (int bit = 4; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
        if (t == 0) total = sum;
    }
    __syncthreads();
    for (int c = t; c < columns; c += 256) out[blockIdx.x * columns + c] = expf(row[c] - largest) / total;
}
