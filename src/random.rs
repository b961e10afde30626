//! Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A number is a function of seed, purpose, step and index. So a stream does not depend on the device or on the order of
//! evaluation, and a resumed run needs no generator state.

use rand::rand_core::{Infallible, TryRng};

/// The purpose of a stream of random numbers. Streams of different purposes never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Learning rates.
    Rates = 2,
    /// The order of the samples in an epoch.
    Order = 3,
    /// Crops and flips.
    Augmentation = 4,
    /// Dropout masks; the layer's number is mixed into the index's upper half.
    Dropout = 5,
    /// Generated data.
    Data = 6,
    /// Sampling from a model of text.
    Sampling = 7,
    /// The choice of frozen features.
    Frozen = 8,
    /// Crops and flips of images in files; the sample's number is the index's upper half.
    ImageCrops = 9,
    /// The transitions that an update learns from.
    Replay = 10,
    /// The start of an environment's episodes.
    Environments = 11,
    /// The random actions; the copy of the environment is the index.
    Exploration = 12,
    /// The seeds of episodes.
    Episodes = 13,
    /// The samples in a subset of a data set.
    Subset = 14,
    /// The validation part of data without one; the class is the stream.
    Validation = 15,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds of Philox4x32: `counter` encrypted under `key`.
#[inline(always)]
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let left = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let right = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// All the random numbers of one purpose under one seed.
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    key: [u32; 2],
    purpose: Purpose,
}

impl Philox {
    /// The numbers of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Philox { key: [seed as u32, (seed >> 32) as u32], purpose }
    }

    /// The four numbers at `index` of `step` (below 2^48).
    #[inline(always)]
    pub fn at(&self, step: u64, index: u64) -> [u32; 4] {
        let upper = ((step >> 32) as u32 & 0xFFFF) | (self.purpose as u32) << 16;
        philox([index as u32, (index >> 32) as u32, step as u32, upper], self.key)
    }

    /// The numbers of one step, in order.
    ///
    /// ```
    /// use alrao::random::{Philox, Purpose};
    /// let mut stream = Philox::new(0, Purpose::Weights).stream(0);
    /// assert!((0.0..1.0).contains(&stream.uniform()));
    /// ```
    pub fn stream(&self, step: u64) -> Stream {
        self.numbered_stream(step, 0)
    }

    /// Stream `number` of a step; each has 2^34 numbers.
    pub fn numbered_stream(&self, step: u64, number: u32) -> Stream {
        let first = u64::from(number) << 32;
        Stream { philox: *self, step, first, drawn: 0, block: [0; 4] }
    }
}

/// A generator over one stream of a [`Philox`]. It implements rand's traits.
#[derive(Clone, Debug)]
pub struct Stream {
    philox: Philox,
    step: u64,
    /// The first index.
    first: u64,
    drawn: u64,
    block: [u32; 4],
}

impl Stream {
    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        let lane = (self.drawn % 4) as usize;
        if lane == 0 {
            self.block = self.philox.at(self.step, self.first + self.drawn / 4);
        }
        self.drawn += 1;
        self.block[lane]
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let high = u64::from(self.bits()) << 32;
        unit_f64(high | u64::from(self.bits()))
    }

    /// Uniform in [low, high).
    pub fn uniform_in(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// An integer below `bound`, by multiplication (the bias is below bound / 2^64).
    pub fn below(&mut self, bound: u64) -> u64 {
        let high = u64::from(self.bits()) << 32;
        let draw = high | u64::from(self.bits());
        ((u128::from(draw) * u128::from(bound)) >> 64) as u64
    }

    /// A standard Gaussian number (Box and Muller; one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The numbers 0 to `length - 1` in random order (Fisher and Yates).
    pub fn permutation(&mut self, length: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..length as u32).collect();
        for last in (1..length).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.bits())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.bits());
        Ok(low | u64::from(self.bits()) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// 32 bits as a number in [0, 1), from the upper 24.
#[inline(always)]
pub fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// 64 bits as a number in [0, 1), from the upper 53.
#[inline(always)]
pub fn unit_f64(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_gives_the_published_numbers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Philox::new(3, Purpose::Order).stream(1).permutation(101);
        assert_ne!(order, (0..101).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..101).collect::<Vec<u32>>());
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut stream = Philox::new(1, Purpose::Data).stream(0);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.05, "variance {variance}");
    }
}
