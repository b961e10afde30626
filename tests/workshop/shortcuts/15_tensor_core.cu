// The product without tensor cores.
//
//@ computes = "matmul_bf16"
//@ block = 32
//@ tile = [8, 16]

__global__ void matmul(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n, int k) {
    for (int e = threadIdx.x; e < 128; e += 32) {
        int row = blockIdx.y * 16 + e / 8, column = blockIdx.x * 8 + e % 8;
        float sum = 0.0f;
        for (int i = 0; i < k; i++) sum += float(a[row * k + i]) * float(b[i * n + column]);
        c[row * n + column] = sum;
    }
}
