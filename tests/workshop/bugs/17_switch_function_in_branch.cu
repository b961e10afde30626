// expects: deadlock at 15, 17, 20
// Only the threads that have a classifier call the second log_sum_exp, in which the whole block has to meet.
//@ computes = "switch"
//@ block = 64
//@ grid = 1

__device__ double log_add_exp(double a, double b) {
    double low = fmin(a, b), high = fmax(a, b);
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

__device__ double log_sum_exp(double own) {
    __shared__ double all[64];
    int j = threadIdx.x;
    __syncthreads();
    all[j] = own;
    __syncthreads();
    for (int distance = 32; distance > 0; distance /= 2) {
        if (j < distance) all[j] = log_add_exp(all[j], all[j + distance]);
        __syncthreads();
    }
    return all[0];
}

__global__ void switch_update(double* weights, double* log_posterior, const double* loss, double* t, double theta,
                              int classifiers) {
    int j = threadIdx.x;
    bool is_own = j < classifiers;
    double before = t[0], pi = 1.0 / (before + 1.0);
    double switching = is_own ? weights[j] - loss[j] : -INFINITY;
    double pool = log_sum_exp(switching) + log(pi) - log(double(classifiers));
    if (is_own) {
        switching = log_add_exp(switching + log(1.0 - pi), log(theta) + pool);
        double settled = log_add_exp(weights[classifiers + j] - loss[j], log(1.0 - theta) + pool);
        double own = log_add_exp(switching, settled), total = log_sum_exp(own);
        weights[j] = switching - total;
        weights[classifiers + j] = settled - total;
        log_posterior[j] = own - total;
    }
    if (j == 0) t[0] = before + 1.0;
}
