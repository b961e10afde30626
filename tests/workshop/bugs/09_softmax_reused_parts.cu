// expects: race at 16, 19
// The array of the warps' maxima is reused for their sums without a barrier, while other warps still read the maxima.
//@ computes = "softmax"
//@ block = 256
//@ tile = 1

__global__ void softmax(const float* x, float* out, int columns) {
    __shared__ float parts[8];
    int t = threadIdx.x;
    const float* row = x + blockIdx.x * columns;
    float largest = -INFINITY, sum = 0.0f, total = 0.0f;
    for (int c = t; c < columns; c += 256) largest = fmaxf(largest, row[c]);
    for (int bit = 16; bit > 0; bit /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, bit));
    if (t % 32 == 0) parts[t / 32] = largest;
    __syncthreads();
    for (int w = 0; w < 8; w++) largest = fmaxf(largest, parts[w]);
    for (int c = t; c < columns; c += 256) sum += expf(row[c] - largest);
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    if (t % 32 == 0) parts[t / 32] = sum;
    __syncthreads();
    for (int w = 0; w < 8; w++) total += parts[w];
    for (int c = t; c < columns; c += 256) out[blockIdx.x * columns + c] = expf(row[c] - largest) / total;
}
