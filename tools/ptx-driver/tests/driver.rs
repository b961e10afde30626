//! The driver's calls, and what it refuses.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::ffi::{CString, c_int, c_void};
use std::sync::{Mutex, MutexGuard};

use cuda::driver::context::*;
use cuda::driver::entry::{Host, Out};
use cuda::driver::errors::*;
use cuda::driver::events::*;
use cuda::driver::functions::*;
use cuda::driver::graphs::*;
use cuda::driver::launch::*;
use cuda::driver::memory::*;
use cuda::driver::streams::*;

const MAX_DYNAMIC_SHARED: c_int = 8;
const RELAXED: c_int = 2;
const GLOBAL: c_int = 0;
const NON_BLOCKING: u32 = 1;

/// Adds 1 to each word; `wide` has 512 static bytes of shared memory.
const MODULE: &str = ".version 9.0\n.target sm_80\n.address_size 64\n\
    .visible .entry add(\n.param .u64 add_param_0,\n.param .u32 add_param_1\n)\n.maxntid 64, 1, 1\n{\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n\
    ld.param.u64 %rd1, [add_param_0];\nld.param.u32 %r1, [add_param_1];\nmov.u32 %r2, %tid.x;\nmul.wide.u32 %rd2, %r2, 4;\n\
    add.s64 %rd1, %rd1, %rd2;\nld.global.u32 %r3, [%rd1];\nadd.s32 %r3, %r3, %r1;\nst.global.u32 [%rd1], %r3;\nret;\n}\n\
    .extern .shared .align 128 .b8 dynamic[];\n\
    .visible .entry wide()\n{\n.reg .b32 %r<9>;\n.shared .align 16 .b8 fixed[512];\nst.shared.u32 [fixed], 1;\nst.shared.u32 [dynamic], 1;\nret;\n}\n";

/// Calls of several tests must not be mixed: a capture refuses other streams' calls.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn made<T>(mut value: T, call: impl FnOnce(Out<T>) -> c_int) -> T {
    assert_eq!(call(Out::new(&mut value)), 0);
    value
}

struct Gpu {
    stream: usize,
    add: usize,
    wide: usize,
    buffer: u64,
    _alone: MutexGuard<'static, ()>,
}

const WORDS: usize = 64;

impl Gpu {
    fn open() -> Gpu {
        let alone = alone();
        assert_eq!(cuInit(0), 0);
        made(0, |context| cuDevicePrimaryCtxRetain(context, 0));
        let image = CString::new(MODULE).unwrap();
        let module = made(0, |module| cuModuleLoadData(module, image.as_ptr().cast()));
        let function = |name: &str| {
            let name = CString::new(name).unwrap();
            made(0, |function| cuModuleGetFunction(function, module, name.as_ptr()))
        };
        let stream = made(0, |stream| cuStreamCreate(stream, NON_BLOCKING));
        let buffer = made(0, |place| cuMemAlloc_v2(place, 4 * WORDS));
        assert_eq!(cuMemsetD8Async(buffer, 0, 4 * WORDS, stream), 0);
        Gpu { stream, add: function("add"), wide: function("wide"), buffer, _alone: alone }
    }

    fn add(&self, amount: u32, threads: u32) -> c_int {
        let (mut place, mut amount) = (self.buffer, amount);
        let mut each: [*mut c_void; 2] = [(&raw mut place).cast(), (&raw mut amount).cast()];
        self.launch(self.add, [1, 1, 1], [threads, 1, 1], 0, each.as_mut_ptr())
    }

    fn launch(
        &self,
        function: usize,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic: u32,
        each: *mut *mut c_void,
    ) -> c_int {
        let ([gx, gy, gz], [bx, by, bz]) = (grid, block);
        cuLaunchKernel(
            function,
            gx,
            gy,
            gz,
            bx,
            by,
            bz,
            dynamic,
            self.stream,
            each,
            std::ptr::null_mut(),
        )
    }

    fn wide(&self, dynamic: u32) -> c_int {
        self.launch(self.wide, [1, 1, 1], [1, 1, 1], dynamic, std::ptr::null_mut())
    }

    fn words(&self) -> Vec<u32> {
        let mut words = vec![0u32; WORDS];
        let to = Host(words.as_mut_ptr().cast());
        assert_eq!(cuMemcpyDtoHAsync_v2(to, self.buffer, 4 * WORDS, self.stream), 0);
        words
    }

