// Batched matrix products, with at most one operand transposed: C (+)= relu?(op(A) op(B) + bias). f32 on CUDA cores; on
// tensor cores f32 rounded to tf32, or bf16. Accumulation is in f32. The launches, and the table that picks a tile for
// a shape, are in src/ops/tensor/matmul/.
//
//   a   [batch] of [m, k], or [k, m] if transposed      rows a_row_bytes apart
//   b   [batch] of [k, n], or [n, k] if transposed      rows b_row_bytes apart
//   bias  [n], f32, or null
//   c   [batch] of [m, n]                               row stride c_stride; with bf16 operands bf16 or f32
//   norm_x, affine, sums   only nn, without a batch: the norm whose output's gradient is c, or null; then the partial sums over c
//                that the norm's backward pass needs are written (epilogue.cuh): [row tiles, 2, n], f32
//
// Where m n has few tiles and k is long, the inner axis is split into `splits` parts (split-K): c is then
// [splits, batch, m, n], and matmul_sum_f32 adds the parts in order. No atomics: the same bits at every launch.
//
// Operations: 2 m n k. A block reads 4 K (M + N) bytes per slab of K, for 2 M N K operations: 32 operations per byte
// with 128x128, 16 with 64x64, 8 with 32x32; L2 serves most of the bytes. An H100's SM has 128 f32 lanes and reads 128
// bytes of shared memory per clock: a thread with 8x8 sums reads 16 numbers for 64 multiply-adds, and broadcasts serve
// several threads, so the reads of 8 warps take less time than their arithmetic. With one sum per thread it would be 2
// reads for one multiply-add. On tensor cores a slab is 128 bytes deep, 32 steps of tf32 or 64 of bf16; bf16 does twice
// the operations per byte.
//
// Bias and ReLU are a fused epilogue: 4 bytes per column. A separate launch would read and write C, 8 bytes per
// element.
//
// Grid: tiles x splits x batch along one axis, tiles along n fastest: neighbouring blocks share A's rows. Threads: in
// f32 256, 128 and 64 for the three tiles; on tensor cores 128, 128 and 64. See tile.cuh and tensor_tile.cuh for a block's
// work.
//
// Operands whose base address, stride or length of rows is not a multiple of 16 bytes are copied element by element: f32
// still asynchronously, bf16 through registers, since cp.async cannot copy 2 bytes. c may overlap neither a nor b.
#include "epilogue.cuh"

struct MatmulShape {
    uint64_t c_stride;                      // elements from one row to the next
    uint64_t a_batch, b_batch, c_batch;     // elements from one batch entry to the next; 0 for a shared operand
    uint64_t c_split;                       // elements from one part to the next
    uint64_t norm_pitch;                    // of norm_x
    uint32_t a_row_bytes, b_row_bytes;
    uint32_t m, n, k;
    uint32_t splits, slabs;                 // parts of the inner axis, and slabs of one part
    uint32_t add;
    uint32_t a_is_aligned, b_is_aligned;    // whether rows are whole runs, 16-byte aligned
    uint32_t c_is_aligned;                  // as in Output
    uint32_t c_is_bf16;                     // in bf16 kernels: whether c is bf16, or else f32
    uint32_t relu;                          // c = max(op(A) op(B) + bias, 0)
    uint32_t norm_relu;                     // whether the norm has a ReLU
};

// A block's tile of C, its part of the inner axis and its batch entry.
template <class Tile>
struct MatmulBlock {
    uint32_t first_row, first_column, split, member;

    __device__ __forceinline__ explicit MatmulBlock(const MatmulShape& shape) {
        uint32_t across = divide_up(shape.n, Tile::N), down = divide_up(shape.m, Tile::M);
        uint32_t block = blockIdx.x;
        first_column = block % across * Tile::N;
        block /= across;
        first_row = block % down * Tile::M;
        block /= down;
        split = block % shape.splits, member = block / shape.splits;
    }
};

