// Sum of each row, rung 3: the working threads are neighbours.
//
// The same tree, but the first level adds elements 128 apart, the next 64 apart. The threads that work are always the first ones: whole
// warps are busy or idle, and the lanes of a request lie side by side in 32 banks, so nothing collides.
//
//@ computes = "row_sum"
//@ block = 256
//@ tile = 1
//@ improves = "wavefronts"

__global__ void row_sum(const float* x, float* out, int columns) {
    __shared__ float sums[256];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int c = t; c < columns; c += 256) sum += x[blockIdx.x * columns + c];
    sums[t] = sum;
    __syncthreads();  // all sums are written
    for (int distance = 128; distance > 0; distance /= 2) {
        if (t < distance) sums[t] += sums[t + distance];
        __syncthreads();  // this level is done
    }
    if (t == 0) out[blockIdx.x] = sums[0];
}
