// expects: race at 22, 23, 25, 26
// The levels of the tree rely on the lanes of a warp running in step, and there is no __syncwarp after a level.
//@ computes = "row_argmax"
//@ block = [32, 4]
//@ tile = 4

__global__ void row_argmax(const float* x, int* out, int rows, int columns) {
    __shared__ float values[4][32];
    __shared__ int places[4][32];
    int lane = threadIdx.x, warp = threadIdx.y, row = blockIdx.x * 4 + warp, place = columns;
    if (row >= rows) return;  // the whole warp leaves
    float value = -INFINITY;
    for (int c = lane; c < columns; c += 32) {
        float own = x[row * columns + c];
        if (own > value) value = own, place = c;
    }
    values[warp][lane] = value;
    places[warp][lane] = place;
    __syncwarp();
    for (int distance = 16; distance > 0; distance /= 2) {
        if (lane < distance) {
            float other = values[warp][lane + distance];
            int there = places[warp][lane + distance];
            if (other > value || (other == value && there < place)) value = other, place = there;
            values[warp][lane] = value;
            places[warp][lane] = place;
        }
    }
    if (lane == 0) out[row] = place;
}
