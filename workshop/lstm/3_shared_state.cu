// Recurrent layer, rung 3: the state in shared memory.
//
// The state of a column is a few hundred bytes, read by all threads in each step. In shared memory it needs no way to the cache and back
// between two steps, which is what the chain of steps waits for. Two copies of it take turns, so that one barrier for each step is enough.
//
//@ computes = "lstm"
//@ block = 32
//@ tile = [1024, 1]
//@ shapes = [[1, 1, 1], [3, 2, 5], [6, 4, 32]]
//@ improves = "bytes"

__device__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__global__ void lstm(const float* gates, const float* weight, float* hidden, float* cell, int steps, int batch, int units) {
    __shared__ float state[2][32];
    int unit = threadIdx.x, column = blockIdx.y;
    float c = unit < units ? cell[column * units + unit] : 0.0f;
    state[0][unit] = 0.0f;
    __syncthreads();  // the state is zero
    for (int t = 0; t < steps; t++) {
        float own[4] = {};
        for (int gate = 0; gate < 4 && unit < units; gate++) {
            int row = gate * units + unit;
            own[gate] = gates[(t * batch + column) * 4 * units + row];
            for (int e = 0; e < units && t > 0; e++) own[gate] += state[t % 2][e] * weight[row * units + e];
        }
        c = sigmoid(own[1]) * c + sigmoid(own[0]) * tanhf(own[2]);
        float h = sigmoid(own[3]) * tanhf(c);
        state[(t + 1) % 2][unit] = h;
        if (unit < units) hidden[(t * batch + column) * units + unit] = h;
        __syncthreads();  // the new state is whole, and the old one is read
    }
    if (unit < units) cell[column * units + unit] = c;
}
