// One lane of each warp does all of its work.
//
//@ computes = "head"
//@ [[launch]]
//@ kernel = "softmax_rows"
//@ block = [32, 4]
//@ tile = [4, 1]
//@ [[launch]]
//@ kernel = "responsibilities"
//@ block = 64
//@ grid = 1

__global__ void softmax_rows(const float* logits, const int* label, float* loss, float* gradient, int batch,
                             int classifiers, int classes) {
    int lane = threadIdx.x, j = blockIdx.x * 4 + threadIdx.y, i = blockIdx.y;
    if (j >= classifiers || lane > 0) return;
    const float* x = logits + (i * classifiers + j) * classes;
    float largest = -INFINITY, sum = 0.0f;
    for (int c = 0; c < classes; c++) largest = fmaxf(largest, x[c]);
    for (int c = 0; c < classes; c++) sum += expf(x[c] - largest);
    for (int c = 0; c < classes; c++) {
        float p = expf(x[c] - largest) / sum;
        gradient[(i * classifiers + j) * classes + c] = (p - (c == label[i] ? 1.0f : 0.0f)) / batch;
    }
    loss[i * classifiers + j] = largest + logf(sum) - x[label[i]];
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
