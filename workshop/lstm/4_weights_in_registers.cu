// Recurrent layer, rung 4: the weights in registers.
//
// The same weights are used in each step. A thread for each row of a gate keeps its row, 32 numbers, in registers for the whole sequence:
// it is read from device memory once. Then a step moves only the state. Four threads have the gates of a unit; they exchange them through
// shared memory, which takes a second barrier.
//
// The engine's kernel (kernels/lstm.cu) does this for up to 100 units, with four lanes for each row in place of a thread, which exchange by
// shuffles and read the state by 16 bytes. A larger layer has too many weights for the registers of an SM: it goes back to a launch for each
// step, but by blocks of 8 units of 8 columns, which read each weight once for all eight columns.
//
//@ computes = "lstm"
//@ block = 128
//@ tile = [1024, 1]
//@ shapes = [[1, 1, 1], [3, 2, 5], [6, 4, 32]]
//@ improves = "bytes"

__device__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__global__ void lstm(const float* gates, const float* weight, float* hidden, float* cell, int steps, int batch, int units) {
    __shared__ float state[32];
    __shared__ float of_gates[4][32];
    int unit = threadIdx.x % 32, gate = threadIdx.x / 32, column = blockIdx.y;
    int row = gate * units + unit;
    bool is_own = unit < units, has_state = is_own && gate == 0;
    float own[32];
    for (int e = 0; e < 32; e++) own[e] = is_own && e < units ? weight[row * units + e] : 0.0f;
    float c = has_state ? cell[column * units + unit] : 0.0f;
    if (gate == 0) state[unit] = 0.0f;
    __syncthreads();  // the state is zero
    for (int t = 0; t < steps; t++) {
        float sum = is_own ? gates[(t * batch + column) * 4 * units + row] : 0.0f;
        for (int e = 0; e < 32; e++) sum += state[e] * own[e];
        of_gates[gate][unit] = sum;
        __syncthreads();  // all gates are written, and the state is read
        if (has_state) {
            c = sigmoid(of_gates[1][unit]) * c + sigmoid(of_gates[0][unit]) * tanhf(of_gates[2][unit]);
            float h = sigmoid(of_gates[3][unit]) * tanhf(c);
            state[unit] = h;
            hidden[(t * batch + column) * units + unit] = h;
        }
        __syncthreads();  // the new state is whole
    }
    if (has_state) cell[column * units + unit] = c;
}
