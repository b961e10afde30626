// expects: unwritten at 16
// The places of the tile that lie outside of x are left as they are instead of being set to zero.
//@ computes = "moving_average"
//@ block = 128

__global__ void moving_average(const float* x, float* out, int n) {
    __shared__ float tile[128 + 6];
    int start = blockIdx.x * 128, i = start + threadIdx.x;
    for (int p = threadIdx.x; p < 128 + 6; p += 128) {
        int near = start + p - 3;
        if (near >= 0 && near < n) tile[p] = x[near];
    }
    __syncthreads();
    if (i >= n) return;
    float sum = 0.0f;
    for (int p = 0; p < 7; p++) sum += tile[threadIdx.x + p];
    out[i] = sum / 7.0f;
}
