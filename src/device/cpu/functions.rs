//! Functions of one f32, written so that a compiler vectorises them.

#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
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
    let shifted = multiply_add::<FUSED>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED>(n, -LN2_HIGH, clamped);
    let r = multiply_add::<FUSED>(n, -LN2_LOW, r);
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = multiply_add::<FUSED>(p, r, coefficient);
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
        p = multiply_add::<FUSED>(p, square, coefficient);
    }
    let near = multiply_add::<FUSED>(p * square, x, x);
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
}
