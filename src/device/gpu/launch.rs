//! A kernel's launch, the same for a GPU and for the simulator.

#[cfg(has_simulator)]
use std::fmt;

use bytemuck::{Pod, Zeroable};

/// Class and size of a kernel's parameter: class << 16 | bytes, as `cuda_on_host.h` computes it.
#[cfg(has_simulator)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(pub u32);

#[cfg(has_simulator)]
impl Kind {
    /// A pointer into device memory.
    pub const POINTER: Kind = Kind(1 << 16 | 8);

    const fn new(class: u32, bytes: usize) -> Kind {
        Kind(class << 16 | bytes as u32)
    }
}

#[cfg(has_simulator)]
impl fmt::Display for Kind {
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
    /// Where a kernel is to find nothing.
    pub const NULL: Pointer = Pointer(0);
}

/// Something a kernel takes.
pub(crate) trait Argument {
    /// Its class and size.
    #[cfg(has_simulator)]
    fn kind(&self) -> Kind;
    /// Its bytes, aligned as the type itself.
    fn as_bytes(&self) -> &[u8];
}

macro_rules! argument {
    ($($type:ty => $class:literal),*) => {
        $(impl Argument for $type {
            #[cfg(has_simulator)]
            fn kind(&self) -> Kind {
                Kind::new($class, size_of::<$type>())
            }
            fn as_bytes(&self) -> &[u8] {
                bytemuck::bytes_of(self)
            }
        })*
    };
}
argument!(Pointer => 1, f32 => 2, f64 => 2, i32 => 3, i64 => 3, u32 => 4, u64 => 4);

/// A struct that a kernel takes by value: `Parameters(&own)`.
pub(crate) struct Parameters<'a, T>(pub &'a T);

impl<T: Pod> Argument for Parameters<'_, T> {
    #[cfg(has_simulator)]
    fn kind(&self) -> Kind {
        Kind::new(5, size_of::<T>())
    }

    fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self.0)
    }
}

/// A kernel with everything it is given.
pub(crate) struct Launch<'a> {
    /// Its name in the source.
    pub kernel: &'a str,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// In the order of its parameters.
    pub arguments: &'a [&'a dyn Argument],
}
