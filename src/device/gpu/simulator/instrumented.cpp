// The functions that the compiler calls before each access of an instrumented kernel (-fsanitize=thread). They are not
// instrumented themselves, also where a kernel's file includes this one.
#include "cuda_on_host.h"

#define SIMULATOR_UNCHECKED __attribute__((no_sanitize("thread")))

extern "C" {

// access.rs defines it. `place` is the return address of the call.
void simulator_access(simulator_context*, const void* address, size_t bytes, uint32_t kind, const void* place);

}  // extern "C"

namespace simulator {

// MISALIGNED is added for a vector whose address is no multiple of its size, which a GPU does not take.
enum : uint32_t { READ = 0, WRITE = 1, ATOMIC = 2, MISALIGNED = 4 };

// Local variables and the scheduler's data for the running thread are private to it. Most accesses
// are of this kind; they are not reported.
SIMULATOR_UNCHECKED __forceinline__ bool is_private(const void* address, const void* frame) {
    uintptr_t context = reinterpret_cast<uintptr_t>(&simulator_current), at = reinterpret_cast<uintptr_t>(address);
    uintptr_t own = reinterpret_cast<uintptr_t>(frame);
    return at - own < simulator_current.stack_end - own || at - context < sizeof(simulator_context);
}

}  // namespace simulator

#define SIMULATOR_REPORT_BYTES(address, bytes, kind, alignment)                                                                  \
    if (simulator_current.is_checked && !simulator::is_private(address, __builtin_frame_address(0))) {          \
        uint32_t misaligned = reinterpret_cast<uintptr_t>(address) % (alignment) ? simulator::MISALIGNED : 0;         \
        simulator_access(                                                                                       \
            &simulator_current, address, bytes, simulator::kind | misaligned, __builtin_return_address(0));     \
    }

#define SIMULATOR_REPORT(address, bytes, kind) SIMULATOR_REPORT_BYTES(address, bytes, kind, bytes)

#define SIMULATOR_ACCESS(bytes)                                                                       \
    SIMULATOR_UNCHECKED void __tsan_read##bytes(void* p) { SIMULATOR_REPORT(p, bytes, READ) }            \
    SIMULATOR_UNCHECKED void __tsan_write##bytes(void* p) { SIMULATOR_REPORT(p, bytes, WRITE) }          \
    SIMULATOR_UNCHECKED void __tsan_unaligned_read##bytes(void* p) { SIMULATOR_REPORT_BYTES(p, bytes, READ, 1) }  \
    SIMULATOR_UNCHECKED void __tsan_unaligned_write##bytes(void* p) { SIMULATOR_REPORT_BYTES(p, bytes, WRITE, 1) }

#define SIMULATOR_ATOMIC_ADD(bits, type)                                                       \
    SIMULATOR_UNCHECKED type __tsan_atomic##bits##_fetch_add(volatile type* p, type value, int) { \
        SIMULATOR_REPORT(const_cast<type*>(p), bits / 8, ATOMIC)                               \
        return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);                                 \
    }

extern "C" {

SIMULATOR_ACCESS(1)
SIMULATOR_ACCESS(2)
SIMULATOR_ACCESS(4)
SIMULATOR_ACCESS(8)
SIMULATOR_ACCESS(16)
SIMULATOR_ATOMIC_ADD(32, int)
SIMULATOR_ATOMIC_ADD(64, long long)

SIMULATOR_UNCHECKED void __tsan_read_range(void* p, size_t bytes) { SIMULATOR_REPORT_BYTES(p, bytes, READ, 1) }
SIMULATOR_UNCHECKED void __tsan_write_range(void* p, size_t bytes) { SIMULATOR_REPORT_BYTES(p, bytes, WRITE, 1) }

// Called before `main` by each instrumented file.
void __tsan_init() {}

}  // extern "C"
