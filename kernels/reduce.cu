// Sums over some axes, and argmax. The launches are in src/ops/tensor/reduce/launch.rs.
//
//   columns   out[b, s, c] = sum over rows r of split s of x[b, r, c]
//   rows      out[b, s]    = sum over elements r of split s of x[b, r]
//   argmax    out[r]       = the first c at which x[r, c] is largest, ignoring NaN; 0 where all are NaN
//
//   x     [batches, rows, columns] with any batch and row strides; columns are contiguous. f32 or bf16
//   out   [batches, splits, columns], contiguous, f32, or bf16 where `narrow`; stored, or accumulated where `add`
//
// A sum over leading axes (a bias's gradient, statistics) is `columns` with one batch; over trailing axes `rows`; over
// middle axes (squeeze and excite) `columns` with batches; over everything `rows` with one batch. Where kept and summed
// axes alternate, each run of summed axes is one of these.
//
// Bytes: 4 per element of x (bf16: 2), read once, and the output; one addition per element. Memory-bound; the danger is
// idle SMs where the output is small. So rows are divided into splits by a rule that depends on the shape alone, and a
// second launch of the same kernel adds the splits' sums: two launches in a fixed order, no atomics.
//
// columns: grid batches x splits x blocks of columns, along one axis. A block of 256 threads is `lanes` threads along
// the columns, at most 32 units of 16 bytes (one element where columns or strides do not allow it), by 256 / lanes
// groups. Each group takes every (256 / lanes)-th row, four in flight; then a tree reduction in shared memory, free of
// bank conflicts, adds the groups. Few columns (three, ten) give few lanes and many groups, so accesses stay coalesced.
// One thread per column would be only 3 warps for a bias of 100.
// rows: short rows take at most 32 threads each, 8 rows or more per block; long rows a block of 256 per split.
// argmax: at most 32 threads per row.
//
// out does not overlap x.
#include "common.cuh"

struct ReduceShape {
    uint64_t batches, rows, columns;
    uint64_t batch_stride, row_stride;  // of x, in elements
    uint64_t split_rows;                // rows per split; a multiple of 4 in `rows`
    uint32_t splits;
    uint32_t lanes;  // threads that share a row: a power of 2
    uint32_t wide;   // whether loads may be 16 bytes
    uint32_t add;
    uint32_t narrow;  // whether out is bf16
    uint32_t unused;
};

static const int REDUCE_THREADS = 256;

// The split's rows: the first and their number.
struct ReduceSplit {
    uint64_t first, count;
    __device__ ReduceSplit(const ReduceShape& shape, uint64_t split) {
        first = split * shape.split_rows;
        uint64_t left = shape.rows - first;
        count = left < shape.split_rows ? left : shape.split_rows;
    }
};

template <int V, class T>
__device__ void reduce_columns(const T* x, void* out, const ReduceShape& shape) {
    SHARED(Pack<V>, sums, [REDUCE_THREADS]);
    uint32_t lanes = shape.lanes, groups = REDUCE_THREADS / lanes;
    uint32_t lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
    uint32_t column_blocks = divide_up(static_cast<uint32_t>(shape.columns / V), lanes);
    uint32_t column_block = blockIdx.x % column_blocks, part = blockIdx.x / column_blocks;
    uint64_t batch = part / shape.splits;
    ReduceSplit split(shape, part % shape.splits);
    uint64_t column = static_cast<uint64_t>(column_block * lanes + lane) * V;

    Pack<V> sum{};
    if (column < shape.columns) {
        uint64_t step = groups * shape.row_stride;
        const T* from = x + batch * shape.batch_stride + (split.first + group) * shape.row_stride + column;
        uint64_t row = group;
        for (; row + 3 * groups < split.count; row += 4 * groups, from += 4 * step) {
            Pack<V> values[4];
            UNROLL
            for (int k = 0; k < 4; k++) values[k] = load<V>(from + k * step);
            UNROLL
            for (int k = 0; k < 4; k++) add_to(sum, values[k]);
        }
        for (; row < split.count; row += groups, from += step) add_to(sum, load<V>(from));
    }
    sums[threadIdx.x] = sum;
    for (uint32_t half = groups / 2; half > 0; half /= 2) {
        __syncthreads();  // the upper half's sums are written
        if (group < half) {
            add_to(sum, sums[threadIdx.x + half * lanes]);
            sums[threadIdx.x] = sum;
        }
    }
    if (group == 0 && column < shape.columns) {
        uint64_t place = static_cast<uint64_t>(part) * shape.columns + column;
        if (shape.narrow) {
            store(static_cast<bf16*>(out) + place, sum, shape.add != 0);
        } else {
            store(static_cast<float*>(out) + place, sum, shape.add != 0);
        }
    }
}

