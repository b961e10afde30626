// expects: race at 13
// Each block adds its own counts to those of all blocks with a plain addition instead of an atomic one.
//@ computes = "histogram"
//@ block = 256

__global__ void histogram(const int* x, int* counts, int n, int bins) {
    __shared__ int local[256];  // at most 256 bins
    for (int b = threadIdx.x; b < bins; b += 256) local[b] = 0;
    __syncthreads();
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) atomicAdd(&local[x[i]], 1);
    __syncthreads();
    for (int b = threadIdx.x; b < bins; b += 256) counts[b] += local[b];
}
