// expects: out-of-bounds at 11
// The index is a short, which becomes negative from the 32768th weight on.
//@ computes = "update"
//@ block = [32, 8]

__global__ void update(float* weight, const float* gradient, const float* rate, int features, int inner) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int feature = blockIdx.y * blockDim.y + threadIdx.y;
    if (i >= inner || feature >= features) return;
    short e = feature * inner + i;
    weight[e] -= rate[feature] * gradient[e];
}
