// Convolution, rung 3: four pixels for each thread.
//
// As in the matrix product, a thread that computes several outputs reads each number from shared memory for all of them. Here it has four
// pixels of one filter: five reads for four products, where rung 2 needed eight.
//
// The engine's kernels (kernels/conv2d.cu) go on with 8 x 8 outputs a thread or tensor cores, copies of the next slab while this one is
// multiplied, steps from tap to tap in place of the division, and splits of k where the tiles are too few for a GPU.
//
//@ computes = "conv2d"
//@ block = [32, 8]
//@ tile = [32, 32]
//@ improves = "requests"

const int TILE = 32;

__global__ void conv2d(const float* image, const float* weight, float* out, int images, int height, int width,
                       int channels, int filters) {
    __shared__ float pixels[TILE][TILE];
    __shared__ float weights[TILE][TILE + 1];
    int first_pixel = blockIdx.y * TILE, first_filter = blockIdx.x * TILE;
    int count = images * height * width, k = 9 * channels;
    float sums[4] = {};
    for (int slab = 0; slab < k; slab += TILE) {
        int inner = slab + threadIdx.x, tap = inner / channels;
        for (int e = threadIdx.y; e < TILE; e += 8) {
            int pixel = first_pixel + e, y = pixel / width % height, x = pixel % width;
            int row = y + tap / 3 - 1, column = x + tap % 3 - 1;
            bool is_inside = pixel < count && inner < k && row >= 0 && row < height && column >= 0 && column < width;
            int near = pixel + (row - y) * width + column - x;
            pixels[e][threadIdx.x] = is_inside ? image[near * channels + inner % channels] : 0.0f;
            int filter = first_filter + e;
            weights[e][threadIdx.x] = filter < filters && inner < k ? weight[filter * k + inner] : 0.0f;
        }
        __syncthreads();  // the tiles are written
        for (int e = 0; e < TILE; e++) {
            float own = weights[threadIdx.x][e];
            for (int p = 0; p < 4; p++) sums[p] += pixels[threadIdx.y + 8 * p][e] * own;
        }
        __syncthreads();  // the tiles are read
    }
    int filter = first_filter + threadIdx.x;
    for (int p = 0; p < 4; p++) {
        int pixel = first_pixel + threadIdx.y + 8 * p;
        if (pixel < count && filter < filters) out[pixel * filters + filter] = sums[p];
    }
}
