// The head of Alrao, rung 4: one launch.
//
// A block has a sample: its warps take the classifiers in turn, and leave log_posterior - loss in shared memory. After one barrier every
// warp merges the same few numbers, so the responsibilities need no second launch, and no loss is read back from device memory. A launch
// costs a GPU a microsecond or more, as much as this whole kernel.
//
// The engine's kernel (kernels/classifiers.cu) does the same with logits in registers, rows of any length, and a classifier that
// diverged: a loss that is not finite gets no responsibility and no gradient.
//
//@ computes = "head"
//@ block = [32, 4]
//@ tile = [1024, 1]
//@ improves = "launches"

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

__global__ void head(const float* logits, const int* label, const float* log_posterior, float* loss, float* gradient,
                     float* responsibility, int batch, int classifiers, int classes) {
    __shared__ float joint[1024];  // log_posterior - loss of each classifier
    int lane = threadIdx.x, i = blockIdx.y, target = label[i];
    for (int j = threadIdx.y; j < classifiers; j += blockDim.y) {
        int row = i * classifiers + j;
        const float* x = logits + row * classes;
        Exponentials all = {-INFINITY, 0.0f};
        for (int c = lane; c < classes; c += 32) all = merge(all, {x[c], 1.0f});
        all = of_warp(all);
        for (int c = lane; c < classes; c += 32) {
            float p = expf(x[c] - all.largest) / all.sum;
            gradient[row * classes + c] = (p - (c == target ? 1.0f : 0.0f)) / batch;
        }
        if (lane == 0) {
            float own = all.largest + logf(all.sum) - x[target];
            loss[row] = own;
            joint[j] = log_posterior[j] - own;
        }
    }
    __syncthreads();  // all of `joint` is written
    if (threadIdx.y > 0) return;
    Exponentials all = {-INFINITY, 0.0f};
    for (int j = lane; j < classifiers; j += 32) all = merge(all, {joint[j], 1.0f});
    all = of_warp(all);
    for (int j = lane; j < classifiers; j += 32) {
        responsibility[i * classifiers + j] = expf(joint[j] - all.largest) / all.sum;
    }
}
