//! The factors of products: those of tensor cores have fewer bits.

use serde::{Deserialize, Serialize};

/// What the factors of a file's products are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factors {
    /// Numbers of the arrays' own type.
    #[default]
    Whole,
    /// On tensor cores, rounded to tf32.
    Tf32,
    /// On tensor cores, bf16 numbers.
    Bf16,
}

impl Factors {
    /// The name of their type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Factors::Whole => "f32",
            Factors::Tf32 => "tf32",
            Factors::Bf16 => "bf16",
        }
    }

    /// The factors of a file, by the instructions that it calls.
    pub(super) fn of(code: &str) -> Factors {
        match code {
            code if code.contains("mma_tf32(") => Factors::Tf32,
            code if code.contains("mma_bf16(") => Factors::Bf16,
            _ => Factors::Whole,
        }
    }

    /// The most by which rounded factors change a sum of products, relative to the sum of the products' absolute values.
    ///
    /// tf32 has 10 bits of fraction, so rounding changes a factor by at most its 2^-11th part and a product of two by its 2^-10th, but
    /// for terms of 2^-22. References in bf16 draw numbers that are bf16 already.
    pub(super) fn error(self) -> f64 {
        match self {
            Factors::Whole | Factors::Bf16 => 0.0,
            Factors::Tf32 => 2f64.powi(-10) + 2f64.powi(-22),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_follow_from_the_instructions() {
        assert_eq!(Factors::of("sum+=a*b;"), Factors::Whole);
        assert_eq!(Factors::of("mma_bf16(d,a,b);"), Factors::Bf16);
        assert_eq!(Factors::of("mma_tf32(d,a,b);"), Factors::Tf32);
    }

    /// The largest error of a product of two rounded factors comes close to the bound and stays below it.
    #[test]
    fn rounding_to_tf32_stays_within_its_bound() {
        let rounded = |x: f32| f64::from(f32::from_bits((x.to_bits() + 0x1000) & 0xffff_e000));
        let mut largest: f64 = 0.0;
        for step in 0..1 << 14 {
            let x = 1.0 + step as f32 * 2f32.powi(-14);
            let exact = f64::from(x) * f64::from(x);
            largest = largest.max((rounded(x) * rounded(x) - exact).abs() / exact);
        }
        let bound = Factors::Tf32.error();
        assert!((0.9 * bound..bound).contains(&largest), "{largest} {bound}");
    }
}
