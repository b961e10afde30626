// Embedding: gathers rows of a table by token, and accumulates the table's gradient. The launches are in
// src/ops/layers/embedding/launch.rs.
//
//   fwd     out[i] = table[tokens[i]]
//   bwd     gradient[v] = sum of dy[i] over the i with tokens[i] = v, or += where `add`
//
//   tokens           [n], 0..vocabulary; a token outside traps
//   table, gradient  [vocabulary, columns] with any row pitch; the gradient is f32
//   out              [n, columns], contiguous
//   dy               [n, columns] with any row pitch; dy, table and out are f32 or bf16
//
// Forward: 8 bytes per element (bf16: 4), one unit per thread. A unit is 16 bytes; in bf16 8 bytes where columns or
// pitch are a multiple of 4 but not of 8 (the usual 100); one element where alignment allows no more.
//
// Backward. Float atomics would add in a different order each time. So the tokens are sorted stably together with their
// positions, and one warp sums each row of the table in the order of the batch. Rows of absent tokens were zeroed
// before.
//
// 1. Radix sort, least significant digit first, 8 bits per pass: one pass for a vocabulary of 256, two for 65,536. A tile
//    is 2048 tokens, a block of 256 threads with 8 tokens each. A warp takes 256 consecutive tokens, 32 at a time: eight
//    ballots tell each lane which other lanes have its digit, so its rank is a population count, and one lane per digit
//    advances the warp's counter. The start of each digit is then a prefix sum over smaller digits, earlier tiles and
//    earlier warps. One tile (a text's window has 1400 tokens) is one launch for all passes, in shared memory:
//    sort_tile. More tiles take two launches per pass: sort_count makes the tiles' histograms, and in sort_place every
//    block sums the histograms of the tiles before it. That reads 1 KB per tile from the cache, and saves a launch.
// 2. sums: a warp takes 32 sorted tokens by 32 units of columns, four rows of dy in flight. Sums of tokens that lie
//    within the 32 are final. A token that crosses an edge leaves a partial sum: [chunks][2] rows, the first for a token
//    that began in an earlier chunk, the second for one that continues in the next.
// 3. joins: the warp in whose chunk such a token begins adds up the partial sums that follow. So a frequent token (a
//    space: one in six) is summed by many warps.
//
// Bytes: 4 per element of dy (bf16: 2), 4 written per element of the table (8 with `add`), at most 1/16 of dy for the
// partial sums; 24 per token and pass of the sort. Memory-bound, and for a text's window launch-bound: memset, sort,
// sums, joins.
//
// No buffer overlaps another.
#include "common.cuh"

static const int EMBEDDING_THREADS = 256;
static const int EMBEDDING_WARPS = EMBEDDING_THREADS / 32;
static const int EMBEDDING_ITEMS = 8;  // tokens per thread
static const uint32_t EMBEDDING_TILE = EMBEDDING_THREADS * EMBEDDING_ITEMS;
static const int EMBEDDING_BITS = 8;
static const int EMBEDDING_DIGITS = 1 << EMBEDDING_BITS;  // one per thread
static const uint32_t EMBEDDING_CHUNK = 32;               // sorted tokens per warp

struct EmbeddingShape {
    uint64_t units;     // of the output
    uint64_t pitch;     // of the input: the table, or dy
    uint64_t to_pitch;  // of the result
    uint32_t tokens, columns, vocabulary;
    uint32_t width;  // elements per unit: 4, in bf16 8 or 4, or 1
    uint32_t add;
    uint32_t chunks;  // of sorted tokens
};

// ---- forward -------------------------------------------------------------------------------------------------------

template <int V, class T>
__device__ __forceinline__ void embedding_gather(
    const int* tokens, const T* table, T* out, const EmbeddingShape& shape) {
    uint64_t unit = global_thread();
    if (unit >= shape.units) return;
    uint32_t row_units = shape.columns / V;
    uint64_t row = unit / row_units;
    uint32_t column = static_cast<uint32_t>(unit - row * row_units) * V;
    uint32_t token = static_cast<uint32_t>(tokens[row]);
    if (token >= shape.vocabulary) __trap();
    store<V>(out + row * shape.to_pitch + column, load<V>(table + token * shape.pitch + column));
}

KERNEL(embedding_fwd_f32, 256, const int* tokens, const float* table, float* out, EmbeddingShape shape) {
    if (shape.width == 4) {
        embedding_gather<4>(tokens, table, out, shape);
    } else {
        embedding_gather<1>(tokens, table, out, shape);
    }
}

