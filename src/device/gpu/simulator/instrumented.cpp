// The functions that the compiler calls before each access of an instrumented kernel (-fsanitize=thread). Only in the
// checked build; this file itself is not instrumented.
#include "cuda_on_host.h"

extern "C" {

// access.rs defines it. `place` is the return address of the call.
void simulator_access(simulator_context*, const void* address, size_t bytes, uint32_t kind, const void* place);

}  // extern "C"

namespace {

enum : uint32_t { READ = 0, WRITE = 1, ATOMIC = 2 };

// Local variables and the scheduler's data for the running thread are private to it. Most accesses
// are of this kind; they are not reported.
__forceinline__ bool is_private(const void* address, const void* frame) {
    uintptr_t context = reinterpret_cast<uintptr_t>(&simulator_current), at = reinterpret_cast<uintptr_t>(address);
    return at - reinterpret_cast<uintptr_t>(frame) < 65536 || at - context < sizeof(simulator_context);
}

}  // namespace

#define REPORT(address, bytes, kind)                                                                   \
    if (simulator_current.is_checked && !is_private(address, __builtin_frame_address(0))) {           \
        simulator_access(&simulator_current, address, bytes, kind, __builtin_return_address(0));      \
    }

#define ACCESS(bytes)                                                             \
    void __tsan_read##bytes(void* p) { REPORT(p, bytes, READ) }                     \
    void __tsan_write##bytes(void* p) { REPORT(p, bytes, WRITE) }                   \
    void __tsan_unaligned_read##bytes(void* p) { REPORT(p, bytes, READ) }           \
    void __tsan_unaligned_write##bytes(void* p) { REPORT(p, bytes, WRITE) }

#define ATOMIC_ADD(bits, type)                                         \
    type __tsan_atomic##bits##_fetch_add(volatile type* p, type value, int) { \
        REPORT(const_cast<type*>(p), bits / 8, ATOMIC)                   \
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

void __tsan_read_range(void* p, size_t bytes) { REPORT(p, bytes, READ) }
void __tsan_write_range(void* p, size_t bytes) { REPORT(p, bytes, WRITE) }

// Called before `main` by each instrumented file.
void __tsan_init() {}

}  // extern "C"
