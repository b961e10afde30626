//! The order that `bar.warp.sync` gives to the lanes of a warp: vector clocks.

use super::registers::{LANES, Mask, lanes};

/// What each lane of a warp knows of the others.
#[derive(Clone)]
pub struct Clocks {
    /// `known[l][k]`: lane l comes after what lane k did before its clock was this.
    known: [[u32; LANES]; LANES],
}

impl Default for Clocks {
    fn default() -> Self {
        Clocks { known: [[0; LANES]; LANES] }
    }
}

impl Clocks {
    /// A lane's own clock.
    #[inline(always)]
    pub fn now(&self, lane: usize) -> u32 {
        self.known[lane][lane]
    }

    /// Whether a lane comes after what another lane did at this clock.
    #[inline(always)]
    pub fn is_after(&self, lane: usize, other: usize, clock: u32) -> bool {
        lane == other || self.known[lane][other] > clock
    }

    /// Whether all these lanes do.
    #[inline(always)]
    pub fn are_after(&self, mask: Mask, other: usize, clock: u32) -> bool {
        lanes(mask).all(|lane| self.is_after(lane, other, clock))
    }

    /// The lanes wait for each other.
    pub fn synchronize(&mut self, mask: Mask) {
        let mut joined = [0; LANES];
        for lane in lanes(mask) {
            self.known[lane][lane] += 1;
            for (all, own) in joined.iter_mut().zip(self.known[lane]) {
                *all = (*all).max(own);
            }
        }
        lanes(mask).for_each(|lane| self.known[lane] = joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_after_those_they_have_waited_with_and_these_have_waited_with() {
        let mut clocks = Clocks::default();
        let of_0 = clocks.now(0);
        assert!(!clocks.is_after(2, 0, of_0));
        clocks.synchronize(0b011);
        assert!(clocks.is_after(1, 0, of_0) && !clocks.is_after(2, 0, of_0));
        clocks.synchronize(0b110);
        assert!(clocks.is_after(2, 0, of_0));
        assert!(!clocks.is_after(2, 0, clocks.now(0)));
        assert!(clocks.is_after(0, 0, clocks.now(0)));
    }
}