KERNEL(embedding_fwd_bf16, 256, const int* tokens, const bf16* table, bf16* out, EmbeddingShape shape) {
    if (shape.width == 8) {
        embedding_gather<8>(tokens, table, out, shape);
    } else if (shape.width == 4) {
        embedding_gather<4>(tokens, table, out, shape);
    } else {
        embedding_gather<1>(tokens, table, out, shape);
    }
}

// ---- sort ----------------------------------------------------------------------------------------------------------

// The index within the tile of this thread's token `k`; a warp's tokens are consecutive.
__device__ __forceinline__ uint32_t embedding_item(int k) {
    return threadIdx.x / WARP * (WARP * EMBEDDING_ITEMS) + k * WARP + threadIdx.x % WARP;
}

__device__ __forceinline__ uint32_t embedding_digit(uint32_t token, uint32_t shift) {
    return token >> shift & (EMBEDDING_DIGITS - 1);
}

// Exclusive prefix sum over the threads of the block. All threads must call it, with a barrier between two calls.
__device__ __forceinline__ uint32_t embedding_sum_before(uint32_t value) {
    SHARED(uint32_t, warps, [EMBEDDING_WARPS]);
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, sum = value;
    UNROLL
    for (int distance = 1; distance < WARP; distance *= 2) {
        uint32_t before = __shfl_up_sync(ALL_LANES, sum, distance);
        if (lane >= static_cast<uint32_t>(distance)) sum += before;
    }
    if (lane == WARP - 1) warps[warp] = sum;
    __syncthreads();  // `warps` is written
    UNROLL
    for (uint32_t other = 0; other < EMBEDDING_WARPS; other++) {
        if (other < warp) sum += warps[other];
    }
    return sum - value;
}

// Destinations of this thread's tokens in a stable sort of the tile's `count` tokens by the digit at `shift`.
// `histograms` are those of all tiles, [tiles][digits], this one's at `tile`; null where there is only one tile. A
// barrier must separate two calls.
__device__ __forceinline__ void embedding_places(
    const uint32_t (&tokens)[EMBEDDING_ITEMS], uint32_t count, uint32_t shift, const uint32_t* histograms, uint32_t tile,
    uint32_t tiles, uint32_t (&places)[EMBEDDING_ITEMS]) {
    SHARED(uint32_t, counters, [EMBEDDING_WARPS][EMBEDDING_DIGITS]);
    uint32_t warp = threadIdx.x / WARP, below = (1u << threadIdx.x % WARP) - 1;
    UNROLL
    for (int w = 0; w < EMBEDDING_WARPS; w++) counters[w][threadIdx.x] = 0;
    // For each token, a bit for every lane with the same digit.
    uint32_t peers[EMBEDDING_ITEMS];
    UNROLL
    for (int k = 0; k < EMBEDDING_ITEMS; k++) {
        uint32_t digit = embedding_digit(tokens[k], shift);
        peers[k] = __ballot_sync(ALL_LANES, embedding_item(k) < count);
        UNROLL
        for (int bit = 0; bit < EMBEDDING_BITS; bit++) {
            bool own = digit >> bit & 1;
            uint32_t votes = __ballot_sync(ALL_LANES, own);
            peers[k] &= own ? votes : ~votes;
        }
    }
    __syncthreads();  // `counters` are zero
    UNROLL
    for (int k = 0; k < EMBEDDING_ITEMS; k++) {
        uint32_t& counter = counters[warp][embedding_digit(tokens[k], shift)];
        uint32_t before = counter;
        places[k] = before + __popc(peers[k] & below);
        __syncwarp(ALL_LANES);  // all lanes have read their counters
        if (embedding_item(k) < count && (peers[k] & below) == 0) counter = before + __popc(peers[k]);
        __syncwarp(ALL_LANES);  // the counters are advanced
    }
    __syncthreads();  // all warps have counted
    uint32_t own = 0;
    UNROLL
    for (int w = 0; w < EMBEDDING_WARPS; w++) {
        uint32_t counted = counters[w][threadIdx.x];
        counters[w][threadIdx.x] = own;
        own += counted;
    }
    uint32_t tiles_before = 0, all = own;
    if (histograms != nullptr) {
        all = 0;
        for (uint32_t other = 0; other < tiles; other++) {
            uint32_t counted = histograms[other * EMBEDDING_DIGITS + threadIdx.x];
            if (other < tile) tiles_before += counted;
            all += counted;
        }
    }
    uint32_t start = embedding_sum_before(all) + tiles_before;
    UNROLL
    for (int w = 0; w < EMBEDDING_WARPS; w++) counters[w][threadIdx.x] += start;
    __syncthreads();  // `counters` hold the start of each warp's tokens of a digit
    UNROLL
    for (int k = 0; k < EMBEDDING_ITEMS; k++) places[k] += counters[warp][embedding_digit(tokens[k], shift)];
}

