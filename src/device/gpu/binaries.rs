//! The kernels' machine code and nvcc's report on it, as the build wrote them.

include!(concat!(env!("OUT_DIR"), "/fat_binaries.rs"));

/// A fat binary aligned to words, as the driver reads them; `include_bytes!` alone promises no alignment.
#[repr(C, align(64))]
pub(super) struct Image<T: ?Sized>(pub T);

const _: () = assert!(align_of::<Image<[u8; 1]>>() >= 16, "the driver reads whole words");

/// The fat binary of each kernel file, by its family's name; none if the build had no nvcc.
pub fn fat_binaries() -> Vec<(&'static str, &'static [u8])> {
    FAT_BINARIES.iter().map(|(family, image)| (*family, &image.0)).collect()
}

/// nvcc's report on each kernel for each architecture; empty if the build had no nvcc.
pub(super) fn compiled() -> &'static [Compiled] {
    COMPILED
}

/// The compiler's report on a kernel for one architecture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compiled {
    pub kernel: &'static str,
    /// 90 for sm_90.
    pub arch: u32,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of declared shared memory, without dynamic shared memory.
    pub shared: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fat_binaries_lie_where_the_driver_may_read_words() {
        for (family, image) in FAT_BINARIES {
            assert!(align_of_val(*image) >= 8, "{family}");
            assert_eq!(image.0.as_ptr() as usize % align_of_val(*image), 0, "{family}");
        }
    }
}
