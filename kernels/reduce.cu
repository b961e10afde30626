// Sums over some axes, and the place of the largest element. The launches are in src/ops/reduce/launch.rs.
//
//   columns   out[b, s, c] = sum over rows r of split s of x[b, r, c]
//   rows      out[b, s]    = sum over elements r of split s of x[b, r]
//   argmax    out[r]       = the first c at which x[r, c] is largest; NaN never is; 0 where all are NaN
//
//   x     [batches, rows, columns] with any stride between batches and between rows; columns lie side by side
//   out   [batches, splits, columns] without gaps; stored, or added where `add`
//
// A sum over leading axes (a bias's gradient, statistics) is `columns` with one batch; over trailing ones `rows`; over
// those in the middle (squeeze and excite) `columns` with batches; over everything `rows` with one batch. What is left,
// axes kept and summed in turns, is one of these for each run of axes that is summed.
//
// Bytes: 4 for each element of x, read once, and what is written; one addition for each element. The floor is memory, and
// the danger is idle multiprocessors where what is left is small: so rows are cut into splits by a rule of the shape
// alone, and a second launch of the same kernel adds the splits' sums. Two launches with a fixed order, not atomics.
//
// columns: grid batches x splits x blocks of columns, along one axis. A block of 256 threads is `lanes` threads side by
// side along the columns, up to 32 units of 16 bytes (4 where columns or strides are no multiple of 4), by 256 / lanes
// groups that take every so manyth row, four on their way; then the groups add up in shared memory, in halves, each
// thread in its own bank. Few columns (three, ten) give few lanes and many groups, so that a warp still reads neighbours.
// rows: up to 32 threads a row where rows are short, 8 rows or more to a block; a block of 256 a split where they are
// long. argmax: up to 32 threads a row. Threads that walk down columns one by one would be 3 warps for a bias of 100.
//
// out overlaps x nowhere.
#include "common.cuh"

struct ReduceShape {
    uint64_t batches, rows, columns;
    uint64_t batch_stride, row_stride;  // of x, in elements
    uint64_t split_rows;                // rows of a split; a multiple of 4 for the kernel on rows
    uint32_t splits;
    uint32_t lanes;  // threads that share a row: a power of 2
    uint32_t wide;   // whether 16 bytes may be loaded at once
    uint32_t add;
};

static const int REDUCE_THREADS = 256;

// The split's rows: `first` and how many there are.
struct ReduceSplit {
    uint64_t first, count;
    __device__ ReduceSplit(const ReduceShape& shape, uint64_t split) {
        first = split * shape.split_rows;
        uint64_t left = shape.rows - first;
        count = left < shape.split_rows ? left : shape.split_rows;
    }
};

__device__ __forceinline__ void reduce_add(float& sum, float value) {
    sum += value;
}

__device__ __forceinline__ void reduce_add(float4& sum, float4 value) {
    sum = make_float4(sum.x + value.x, sum.y + value.y, sum.z + value.z, sum.w + value.w);
}

template <class Unit>
__device__ void reduce_columns(const float* x, float* out, const ReduceShape& shape) {
    const uint32_t WIDTH = sizeof(Unit) / sizeof(float);
    SHARED(Unit, sums, [REDUCE_THREADS]);
    uint32_t lanes = shape.lanes, groups = REDUCE_THREADS / lanes;
    uint32_t lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
    uint32_t column_blocks = divide_up(static_cast<uint32_t>(shape.columns / WIDTH), lanes);
    uint32_t column_block = blockIdx.x % column_blocks, part = blockIdx.x / column_blocks;
    uint64_t batch = part / shape.splits;
    ReduceSplit split(shape, part % shape.splits);
    uint64_t column = static_cast<uint64_t>(column_block * lanes + lane) * WIDTH;

    Unit sum{};
    if (column < shape.columns) {
        uint64_t step = groups * shape.row_stride;
        const float* from = x + batch * shape.batch_stride + (split.first + group) * shape.row_stride + column;
        uint64_t row = group;
        for (; row + 3 * groups < split.count; row += 4 * groups, from += 4 * step) {
            Unit values[4];
            UNROLL
            for (int k = 0; k < 4; k++) values[k] = *reinterpret_cast<const Unit*>(from + k * step);
            UNROLL
            for (int k = 0; k < 4; k++) reduce_add(sum, values[k]);
        }
        for (; row < split.count; row += groups, from += step) reduce_add(sum, *reinterpret_cast<const Unit*>(from));
    }
    sums[threadIdx.x] = sum;
    for (uint32_t half = groups / 2; half > 0; half /= 2) {
        __syncthreads();  // the upper half's sums are written
        if (group < half) {
            reduce_add(sum, sums[threadIdx.x + half * lanes]);
            sums[threadIdx.x] = sum;
        }
    }
    if (group == 0 && column < shape.columns) {
        Unit* target = reinterpret_cast<Unit*>(out + static_cast<uint64_t>(part) * shape.columns + column);
        if (shape.add) reduce_add(sum, *target);
        *target = sum;
    }
}

