// Convolution of channels-last images as implicit GEMM, in f32, tf32 or bf16 like matmul.cu: the output, the input
// gradient and the weight gradient are each one matrix product that reads its operands in place. No im2col buffer is
// ever written. The launches are in src/ops/layers/conv2d/launch.rs. A 1x1 convolution with stride 1 goes to matmul.cu
// instead, unless the moments of its output are needed.
//
//   y[n, p, q, k] = relu?(bias[k] + sum_rsc x[n, p stride + r - padding, q stride + s - padding, c] weight[k, r, s, c])
//
//   x, dx        [N, H, W, groups C]         pixels x_pixel_bytes apart
//   weight, dw   [groups K, R, S, C]
//   bias         [groups K], f32, or null
//   y, dy        [N, P, Q, groups K]         pixels y_pixel_bytes apart
//   moments      [pixel tiles, 3, groups K], f32, or null: partial statistics for batch_norm.cu (epilogue.cuh)
//   norm_x, affine, sums   the norm that wrote x, or null; then dx is x's whole gradient, and the partial sums over it that the
//                norm's backward pass needs are written (epilogue.cuh): [pixel tiles of all phases, 2, groups C], f32
//
//               rows of the product    columns     inner axis (K)     A                        B
//   fwd         pixels of y            K           taps, then C       patches of x             weight, transposed
//   dx_bwd      pixels of dx           C           taps, then K       patches of dy            weight
//   dw_bwd      K                      R S C       pixels of y        dy, transposed           patches of x
//
// Kernels with `rounded` in their names take a dy that holds tf32 numbers already.
//
// Operations: 2 N P Q K R S C each. Bytes from memory: at least the three tensors. Per step of the inner axis, a block
// reads 4 (M + N) bytes as in matmul.cu; after a pixel's first tap, the others hit L1 or L2.
//
// Addressing a patch takes an address and a bounds test. A thread reads the same pixels in every slab of the inner axis
// (for dw: the same columns of the weight), so it decomposes their indices once. Each slab then needs a few quotients
// (for the tap; for dw, for the pixels), by factors of the host (Divisor). Lookup tables of offsets would cost a load per
// access; im2col would write and read R S times the image.
//
// With a stride, only every stride-th tap reads a given pixel of dx. So the pixels of dx are split into stride^2 phases
// by their position modulo the stride. Each phase is a product of its own with its own taps, and no block multiplies
// zeros. (A gather from dy with a divisibility test would do stride^2 times the multiplications.)
//
// Where the product has few tiles, the inner axis is split into `splits` parts (split-K). Their sums go to a buffer
// [splits, ..], f32, and matmul_sum_* adds them in order, with the bias; or batch_norm_split_*, which computes moments too.
//
// Grid: tiles x splits x groups x phases along one axis, tiles along the columns first. Threads: those of the tile.
//
// Where channels, pitches or base addresses are not multiples of 16 bytes (three channels), operands are copied element
// by element, in f32 still asynchronously, and each tap is decomposed separately. y, dx and dw may overlap nothing
// else. dw is f32, whatever x is.
#include "conv2d_slabs.cuh"

__device__ __forceinline__ Output conv2d_output(void* pointer, const Conv2dShape& shape) {
    Output output = {pointer, shape.out_is_bf16 != 0, shape.out_is_aligned != 0, shape.add != 0};
    return output;
}

template <class Tile, class T>
__device__ __forceinline__ void conv2d_forward(
    const T* __restrict__ x, const T* __restrict__ weight, const float* __restrict__ bias, void* __restrict__ y,
    float* __restrict__ moments, const Conv2dShape& shape) {
    typedef typename Tile::template Products<true, true> Products;
    T* shared = Products::shared();
    uint32_t pixels = shape.images * shape.out_height * shape.out_width;
    uint32_t depth = shape.kernel_height * shape.kernel_width * shape.channels;
    Conv2dBlock block = Conv2dBlock::of(shape, pixels, shape.features, Tile());
    uint32_t columns = shape.features - block.first_column;
    uint32_t feature = block.group * shape.features + block.first_column;

    Conv2dPatches<typename Products::A, Tile::THREADS> patches;
    patches.source = x + block.group * shape.channels;
    patches.pixel_bytes = shape.x_pixel_bytes;
    patches.walk = Conv2dWalk::forward(shape);
    patches.by_channels = shape.by_channels, patches.by_taps = shape.by_taps[0];
    patches.depth = depth;
    patches.is_aligned = shape.x_is_aligned != 0;
    patches.find_places(block.first_row, pixels);
    const T* own_weight = weight + static_cast<uint64_t>(feature) * depth;
    MatrixSlabs<typename Products::B, Tile::THREADS> weights{
        own_weight, depth * static_cast<uint32_t>(sizeof(T)), columns, depth, shape.weight_is_aligned != 0};

    Products products;
    Conv2dPart part(block.split, shape.splits, divide_up(depth, Tile::K));
    products.add(patches, weights, part.first, part.last, shared);
    add_bias(products, bias == nullptr ? nullptr : bias + feature, columns, shape.relu != 0);
    uint32_t rows = pixels - block.first_row;
    Output output = conv2d_output(y, shape);
    output.add = false;  // y is new
    uint64_t first = block.split * shape.out_split + feature;
    UNROLL
    for (int i = 0; i < Products::ROWS; i++) {
        uint32_t row = products.row(i);
        if (row >= rows) continue;
        products.store_row(i, output, first + (block.first_row + row) * shape.out_pitch, columns);
    }
    if (moments != nullptr) {
        uint32_t channels = shape.groups * shape.features;
        float* own = moments + static_cast<uint64_t>(block.first_row / Tile::M) * 3 * channels + feature;
        write_moments(products, shared, rows, columns, own, channels);
    }
}

