// expects: misaligned at 21
// The tile of b is padded to 33 floats a row, so most of its rows do not begin at a multiple of the 16 bytes that are read at once.
//@ computes = "matmul"
//@ block = [8, 32]
//@ tile = [32, 32]

__global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float a_tile[32][32];
    __shared__ float b_tile[32][33];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 32 + y, first_column = blockIdx.x * 32;
    float sums[4] = {};
    for (int slab = 0; slab < k; slab += 32) {
        for (int e = x; e < 32; e += 8) {
            int inner = slab + e, below = slab + y, column = first_column + e;
            a_tile[y][e] = row < m && inner < k ? a[row * k + inner] : 0.0f;
            b_tile[y][e] = below < k && column < n ? b[below * n + column] : 0.0f;
        }
        __syncthreads();
        for (int i = 0; i < 32; i++) {
            float left = a_tile[y][i];
            float4 right = *reinterpret_cast<float4*>(&b_tile[i][4 * x]);
            sums[0] += left * right.x;
            sums[1] += left * right.y;
            sums[2] += left * right.z;
            sums[3] += left * right.w;
        }
        __syncthreads();
    }
    for (int s = 0; s < 4; s++) {
        int column = first_column + 4 * x + s;
        if (row < m && column < n) c[row * n + column] = sums[s];
    }
}
