// expects: deadlock at 12
// The barrier stands in the branch of the threads that have an element, so the others never reach it.
//@ computes = "bias_relu"
//@ block = [32, 8]

__global__ void bias_relu(const float* x, const float* bias, float* out, int rows, int columns) {
    __shared__ float biases[32];
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (threadIdx.y == 0 && column < columns) biases[threadIdx.x] = bias[column];
    if (row < rows && column < columns) {
        __syncthreads();
        int e = row * columns + column;
        out[e] = fmaxf(x[e] + biases[threadIdx.x], 0.0f);
    }
}
