// expects: endless at 19, 20, 21, 22, 23, 24, 25, 27
// The loop goes on while the distance is at least zero, and half of zero is zero again.
//@ computes = "row_argmax"
//@ block = 256
//@ tile = 1

__global__ void row_argmax(const float* x, int* out, int columns) {
    __shared__ float values[256];
    __shared__ int places[256];
    int t = threadIdx.x, place = columns;
    float value = -INFINITY;
    for (int c = t; c < columns; c += 256) {
        float own = x[blockIdx.x * columns + c];
        if (own > value) value = own, place = c;
    }
    values[t] = value;
    places[t] = place;
    __syncthreads();
    for (int distance = 128; distance >= 0; distance /= 2) {
        if (t < distance) {
            float other = values[t + distance];
            int there = places[t + distance];
            if (other > value || (other == value && there < place)) value = other, place = there;
            values[t] = value;
            places[t] = place;
        }
        __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = place;
}
