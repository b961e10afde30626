// A chunk of one parameter in the flat buffers. Shared by optimizer.cu and soft_update.cu.
#pragma once

#include "common.cuh"

// At most CHUNK_LENGTH elements. A block of CHUNK_THREADS takes a chunk, each thread CHUNK_VECTORS vectors of 4
// elements.
struct ParameterChunk {
    uint64_t base;       // first element in the flat buffers, a multiple of 4
    uint64_t offset;     // first element within the parameter, a multiple of 4
    uint64_t rate_base;  // first rate of the parameter
    uint32_t length;     // elements
    uint32_t inner;      // consecutive elements of one feature
    uint32_t features;
    uint32_t in_head;
};

static const uint32_t CHUNK_THREADS = 256;
static const uint32_t CHUNK_VECTORS = 4;
static const uint32_t CHUNK_LENGTH = 4 * CHUNK_VECTORS * CHUNK_THREADS;
