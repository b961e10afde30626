// Convolution, rung 2: a matrix product whose left factor is never stored.
//
// out[pixel][filter] is a row of 9 channels numbers around the pixel times a column of weights: a matrix product with k = 9 channels.
// Written out, that row would hold every pixel nine times. A block fills a tile of it in shared memory instead, straight from the image, by
// computing for each k which tap and which channel it stands for. The rest is rung 3 of the matrix product.
//
//@ computes = "conv2d"
//@ block = [32, 32]
//@ improves = "operations per byte"

const int TILE = 32;

__global__ void conv2d(const float* image, const float* weight, float* out, int images, int height, int width,
                       int channels, int filters) {
    __shared__ float pixels[TILE][TILE];
    __shared__ float weights[TILE][TILE + 1];
    int filter = blockIdx.x * TILE + threadIdx.x, pixel = blockIdx.y * TILE + threadIdx.y;
    int count = images * height * width, k = 9 * channels;
    int y = pixel / width % height, x = pixel % width;
    float sum = 0.0f;
    for (int slab = 0; slab < k; slab += TILE) {
        int inner = slab + threadIdx.x;
        int tap = inner / channels, row = y + tap / 3 - 1, column = x + tap % 3 - 1;
        bool is_inside = pixel < count && inner < k && row >= 0 && row < height && column >= 0 && column < width;
        int near = pixel + (row - y) * width + column - x;
        pixels[threadIdx.y][threadIdx.x] = is_inside ? image[near * channels + inner % channels] : 0.0f;
        // Each row of this tile is a filter, so that the lanes read neighbours; it is read by columns, hence the padding.
        int own = blockIdx.x * TILE + threadIdx.y;
        weights[threadIdx.y][threadIdx.x] = own < filters && inner < k ? weight[own * k + inner] : 0.0f;
        __syncthreads();  // the tiles are written
        for (int e = 0; e < TILE; e++) sum += pixels[threadIdx.y][e] * weights[threadIdx.x][e];
        __syncthreads();  // the tiles are read
    }
    if (pixel < count && filter < filters) out[pixel * filters + filter] = sum;
}