KERNEL(reduce_columns_f32, 256, const float* x, void* out, ReduceShape shape) {
    if (shape.wide) {
        reduce_columns<4>(x, out, shape);
    } else {
        reduce_columns<1>(x, out, shape);
    }
}

KERNEL_RESIDENT(reduce_columns_bf16, 256, 4, const bf16* x, void* out, ReduceShape shape) {
    if (shape.wide) {
        reduce_columns<8>(x, out, shape);
    } else {
        reduce_columns<1>(x, out, shape);
    }
}

template <int V>
__device__ __forceinline__ float reduce_pack(const Pack<V>& pack) {
    float sum = 0.0f;
    UNROLL
    for (int v = 0; v < V; v += 4) {
        sum += (pack.value[v] + pack.value[v + 1]) + (pack.value[v + 2] + pack.value[v + 3]);
    }
    return sum;
}

// Sums every `threads`-th unit of `count` elements, starting at `thread`.
template <int V, class T>
__device__ __forceinline__ float reduce_stretch(
    const T* x, uint64_t count, uint32_t thread, uint32_t threads, bool wide) {
    float sum = 0.0f;
    uint64_t vectors = wide ? count / V : 0;
    uint64_t vector = thread;
    for (; vector + 3 * threads < vectors; vector += 4 * threads) {
        Pack<V> values[4];
        UNROLL
        for (int k = 0; k < 4; k++) values[k] = load<V>(x + V * (vector + k * threads));
        UNROLL
        for (int k = 0; k < 4; k++) sum += reduce_pack(values[k]);
    }
    for (; vector < vectors; vector += threads) sum += reduce_pack(load<V>(x + V * vector));
    for (uint64_t at = V * vectors + thread; at < count; at += threads) sum += static_cast<float>(x[at]);
    return sum;
}

template <int V, class T>
__device__ __forceinline__ void reduce_rows(const T* x, void* out, const ReduceShape& shape) {
    uint32_t rows_of_block = REDUCE_THREADS / shape.lanes;
    uint64_t part = static_cast<uint64_t>(blockIdx.x) * rows_of_block + threadIdx.x / shape.lanes;
    uint64_t batch = part / shape.splits;
    bool inside = batch < shape.batches;
    float sum = 0.0f;
    if (inside) {
        ReduceSplit split(shape, part % shape.splits);
        const T* from = x + batch * shape.batch_stride + split.first;
        sum = reduce_stretch<V>(from, split.count, threadIdx.x % shape.lanes, shape.lanes, shape.wide != 0);
    }
    sum = shape.lanes == REDUCE_THREADS ? reduce_block<Sum, REDUCE_THREADS>(sum)
                                        : reduce_lanes<Sum>(sum, static_cast<int>(shape.lanes));
    if (!inside || threadIdx.x % shape.lanes != 0) return;
    if (shape.narrow) {
        store(static_cast<bf16*>(out) + part, sum, shape.add != 0);
    } else {
        store(static_cast<float*>(out) + part, sum, shape.add != 0);
    }
}

KERNEL(reduce_rows_f32, 256, const float* x, void* out, ReduceShape shape) {
    reduce_rows<4>(x, out, shape);
}

KERNEL(reduce_rows_bf16, 256, const bf16* x, void* out, ReduceShape shape) {
    reduce_rows<8>(x, out, shape);
}

// An element and its index; NaN means none.
struct ReducePlace {
    float value;
    uint32_t index;
};

// The first largest of two, ignoring NaN; of two NaN the first.
struct ReduceFirstLargest {
    static __device__ __forceinline__ ReducePlace of(ReducePlace a, ReducePlace b) {
        bool b_counts = b.value == b.value, a_counts = a.value == a.value;
        bool larger = b_counts && (!a_counts || b.value > a.value);
        bool level = a_counts == b_counts && !(a.value < b.value) && !(b.value < a.value);
        return larger || (level && b.index < a.index) ? b : a;
    }
};

template <class T>
__device__ __forceinline__ void reduce_argmax(const T* x, int* out, const ReduceShape& shape) {
    uint32_t lane = threadIdx.x % shape.lanes;
    uint64_t row = static_cast<uint64_t>(blockIdx.x) * (REDUCE_THREADS / shape.lanes) + threadIdx.x / shape.lanes;
    bool inside = row < shape.rows;
    ReducePlace best{NAN, 0xffffffffu};
    if (inside) {
        const T* from = x + row * shape.row_stride;
        for (uint32_t column = lane; column < shape.columns; column += shape.lanes) {
            best = ReduceFirstLargest::of(best, ReducePlace{static_cast<float>(from[column]), column});
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

KERNEL(reduce_argmax_f32, 256, const float* x, int* out, ReduceShape shape) {
    reduce_argmax(x, out, shape);
}

KERNEL(reduce_argmax_bf16, 256, const bf16* x, int* out, ReduceShape shape) {
    reduce_argmax(x, out, shape);
}
