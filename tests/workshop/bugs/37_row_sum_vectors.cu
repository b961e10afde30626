// expects: misaligned at 12
// A row begins at a multiple of 16 bytes only if the number of columns is a multiple of four, but every row is read in vectors of four.
//@ computes = "row_sum"
//@ block = 32
//@ tile = 1

__global__ void row_sum(const float* x, float* out, int columns) {
    int lane = threadIdx.x;
    const float* row = x + blockIdx.x * columns;
    float sum = 0.0f;
    for (int c = lane; c < columns / 4; c += 32) {
        float4 four = *reinterpret_cast<const float4*>(row + 4 * c);
        sum += (four.x + four.y) + (four.z + four.w);
    }
    for (int c = columns / 4 * 4 + lane; c < columns; c += 32) sum += row[c];
    for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
    if (lane == 0) out[blockIdx.x] = sum;
}
