// Recurrent layer, rung 1: a launch for each time step.
//
// A thread computes one unit of one column: it reads the whole state of the step before and the four rows of its gates. All units need
// that whole state, so no thread may start a step before every thread has ended the last one. Between blocks only the end of a launch
// promises this. So each step is a launch of its own, and the host launches as many as there are steps: `repeat` below says so. A step is
// short, and on a GPU a launch costs a few microseconds, more than the step itself.
//
//@ computes = "lstm"
//@ block = 32
//@ repeat = { t = "steps" }
//@ shapes = [[1, 1, 1], [3, 2, 5], [6, 4, 32]]

__device__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__global__ void lstm_step(const float* gates, const float* weight, float* hidden, float* cell, int t, int batch, int units) {
    int unit = blockIdx.x * blockDim.x + threadIdx.x, column = blockIdx.y;
    if (unit >= units) return;
    const float* before = hidden + ((t - 1) * batch + column) * units;
    float own[4] = {};
    for (int gate = 0; gate < 4; gate++) {
        int row = gate * units + unit;
        own[gate] = gates[(t * batch + column) * 4 * units + row];
        for (int e = 0; e < units && t > 0; e++) own[gate] += before[e] * weight[row * units + e];
    }
    float c = sigmoid(own[1]) * cell[column * units + unit] + sigmoid(own[0]) * tanhf(own[2]);
    cell[column * units + unit] = c;
    hidden[(t * batch + column) * units + unit] = sigmoid(own[3]) * tanhf(c);
}