    fn end_capture(&self) -> Result<usize, c_int> {
        let mut graph = 0;
        match cuStreamEndCapture(self.stream, Out::new(&mut graph)) {
            0 => Ok(graph),
            error => Err(error),
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let _ = self.end_capture();
        assert_eq!(cuMemFree_v2(self.buffer), 0);
        assert_eq!(cuStreamDestroy_v2(self.stream), 0);
    }
}

#[test]
fn kernels_run_in_the_streams_order() {
    let gpu = Gpu::open();
    assert_eq!(gpu.add(3, 64), 0);
    assert_eq!(gpu.add(4, 32), 0);
    let words = gpu.words();
    assert!(words[..32].iter().all(|own| *own == 7) && words[32..].iter().all(|own| *own == 3));
}

#[test]
fn wrong_extents_are_refused() {
    let gpu = Gpu::open();
    assert_eq!(gpu.add(1, 0), INVALID_VALUE);
    assert_eq!(gpu.add(1, 65), INVALID_VALUE);
    let none = std::ptr::null_mut();
    for (grid, block) in [
        ([0, 1, 1], [32, 1, 1]),
        ([1, 65_536, 1], [32, 1, 1]),
        ([1, 1, 1], [32, 64, 1]),
        ([1, 1, 1], [1, 1, 65]),
    ] {
        assert_eq!(gpu.launch(gpu.wide, grid, block, 0, none), INVALID_VALUE, "{grid:?} {block:?}");
    }
    assert_eq!(gpu.add(1, 64), 0);
}

#[test]
fn missing_parameters_and_wrong_sizes_are_refused() {
    let gpu = Gpu::open();
    assert_eq!(gpu.launch(gpu.add, [1, 1, 1], [32, 1, 1], 0, std::ptr::null_mut()), INVALID_VALUE);
    let mut each: [*mut c_void; 2] = [std::ptr::null_mut(); 2];
    assert_eq!(gpu.launch(gpu.add, [1, 1, 1], [32, 1, 1], 0, each.as_mut_ptr()), INVALID_VALUE);
    let mut buffer = [gpu.buffer, 5];
    for (mut size, expected) in [(16usize, INVALID_VALUE), (8, INVALID_VALUE), (12, 0)] {
        let mut extra: [*mut c_void; 5] = [
            std::ptr::dangling_mut(),
            buffer.as_mut_ptr().cast(),
            2 as *mut c_void,
            (&raw mut size).cast(),
            std::ptr::null_mut(),
        ];
        let none = std::ptr::null_mut();
        let result =
            cuLaunchKernel(gpu.add, 1, 1, 1, 32, 1, 1, 0, gpu.stream, none, extra.as_mut_ptr());
        assert_eq!(result, expected, "{size} bytes");
    }
    assert_eq!(gpu.words()[0], 5);
}

#[test]
fn shared_memory_beyond_48_kib_has_to_be_asked_for_and_static_bytes_count() {
    let gpu = Gpu::open();
    assert_eq!(gpu.wide((48 << 10) - 512), 0);
    // 48 KiB of dynamic shared memory alone would be allowed.
    assert_eq!(gpu.wide(48 << 10), INVALID_VALUE);
    assert_eq!(cuFuncSetAttribute(gpu.wide, MAX_DYNAMIC_SHARED, 64 << 10), 0);
    assert_eq!(gpu.wide(64 << 10), 0);
    assert_eq!(gpu.wide((64 << 10) + 4), INVALID_VALUE);
    // An A100 has 163 KiB.
    assert_eq!(cuFuncSetAttribute(gpu.wide, MAX_DYNAMIC_SHARED, (163 << 10) - 512), 0);
    assert_eq!(cuFuncSetAttribute(gpu.wide, MAX_DYNAMIC_SHARED, (163 << 10) - 508), INVALID_VALUE);
}

#[test]
fn copies_outside_allocations_and_of_nothing_are_refused() {
    let gpu = Gpu::open();
    let mut word = 0u32;
    let host = Host((&raw mut word).cast());
    let end = gpu.buffer + 4 * WORDS as u64;
    assert_eq!(cuMemcpyHtoDAsync_v2(end, host, 4, gpu.stream), INVALID_VALUE);
    assert_eq!(cuMemcpyDtoHAsync_v2(host, end - 2, 4, gpu.stream), INVALID_VALUE);
    assert_eq!(cuMemcpyDtoDAsync_v2(gpu.buffer, end, 4, gpu.stream), INVALID_VALUE);
    assert_eq!(cuMemsetD8Async(gpu.buffer, 0, 0, gpu.stream), INVALID_VALUE);
    assert_eq!(cuMemFree_v2(gpu.buffer + 4), INVALID_VALUE);
    assert_eq!(cuMemAlloc_v2(Out::new(&mut 0), 1 << 60), OUT_OF_MEMORY);
}

#[test]
fn a_graph_is_replayed() {
    let gpu = Gpu::open();
    assert_eq!(cuStreamBeginCapture_v2(gpu.stream, RELAXED), 0);
    assert_eq!(gpu.add(2, 64), 0);
    let scratch = made(0, |place| cuMemAlloc_v2(place, 64));
    let graph = gpu.end_capture().unwrap();
    assert_eq!(gpu.words(), vec![0; WORDS], "a captured launch is not run");
    let executable = made(0, |executable| cuGraphInstantiateWithFlags(executable, graph, 0));
    assert_eq!(cuGraphDestroy(graph), 0);
    assert_eq!(cuGraphLaunch(executable, gpu.stream), 0);
    assert_eq!(cuGraphLaunch(executable, gpu.stream), 0);
    assert_eq!(gpu.words(), vec![4; WORDS]);
    assert_eq!(cuGraphExecDestroy(executable), 0);
    assert_eq!(cuGraphLaunch(executable, gpu.stream), INVALID_HANDLE);
    assert_eq!(cuMemFree_v2(scratch), 0);
}

#[test]
fn calls_that_a_capture_does_not_allow_spoil_it() {
    let gpu = Gpu::open();
    let mut word = 0u32;
    let host = Host((&raw mut word).cast());
    let calls: [(&str, &dyn Fn() -> c_int); 4] = [
        ("synchronize", &|| cuStreamSynchronize(gpu.stream)),
        ("context", &|| cuCtxSynchronize()),
        ("from the host", &|| cuMemcpyHtoDAsync_v2(gpu.buffer, host, 4, gpu.stream)),
        ("to the host", &|| cuMemcpyDtoHAsync_v2(host, gpu.buffer, 4, gpu.stream)),
    ];
    for (name, call) in calls {
        assert_eq!(cuStreamBeginCapture_v2(gpu.stream, RELAXED), 0);
        assert_eq!(call(), CAPTURE_UNSUPPORTED, "{name}");
        assert_eq!(gpu.add(1, 64), CAPTURE_INVALIDATED, "{name}");
        assert_eq!(gpu.end_capture(), Err(CAPTURE_INVALIDATED), "{name}");
    }
    assert_eq!(cuStreamBeginCapture_v2(gpu.stream, GLOBAL), 0);
    assert_eq!(cuMemAlloc_v2(Out::new(&mut 0), 64), CAPTURE_UNSUPPORTED);
    assert_eq!(gpu.end_capture(), Err(CAPTURE_INVALIDATED));
    assert_eq!(gpu.end_capture(), Err(CAPTURE_UNMATCHED));
    assert_eq!(cuStreamBeginCapture_v2(gpu.stream, RELAXED), 0);
    assert_eq!(cuStreamBeginCapture_v2(gpu.stream, RELAXED), ILLEGAL_STATE);
    let event = made(0, |event| cuEventCreate(event, 0));
    assert_eq!(cuEventRecord(event, gpu.stream), 0);
    assert_eq!(cuEventSynchronize(event), CAPTURED_EVENT);
}

#[test]
fn a_copy_from_pinned_memory_reads_what_the_host_wrote_last() {
    let gpu = Gpu::open();
    let pinned = made(Host(std::ptr::null_mut()), |place| cuMemHostAlloc(place, 4, 0));
    let word = pinned.0.cast::<u32>();
    // SAFETY: the memory has four bytes and belongs to this test.
    let write = |value: u32| unsafe { word.write(value) };
    let copies = made(0, |stream| cuStreamCreate(stream, NON_BLOCKING));
    let copied = made(0, |event| cuEventCreate(event, 0));
    write(1);
    assert_eq!(cuMemcpyHtoDAsync_v2(gpu.buffer, pinned, 4, copies), 0);
    assert_eq!(cuEventRecord(copied, copies), 0);
    // The host does not wait for the copy.
    write(2);
    assert_eq!(cuStreamWaitEvent(gpu.stream, copied, 0), 0);
    assert_eq!(gpu.words()[0], 2);
    // A stream that does not wait finds the old word.
    write(3);
    assert_eq!(cuMemcpyHtoDAsync_v2(gpu.buffer, pinned, 4, copies), 0);
    assert_eq!(gpu.words()[0], 2);
    assert_eq!(cuMemFreeHost(pinned), 0);
    assert_eq!(gpu.words()[0], 3);
    assert_eq!(cuStreamDestroy_v2(copies), 0);
}

#[test]
fn events_tell_time_once_they_have_happened() {
    let gpu = Gpu::open();
    let [start, end, silent] = [0, 0, 2].map(|flags| made(0, |event| cuEventCreate(event, flags)));
    assert_eq!(cuEventRecord(start, gpu.stream), 0);
    assert_eq!(gpu.add(1, 64), 0);
    let mut time = -1.0;
    assert_eq!(cuEventElapsedTime(Out::new(&mut time), start, end), INVALID_HANDLE);
    assert_eq!(cuEventRecord(end, gpu.stream), 0);
    assert_eq!(cuEventElapsedTime(Out::new(&mut time), start, end), NOT_READY);
    assert_eq!(cuEventSynchronize(end), 0);
    assert_eq!(cuEventElapsedTime(Out::new(&mut time), start, end), 0);
    assert!(time >= 0.0);
    assert_eq!(cuEventRecord(silent, gpu.stream), 0);
    assert_eq!(cuEventElapsedTime(Out::new(&mut time), start, silent), INVALID_HANDLE);
}
