// expects: wrong-result at 31, 36
// The second kernel reads the losses as if they were stored by classifier and then by sample.
//@ computes = "head"
//@ [[launch]]
//@ kernel = "softmax_rows"
//@ block = [16, 8]
//@ [[launch]]
//@ kernel = "responsibilities"
//@ block = 64
//@ grid = 1

__global__ void softmax_rows(const float* logits, const int* label, float* loss, float* gradient, int batch,
                             int classifiers, int classes) {
    int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y * blockDim.y + threadIdx.y;
    if (j >= classifiers || i >= batch) return;
    int row = i * classifiers + j;
    const float* x = logits + row * classes;
    float largest = -INFINITY, sum = 0.0f;
    for (int c = 0; c < classes; c++) largest = fmaxf(largest, x[c]);
    for (int c = 0; c < classes; c++) sum += expf(x[c] - largest);
    for (int c = 0; c < classes; c++) {
        float p = expf(x[c] - largest) / sum;
        gradient[row * classes + c] = (p - (c == label[i] ? 1.0f : 0.0f)) / batch;
    }
    loss[row] = largest + logf(sum) - x[label[i]];
}

__global__ void responsibilities(const float* loss, const float* log_posterior, float* responsibility, int batch,
                                 int classifiers) {
    for (int i = threadIdx.x; i < batch; i += 64) {
        auto joint = [&](int j) { return log_posterior[j] - loss[j * batch + i]; };
        float largest = -INFINITY, sum = 0.0f;
        for (int j = 0; j < classifiers; j++) largest = fmaxf(largest, joint(j));
        for (int j = 0; j < classifiers; j++) sum += expf(joint(j) - largest);
        for (int j = 0; j < classifiers; j++) {
            responsibility[i * classifiers + j] = expf(joint(j) - largest) / sum;
        }
    }
}
