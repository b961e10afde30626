// Softmax, losses, gradients and responsibilities of Alrao's classifiers.
//
//@ computes = "head"
//@ needs = { lanes = 60 }
//@ [[launch]]
//@ kernel = "softmax_rows"
//@ block = [32, 4]
//@ tile = [4, 1]
//@ [[launch]]
//@ kernel = "responsibilities"
//@ block = 64
//@ grid = 1

__device__ float sum_of_warp(float x) {
    for (int bit = 16; bit > 0; bit /= 2) x += __shfl_xor_sync(0xffffffff, x, bit);
    return x;
}

__device__ float largest_of_warp(float x) {
    for (int bit = 16; bit > 0; bit /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, bit));
    return x;
}

__global__ void softmax_rows(const float* logits, const int* label, float* loss, float* gradient, int batch,
                             int classifiers, int classes) {
    int lane = threadIdx.x, j = blockIdx.x * 4 + threadIdx.y, i = blockIdx.y;
    if (j >= classifiers) return;
    const float* x = logits + (i * classifiers + j) * classes;
    float largest = -INFINITY, sum = 0.0f;
    for (int c = lane; c < classes; c += 32) largest = fmaxf(largest, x[c]);
    largest = largest_of_warp(largest);
    for (int c = lane; c < classes; c += 32) sum += expf(x[c] - largest);
    sum = sum_of_warp(sum);
    for (int c = lane; c < classes; c += 32) {
        float p = expf(x[c] - largest) / sum;
        gradient[(i * classifiers + j) * classes + c] = (p - (c == label[i] ? 1.0f : 0.0f)) / batch;
    }
    if (lane == 0) loss[i * classifiers + j] = largest + logf(sum) - x[label[i]];
}

__global__ void responsibilities(const float* loss, const float* log_posterior, float* responsibility, int batch,
                                 int classifiers) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= batch) return;
    float largest = -INFINITY, sum = 0.0f;
    for (int j = 0; j < classifiers; j++) largest = fmaxf(largest, log_posterior[j] - loss[i * classifiers + j]);
    for (int j = 0; j < classifiers; j++) sum += expf(log_posterior[j] - loss[i * classifiers + j] - largest);
    for (int j = 0; j < classifiers; j++) {
        responsibility[i * classifiers + j] = expf(log_posterior[j] - loss[i * classifiers + j] - largest) / sum;
    }
}
