//! Environments of our own.

use std::f64::consts::PI;

use alrao::rl::{Environments, Outcome, Pendulum, Spaces, open};
use proptest::prelude::*;

fn refused(name: &str) -> String {
    open(name, 1).err().unwrap().to_string()
}

#[test]
fn an_environment_is_opened_by_name() {
    let usual = open("pendulum", 3).unwrap();
    assert_eq!(usual.spaces(), Spaces { observation: 3, actions: 5 });
    assert_eq!(usual.count(), 3);
    assert_eq!(open("pendulum:9", 1).unwrap().spaces().actions, 9);
}

#[test]
fn a_name_that_says_nothing_is_refused() {
    for name in ["", "pendulums", "pendulum-v1", "gymnasium:CartPole-v1", "gym", "gym:"] {
        assert!(refused(name).starts_with("`env`: "), "{name}: {}", refused(name));
    }
    for torques in ["", "1", "1001", "-3", "2.5", "five"] {
        let message = refused(&format!("pendulum:{torques}"));
        let expected = format!("'{torques}' is not a number of torques from 2 to 1000");
        assert!(message.ends_with(&expected), "{message}");
    }
}

/// A pendulum in a state, with 5 torques.
fn pendulum(angle: f64, speed: f64) -> Pendulum {
    let mut pendulum = Pendulum::new(1, 5);
    pendulum.restore(&[angle, speed, 0.0]).unwrap();
    pendulum
}

fn step(pendulum: &mut Pendulum, action: usize) -> ([f32; 3], Outcome) {
    let mut observation = [0.0; 3];
    let outcomes = pendulum.step(&[action], &mut observation).unwrap();
    (observation, outcomes[0])
}

#[test]
fn upright_and_hanging_stay_as_they_are() {
    let (observation, outcome) = step(&mut pendulum(0.0, 0.0), 2);
    assert_eq!((observation, outcome.reward), ([1.0, 0.0, 0.0], 0.0));
    let (observation, outcome) = step(&mut pendulum(PI, 0.0), 2);
    assert_eq!(observation[0], -1.0);
    assert!(observation[2].abs() < 1e-15);
    assert_eq!(outcome.reward, -PI * PI);
}

#[test]
fn the_outermost_torques_are_the_largest() {
    for (action, torque) in [(0, -2.0), (1, -1.0), (2, 0.0), (3, 1.0), (4, 2.0)] {
        let (observation, outcome) = step(&mut pendulum(0.0, 0.0), action);
        assert!((f64::from(observation[2]) - 0.05 * 3.0 * torque).abs() < 1e-7);
        assert_eq!(outcome.reward, -0.001 * torque * torque);
    }
}

#[test]
fn an_episode_is_cut_off_after_200_steps_and_never_ends_otherwise() {
    let mut pendulum = Pendulum::new(2, 5);
    let mut observations = [0.0; 6];
    pendulum.reset(&[(0, 1), (1, 2)], &mut observations).unwrap();
    for number in 1..=300 {
        if number == 101 {
            pendulum.reset(&[(1, 3)], &mut observations).unwrap();
        }
        let outcomes = pendulum.step(&[4, 0], &mut observations).unwrap();
        let ends = outcomes.iter().map(|outcome| outcome.truncated).collect::<Vec<_>>();
        assert_eq!(ends, [number >= 200, number == 300], "step {number}");
        assert!(outcomes.iter().all(|outcome| !outcome.terminated));
    }
}

#[test]
fn episodes_start_anywhere() {
    let mut pendulum = Pendulum::new(1, 5);
    let count = 4000;
    let (mut angles, mut speeds) = (Vec::new(), Vec::new());
    for seed in 0..count {
        pendulum.reset(&[(0, seed)], &mut [0.0; 3]).unwrap();
        let state = pendulum.state().unwrap();
        angles.push(state[0] / PI);
        speeds.push(state[1]);
    }
    for values in [&mut angles, &mut speeds] {
        values.sort_by(f64::total_cmp);
        // Kolmogorov and Smirnov: the distance from the uniform distribution, at the level 1e-6.
        let ranks = values.iter().enumerate();
        let distances = ranks.map(|(rank, value)| {
            (f64::from(rank as u32) / count as f64 - (value + 1.0) / 2.0).abs()
        });
        let distance = distances.fold(0.0, f64::max);
        assert!(distance < 2.69 / (count as f64).sqrt(), "{distance}");
    }
}

