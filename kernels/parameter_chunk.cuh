// A chunk of one parameter in the flat buffers. Shared by optimizer.cu and soft_update.cu.
#pragma once

#include "common.cuh"

// At most CHUNK_LENGTH elements. A block of CHUNK_THREADS takes a chunk, each thread CHUNK_VECTORS vectors of 4
// elements.
struct ParameterChunk {
    uint64_t base;       // first element in the flat buffers, a multiple of 4
    uint64_t rate_base;  // first rate of the parameter
    uint32_t length;     // elements
    uint32_t phase;      // first element within the parameter, modulo inner * features
    uint32_t in_head;
    Divisor by_inner;     // consecutive elements of one feature
    Divisor by_features;  // features
    uint32_t unused;
};

// The feature of an element of the chunk.
__device__ __forceinline__ uint32_t feature_of(const ParameterChunk& chunk, uint32_t element) {
    uint32_t feature = quotient(chunk.phase + element, chunk.by_inner);
    return feature - quotient(feature, chunk.by_features) * chunk.by_features.value;
}

static const uint32_t CHUNK_THREADS = 256;
static const uint32_t CHUNK_VECTORS = 4;
static const uint32_t CHUNK_LENGTH = 4 * CHUNK_VECTORS * CHUNK_THREADS;