template <class Tile, class T>
__device__ __forceinline__ void conv2d_input_gradient(
    const T* __restrict__ dy, const T* __restrict__ weight, const T* __restrict__ norm_x, const float* __restrict__ affine,
    void* __restrict__ dx, float* __restrict__ sums, const Conv2dShape& shape) {
    typedef typename Tile::template Products<true, false> Products;
    T* shared = Products::shared();
    uint32_t most_down = divide_up(shape.height, shape.stride), most_across = divide_up(shape.width, shape.stride);
    uint32_t most_pixels = shape.images * most_down * most_across;
    Conv2dBlock block = Conv2dBlock::of(shape, most_pixels, shape.channels, Tile());
    Conv2dPhase down(
        block.phase / shape.stride, shape.height, shape.kernel_height, shape.stride, shape.padding);
    Conv2dPhase across(block.phase % shape.stride, shape.width, shape.kernel_width, shape.stride, shape.padding);
    uint32_t pixels = shape.images * down.pixels * across.pixels;
    uint32_t channel = block.group * shape.channels + block.first_column, columns = shape.channels - block.first_column;
    NormInput<T> norm = {norm_x, affine, shape.norm_pitch, shape.groups * shape.channels, shape.relu != 0};
    uint64_t part_of_sums = block.phase * divide_up(most_pixels, Tile::M) + block.first_row / Tile::M;
    float* own_sums = sums + part_of_sums * 2 * norm.channels;
    // The first phases have the most pixels.
    if (block.first_row >= pixels) {
        if (norm_x == nullptr) return;
        for (uint32_t column = threadIdx.x; column < Tile::N && column < columns; column += Tile::THREADS) {
            own_sums[channel + column] = own_sums[norm.channels + channel + column] = 0.0f;
        }
        return;
    }
    uint32_t inner = down.taps * across.taps * shape.features;
    uint32_t depth = shape.kernel_height * shape.kernel_width * shape.channels;

    Conv2dPatches<typename Products::A, Tile::THREADS> patches;
    patches.source = dy + block.group * shape.features;
    patches.pixel_bytes = shape.y_pixel_bytes;
    patches.walk = {down.pixels, across.pixels, shape.out_height, shape.out_width, 1, down.start, across.start, -1};
    const Divisor& by_taps = shape.by_taps[across.taps == shape.by_taps[0].value ? 0 : 1];
    patches.by_channels = shape.by_channels, patches.by_taps = by_taps;
    patches.depth = inner;
    patches.is_aligned = shape.y_is_aligned != 0;
    patches.find_places(block.first_row, pixels);
    uint32_t tap_bytes = shape.channels * static_cast<uint32_t>(sizeof(T)), row_bytes = shape.kernel_width * tap_bytes;
    const T* own_weight = weight + static_cast<uint64_t>(block.group) * shape.features * depth + block.first_column;
    Conv2dWeights<typename Products::B, Tile::THREADS> weights{
        own_weight + (down.tap * shape.kernel_width + across.tap) * shape.channels,
        shape.by_channels,
        by_taps,
        shape.kernel_height * row_bytes,
        shape.stride * row_bytes,
        shape.stride * tap_bytes,
        inner,
        columns,
        shape.weight_is_aligned != 0};

    Products products;
    Conv2dPart part(block.split, shape.splits, divide_up(inner, Tile::K));
    products.add(patches, weights, part.first, part.last, shared);
    Output output = conv2d_output(dx, shape);
    uint64_t first = block.split * shape.out_split + channel;
    uint32_t rows[Products::ROWS];  // of dx; together they have fewer than 2^32
    UNROLL
    for (int i = 0; i < Products::ROWS; i++) {
        uint32_t pixel = block.first_row + products.row(i);
        rows[i] = NO_ROW;
        if (pixel >= pixels) continue;
        uint32_t row = pixel / across.pixels, image = row / down.pixels;
        uint32_t y = row % down.pixels * shape.stride + down.first;
        uint32_t x = pixel % across.pixels * shape.stride + across.first;
        rows[i] = (image * shape.height + y) * shape.width + x;
        products.store_row(i, output, first + rows[i] * shape.out_pitch, columns);
    }
    if (norm_x != nullptr) {
        write_gradient_sums(products, shared, rows, norm, output, shape.out_pitch, channel, columns, own_sums);
    }
}