#[test]
fn what_is_no_state_is_refused_and_changes_nothing() {
    let mut pendulum = pendulum(1.0, 2.0);
    for state in [
        &[][..],
        &[1.0, 2.0],
        &[1.0, 2.0, 3.0, 4.0],
        &[1.0, 2.0, 3.0, 1.0, 2.0, 3.0],
        &[f64::NAN, 0.0, 0.0],
        &[0.0, 8.5, 0.0],
        &[0.0, f64::NAN, 0.0],
        &[0.0, 0.0, 0.5],
        &[0.0, 0.0, -1.0],
    ] {
        assert!(pendulum.restore(state).is_err(), "{state:?}");
        assert_eq!(pendulum.state().unwrap(), [1.0, 2.0, 0.0]);
    }
}

#[test]
#[should_panic(expected = "pendulum: action 5, but there are 5")]
fn an_action_that_is_none_is_refused() {
    step(&mut Pendulum::new(1, 5), 5);
}

#[test]
#[should_panic(expected = "pendulum: room for 3 numbers, but the observations are [2, 3]")]
fn observations_need_room() {
    let _ = Pendulum::new(2, 5).reset(&[], &mut [0.0; 3]);
}

/// Energy of a rod that turns around its end.
fn energy(state: &[f64]) -> f64 {
    state[1].powi(2) / 6.0 + 5.0 * state[0].cos()
}

proptest! {
    #[test]
    fn observations_and_rewards_stay_within_their_limits(
        seed in any::<u64>(),
        torques in 2usize..12,
        actions in prop::collection::vec(0usize..1000, 200),
    ) {
        let mut pendulum = Pendulum::new(1, torques);
        let mut shown = [0.0; 3];
        pendulum.reset(&[(0, seed)], &mut shown).unwrap();
        for action in actions {
            let (cos, sin, speed) = (shown[0], shown[1], shown[2]);
            prop_assert!((cos * cos + sin * sin - 1.0).abs() < 1e-6 && speed.abs() <= 8.0);
            let outcome = pendulum.step(&[action % torques], &mut shown).unwrap()[0];
            let lowest = PI * PI + 0.1 * 64.0 + 0.001 * 4.0;
            prop_assert!((-lowest - 1e-12..=0.0).contains(&outcome.reward), "{}", outcome.reward);
        }
    }

    /// Without a torque only the integration changes the energy, and it keeps it within bounds.
    #[test]
    fn without_a_torque_energy_is_kept(angle in -PI..PI, speed in -1.0..1.0) {
        let mut pendulum = pendulum(angle, speed);
        let first = energy(&pendulum.state().unwrap());
        for _ in 0..200 {
            step(&mut pendulum, 2);
            let now = energy(&pendulum.state().unwrap());
            prop_assert!((now - first).abs() < 1.5, "{first} became {now}");
        }
    }

    #[test]
    fn an_episode_is_its_seed_and_actions_wherever_it_runs(
        seed in any::<u64>(),
        actions in prop::collection::vec(0usize..5, 1..60),
        other in any::<u64>(),
    ) {
        let episode = |pendulum: &mut Pendulum, copy: usize| {
            let mut shown = vec![0.0; 3 * pendulum.count()];
            pendulum.reset(&[(copy, seed)], &mut shown).unwrap();
            let mut seen = shown[3 * copy..][..3].to_vec();
            for &action in &actions {
                let mut all = vec![1; pendulum.count()];
                all[copy] = action;
                pendulum.step(&all, &mut shown).unwrap();
                seen.extend_from_slice(&shown[3 * copy..][..3]);
            }
            seen
        };
        let alone = episode(&mut Pendulum::new(1, 5), 0);
        let mut several = Pendulum::new(3, 5);
        several.reset(&[(0, other), (2, other)], &mut [0.0; 9]).unwrap();
        prop_assert_eq!(alone, episode(&mut several, 1));
    }

    #[test]
    fn a_restored_state_goes_on_to_the_bit(
        seed in any::<u64>(),
        actions in prop::collection::vec((0usize..5, 0usize..5), 2..260),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut pendulum = Pendulum::new(2, 5);
        let mut shown = [0.0; 6];
        pendulum.reset(&[(0, seed), (1, !seed)], &mut shown).unwrap();
        let (before, after) = actions.split_at(cut.index(actions.len()));
        for &(first, second) in before {
            pendulum.step(&[first, second], &mut shown).unwrap();
        }
        let mut restored = Pendulum::new(2, 5);
        restored.restore(&pendulum.state().unwrap()).unwrap();
        let mut again = [0.0; 6];
        for &(first, second) in after {
            let outcomes = pendulum.step(&[first, second], &mut shown).unwrap();
            prop_assert_eq!(&outcomes, &restored.step(&[first, second], &mut again).unwrap());
            prop_assert_eq!(shown, again);
        }
        prop_assert_eq!(pendulum.state(), restored.state());
    }
}
