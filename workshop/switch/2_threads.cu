// The switch, rung 2: a thread for each classifier.
//
// All classifiers are updated at once, and sums are made by a tree in shared memory. The chain is shorter: a logarithm of a sum for each
// level of the tree in place of one for each classifier. But every level ends with a barrier of the whole block.
//
//@ computes = "switch"
//@ block = 64
//@ grid = 1
//@ improves = "lanes"

__device__ double log_add_exp(double a, double b) {
    double low = fmin(a, b), high = fmax(a, b);
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

// The logarithm of the sum of exp(own) over 64 threads.
__device__ double log_sum_exp(double own) {
    __shared__ double all[64];
    int j = threadIdx.x;
    __syncthreads();  // an earlier result has been read
    all[j] = own;
    __syncthreads();  // all numbers are written
    for (int distance = 32; distance > 0; distance /= 2) {
        if (j < distance) all[j] = log_add_exp(all[j], all[j + distance]);
        __syncthreads();  // this level is done
    }
    return all[0];
}

__global__ void switch_update(double* weights, double* log_posterior, const double* loss, double* t, double theta,
                              int classifiers) {
    int j = threadIdx.x;
    bool is_own = j < classifiers;
    double before = t[0], pi = 1.0 / (before + 1.0);
    double switching = is_own ? weights[j] - loss[j] : -INFINITY;
    double settled = is_own ? weights[classifiers + j] - loss[j] : -INFINITY;
    double pool = log_sum_exp(switching) + log(pi) - log(double(classifiers));
    switching = is_own ? log_add_exp(switching + log(1.0 - pi), log(theta) + pool) : -INFINITY;
    settled = is_own ? log_add_exp(settled, log(1.0 - theta) + pool) : -INFINITY;
    double own = log_add_exp(switching, settled);
    double total = log_sum_exp(own);
    if (is_own) {
        weights[j] = switching - total;
        weights[classifiers + j] = settled - total;
        log_posterior[j] = own - total;
    }
    if (j == 0) t[0] = before + 1.0;
}
