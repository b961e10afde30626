// expects: race at 26
// Four blocks search a part of each row and all compare with and replace out[row] without an atomic, so updates get lost.
//@ computes = "row_argmax"
//@ [[launch]]
//@ kernel = "set_zero"
//@ block = 32
//@ [[launch]]
//@ kernel = "search_parts"
//@ block = 32
//@ grid = 4

__global__ void set_zero(int* out, int rows) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < rows) out[row] = 0;
}

__global__ void search_parts(const float* x, int* out, int rows, int columns) {
    int part = (columns + 3) / 4, first = blockIdx.x * part;
    if (first >= columns) return;
    for (int row = threadIdx.x; row < rows; row += 32) {
        const float* own = x + row * columns;
        int best = first;
        for (int c = first + 1; c < columns && c < first + part; c++) {
            if (own[c] > own[best]) best = c;
        }
        if (own[best] > own[out[row]]) out[row] = best;
    }
}
