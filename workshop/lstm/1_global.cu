// Recurrent layer, rung 1: state and weights in device memory.
//
// A block has one column of the batch and walks through time; a thread has one unit. In each step it reads the whole state and the
// rows of its four gates from device memory, and leaves its new state there for the others. After each step comes a barrier: the state
// must be whole before it is read.
//
//@ computes = "lstm"
//@ block = 32
//@ tile = [1024, 1]
//@ shapes = [[1, 1, 1], [3, 2, 5], [6, 4, 32]]

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
