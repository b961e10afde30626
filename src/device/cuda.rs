//! NVIDIA GPUs, through CUDA's driver. There are no kernels in this version: it only says what is there.

use cudarc::driver::{CudaContext, sys};

/// Why no GPU is used, for people.
pub(crate) fn why_not() -> String {
    // SAFETY: it looks for the driver's library by name, and loads it if it is there; nothing else is done with it.
    if !unsafe { sys::is_culib_present() } {
        return "no NVIDIA driver was found".into();
    }
    match CudaContext::device_count() {
        Ok(0) => "the NVIDIA driver has no device".into(),
        Ok(_) => "this version has no GPU kernels".into(),
        Err(error) => format!("the NVIDIA driver does not work: {error}"),
    }
}