KERNEL(reduce_columns_f32, 256, const float* x, float* out, ReduceShape shape) {
    if (shape.wide) {
        reduce_columns<float4>(x, out, shape);
    } else {
        reduce_columns<float>(x, out, shape);
    }
}

// The sum of every `threads`th unit of `count` elements, from `thread` on.
__device__ __forceinline__ float reduce_stretch(
    const float* x, uint64_t count, uint32_t thread, uint32_t threads, bool wide) {
    float sum = 0.0f;
    uint64_t vectors = wide ? count / 4 : 0;
    uint64_t vector = thread;
    for (; vector + 3 * threads < vectors; vector += 4 * threads) {
        float4 values[4];
        UNROLL
        for (int k = 0; k < 4; k++) values[k] = reinterpret_cast<const float4*>(x)[vector + k * threads];
        UNROLL
        for (int k = 0; k < 4; k++) sum += (values[k].x + values[k].y) + (values[k].z + values[k].w);
    }
    for (; vector < vectors; vector += threads) {
        float4 value = reinterpret_cast<const float4*>(x)[vector];
        sum += (value.x + value.y) + (value.z + value.w);
    }
    for (uint64_t at = 4 * vectors + thread; at < count; at += threads) sum += x[at];
    return sum;
}

KERNEL(reduce_rows_f32, 256, const float* x, float* out, ReduceShape shape) {
    uint32_t rows_of_block = REDUCE_THREADS / shape.lanes;
    uint64_t part = static_cast<uint64_t>(blockIdx.x) * rows_of_block + threadIdx.x / shape.lanes;
    uint64_t batch = part / shape.splits;
    bool inside = batch < shape.batches;
    float sum = 0.0f;
    if (inside) {
        ReduceSplit split(shape, part % shape.splits);
        const float* from = x + batch * shape.batch_stride + split.first;
        sum = reduce_stretch(from, split.count, threadIdx.x % shape.lanes, shape.lanes, shape.wide != 0);
    }
    sum = shape.lanes == REDUCE_THREADS ? reduce_block<Sum, REDUCE_THREADS>(sum)
                                        : reduce_lanes<Sum>(sum, static_cast<int>(shape.lanes));
    if (inside && threadIdx.x % shape.lanes == 0) store(out + part, sum, shape.add != 0);
}

// An element and its place; NaN stands for none at all.
struct ReducePlace {
    float value;
    uint32_t index;
};

// Which of two is the first largest: NaN never is, and of two NaN the first.
struct ReduceFirstLargest {
    static __device__ __forceinline__ ReducePlace of(ReducePlace a, ReducePlace b) {
        bool b_counts = b.value == b.value, a_counts = a.value == a.value;
        bool larger = b_counts && (!a_counts || b.value > a.value);
        bool level = a_counts == b_counts && !(a.value < b.value) && !(b.value < a.value);
        return larger || (level && b.index < a.index) ? b : a;
    }
};

KERNEL(reduce_argmax_f32, 256, const float* x, int* out, ReduceShape shape) {
    uint32_t lane = threadIdx.x % shape.lanes;
    uint64_t row = static_cast<uint64_t>(blockIdx.x) * (REDUCE_THREADS / shape.lanes) + threadIdx.x / shape.lanes;
    bool inside = row < shape.rows;
    ReducePlace best{NAN, 0xffffffffu};
    if (inside) {
        const float* from = x + row * shape.row_stride;
        for (uint32_t column = lane; column < shape.columns; column += shape.lanes) {
            best = ReduceFirstLargest::of(best, ReducePlace{from[column], column});
        }
    }
    for (uint32_t distance = shape.lanes / 2; distance > 0; distance /= 2) {
        ReducePlace other;
        other.value = __shfl_xor_sync(ALL_LANES, best.value, static_cast<int>(distance));
        other.index = __shfl_xor_sync(ALL_LANES, best.index, static_cast<int>(distance));
        best = ReduceFirstLargest::of(best, other);
    }
    if (inside && lane == 0) out[row] = best.index == 0xffffffffu ? 0 : static_cast<int>(best.index);
}
