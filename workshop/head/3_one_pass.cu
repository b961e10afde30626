// The head of Alrao, rung 3: the largest logit and the sum in one pass.
//
// A lane keeps the largest logit so far and the sum of exponentials relative to it. When a larger one comes, the sum is scaled by
// exp(old - new). Two lanes' pairs are merged in the same way. So the logits are read twice, not three times. (Milakov and Gimelshein 2018.)
//
//@ computes = "head"
//@ improves = "requests"
//@ [[launch]]
//@ kernel = "softmax_rows"
//@ block = [32, 4]
//@ tile = [4, 1]
//@ [[launch]]
//@ kernel = "responsibilities"
//@ block = 64
//@ grid = 1

struct Exponentials {
    float largest, sum;  // of the numbers so far; the sum is relative to the largest
};

__device__ Exponentials merge(Exponentials a, Exponentials b) {
    float largest = fmaxf(a.largest, b.largest);
    // Of two empty parts, -inf - -inf would not be a number.
    if (largest == -INFINITY) return a;
    return {largest, a.sum * expf(a.largest - largest) + b.sum * expf(b.largest - largest)};
}

__device__ Exponentials of_warp(Exponentials own) {
    for (int bit = 16; bit > 0; bit /= 2) {
        Exponentials other = {__shfl_xor_sync(0xffffffff, own.largest, bit), __shfl_xor_sync(0xffffffff, own.sum, bit)};
        own = merge(own, other);
    }
    return own;
}

__global__ void softmax_rows(const float* logits, const int* label, float* loss, float* gradient, int batch,
                             int classifiers, int classes) {
    int lane = threadIdx.x, j = blockIdx.x * blockDim.y + threadIdx.y, i = blockIdx.y;
    if (j >= classifiers) return;  // the whole warp leaves
    int row = i * classifiers + j;
    const float* x = logits + row * classes;
    Exponentials all = {-INFINITY, 0.0f};
    for (int c = lane; c < classes; c += 32) all = merge(all, {x[c], 1.0f});
    all = of_warp(all);
    for (int c = lane; c < classes; c += 32) {
        float p = expf(x[c] - all.largest) / all.sum;
        gradient[row * classes + c] = (p - (c == label[i] ? 1.0f : 0.0f)) / batch;
    }
    if (lane == 0) loss[row] = all.largest + logf(all.sum) - x[label[i]];
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
