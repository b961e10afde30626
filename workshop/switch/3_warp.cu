// The switch, rung 3: one warp.
//
// The lanes of a warp exchange registers without any barrier. A lane takes classifiers j, j + 32, .. throughout, so it reads back only what
// it wrote itself. A barrier of two warps takes as long as dozens of additions, and a kernel of ten classifiers has nothing to hide it
// behind.
//
// The engine's kernel (kernels/switch.cu) is this one, with a classifier that diverged, whose loss is not finite, and weights relative
// to the largest, which losses of 1e16 would swamp otherwise.
//
//@ computes = "switch"
//@ block = 32
//@ grid = 1
//@ improves = "barriers"

__device__ double log_add_exp(double a, double b) {
    double low = fmin(a, b), high = fmax(a, b);
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

__device__ double log_sum_exp(double own) {
    for (int bit = 16; bit > 0; bit /= 2) own = log_add_exp(own, __shfl_xor_sync(0xffffffff, own, bit));
    return own;
}

__global__ void switch_update(double* weights, double* log_posterior, const double* loss, double* t, double theta,
                              int classifiers) {
    int lane = threadIdx.x;
    double* settled = weights + classifiers;
    double before = t[0], pi = 1.0 / (before + 1.0), pool = -INFINITY, total = -INFINITY;
    for (int j = lane; j < classifiers; j += 32) pool = log_add_exp(pool, weights[j] - loss[j]);
    pool = log_sum_exp(pool) + log(pi) - log(double(classifiers));
    for (int j = lane; j < classifiers; j += 32) {
        weights[j] = log_add_exp(weights[j] - loss[j] + log(1.0 - pi), log(theta) + pool);
        settled[j] = log_add_exp(settled[j] - loss[j], log(1.0 - theta) + pool);
        total = log_add_exp(total, log_add_exp(weights[j], settled[j]));
    }
    total = log_sum_exp(total);
    for (int j = lane; j < classifiers; j += 32) {
        weights[j] -= total;
        settled[j] -= total;
        log_posterior[j] = log_add_exp(weights[j], settled[j]);
    }
    __syncwarp();  // all lanes have read t
    if (lane == 0) t[0] = before + 1.0;
}
