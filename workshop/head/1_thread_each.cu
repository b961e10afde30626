// The head of Alrao, rung 1: a thread for each sample and classifier.
//
// Alrao has N classifiers instead of one. For sample i and classifier j the head needs the softmax of a row of logits, its loss at the
// label, the gradient (p - onehot) / batch, and the responsibility of j: its share in the mixture's likelihood, exp(log_posterior[j] -
// loss[i][j]) over the sum of the same. All is computed from differences to the largest logit, since exp(128) overflows.
// One thread walks along a row three times; its neighbours are a whole row of logits away.
//
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
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= batch) return;
    float largest = -INFINITY, sum = 0.0f;
    for (int j = 0; j < classifiers; j++) largest = fmaxf(largest, log_posterior[j] - loss[i * classifiers + j]);
    for (int j = 0; j < classifiers; j++) sum += expf(log_posterior[j] - loss[i * classifiers + j] - largest);
    for (int j = 0; j < classifiers; j++) {
        responsibility[i * classifiers + j] = expf(log_posterior[j] - loss[i * classifiers + j] - largest) / sum;
    }
}
