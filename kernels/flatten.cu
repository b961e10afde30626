// Transposes each image: channels-last to rows in PyTorch's order, and back. The launch is in src/ops/layers/flatten.rs.
//
//   to[i, b, a] = from[i, a, b], or += where `add`
//
//   from   [images, rows, columns]   (forward: rows are pixels, columns channels; backward the other way round)
//   to     [images, columns, rows]   both with any pitch, both f32 or both bf16
//
// Bytes per element: 8 (12 with `add`), half of it in bf16; no arithmetic. Memory-bound. The danger is an uncoalesced
// side, reading or writing 4 bytes of every 32-byte sector. So a block of 256 threads moves a tile of 32 by 32 through
// shared memory: a warp reads 32 neighbours of a row and writes 32 neighbours of a column, 128 bytes each way, for any
// pitch or edge. (16 bytes per thread would need both extents to be multiples of 4, and move the same sectors.) A row
// of the tile is padded to 33, so that a column's 32 elements are free of bank conflicts. Grid: images x tiles, along
// one axis. An image of 4 x 4 pixels uses half of a tile's lanes, but has only a few kilobytes.
//
// The two buffers do not overlap.
#include "common.cuh"

struct FlattenShape {
    uint64_t from_pitch, to_pitch;
    uint64_t from_image, to_image;  // elements from one image to the next
    uint32_t rows, columns;
    uint32_t add;
    uint32_t image_tiles;  // tiles per image
};

static const uint32_t FLATTEN_SIDE = 32;
static const uint32_t FLATTEN_LINES = 8;  // rows that a block moves at a time

template <class T>
__device__ __forceinline__ void flatten_transpose(const T* from, T* to, const FlattenShape& shape) {
    SHARED(float, tile, [FLATTEN_SIDE][FLATTEN_SIDE + 1]);
    uint64_t image = blockIdx.x / shape.image_tiles;
    uint32_t number = blockIdx.x % shape.image_tiles, across = divide_up(shape.columns, FLATTEN_SIDE);
    uint32_t first_row = number / across * FLATTEN_SIDE, first_column = number % across * FLATTEN_SIDE;
    uint32_t lane = threadIdx.x % FLATTEN_SIDE, line = threadIdx.x / FLATTEN_SIDE;
    from += image * shape.from_image;
    to += image * shape.to_image;
    UNROLL
    for (uint32_t k = 0; k < FLATTEN_SIDE; k += FLATTEN_LINES) {
        uint32_t row = first_row + line + k, column = first_column + lane;
        if (row < shape.rows && column < shape.columns) {
            tile[line + k][lane] = static_cast<float>(from[row * shape.from_pitch + column]);
        }
    }
    __syncthreads();  // the tile is written
    UNROLL
    for (uint32_t k = 0; k < FLATTEN_SIDE; k += FLATTEN_LINES) {
        uint32_t column = first_column + line + k, row = first_row + lane;
        if (row < shape.rows && column < shape.columns) {
            store(to + column * shape.to_pitch + row, tile[lane][line + k], shape.add != 0);
        }
    }
}

KERNEL(flatten_transpose_f32, 256, const float* from, float* to, FlattenShape shape) {
    flatten_transpose(from, to, shape);
}

KERNEL(flatten_transpose_bf16, 256, const bf16* from, bf16* to, FlattenShape shape) {
    flatten_transpose(from, to, shape);
}
