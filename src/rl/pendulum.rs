//! The pendulum: swing it up and hold it there, with a motor that is too weak to lift it at once.
//!
//! The equations, the observation, the reward and the time limit are those of Gymnasium's `Pendulum-v1`, whose torque
//! is any number from -2 to 2. Q-learning needs discrete actions, so here the motor has a few evenly spaced torques.

use std::f64::consts::{PI, TAU};
use std::ops::RangeInclusive;

use super::environment::{Environments, Outcome, Spaces, check_reset, check_step};
use crate::error::{Error, Result};
use crate::random::{Philox, Purpose};

/// The default number of torques, which are then -2, -1, 0, 1 and 2.
pub(super) const TORQUES: usize = 5;

const GRAVITY: f64 = 10.0;
const MASS: f64 = 1.0;
const LENGTH: f64 = 1.0;
/// Seconds from one step to the next.
const INTERVAL: f64 = 0.05;
const LARGEST_SPEED: f64 = 8.0;
const LARGEST_TORQUE: f64 = 2.0;
/// Steps after which an episode is cut off.
const STEPS: u32 = 200;

const OBSERVATION: usize = 3;
const NUMBERS_OF_A_STATE: usize = 3;

/// The state of one pendulum.
#[derive(Clone, Copy, Debug)]
struct State {
    /// In radians, 0 upright, including full turns.
    angle: f64,
    /// In radians a second.
    speed: f64,
    /// Steps of this episode so far.
    steps: u32,
}

impl State {
    fn observe(&self, observation: &mut [f32]) {
        let numbers = [self.angle.cos(), self.angle.sin(), self.speed];
        observation.iter_mut().zip(numbers).for_each(|(shown, number)| *shown = number as f32);
    }

    fn step(&mut self, torque: f64) -> Outcome {
        let angle = (self.angle + PI).rem_euclid(TAU) - PI;
        let cost = angle.powi(2) + 0.1 * self.speed.powi(2) + 0.001 * torque.powi(2);
        let acceleration = 3.0 * GRAVITY / (2.0 * LENGTH) * self.angle.sin()
            + 3.0 / (MASS * LENGTH.powi(2)) * torque;
        let speed = self.speed + acceleration * INTERVAL;
        self.speed = speed.clamp(-LARGEST_SPEED, LARGEST_SPEED);
        self.angle += self.speed * INTERVAL;
        self.steps += 1;
        Outcome { reward: -cost, terminated: false, truncated: self.steps >= STEPS }
    }
}

/// Pendulums side by side.
///
/// An observation is cosine and sine of the angle, which is 0 upright, and the speed in radians a second. The reward is
/// `-(angle^2 + 0.1 speed^2 + 0.001 torque^2)`, of the state before the step, with the angle in `[-pi, pi)`. An episode
/// starts at an angle uniform in `[-pi, pi]` with a speed uniform in `[-1, 1]`, and is truncated after 200 steps.
/// Before its first reset a pendulum hangs at rest.
#[derive(Clone, Debug)]
pub struct Pendulum {
    copies: Vec<State>,
    /// The torque of each action.
    torques: Vec<f64>,
}

impl Pendulum {
    /// The allowed numbers of torques.
    pub const NUMBERS_OF_TORQUES: RangeInclusive<usize> = 2..=1000;

    /// `count` pendulums whose actions are `torques` torques from -2 to 2.
    ///
    /// # Panics
    /// Where `torques` is not in [`Pendulum::NUMBERS_OF_TORQUES`].
    pub fn new(count: usize, torques: usize) -> Self {
        assert!(Self::NUMBERS_OF_TORQUES.contains(&torques), "pendulum: {torques} torques");
        let gaps = (torques - 1) as f64;
        // Computed from the middle, so that the torques are symmetric to the bit.
        let torque = |action: usize| LARGEST_TORQUE * (2.0 * action as f64 - gaps) / gaps;
        let hanging = State { angle: PI, speed: 0.0, steps: 0 };
        Pendulum { copies: vec![hanging; count], torques: (0..torques).map(torque).collect() }
    }

    fn shape(&self) -> (Spaces, usize) {
        (self.spaces(), self.count())
    }
}

impl Environments for Pendulum {
    fn spaces(&self) -> Spaces {
        Spaces { observation: OBSERVATION, actions: self.torques.len() }
    }

    fn count(&self) -> usize {
        self.copies.len()
    }

    fn reset(&mut self, resets: &[(usize, u64)], observations: &mut [f32]) -> Result<()> {
        check_reset("pendulum", self.shape(), resets, observations);
        for &(copy, seed) in resets {
            let mut stream = Philox::new(seed, Purpose::Environments).stream(0);
            let (angle, speed) = (stream.uniform_in(-PI, PI), stream.uniform_in(-1.0, 1.0));
            self.copies[copy] = State { angle, speed, steps: 0 };
            self.copies[copy].observe(&mut observations[copy * OBSERVATION..][..OBSERVATION]);
        }
        Ok(())
    }

    fn step_some(
        &mut self,
        actions: &[Option<usize>],
        observations: &mut [f32],
    ) -> Result<Vec<Option<Outcome>>> {
        check_step("pendulum", self.shape(), actions, observations);
        let rows = observations.chunks_exact_mut(OBSERVATION);
        let outcomes =
            self.copies.iter_mut().zip(actions).zip(rows).map(|((copy, &action), row)| {
                let outcome = copy.step(self.torques[action?]);
                copy.observe(row);
                Some(outcome)
            });
        Ok(outcomes.collect())
    }

    /// Angle, speed and number of steps of each.
    fn state(&self) -> Option<Vec<f64>> {
        let numbers = |copy: &State| [copy.angle, copy.speed, f64::from(copy.steps)];
        Some(self.copies.iter().flat_map(numbers).collect())
    }

    fn restore(&mut self, state: &[f64]) -> Result<()> {
        let restored: Option<Vec<State>> = state
            .chunks(NUMBERS_OF_A_STATE)
            .map(|numbers| match *numbers {
                [angle, speed, steps]
                    if angle.is_finite()
                        && speed.abs() <= LARGEST_SPEED
                        && f64::from(steps as u32) == steps =>
                {
                    Some(State { angle, speed, steps: steps as u32 })
                }
                _ => None,
            })
            .collect();
        match restored.filter(|copies| copies.len() == self.copies.len()) {
            Some(copies) => {
                self.copies = copies;
                Ok(())
            }
            None => {
                let count = self.count();
                Err(Error::input("pendulum", format!("this is not the state of {count} pendulums")))
            }
        }
    }
}