template <class Tile, bool A_TRANSPOSED, bool B_TRANSPOSED, class T>
__device__ __forceinline__ void matmul(
    const T* __restrict__ a, const T* __restrict__ b, const float* __restrict__ bias, const T* __restrict__ norm_x,
    const float* __restrict__ affine, void* __restrict__ c, float* __restrict__ sums, const MatmulShape& shape) {
    typedef typename Tile::template Products<!A_TRANSPOSED, B_TRANSPOSED> Products;
    T* shared = Products::shared();
    MatmulBlock<Tile> block(shape);
    uint32_t rows = shape.m - block.first_row, columns = shape.n - block.first_column;
    const T *own_a = a + block.member * shape.a_batch, *own_b = b + block.member * shape.b_batch;
    MatrixSlabs<typename Products::A, Tile::THREADS> left{
        A_TRANSPOSED ? own_a + block.first_row : row_at(own_a, block.first_row, shape.a_row_bytes),
        shape.a_row_bytes, rows, shape.k, shape.a_is_aligned != 0};
    MatrixSlabs<typename Products::B, Tile::THREADS> right{
        B_TRANSPOSED ? row_at(own_b, block.first_column, shape.b_row_bytes) : own_b + block.first_column,
        shape.b_row_bytes, columns, shape.k, shape.b_is_aligned != 0};
    uint32_t first_slab = block.split * shape.slabs;
    uint32_t last_slab = min(first_slab + shape.slabs, divide_up(shape.k, Tile::K));
    Products products;
    products.add(left, right, first_slab, last_slab, shared);
    add_bias(products, bias == nullptr ? nullptr : bias + block.first_column, columns, shape.relu != 0);
    Output output = {c, shape.c_is_bf16 != 0, shape.c_is_aligned != 0, shape.add != 0};
    uint64_t first = block.split * shape.c_split + block.member * shape.c_batch + block.first_column;
    uint32_t c_rows[Products::ROWS];
    UNROLL
    for (int i = 0; i < Products::ROWS; i++) {
        uint32_t row = products.row(i);
        c_rows[i] = row < rows ? block.first_row + row : NO_ROW;
        if (row < rows) products.store_row(i, output, first + (block.first_row + row) * shape.c_stride, columns);
    }
    if constexpr (!A_TRANSPOSED && !B_TRANSPOSED) {
        if (norm_x == nullptr) return;
        NormInput<T> norm = {norm_x, affine, shape.norm_pitch, shape.n, shape.norm_relu != 0};
        float* own_sums = sums + static_cast<uint64_t>(block.first_row / Tile::M) * 2 * shape.n;
        write_gradient_sums(
            products, shared, c_rows, norm, output, shape.c_stride, block.first_column, columns, own_sums);
    }
}

#define MATMUL(name, suffix, T, Out, Tile, sides, a_transposed, b_transposed)                                       \
    KERNEL_RESIDENT(                                                                                                \
        matmul_##name##_##sides##_##suffix, Tile::THREADS, Tile::RESIDENT, const T* a, const T* b,                  \
        const float* bias, const T* norm_x, const float* affine, Out* c, float* sums, MatmulShape shape) {          \
        matmul<Tile, a_transposed, b_transposed>(a, b, bias, norm_x, affine, c, sums, shape);                       \
    }

#define MATMUL_SIDES(name, suffix, T, Out, Tile)         \
    MATMUL(name, suffix, T, Out, Tile, nn, false, false) \
    MATMUL(name, suffix, T, Out, Tile, nt, false, true)  \
    MATMUL(name, suffix, T, Out, Tile, tn, true, false)

// The gradients of a product's input and weight; A is the gradient of its output, rounded to tf32 where it was written.
#define ROUNDED_SIDES(name, Tile)                                                 \
    MATMUL(name, tf32, float, float, OfRounded<Tile>, nn_rounded, false, false)   \
    MATMUL(name, tf32, float, float, OfRounded<Tile>, tn_rounded, true, false)

MATMUL_SIDES(128, f32, float, float, Tile128)
MATMUL_SIDES(64, f32, float, float, Tile64)
MATMUL_SIDES(32, f32, float, float, Tile32)
MATMUL_SIDES(128, tf32, float, float, Tf32Tile128)
MATMUL_SIDES(64, tf32, float, float, Tf32Tile64)
MATMUL_SIDES(32, tf32, float, float, Tf32Tile32)
ROUNDED_SIDES(128, Tf32Tile128)
ROUNDED_SIDES(64, Tf32Tile64)
ROUNDED_SIDES(32, Tf32Tile32)
MATMUL_SIDES(128, bf16, bf16, void, Bf16Tile128)
MATMUL_SIDES(64, bf16, bf16, void, Bf16Tile64)
MATMUL_SIDES(32, bf16, bf16, void, Bf16Tile32)

// c[row, column] (+)= sum over parts, in order, of parts[part, row, column]; or relu?(that sum + bias[column]).
//
//   parts   [splits, rows, columns]      4 splits bytes per element, and those of c; one thread per element
//   bias    [columns], or null
//   c       [rows, columns], f32 or bf16        row stride c_stride
struct MatmulParts {
    uint64_t rows, c_stride;
    uint32_t columns, splits, add, relu;
    uint32_t is_aligned;  // columns % 4 == 0, every four 16-byte aligned (bf16: 8): 4 elements per thread
    uint32_t unused;
};

__device__ __forceinline__ float4 load_four(const float* from) {
    return *reinterpret_cast<const float4*>(from);
}

__device__ __forceinline__ float4 load_four(const bf16* from) {
    uint2 two = *reinterpret_cast<const uint2*>(from);
    return make_float4(
        __uint_as_float(two.x << 16), __uint_as_float(two.x & 0xffff0000u), __uint_as_float(two.y << 16),
        __uint_as_float(two.y & 0xffff0000u));
}

