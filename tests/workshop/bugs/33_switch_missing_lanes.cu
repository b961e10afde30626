// expects: deadlock at 13, 35
// Lanes without a classifier skip the second exchange, whose mask names all lanes.
//@ computes = "switch"
//@ block = 32
//@ grid = 1

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
    if (lane < classifiers) total = log_sum_exp(total);
    for (int j = lane; j < classifiers; j += 32) {
        weights[j] -= total;
        settled[j] -= total;
        log_posterior[j] = log_add_exp(weights[j], settled[j]);
    }
    __syncwarp();
    if (lane == 0) t[0] = before + 1.0;
}
