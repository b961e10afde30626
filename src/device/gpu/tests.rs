//! Calls to a device that only counts launches.

use std::rc::Rc;

use super::Gpu;
use super::counter::Counter;
use super::launch::Pointer;

type Call = fn(&Gpu);

fn counter() -> Rc<Gpu> {
    Rc::new(Gpu::new(Counter::new(0), None))
}

/// CUDA's driver refuses them, and so does the counter.
#[test]
fn no_call_is_made_for_no_bytes() {
    let gpu = counter();
    gpu.upload(1 << 20, &[]);
    gpu.download(1 << 20, &mut []);
    gpu.set_zero(1 << 20, 0);
    gpu.copy(Pointer(1 << 20), Pointer(1 << 20), 0);
    gpu.check().unwrap();
}

/// The driver refuses these calls during a capture, and they spoil the capture.
#[test]
fn the_host_does_not_wait_during_a_capture() {
    let calls: [(&str, Call); 6] = [
        ("waiting", |gpu| drop(gpu.check())),
        ("clock", |gpu| drop(gpu.start_clock())),
        ("copy from the host", |gpu| gpu.upload(1 << 20, &[0])),
        ("copy to the host", |gpu| gpu.download(1 << 20, &mut [0])),
        ("driver's own copy", |gpu| gpu.copy(Pointer(1 << 20), Pointer(1 << 20), 1)),
        ("memory for batches", |gpu| drop(gpu.staging(1, 1))),
    ];
    for (what, call) in calls {
        let gpu = counter();
        Gpu::capture(&gpu, || call(&gpu));
        let message = gpu.check().unwrap_err().to_string();
        assert!(message.contains(what), "{message}");
        assert!(message.contains("in the middle of a capture"), "{message}");
    }
    let gpu = counter();
    Gpu::capture(&gpu, || gpu.set_zero(1 << 20, 1));
    gpu.check().unwrap();
}