__device__ __forceinline__ void store_four(float* to, float4 four) {
    *reinterpret_cast<float4*>(to) = four;
}

__device__ __forceinline__ void store_four(bf16* to, float4 four) {
    *reinterpret_cast<uint2*>(to) = make_uint2(bf16_pair(four.x, four.y), bf16_pair(four.z, four.w));
}

__device__ __forceinline__ float4 add_fours(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ __forceinline__ float relu_if(float a, bool relu) {
    return relu && a < 0.0f ? 0.0f : a;
}

template <class T>
__device__ __forceinline__ void matmul_sum(
    const float* __restrict__ parts, const float* __restrict__ bias, T* __restrict__ c, const MatmulParts& shape) {
    uint64_t elements = shape.rows * shape.columns, index = global_thread();
    bool relu = shape.relu != 0;
    if (shape.is_aligned != 0) {
        index *= 4;
        if (index >= elements) return;
        uint32_t column = index % shape.columns;
        float4 sum = load_four(parts + index);
        for (uint32_t part = 1; part < shape.splits; part++) {
            sum = add_fours(sum, load_four(parts + part * elements + index));
        }
        if (bias != nullptr) sum = add_fours(sum, load_four(bias + column));
        sum = make_float4(relu_if(sum.x, relu), relu_if(sum.y, relu), relu_if(sum.z, relu), relu_if(sum.w, relu));
        T* to = c + index / shape.columns * shape.c_stride + column;
        store_four(to, shape.add != 0 ? add_fours(load_four(to), sum) : sum);
        return;
    }
    if (index >= elements) return;
    uint32_t column = index % shape.columns;
    float sum = parts[index];
    for (uint32_t part = 1; part < shape.splits; part++) sum += parts[part * elements + index];
    if (bias != nullptr) sum += bias[column];
    sum = relu_if(sum, relu);
    T* to = c + index / shape.columns * shape.c_stride + column;
    *to = T(shape.add != 0 ? static_cast<float>(*to) + sum : sum);
}

KERNEL(matmul_sum_f32, 256, const float* parts, const float* bias, float* c, MatmulParts shape) {
    matmul_sum(parts, bias, c, shape);
}

KERNEL(matmul_sum_bf16, 256, const float* parts, const float* bias, bf16* c, MatmulParts shape) {
    matmul_sum(parts, bias, c, shape);
}

// The sums of up to 8 products in one launch, each as above without a bias. The gradients of weights need no sum before the
// update, so a backward pass sums many of them at once and saves the launches.
//
//   parts0..7   [splits, elements] each, or null          c0..7   [elements], f32
//
// A block has 1024 elements of one product.
static const int MANY = 8;
static const uint32_t MANY_ELEMENTS = 1024;

struct MatmulManyParts {
    uint64_t elements[8];
    uint32_t splits[8];
    uint32_t ends[8];        // the number of blocks of each product and those before it
    uint32_t is_aligned[8];  // whether every four elements of each part and of c are 16-byte aligned
};

KERNEL(matmul_sum_many_f32, 256, const float* parts0, const float* parts1, const float* parts2, const float* parts3,
       const float* parts4, const float* parts5, const float* parts6, const float* parts7, float* c0, float* c1, float* c2,
       float* c3, float* c4, float* c5, float* c6, float* c7, MatmulManyParts many) {
    const float* const all_parts[MANY] = {parts0, parts1, parts2, parts3, parts4, parts5, parts6, parts7};
    float* const all[MANY] = {c0, c1, c2, c3, c4, c5, c6, c7};
    const float* parts = parts0;
    float* c = c0;
    uint64_t elements = many.elements[0];
    uint32_t splits = many.splits[0], is_aligned = many.is_aligned[0], block = blockIdx.x;
    UNROLL
    for (int i = 1; i < MANY; i++) {
        if (blockIdx.x < many.ends[i - 1]) continue;
        parts = all_parts[i], c = all[i], block = blockIdx.x - many.ends[i - 1];
        elements = many.elements[i], splits = many.splits[i], is_aligned = many.is_aligned[i];
    }
    uint64_t first = static_cast<uint64_t>(block) * MANY_ELEMENTS;
    if (is_aligned != 0) {
        uint64_t index = first + threadIdx.x * 4;
        if (index >= elements) return;
        float4 sum = load_four(parts + index);
        for (uint32_t part = 1; part < splits; part++) sum = add_fours(sum, load_four(parts + part * elements + index));
        store_four(c + index, sum);
        return;
    }
    for (uint64_t index = first + threadIdx.x; index < min(first + MANY_ELEMENTS, elements); index += 256) {
        float sum = parts[index];
        for (uint32_t part = 1; part < splits; part++) sum += parts[part * elements + index];
        c[index] = sum;
    }
}
