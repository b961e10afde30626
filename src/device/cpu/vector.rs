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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_counts_every_element() {
        for length in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f64> = (1..=length).map(f64::from).collect();
            assert_eq!(sum(&values), f64::from(length * (length + 1) / 2));
        }
    }
}
