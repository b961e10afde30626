// The switch, rung 1: one thread.
//
// The switch (van Erven, Gruenwald and de Rooij 2008) weighs the classifiers. Each has two weights, as logarithms: w[0][j] may still
// switch, w[1][j] is settled. An observation adds -loss[j] to both; a share pi of what may switch goes to a pool, from which every
// classifier gets an equal part. There are ten classifiers or so: it is not the number of operations that counts but how long the
// chain of operations is. One thread needs no barrier and no exchange, and its chain is as long as all the work.
//
//@ computes = "switch"
//@ block = 32
//@ grid = 1

__device__ double log_add_exp(double a, double b) {
    double low = fmin(a, b), high = fmax(a, b);
    return low == -INFINITY ? high : high + log1p(exp(low - high));
}

__global__ void switch_update(double* weights, double* log_posterior, const double* loss, double* t, double theta,
                              int classifiers) {
    if (threadIdx.x > 0) return;
    double* settled = weights + classifiers;
    double pi = 1.0 / (t[0] + 1.0), pool = -INFINITY, total = -INFINITY;
    for (int j = 0; j < classifiers; j++) pool = log_add_exp(pool, weights[j] - loss[j]);
    pool += log(pi) - log(double(classifiers));
    for (int j = 0; j < classifiers; j++) {
        weights[j] = log_add_exp(weights[j] - loss[j] + log(1.0 - pi), log(theta) + pool);
        settled[j] = log_add_exp(settled[j] - loss[j], log(1.0 - theta) + pool);
        total = log_add_exp(total, log_add_exp(weights[j], settled[j]));
    }
    for (int j = 0; j < classifiers; j++) {
        weights[j] -= total;
        settled[j] -= total;
        log_posterior[j] = log_add_exp(weights[j], settled[j]);
    }
    t[0] += 1.0;
}