KERNEL(embedding_sort_tile, 256, const int* tokens, int* sorted, int* positions, uint32_t count, uint32_t bits) {
    SHARED(uint2, pairs, [EMBEDDING_TILE]);
    uint32_t own[EMBEDDING_ITEMS], from[EMBEDDING_ITEMS], places[EMBEDDING_ITEMS];
    UNROLL
    for (int k = 0; k < EMBEDDING_ITEMS; k++) {
        from[k] = embedding_item(k);
        own[k] = from[k] < count ? static_cast<uint32_t>(tokens[from[k]]) : 0;
    }
    for (uint32_t shift = 0; shift < bits; shift += EMBEDDING_BITS) {
        embedding_places(own, count, shift, nullptr, 0, 1, places);
        UNROLL
        for (int k = 0; k < EMBEDDING_ITEMS; k++) {
            if (embedding_item(k) < count) pairs[places[k]] = make_uint2(own[k], from[k]);
        }
        __syncthreads();  // `pairs` are written; the next pass writes them after other barriers
        UNROLL
        for (int k = 0; k < EMBEDDING_ITEMS; k++) {
            if (embedding_item(k) < count) {
                own[k] = pairs[embedding_item(k)].x;
                from[k] = pairs[embedding_item(k)].y;
            }
        }
    }
    UNROLL
    for (int k = 0; k < EMBEDDING_ITEMS; k++) {
        if (embedding_item(k) < count) {
            sorted[embedding_item(k)] = static_cast<int>(own[k]);
            positions[embedding_item(k)] = static_cast<int>(from[k]);
        }
    }
}

// Histogram of the digits in each tile, into histograms [tiles][digits].
KERNEL(embedding_sort_count, 256, const int* tokens, uint32_t* histograms, uint32_t count, uint32_t shift) {
    SHARED(uint32_t, histogram, [EMBEDDING_DIGITS]);
    histogram[threadIdx.x] = 0;
    __syncthreads();  // the histogram is zero
    uint32_t start = blockIdx.x * EMBEDDING_TILE;
    for (uint32_t item = threadIdx.x; item < EMBEDDING_TILE && start + item < count; item += EMBEDDING_THREADS) {
        // Integer counts are exact in any order.
        atomicAdd(&histogram[embedding_digit(static_cast<uint32_t>(tokens[start + item]), shift)], 1u);
    }
    __syncthreads();  // all tokens are counted
    histograms[blockIdx.x * EMBEDDING_DIGITS + threadIdx.x] = histogram[threadIdx.x];
}

// One pass: scatters tokens and positions (or their own indices where that is null) to sorted and sorted_positions.
KERNEL(embedding_sort_place, 256, const int* tokens, const int* positions, const uint32_t* histograms, int* sorted,
       int* sorted_positions, uint32_t count, uint32_t shift) {
    uint32_t start = blockIdx.x * EMBEDDING_TILE, left = count - start;
    uint32_t own[EMBEDDING_ITEMS], places[EMBEDDING_ITEMS];
    UNROLL
    for (int k = 0; k < EMBEDDING_ITEMS; k++) {
        own[k] = embedding_item(k) < left ? static_cast<uint32_t>(tokens[start + embedding_item(k)]) : 0;
    }
    embedding_places(own, left, shift, histograms, blockIdx.x, gridDim.x, places);
    UNROLL
    for (int k = 0; k < EMBEDDING_ITEMS; k++) {
        uint32_t item = embedding_item(k);
        if (item < left) {
            sorted[places[k]] = static_cast<int>(own[k]);
            sorted_positions[places[k]] = positions == nullptr ? static_cast<int>(start + item) : positions[start + item];
        }
    }
}

// ---- sums ----------------------------------------------------------------------------------------------------------

// The part of a warp: 32 sorted tokens by 32 units of columns, one unit per lane.
template <int V>
struct EmbeddingWork {
    uint32_t chunk, start, end, column;
    bool inside;

