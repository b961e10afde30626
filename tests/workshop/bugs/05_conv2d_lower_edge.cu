// expects: out-of-bounds at 18
// The row below the image is taken for a row of it, since the check is row > height instead of row >= height.
//@ computes = "conv2d"
//@ block = [32, 4]

__global__ void conv2d(const float* image, const float* weight, float* out, int images, int height, int width,
                       int channels, int filters) {
    int filter = blockIdx.x * blockDim.x + threadIdx.x, pixel = blockIdx.y * blockDim.y + threadIdx.y;
    if (filter >= filters || pixel >= images * height * width) return;
    int i = pixel / (height * width), y = pixel / width % height, x = pixel % width;
    float sum = 0.0f;
    for (int r = 0; r < 3; r++) {
        for (int s = 0; s < 3; s++) {
            int row = y + r - 1, column = x + s - 1;
            if (row < 0 || row > height || column < 0 || column >= width) continue;
            const float* near = image + ((i * height + row) * width + column) * channels;
            const float* own = weight + ((filter * 3 + r) * 3 + s) * channels;
            for (int c = 0; c < channels; c++) sum += near[c] * own[c];
        }
    }
    out[pixel * filters + filter] = sum;
}
