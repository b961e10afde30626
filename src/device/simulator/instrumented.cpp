// What the compiler calls before each access of an instrumented kernel (-fsanitize=thread): its names, our meaning. Only in
// the checked build; this file itself is not instrumented.
#include "cuda_on_host.h"

extern "C" {

// access.rs defines it. `place` is where the kernel goes on after the call.
void simulator_access(simulator_context*, const void* address, size_t bytes, uint32_t kind, const void* place);

}  // extern "C"

namespace {

enum : uint32_t { READ = 0, WRITE = 1, ATOMIC = 2 };

// Local variables and what the scheduler keeps for the running thread are nobody else's: they are most of all accesses.
__forceinline__ bool is_private(const void* address, const void* frame) {
    uintptr_t own = reinterpret_cast<uintptr_t>(&simulator_current), at = reinterpret_cast<uintptr_t>(address);
    return at - reinterpret_cast<uintptr_t>(frame) < 65536 || at - own < sizeof(simulator_context);
}

}  // namespace

#define TOLD(address, bytes, kind)                                                                   \
    if (simulator_current.is_checked && !is_private(address, __builtin_frame_address(0))) {           \
        simulator_access(&simulator_current, address, bytes, kind, __builtin_return_address(0));      \
    }

#define ACCESS(bytes)                                                             \
    void __tsan_read##bytes(void* p) { TOLD(p, bytes, READ) }                     \
    void __tsan_write##bytes(void* p) { TOLD(p, bytes, WRITE) }                   \
    void __tsan_unaligned_read##bytes(void* p) { TOLD(p, bytes, READ) }           \
    void __tsan_unaligned_write##bytes(void* p) { TOLD(p, bytes, WRITE) }

#define ATOMIC_ADD(bits, type)                                         \
    type __tsan_atomic##bits##_fetch_add(volatile type* p, type value, int) { \
        TOLD(const_cast<type*>(p), bits / 8, ATOMIC)                   \
        return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);         \
    }

extern "C" {

ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
ATOMIC_ADD(32, int)
ATOMIC_ADD(64, long long)

void __tsan_read_range(void* p, size_t bytes) { TOLD(p, bytes, READ) }
void __tsan_write_range(void* p, size_t bytes) { TOLD(p, bytes, WRITE) }

// Called before `main` by each instrumented file.
void __tsan_init() {}

}  // extern "C"
