// expects: unwritten at 24
// The tile of weights is not filled with zeros past the last filter and past the end of k, although all of it is read.
//@ computes = "conv2d"
//@ block = [32, 32]

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
        int inner = slab + threadIdx.x, own = blockIdx.x * TILE + threadIdx.y;
        int tap = inner / channels, row = y + tap / 3 - 1, column = x + tap % 3 - 1;
        bool is_inside = pixel < count && inner < k && row >= 0 && row < height && column >= 0 && column < width;
        int near = pixel + (row - y) * width + column - x;
        pixels[threadIdx.y][threadIdx.x] = is_inside ? image[near * channels + inner % channels] : 0.0f;
        if (own < filters && inner < k) weights[threadIdx.y][threadIdx.x] = weight[own * k + inner];
        __syncthreads();
        for (int e = 0; e < TILE; e++) sum += pixels[threadIdx.y][e] * weights[threadIdx.x][e];
        __syncthreads();
    }
    if (pixel < count && filter < filters) out[pixel * filters + filter] = sum;
}