    __device__ EmbeddingWork(const EmbeddingShape& shape) {
        uint32_t column_blocks = divide_up(shape.columns / V, WARP);
        uint64_t warp = static_cast<uint64_t>(blockIdx.x) * EMBEDDING_WARPS + threadIdx.x / WARP;
        uint64_t number = warp / column_blocks;
        column = (static_cast<uint32_t>(warp % column_blocks) * WARP + threadIdx.x % WARP) * V;
        inside = number < shape.chunks && column < shape.columns;
        chunk = static_cast<uint32_t>(number);
        start = chunk * EMBEDDING_CHUNK;
        end = start + EMBEDDING_CHUNK < shape.tokens ? start + EMBEDDING_CHUNK : shape.tokens;
    }
};

template <int V, class T>
__device__ __forceinline__ void embedding_sum_chunk(
    const int* sorted, const int* positions, const T* dy, float* gradient, float* parts, const EmbeddingShape& shape) {
    EmbeddingWork<V> work(shape);
    if (!work.inside) return;
    dy += work.column;
    int token = sorted[work.start];
    bool began_here = work.start == 0 || sorted[work.start - 1] != token;
    Pack<V> sum{};
    for (uint32_t first = work.start; first < work.end; first += 4) {
        Pack<V> rows[4];
        UNROLL
        for (uint32_t k = 0; k < 4; k++) {
            if (first + k < work.end) {
                uint64_t row = static_cast<uint32_t>(positions[first + k]);
                rows[k] = load<V>(dy + row * shape.pitch);
            }
        }
        UNROLL
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t next = first + k + 1;
            if (next > work.end) continue;
            add_to(sum, rows[k]);
            int next_token = next < shape.tokens ? sorted[next] : -1;
            bool ends = next_token != token;
            if (!ends && next < work.end) continue;
            if (ends && began_here) {
                store(gradient + token * shape.to_pitch + work.column, sum, shape.add != 0);
            } else {
                uint64_t part = 2 * static_cast<uint64_t>(work.chunk) + (began_here ? 1 : 0);
                store<V>(parts + part * shape.columns + work.column, sum);
            }
            sum = Pack<V>{};
            token = next_token;
            began_here = true;
        }
    }
}

KERNEL(embedding_sums_f32, 256, const int* sorted, const int* positions, const float* dy, float* gradient,
       float* parts, EmbeddingShape shape) {
    if (shape.width == 4) {
        embedding_sum_chunk<4>(sorted, positions, dy, gradient, parts, shape);
    } else {
        embedding_sum_chunk<1>(sorted, positions, dy, gradient, parts, shape);
    }
}

KERNEL(embedding_sums_bf16, 256, const int* sorted, const int* positions, const bf16* dy, float* gradient,
       float* parts, EmbeddingShape shape) {
    if (shape.width == 8) {
        embedding_sum_chunk<8>(sorted, positions, dy, gradient, parts, shape);
    } else if (shape.width == 4) {
        embedding_sum_chunk<4>(sorted, positions, dy, gradient, parts, shape);
    } else {
        embedding_sum_chunk<1>(sorted, positions, dy, gradient, parts, shape);
    }
}

template <int V>
__device__ __forceinline__ void embedding_join_parts(
    const int* sorted, const float* parts, float* gradient, const EmbeddingShape& shape) {
    EmbeddingWork<V> work(shape);
    if (!work.inside || work.end == shape.tokens) return;
    int token = sorted[work.end - 1];
    bool goes_on = sorted[work.end] == token;
    bool began_here = work.start == 0 || sorted[work.start - 1] != token;
    if (!goes_on || !began_here) return;
    parts += work.column;
    uint64_t part = 2 * static_cast<uint64_t>(work.chunk) + 1;
    Pack<V> sum = load<V>(parts + part * shape.columns);
    uint32_t end = work.end;
    do {
        part += part % 2 == 1 ? 1 : 2;
        add_to(sum, load<V>(parts + part * shape.columns));
        end += EMBEDDING_CHUNK;
    } while (end < shape.tokens && sorted[end] == token);
    store(gradient + token * shape.to_pitch + work.column, sum, shape.add != 0);
}

KERNEL(embedding_joins_f32, 256, const int* sorted, const float* parts, float* gradient, EmbeddingShape shape) {
    if (shape.width == 8) {
        embedding_join_parts<8>(sorted, parts, gradient, shape);
    } else if (shape.width == 4) {
        embedding_join_parts<4>(sorted, parts, gradient, shape);
    } else {
        embedding_join_parts<1>(sorted, parts, gradient, shape);
    }
}