template <class Tile, class T>
__device__ __forceinline__ void conv2d_weight_gradient(
    const T* __restrict__ x, const T* __restrict__ dy, float* __restrict__ dw, const Conv2dShape& shape) {
    typedef typename Tile::template Products<false, false> Products;
    T* shared = Products::shared();
    uint32_t pixels = shape.images * shape.out_height * shape.out_width;
    uint32_t depth = shape.kernel_height * shape.kernel_width * shape.channels;
    Conv2dBlock block = Conv2dBlock::of(shape, shape.features, depth, Tile());
    uint32_t rows = shape.features - block.first_row, columns = depth - block.first_column;
    uint32_t feature = block.group * shape.features + block.first_row;

    MatrixSlabs<typename Products::A, Tile::THREADS> gradients{
        dy + feature, shape.y_pixel_bytes, rows, pixels, shape.y_is_aligned != 0};
    Conv2dColumns<typename Products::B, Tile::THREADS> patches;
    patches.source = x + block.group * shape.channels;
    patches.pixel_bytes = shape.x_pixel_bytes;
    patches.walk = Conv2dWalk::forward(shape);
    patches.by_width = shape.by_width, patches.by_height = shape.by_height;
    patches.by_channels = shape.by_channels, patches.by_taps = shape.by_taps[0];
    patches.pixels = pixels;
    patches.x_end = columns;
    patches.is_aligned = shape.x_is_aligned != 0;
    patches.find_tap(block.first_column);

    Products products;
    Conv2dPart part(block.split, shape.splits, divide_up(pixels, Tile::K));
    products.add(gradients, patches, part.first, part.last, shared);
    Output output = conv2d_output(dw, shape);
    output.is_bf16 = false;
    uint64_t first = block.split * shape.out_split + static_cast<uint64_t>(feature) * depth + block.first_column;
    UNROLL
    for (int i = 0; i < Products::ROWS; i++) {
        uint32_t row = products.row(i);
        if (row >= rows) continue;
        products.store_row(i, output, first + static_cast<uint64_t>(row) * depth, columns);
    }
}

#define CONV2D(name, suffix, T, Out, Tile)                                                                          \
    KERNEL_RESIDENT(                                                                                                \
        conv2d_##name##_fwd_##suffix, Tile::THREADS, Tile::RESIDENT, const T* x, const T* weight,                   \
        const float* bias, Out* y, float* moments, Conv2dShape shape) {                                             \
        conv2d_forward<Tile>(x, weight, bias, y, moments, shape);                                                   \
    }                                                                                                               \
    CONV2D_GRADIENTS(name, bwd_##suffix, T, Out, Tile)

#define CONV2D_GRADIENTS(name, suffix, T, Out, Tile)                                                                \
    KERNEL_RESIDENT(                                                                                                \
        conv2d_##name##_dx_##suffix, Tile::THREADS, Tile::RESIDENT, const T* dy, const T* weight,                   \
        const T* norm_x, const float* affine, Out* dx, float* sums, Conv2dShape shape) {                            \
        conv2d_input_gradient<Tile>(dy, weight, norm_x, affine, dx, sums, shape);                                   \
    }                                                                                                               \
    KERNEL_RESIDENT(                                                                                                \
        conv2d_##name##_dw_##suffix, Tile::THREADS, Tile::RESIDENT, const T* x, const T* dy, float* dw,             \
        Conv2dShape shape) {                                                                                        \
        conv2d_weight_gradient<Tile>(x, dy, dw, shape);                                                             \
    }

CONV2D(128, f32, float, float, Tile128)
CONV2D(64, f32, float, float, Tile64)
CONV2D(32, f32, float, float, Tile32)
CONV2D(128, tf32, float, float, Tf32Tile128)
CONV2D(64, tf32, float, float, Tf32Tile64)
CONV2D(32, tf32, float, float, Tf32Tile32)
CONV2D_GRADIENTS(128, rounded_bwd_tf32, float, float, OfRounded<Tf32Tile128>)
CONV2D_GRADIENTS(64, rounded_bwd_tf32, float, float, OfRounded<Tf32Tile64>)
CONV2D_GRADIENTS(32, rounded_bwd_tf32, float, float, OfRounded<Tf32Tile32>)
CONV2D(128, bf16, bf16, void, Bf16Tile128)
CONV2D(64, bf16, bf16, void, Bf16Tile64)
CONV2D(32, bf16, bf16, void, Bf16Tile32)
