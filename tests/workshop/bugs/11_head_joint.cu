// expects: race at 25, 30, 31, 33
// There is no barrier between the warps that write joint and the first warp, which reads all of it.
//@ computes = "head"
//@ block = [32, 4]
//@ tile = [1024, 1]

__global__ void head(const float* logits, const int* label, const float* log_posterior, float* loss, float* gradient,
                     float* responsibility, int batch, int classifiers, int classes) {
    __shared__ float joint[1024];
    int lane = threadIdx.x, i = blockIdx.y, target = label[i];
    for (int j = threadIdx.y; j < classifiers; j += 4) {
        int row = i * classifiers + j;
        const float* x = logits + row * classes;
        float largest = -INFINITY, sum = 0.0f;
        for (int c = lane; c < classes; c += 32) largest = fmaxf(largest, x[c]);
        for (int bit = 16; bit > 0; bit /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, bit));
        for (int c = lane; c < classes; c += 32) sum += expf(x[c] - largest);
        for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffff, sum, bit);
        for (int c = lane; c < classes; c += 32) {
            gradient[row * classes + c] = (expf(x[c] - largest) / sum - (c == target ? 1.0f : 0.0f)) / batch;
        }
        if (lane == 0) {
            float own = largest + logf(sum) - x[target];
            loss[row] = own;
            joint[j] = log_posterior[j] - own;
        }
    }
    if (threadIdx.y > 0) return;
    float largest = -INFINITY, sum = 0.0f;
    for (int j = 0; j < classifiers; j++) largest = fmaxf(largest, joint[j]);
    for (int j = 0; j < classifiers; j++) sum += expf(joint[j] - largest);
    for (int j = lane; j < classifiers; j += 32) {
        responsibility[i * classifiers + j] = expf(joint[j] - largest) / sum;
    }
}
