//! The floating-point types of the CPU's ops, which are written once for f32 and f64.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use super::functions::{exp_f32, tanh_f32};
use super::product::{GemmJob, gemm_f32, gemm_f64};
use crate::device::Element;

/// f32 or f64.
pub(crate) trait Float:
    Element
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + PartialOrd
    + Default
{
    const ZERO: Self;
    const ONE: Self;
    const INFINITY: Self;

    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn is_finite(self) -> bool;
    fn is_nan(self) -> bool;
    fn sqrt(self) -> Self;
    fn ln(self) -> Self;
    fn abs(self) -> Self;
    fn fused_multiply_add(self, factor: Self, summand: Self) -> Self;
    /// `e^x`: a polynomial in f32, libm's in f64.
    fn exp<const FUSED: bool>(self) -> Self;
    /// `tanh(x)`: a polynomial in f32, libm's in f64.
    fn tanh<const FUSED: bool>(self) -> Self;

    /// `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoid<const FUSED: bool>(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp::<FUSED>())
    }

    /// The larger of the two; NaN if `self` is NaN.
    #[inline(always)]
    fn at_least(self, floor: Self) -> Self {
        if self < floor { floor } else { self }
    }

    /// The matrix product on one thread; see [`super::gemm`].
    ///
    /// # Safety
    /// At the job's strides, the elements of A and B must be readable and those of C writable, and C may
    /// overlap neither A nor B.
    unsafe fn gemm(job: GemmJob<Self>);
}

macro_rules! float {
    ($type:ident, $gemm:ident, $exp:expr, $tanh:expr) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const INFINITY: Self = $type::INFINITY;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $type::is_finite(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $type::is_nan(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $type::ln(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $type::abs(self)
            }
            #[inline(always)]
            fn fused_multiply_add(self, factor: Self, summand: Self) -> Self {
                self.mul_add(factor, summand)
            }
            #[inline(always)]
            fn exp<const FUSED: bool>(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn tanh<const FUSED: bool>(self) -> Self {
                $tanh(self)
            }

            // SAFETY: the trait's method says what the caller must promise.
            unsafe fn gemm(job: GemmJob<Self>) {
                // SAFETY: the caller's promise.
                unsafe { $gemm(job) }
            }
        }
    };
}

float!(f32, gemm_f32, exp_f32::<FUSED>, tanh_f32::<FUSED>);
float!(f64, gemm_f64, f64::exp, f64::tanh);
