// expects: unwritten at 9, 12
// The block's counts in shared memory are not set to zero before the first addition.
//@ computes = "histogram"
//@ block = 256

__global__ void histogram(const int* x, int* counts, int n, int bins) {
    __shared__ int local[256];  // at most 256 bins
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) atomicAdd(&local[x[i]], 1);
    __syncthreads();
    for (int b = threadIdx.x; b < bins; b += 256) {
        if (local[b] != 0) atomicAdd(&counts[b], local[b]);
    }
}
