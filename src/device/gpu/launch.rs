//! A kernel's launch, the same for a GPU and the simulator.

#[cfg(has_simulator)]
use std::fmt;

use bytemuck::{Pod, Zeroable};

/// Class and size of a kernel's parameter: class << 16 | bytes, as `cuda_on_host.h` computes it.
#[cfg(has_simulator)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArgumentKind(pub u32);

#[cfg(has_simulator)]
impl ArgumentKind {
    /// A pointer into device memory.
    pub const POINTER: ArgumentKind = ArgumentKind(1 << 16 | 8);

    const fn new(class: u32, bytes: usize) -> ArgumentKind {
        ArgumentKind(class << 16 | bytes as u32)
    }

    /// The parameter's size.
    #[cfg(feature = "cli")]
    pub fn bytes(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

#[cfg(has_simulator)]
impl fmt::Display for ArgumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, bytes) = (self.0 >> 16, self.0 & 0xffff);
        match class {
            1 => write!(f, "pointer"),
            2 => write!(f, "f{}", 8 * bytes),
            3 => write!(f, "i{}", 8 * bytes),
            4 => write!(f, "u{}", 8 * bytes),
            _ => write!(f, "struct of {bytes} bytes"),
        }
    }
}

/// An address in device memory.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Pointer(pub u64);

impl Pointer {
    /// The null pointer, for an optional argument that is absent.
    pub const NULL: Pointer = Pointer(0);
}

/// An argument of a kernel.
pub(crate) trait Argument {
    /// Its class and size.
    #[cfg(has_simulator)]
    fn kind(&self) -> ArgumentKind;
    /// The address, if the argument is a pointer.
    fn pointer(&self) -> Option<Pointer> {
        None
    }
    /// Its bytes, aligned as the type itself.
    fn as_bytes(&self) -> &[u8];
}

macro_rules! argument {
    ($($type:ty => $class:literal),*) => {
        $(impl Argument for $type {
            #[cfg(has_simulator)]
            fn kind(&self) -> ArgumentKind {
                ArgumentKind::new($class, size_of::<$type>())
            }
            fn as_bytes(&self) -> &[u8] {
                bytemuck::bytes_of(self)
            }
        })*
    };
}
argument!(f32 => 2, f64 => 2, i32 => 3, i64 => 3, u32 => 4, u64 => 4);

impl Argument for Pointer {
    #[cfg(has_simulator)]
    fn kind(&self) -> ArgumentKind {
        ArgumentKind::POINTER
    }

    fn pointer(&self) -> Option<Pointer> {
        Some(*self)
    }

    fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }
}

/// A struct that a kernel takes by value.
pub(crate) struct Parameters<'a, T>(pub &'a T);

impl<T: Pod> Argument for Parameters<'_, T> {
    #[cfg(has_simulator)]
    fn kind(&self) -> ArgumentKind {
        ArgumentKind::new(5, size_of::<T>())
    }

    fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self.0)
    }
}

/// A launch's own statement of its work, for estimates of its time. What it leaves out follows from its buffers and its op.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LaunchWork {
    /// Passes of each block through its main loop.
    pub passes: Option<usize>,
    /// Bytes that it reads and writes.
    pub bytes: Option<usize>,
}

impl LaunchWork {
    /// Work that is known by its passes.
    pub fn passes(passes: usize) -> Self {
        LaunchWork { passes: Some(passes), bytes: None }
    }

    /// Work that is known by its bytes.
    pub fn bytes(bytes: usize) -> Self {
        LaunchWork { passes: None, bytes: Some(bytes) }
    }
}

/// A kernel's launch with its arguments.
pub(crate) struct Launch<'a> {
    /// Its name in the source.
    pub kernel: &'a str,
    /// The number of blocks along each axis.
    pub grid: [u32; 3],
    /// The number of threads of a block along each axis.
    pub block: [u32; 3],
    /// The number of blocks of a cluster, along the second axis, which it divides; 1 on a device without clusters.
    pub cluster: u32,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// See [`LaunchWork`].
    pub work: LaunchWork,
    /// The arguments, in the order of the kernel's parameters.
    pub arguments: &'a [&'a dyn Argument],
}

/// A launch with copies of its arguments, for a captured graph.
pub(super) struct OwnedLaunch {
    kernel: String,
    grid: [u32; 3],
    block: [u32; 3],
    cluster: u32,
    shared: usize,
    work: LaunchWork,
    arguments: Vec<OwnedArgument>,
}

/// An argument's bytes, stored in words to keep its alignment.
struct OwnedArgument {
    #[cfg(has_simulator)]
    kind: ArgumentKind,
    words: Vec<u64>,
    bytes: usize,
}

impl OwnedLaunch {
    pub fn new(launch: &Launch) -> Self {
        OwnedLaunch {
            kernel: launch.kernel.to_owned(),
            grid: launch.grid,
            block: launch.block,
            cluster: launch.cluster,
            shared: launch.shared,
            work: launch.work,
            arguments: launch.arguments.iter().copied().map(OwnedArgument::new).collect(),
        }
    }

    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Calls `body` with the launch.
    pub fn with<R>(&self, body: impl FnOnce(&Launch) -> R) -> R {
        let arguments: Vec<&dyn Argument> =
            self.arguments.iter().map(|argument| argument as &dyn Argument).collect();
        body(&Launch {
            kernel: &self.kernel,
            grid: self.grid,
            block: self.block,
            cluster: self.cluster,
            shared: self.shared,
            work: self.work,
            arguments: &arguments,
        })
    }
}

impl OwnedArgument {
    fn new(argument: &dyn Argument) -> Self {
        let bytes = argument.as_bytes();
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        OwnedArgument {
            #[cfg(has_simulator)]
            kind: argument.kind(),
            words,
            bytes: bytes.len(),
        }
    }
}

impl Argument for OwnedArgument {
    #[cfg(has_simulator)]
    fn kind(&self) -> ArgumentKind {
        self.kind
    }

    fn as_bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }
}
