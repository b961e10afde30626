//! Division by a fixed number without a division.

use bytemuck::{Pod, Zeroable};

/// A divisor, as the kernels' struct of this name. With `factor = ceil(2^(31 + shift) / value)` and `shift = ceil(log2
/// value)`, `n / value` is `n factor / 2^(31 + shift)` rounded down, for each `n` below 2^31 (Granlund and Montgomery
/// 1994, theorem 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Divisor {
    value: u32,
    factor: u32,
    shift: u32,
}

impl Divisor {
    /// Dividends, and divisors, are below this.
    pub const END: usize = 1 << 31;

    /// Panics if `value` is 0 or not below [`Divisor::END`].
    pub fn new(value: usize) -> Self {
        assert!((1..Self::END).contains(&value), "a divisor of {value}");
        let shift = usize::BITS - (value - 1).leading_zeros();
        let factor = (1u64 << (31 + shift)).div_ceil(value as u64);
        Divisor { value: value as u32, factor: factor as u32, shift }
    }

    /// The divisor itself.
    pub fn value(&self) -> usize {
        self.value as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Divisor;

    /// As the kernels compute it.
    fn quotient(n: u32, by: Divisor) -> u32 {
        ((u64::from(2 * n) * u64::from(by.factor)) >> 32 >> by.shift) as u32
    }

    fn assert_divides(n: u32, value: u32) {
        assert_eq!(quotient(n, Divisor::new(value as usize)), n / value, "{n} / {value}");
    }

    proptest! {
        #[test]
        fn quotients_are_those_of_a_division(n in 0u32..1 << 31, value in 1u32..1 << 31, bits in 0u32..31) {
            assert_divides(n, value);
            let value = (value >> bits).max(1);
            assert_divides(n, value);
            // Multiples, and the numbers before them, are the hardest.
            let multiple = n / value * value;
            assert_divides(multiple, value);
            assert_divides(multiple.saturating_sub(1), value);
        }
    }

    #[test]
    fn quotients_are_right_at_both_ends() {
        let last = (1 << 31) - 1;
        for bit in 0..31 {
            for value in [(1u32 << bit) - 1, 1 << bit, (1 << bit) + 1] {
                let Some(value) = Some(value).filter(|value| *value > 0) else { continue };
                [0, 1, value - 1, value, last - 1, last]
                    .into_iter()
                    .for_each(|n| assert_divides(n, value));
            }
        }
    }
}
