// The mean of seven neighbours, with each number read from device memory once.
//
//@ computes = "moving_average"
//@ block = 128
//@ needs = { bytes = 45000, lanes = 90 }
//@ uses = ["__shared__"]

__global__ void moving_average(const float* x, float* out, int n) {
    __shared__ float tile[128 + 6];
    int start = blockIdx.x * 128, i = start + threadIdx.x;
    for (int p = threadIdx.x; p < 128 + 6; p += 128) {
        int near = start + p - 3;
        tile[p] = near >= 0 && near < n ? x[near] : 0.0f;
    }
    __syncthreads();  // the tile is written
    if (i >= n) return;
    float sum = 0.0f;
    for (int p = 0; p < 7; p++) sum += tile[threadIdx.x + p];
    out[i] = sum / 7.0f;
}
