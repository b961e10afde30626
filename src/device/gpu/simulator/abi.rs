//! The types that Rust and `cuda_on_host.h` share. Both sides must have the same layouts.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

/// `uint3` and `dim3`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Triple {
    pub x: u32,
    pub y: u32,
    pub z: u32,
}

impl Triple {
    pub fn count(self) -> u64 {
        u64::from(self.x) * u64::from(self.y) * u64::from(self.z)
    }

    /// The triple with number `index` in a box of these extents; `x` runs fastest.
    pub fn at(self, index: u64) -> Triple {
        let (x, y) = (u64::from(self.x), u64::from(self.y));
        Triple { x: (index % x) as u32, y: (index / x % y) as u32, z: (index / (x * y)) as u32 }
    }
}

impl std::fmt::Display for Triple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {}, {})", self.x, self.y, self.z)
    }
}

impl From<[u32; 3]> for Triple {
    fn from([x, y, z]: [u32; 3]) -> Self {
        Triple { x, y, z }
    }
}

/// `simulator_context`.
#[repr(C)]
pub(super) struct Context {
    pub thread: Triple,
    pub block: Triple,
    pub block_size: Triple,
    pub grid_size: Triple,
    pub current: u32,
    pub next: u32,
    pub total: u32,
    pub threads: *const Triple,
    pub order: *const u32,
    pub tells_copies: u32,
    pub is_checked: u32,
    pub reads_gaps: u32,
    pub cluster: u32,
    pub cluster_rank: u32,
    pub dynamic_shared: *mut c_void,
    pub worker: *mut c_void,
    pub stack_end: usize,
}

/// Runs the threads of a block until one has to wait. Safety: the arguments must fit the kernel, and the context must
/// be the calling thread's and have a worker.
pub(super) type Run = unsafe extern "C" fn(*mut *mut c_void, *mut Context);

/// Called by the last thread to arrive, on the records of all that wait for each other. Safety: every record must be of the kind that the
/// function expects.
pub(super) type Collective = unsafe extern "C" fn(*mut *mut c_void, u32);

/// `simulator_site`: a place in the source that calls into the scheduler.
#[repr(C)]
pub(super) struct Site {
    what: *const c_char,
    file: *const c_char,
    line: i32,
}

impl Site {
    pub fn what(&self) -> &str {
        text(self.what)
    }

    /// `FILE:LINE`.
    pub fn place(&self) -> String {
        format!("{}:{}", file_name(text(self.file)), self.line)
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.what(), self.place())
    }
}

/// `simulator_array`: an array in shared memory.
#[repr(C)]
pub(super) struct SharedArray {
    name: *const c_char,
    pub bytes: usize,
    pub number: AtomicU32,
}

impl SharedArray {
    pub fn name(&self) -> &str {
        text(self.name)
    }
}

/// `simulator_kernel`.
#[repr(C)]
pub(super) struct Kernel {
    name: *const c_char,
    parameters: *const c_char,
    file: *const c_char,
    line: u32,
    pub max_threads: u32,
    pub run: Run,
    kinds: *const u32,
    count: u32,
    next: *const Kernel,
}

// SAFETY: a kernel's record is written before `main` and only read afterwards.
unsafe impl Sync for Kernel {}

impl Kernel {
    pub fn name(&self) -> &'static str {
        text(self.name)
    }

    /// The name of its file, without the ending.
    pub fn source(&self) -> &'static str {
        file_name(text(self.file)).trim_end_matches(".cu")
    }

    /// `FILE:LINE` of its definition.
    pub fn place(&self) -> String {
        format!("{}:{}", file_name(text(self.file)), self.line)
    }

    /// Class and size of each parameter, as [`crate::device::gpu::ArgumentKind`] encodes them.
    pub fn kinds(&self) -> &'static [u32] {
        // SAFETY: `kinds` points to a static array of at least `count` numbers.
        unsafe { std::slice::from_raw_parts(self.kinds, self.count as usize) }
    }

    /// The parameters as they are declared, in order.
    pub fn declarations(&self) -> impl Iterator<Item = &'static str> + use<> {
        text(self.parameters).split(',').map(str::trim)
    }

    /// The names of the parameters, in order.
    pub fn parameter_names(&self) -> Vec<&'static str> {
        self.declarations().map(|one| one.rsplit([' ', '*', '&']).next().unwrap_or(one)).collect()
    }
}

/// A C string that lives as long as the program.
fn text<'a>(pointer: *const c_char) -> &'a str {
    // SAFETY: every pointer in these records is a string literal of the kernels' source.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap_or("?")
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

// SAFETY: declared as cuda_on_host.cpp defines them.
unsafe extern "C" {
    fn simulator_kernels() -> *const Kernel;
    fn simulator_context_of_thread() -> *mut Context;
}

/// The context of the calling thread.
pub(super) fn context() -> *mut Context {
    // SAFETY: it returns the address of a thread-local variable, and does nothing else.
    unsafe { simulator_context_of_thread() }
}

/// All kernels of this program, sorted by name.
pub(super) fn kernels() -> &'static [&'static Kernel] {
    static KERNELS: OnceLock<Vec<&'static Kernel>> = OnceLock::new();
    KERNELS.get_or_init(|| {
        let mut kernels = all_kernels();
        kernels.sort_by_key(|kernel| kernel.name());
        kernels
    })
}

/// All kernels of this process, the last one to join first: those of the program, and of libraries that it has loaded.
pub(super) fn all_kernels() -> Vec<&'static Kernel> {
    let mut kernels = Vec::new();
    // SAFETY: only constructors change the list, before `main` or while a library is being loaded; its records are statics, and its
    // end is null.
    let mut next = unsafe { simulator_kernels().as_ref() };
    while let Some(kernel) = next {
        kernels.push(kernel);
        // SAFETY: as above.
        next = unsafe { kernel.next.as_ref() };
    }
    kernels
}

/// The kernel with this name.
pub(super) fn kernel(name: &str) -> Option<&'static Kernel> {
    let kernels = kernels();
    let index = kernels.binary_search_by_key(&name, |kernel| kernel.name()).ok()?;
    Some(kernels[index])
}
