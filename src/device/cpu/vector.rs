//! Loops compiled for each level of vector instructions, sums in fixed lanes, and f32 functions that vectorise.

use super::Float;
pub(crate) use super::level::{Level, level};

/// Defines a function compiled once for each [`Level`] and dispatched when called.
///
/// The body sees a constant `FUSED`: whether [`multiply_add`] is one instruction here. All functions that it calls must
/// be `#[inline(always)]` or small, or they are compiled without vector instructions.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident
        [$($generic:ident : $bound:path),*] ($($argument:ident : $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "the arguments are those of the loop it wraps")]
        $visibility fn $name<$($generic: $bound),*>($($argument: $kind),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::extra_unused_type_parameters, reason = "not every loop asks for FUSED or names its type")]
            fn body<const FUSED: bool, $($generic: $bound),*>($($argument: $kind),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "the arguments are those of the loop it wraps")]
                fn avx2<$($generic: $bound),*>($($argument: $kind),*) $(-> $result)? {
                    body::<true, $($generic),*>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512dq,avx512bw")]
                #[allow(clippy::too_many_arguments, reason = "the arguments are those of the loop it wraps")]
                fn avx512<$($generic: $bound),*>($($argument: $kind),*) $(-> $result)? {
                    body::<true, $($generic),*>($($argument),*)
                }
                match $crate::device::cpu::vector::level() {
                    // SAFETY: this level is only ever detected on a processor that has these instructions.
                    $crate::device::cpu::vector::Level::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::device::cpu::vector::Level::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::device::cpu::vector::Level::Plain => {}
                }
            }
            body::<{ cfg!(target_arch = "aarch64") }, $($generic),*>($($argument),*)
        }
    };
}
pub(crate) use vectorised;

/// `a * b + c`, with a single rounding if the processor fuses it.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool, T: Float>(a: T, b: T, c: T) -> T {
    if FUSED { a.fused_multiply_add(b, c) } else { a * b + c }
}

/// Number of partial sums: one 512-bit vector of f32. It is equal on every processor, so that sums are equal too.
pub(crate) const LANES: usize = 16;

/// Adds up the lanes in a fixed tree.
#[inline(always)]
pub(crate) fn add_lanes<T: Float>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of `term(i)` for `i` below `length`, in fixed lanes.
#[inline(always)]
pub(crate) fn lane_sum<T: Float>(length: usize, term: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let whole = length / LANES * LANES;
    let mut start = 0;
    while start < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
        start += LANES;
    }
    for index in whole..length {
        lanes[index - whole] += term(index);
    }
    add_lanes(lanes)
}

/// The sum of `term(x)` over a slice, in the same lanes as [`lane_sum`].
#[inline(always)]
pub(crate) fn lane_sum_of<T: Copy, U: Float>(values: &[T], term: impl Fn(T) -> U) -> U {
    let mut lanes = [U::ZERO; LANES];
    let mut blocks = values.chunks_exact(LANES);
    for block in &mut blocks {
        for lane in 0..LANES {
            lanes[lane] += term(block[lane]);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane += term(*value);
    }
    add_lanes(lanes)
}

vectorised! {
    /// The sum of a slice.
    pub(crate) fn sum[T: Float](values: &[T]) -> T {
        lane_sum(values.len(), |index| values[index])
    }
}

/// `e^x` in f32 by Cody and Waite reduction and a polynomial of degree 7; relative error below 2e-7 if the result is a
/// normal number. Infinity above 88.72, zero below -87.33, NaN for NaN.
#[inline(always)]
pub(crate) fn exp_f32<const FUSED: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.722_84 { 88.722_84 } else { x };
    let clamped = if clamped < -87.336_54 { -87.336_54 } else { clamped };
    let shifted = multiply_add::<FUSED, f32>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED, f32>(n, -LN2_HIGH, clamped);
    let r = multiply_add::<FUSED, f32>(n, -LN2_LOW, r);
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = multiply_add::<FUSED, f32>(p, r, coefficient);
    }
    // Two factors, since 2^n alone overflows at n = 128 although the result does not.
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = exponent >> 1;
    let scale = |power: i32| f32::from_bits((power.wrapping_add(127) as u32) << 23);
    let result = p * scale(half) * scale(exponent.wrapping_sub(half));
    let result = if x > 88.722_84 { f32::INFINITY } else { result };
    if x < -87.336_54 { 0.0 } else { result }
}

/// `tanh(x)` in f32; relative error below 5e-7. A polynomial near zero, where the quotient would cancel.
#[inline(always)]
pub(crate) fn tanh_f32<const FUSED: bool>(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    for coefficient in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = multiply_add::<FUSED, f32>(p, square, coefficient);
    }
    let near = multiply_add::<FUSED, f32>(p * square, x, x);
    let magnitude = x.abs();
    let far = 1.0 - 2.0 / (exp_f32::<FUSED>(2.0 * magnitude) + 1.0);
    if magnitude < 0.625 { near } else { far.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(
        function: impl Fn(f32) -> f32,
        exact: impl Fn(f64) -> f64,
        low: f32,
        high: f32,
    ) -> f64 {
        (0..200_001)
            .map(|i| low + (high - low) * i as f32 / 200_000.0)
            .map(|x| {
                let truth = exact(f64::from(x));
                if truth == 0.0 {
                    0.0
                } else {
                    (f64::from(function(x)) - truth).abs() / truth.abs()
                }
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_keeps_its_stated_error() {
        assert!(worst(exp_f32::<true>, f64::exp, -87.0, 88.7) < 2e-7);
        assert!(worst(exp_f32::<false>, f64::exp, -87.0, 88.7) < 2e-7);
        assert_eq!(exp_f32::<true>(89.0), f32::INFINITY);
        assert_eq!(exp_f32::<true>(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32::<true>(f32::NEG_INFINITY), 0.0);
        assert!(exp_f32::<true>(f32::NAN).is_nan());
        assert_eq!(exp_f32::<true>(0.0), 1.0);
    }

    #[test]
    fn tanh_keeps_its_stated_error() {
        assert!(worst(tanh_f32::<true>, f64::tanh, -12.0, 12.0) < 5e-7);
        assert!(worst(tanh_f32::<false>, f64::tanh, -1.0, 1.0) < 5e-7);
        assert_eq!(tanh_f32::<true>(f32::INFINITY), 1.0);
        assert_eq!(tanh_f32::<true>(f32::NEG_INFINITY), -1.0);
        assert!(tanh_f32::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn a_sum_counts_every_element() {
        for length in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f64> = (1..=length).map(f64::from).collect();
            assert_eq!(sum(&values), f64::from(length * (length + 1) / 2));
        }
    }
}
