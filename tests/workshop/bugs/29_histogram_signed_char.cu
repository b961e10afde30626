// expects: wrong-result at 11, 13
// A thread counts in a signed char, which turns negative after 127.
//@ computes = "histogram"
//@ block = 64
//@ grid = 1

__global__ void histogram(const int* x, int* counts, int n, int bins) {
    for (int b = threadIdx.x; b < bins; b += 64) {
        signed char seen = 0;
        for (int i = 0; i < n; i++) {
            if (x[i] == b) seen++;
        }
        counts[b] += seen;
    }
}
