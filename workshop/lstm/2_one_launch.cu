// Recurrent layer, rung 2: one launch for all time steps.
//
// The columns of a batch do not depend on each other. If one block has a whole column, only its own threads have to wait between two
// steps, and __syncthreads() is enough: the state must be whole before it is read. So a block walks through time within one launch. The
// price is fewer blocks, one for each column. State and weights are still read from device memory in each step.
//
//@ computes = "lstm"
//@ block = 32
//@ tile = [1024, 1]
//@ shapes = [[1, 1, 1], [3, 2, 5], [6, 4, 32]]
//@ improves = "launches"

__device__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__global__ void lstm(const float* gates, const float* weight, float* hidden, float* cell, int steps, int batch, int units) {
    int unit = threadIdx.x, column = blockIdx.y;
    for (int t = 0; t < steps; t++) {
        const float* before = hidden + ((t - 1) * batch + column) * units;
        float own[4] = {};
        for (int gate = 0; gate < 4 && unit < units; gate++) {
            int row = gate * units + unit;
            own[gate] = gates[(t * batch + column) * 4 * units + row];
            for (int e = 0; e < units && t > 0; e++) own[gate] += before[e] * weight[row * units + e];
        }
        if (unit < units) {
            float c = sigmoid(own[1]) * cell[column * units + unit] + sigmoid(own[0]) * tanhf(own[2]);
            cell[column * units + unit] = c;
            hidden[(t * batch + column) * units + unit] = sigmoid(own[3]) * tanhf(c);
        }
        __syncthreads();  // the state of this step is whole
    }
}
