//! The targets of Q-learning, from the reward and the values of the next state.

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::Float;
use crate::device::gpu::Parameters;
use crate::device::{DType, Device, Gpu};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// Threads of a block.
const THREADS: u32 = 128;

/// The targets of Q-learning (Watkins 1989): `r + discount continues max_k q_k`, `[B]`. `rewards` and `continues` are
/// `[B]`, `next_values` is `[B, K]`, the value of each action in the next state. No gradient. Panics on other shapes.
///
/// `continues` is 0 if the episode terminated: the target is then the reward, whatever the values are. Otherwise a NaN
/// among the values makes the target NaN.
///
/// ```
/// use alrao::{Device, Tensor, ops::rl::bellman::targets};
/// let device = Device::cpu();
/// let vector = |elements: &[f64]| Tensor::from_slice(&device, [2], elements);
/// let next_values = Tensor::from_slice(&device, [2, 3], &[1.0, 5.0, 2.0, f64::NAN, 7.0, 7.0]);
/// let targets = targets(&vector(&[1.0, -1.0]), &vector(&[1.0, 0.0]), &next_values, 0.5);
/// assert_eq!(targets.to_vec::<f64>(), [3.5, -1.0]);
/// ```
pub fn targets(
    rewards: &Tensor,
    continues: &Tensor,
    next_values: &Tensor,
    discount: f64,
) -> Tensor {
    assert_alike("bellman", &[rewards, continues, next_values]);
    let (samples, shape) = (rewards.shape().elements(), next_values.shape());
    assert!(
        rewards.shape().extents() == [samples]
            && continues.shape().extents() == [samples]
            && shape.rank() == 2
            && shape[0] == samples
            && shape[1] > 0,
        "bellman: rewards {}, continues {} and next values {shape} are not [B], [B] and [B, K]",
        rewards.shape(),
        continues.shape()
    );
    let out = rewards.empty_like([samples]);
    match rewards.device() {
        Device::Gpu(gpu) => launch(gpu, [rewards, continues, next_values], discount, &out),
        Device::Cpu(_) => float_dispatch!(rewards.dtype(), "bellman", T => {
            let discount = T::from_f64(discount);
            let (rewards, continues) = (rewards.read::<T>(), continues.read::<T>());
            let (values, pitch) = (next_values.read::<T>(), next_values.pitch());
            let samples = rewards.iter().zip(continues.iter()).zip(values.chunks(pitch));
            let mut out = out.write::<T>();
            for (out, ((reward, continues), values)) in out.iter_mut().zip(samples) {
                let best = largest(&values[..shape[1]]);
                let later = if *continues == T::ZERO { T::ZERO } else { discount * *continues * best };
                *out = *reward + later;
            }
        }),
    }
    out
}

/// The largest number; NaN if any is NaN.
fn largest<T: Float>(values: &[T]) -> T {
    let larger = |a: T, b: &T| if *b > a || b.is_nan() { *b } else { a };
    values.iter().fold(-T::INFINITY, larger)
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BellmanSizes {
    value_pitch: u64,
    samples: u32,
    actions: u32,
    discount: f32,
    unused: u32,
}

fn launch(gpu: &Gpu, inputs: [&Tensor; 3], discount: f64, out: &Tensor) {
    let [rewards, continues, values] = inputs.map(Tensor::pointer);
    let next_values = inputs[2];
    let dtype = next_values.dtype();
    assert!(dtype == DType::F32, "bellman: no kernel for {dtype:?}");
    let [samples, actions] = [0, 1].map(|axis| next_values.shape()[axis] as u32);
    let sizes = BellmanSizes {
        value_pitch: next_values.pitch() as u64,
        samples,
        actions,
        discount: discount as f32,
        unused: 0,
    };
    gpu.launch(
        "bellman_targets_f32",
        [samples.div_ceil(THREADS), 1, 1],
        [THREADS, 1, 1],
        &[&rewards, &continues, &values, &out.pointer(), &Parameters(&sizes)],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(device: &Device, elements: &[f64]) -> Tensor {
        Tensor::from_slice(device, [elements.len()], elements)
    }

    #[test]
    fn a_value_that_is_nan_shows_unless_the_episode_ended() {
        let device = Device::cpu();
        let values = [f64::NAN, 1.0, 1.0, f64::NAN, f64::NAN, f64::INFINITY];
        let values = Tensor::from_slice(&device, [3, 2], &values);
        let (rewards, continues) = (vector(&device, &[0.5; 3]), vector(&device, &[1.0, 1.0, 0.0]));
        let found = targets(&rewards, &continues, &values, 0.9).to_vec::<f64>();
        assert!(found[0].is_nan() && found[1].is_nan() && found[2] == 0.5, "{found:?}");
    }

    #[test]
    #[should_panic(expected = "rewards [2], continues [3] and next values [2, 4]")]
    fn other_shapes_panic() {
        let device = Device::cpu();
        let values = Tensor::zeros(&device, [2, 4], DType::F64);
        targets(&vector(&device, &[0.0; 2]), &vector(&device, &[1.0; 3]), &values, 0.9);
    }
}
