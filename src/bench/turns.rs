//! Timing in turn, round by round, so that a change of the machine's speed affects all contestants.

use std::time::Duration;

use crate::device::Device;
use crate::error::Result;

/// The most steps in a turn.
const MOST_STEPS: usize = 2_000;

/// How often the same work is timed by itself.
const REPEATS: usize = 11;

/// The length of a turn.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// A number of steps.
    Steps(usize),
    /// The number of steps that take about this long, at least one.
    Time(Duration),
}

impl Length {
    /// Steps in a turn if one takes `step`.
    fn steps(self, step: Duration) -> usize {
        match self {
            Length::Steps(steps) => steps.max(1),
            Length::Time(time) => {
                let steps = time.as_secs_f64() / step.as_secs_f64().max(1e-9);
                (steps as usize).clamp(1, MOST_STEPS)
            }
        }
    }
}

/// The number of rounds, and the length of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Rounds: the number of turns of each contestant.
    pub rounds: usize,
    /// Length of a turn.
    pub length: Length,
}

/// Seconds per step in each round.
#[derive(Clone, Debug, Default)]
pub struct Times(pub Vec<f64>);

impl Times {
    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let (sorted, half) = (self.sorted(), self.0.len() / 2);
        match self.0.len() % 2 {
            0 => (sorted[half - 1] + sorted[half]) / 2.0,
            _ => sorted[half],
        }
    }

    /// The shortest.
    pub fn least(&self) -> f64 {
        self.sorted()[0]
    }

    /// The longest.
    pub fn most(&self) -> f64 {
        self.sorted()[self.0.len() - 1]
    }

    /// The ratios to others, round by round.
    pub fn over(&self, others: &Times) -> Times {
        Times(self.0.iter().zip(&others.0).map(|(own, other)| own / other).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// Seconds of `work` by the device's clock: the median of [`REPEATS`], after one that is not counted.
///
/// # Errors
/// As [`Device::check`].
pub fn repeated(device: &Device, work: impl Fn()) -> Result<f64> {
    device.time(&work)?;
    let times = (0..REPEATS).map(|_| Ok(device.time(&work)?.as_secs_f64()));
    times.collect::<Result<_>>().map(|times| Times(times).median())
}

/// A contestant: runs a number of steps and returns their time.
pub type Timed<'a, E> = Box<dyn FnMut(usize) -> std::result::Result<Duration, E> + 'a>;

/// Times all contestants in turn. One that fails gets no further turns, and its result is the error.
pub fn in_turn<E>(mut all: Vec<Timed<'_, E>>, turns: Turns) -> Vec<std::result::Result<Times, E>> {
    // A first, uncounted step determines how many make a turn.
    let mut steps = Vec::new();
    let mut times: Vec<std::result::Result<Times, E>> = Vec::new();
    for own in &mut all {
        let first = own(1);
        steps.push(first.as_ref().map_or(0, |first| turns.length.steps(*first)));
        times.push(first.map(|_| Times::default()));
    }
    for _ in 0..turns.rounds.max(1) {
        for ((own, times), steps) in all.iter_mut().zip(&mut times).zip(&steps) {
            let Ok(rounds) = times else { continue };
            match own(*steps) {
                Ok(time) => rounds.0.push(time.as_secs_f64() / *steps as f64),
                Err(error) => *times = Err(error),
            }
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_their_turns_one_after_the_other() {
        let order = std::cell::RefCell::new(Vec::new());
        let entry = |name: &'static str, milliseconds: u64| -> Timed<'_, String> {
            let order = &order;
            Box::new(move |steps| {
                order.borrow_mut().push((name, steps));
                Ok(Duration::from_millis(milliseconds) * steps as u32)
            })
        };
        let times = in_turn(
            vec![entry("a", 2), entry("b", 100)],
            Turns { rounds: 2, length: Length::Time(Duration::from_millis(400)) },
        );
        let expected = [("a", 1), ("b", 1), ("a", 200), ("b", 4), ("a", 200), ("b", 4)];
        assert_eq!(*order.borrow(), expected);
        let medians: Vec<f64> = times.into_iter().map(|own| own.unwrap().median()).collect();
        assert!((medians[0] - 2e-3).abs() < 1e-9 && (medians[1] - 0.1).abs() < 1e-9);
    }

    #[test]
    fn what_fails_says_why_and_costs_the_others_nothing() {
        let mut left = 2;
        let failing: Timed<'_, String> = Box::new(move |_| {
            left -= 1;
            if left > 0 { Ok(Duration::from_millis(1)) } else { Err("it broke".into()) }
        });
        let sound: Timed<'_, String> =
            Box::new(|steps| Ok(Duration::from_millis(5) * steps as u32));
        let times = in_turn(vec![failing, sound], Turns { rounds: 3, length: Length::Steps(1) });
        assert_eq!(times[0].as_ref().unwrap_err(), "it broke");
        assert_eq!(times[1].as_ref().unwrap().0.len(), 3);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = Times(vec![2.0, 6.0, 4.0]).over(&Times(vec![1.0, 2.0, 4.0]));
        assert_eq!(ratio.0, [2.0, 3.0, 1.0]);
        assert_eq!((ratio.median(), ratio.least(), ratio.most()), (2.0, 1.0, 3.0));
        assert_eq!(Times(vec![4.0, 1.0, 2.0, 9.0]).median(), 3.0);
    }
}
