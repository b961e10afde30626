//! The matrix products of the `gemm` crates, in f32 and f64.

use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use gemm_common::simd::{self, MixedSimd};

use super::level::{Level, level};

/// The sizes and addresses of a matrix product `C[m, n] (+)= A[m, k] B[k, n]`; C's columns are contiguous.
pub(crate) struct GemmJob<T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: *const T,
    /// Strides of a row and of a column, in elements.
    pub a_strides: (isize, isize),
    pub b: *const T,
    pub b_strides: (isize, isize),
    pub c: *mut T,
    pub c_stride: isize,
    /// Whether C accumulates the product; else C is overwritten and not read.
    pub accumulate: bool,
}

/// Defines the product in one type. The crate's own function chooses its loops by the processor alone; this one uses
/// those of the device's level.
macro_rules! product {
    ($name:ident, $type:ident, $crate_name:ident, $lanes_of_avx2:literal) => {
        /// See [`super::Float::gemm`].
        ///
        /// # Safety
        /// As there.
        // SAFETY: the doc comment says what the caller must promise.
        pub(super) unsafe fn $name(job: GemmJob<$type>) {
            /// The product with one set of the crate's inner loops.
            macro_rules! with {
                ($function:ident, $loops:ident, $simd:ty, $lanes:expr) => {{
                    // Separate functions, so that each level's code is compiled with that level's registers only.
                    #[inline(never)]
                    // SAFETY: the caller's promise is that of the function around it.
                    unsafe fn $function(job: GemmJob<$type>) {
                        use $crate_name::microkernel::$loops::$type::{
                            H_M, H_N, H_UKR, MR_DIV_N, NR, UKR,
                        };
                        const ROWS: usize = MR_DIV_N * $lanes;
                        let simd = <$simd as MixedSimd<$type, $type, $type, $type>>::try_new();
                        let simd = simd.expect("the level was detected");
                        let GemmJob { m, n, k, a, a_strides, b, b_strides, c, c_stride, accumulate } =
                            job;
                        // SAFETY: the caller's promise is all that this function requires.
                        unsafe {
                            gemm_basic_generic::<_, $type, { $lanes }, ROWS, NR, MR_DIV_N, H_M, H_N>(
                                simd, m, n, k, c, 1, c_stride, accumulate, a, a_strides.1,
                                a_strides.0, b, b_strides.1, b_strides.0, 1.0, 1.0, false, false,
                                false, |a, b, c| a * b + c, &UKR, &H_UKR, false, Parallelism::None,
                            );
                        }
                    }
                    // SAFETY: the caller's promise.
                    unsafe { $function(job) }
                }};
            }
            match level() {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => with!(avx512, avx512f, simd::V4, 2 * $lanes_of_avx2),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => with!(avx2, fma, simd::V3, $lanes_of_avx2),
                #[cfg(not(target_arch = "aarch64"))]
                Level::Plain => with!(plain, scalar, simd::Scalar, 1),
                #[cfg(target_arch = "aarch64")]
                Level::Plain => with!(plain, neon, simd::Scalar, $lanes_of_avx2 / 2),
            }
        }
    };
}

product!(gemm_f32, f32, gemm_f32, 8);
product!(gemm_f64, f64, gemm_f64, 4);
