// Sum of each row, rung 2: a block for each row, and a tree in shared memory.
//
// The 256 threads of a block read a row together, neighbours beside each other, and each adds up every 256th element. Their sums go to
// shared memory and are added in pairs: 128 pairs one apart, 64 pairs two apart, and so on. After each level comes a barrier. The threads
// that work are 2, 4, 8 apart, so in every warp fewer lanes take part, and they meet in the same banks.
//
//@ computes = "row_sum"
//@ block = 256
//@ tile = 1
//@ improves = "sectors"

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float sums[256];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int c = t; c < columns; c += 256) sum += x[blockIdx.x * columns + c];
    sums[t] = sum;
    __syncthreads();  // all sums are written
    for (int distance = 1; distance < 256; distance *= 2) {
        int first = 2 * distance * t;
        if (first < 256) sums[first] += sums[first + distance];
        __syncthreads();  // this level is done
    }
    if (t == 0) out[blockIdx.x] = sums[0];
}
