//! The pendulum over whole episodes, beside Gymnasium's.

use alrao::Device;
use alrao::rl::{Environments, Pendulum};

use super::load;

const TOLERANCE: f64 = 1e-6;

fn largest_difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let differences = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs());
    // Whatever is not a number is as far away as can be.
    differences.fold(0.0, |most, one| if one <= most { most } else { one })
}

#[test]
fn whole_episodes_agree_with_gymnasium() {
    let file = load(&Device::cpu(), "pendulum.safetensors");
    let (mut fastest, mut turned) = (0.0f64, 0.0f64);
    for torques in [2, 5, 8] {
        let of = |name: &str| file[&format!("{torques} {name}")].to_f64s();
        let (states, actions) = (of("states"), of("actions"));
        let shape = file[&format!("{torques} actions")].shape();
        let (episodes, steps) = (shape[0], shape[1]);
        assert_eq!(steps, 200);
        let mut pendulum = Pendulum::new(episodes, torques);
        let first: Vec<f64> =
            states.chunks(2).flat_map(|state| [state[0], state[1], 0.0]).collect();
        pendulum.restore(&first).unwrap();
        // By step, where the file's are by episode.
        let column = |values: &[f64], step: usize, width: usize| -> Vec<f64> {
            let rows = values.chunks_exact(values.len() / episodes);
            rows.flat_map(|row| row[step * width..][..width].iter().copied()).collect()
        };
        let (observations, rewards, truncated) =
            (of("observations"), of("rewards"), of("truncated"));
        let mut shown = vec![0.0; episodes * 3];
        let (mut of_observations, mut of_rewards) = (0.0f64, 0.0f64);
        for step in 0..steps {
            let chosen: Vec<usize> =
                column(&actions, step, 1).into_iter().map(|action| action as usize).collect();
            let outcomes = pendulum.step(&chosen, &mut shown).unwrap();
            let got: Vec<f64> = shown.iter().map(|&number| f64::from(number)).collect();
            let expected = column(&observations, step + 1, 3);
            of_observations = largest_difference(&got, &expected).max(of_observations);
            let got: Vec<f64> = outcomes.iter().map(|outcome| outcome.reward).collect();
            of_rewards = largest_difference(&got, &column(&rewards, step, 1)).max(of_rewards);
            let ends: Vec<f64> =
                outcomes.iter().map(|outcome| f64::from(u8::from(outcome.truncated))).collect();
            assert_eq!(ends, column(&truncated, step, 1), "step {step}");
            assert!(outcomes.iter().all(|outcome| !outcome.terminated));
            for state in pendulum.state().unwrap().chunks(3) {
                (turned, fastest) = (turned.max(state[0].abs()), fastest.max(state[1].abs()));
            }
        }
        println!("{torques} torques: observations {of_observations:e}, rewards {of_rewards:e}");
        assert!(of_observations <= TOLERANCE, "{torques} torques: {of_observations:e}");
        assert!(of_rewards <= TOLERANCE, "{torques} torques: {of_rewards:e}");
    }
    // Otherwise the episodes would not show what happens there.
    assert!(fastest == 8.0 && turned > 4.0 * std::f64::consts::TAU, "{fastest}, {turned}");
}
