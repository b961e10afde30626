//! Catch-up: classifiers with a tiny posterior weight take the mean of all classifiers' parameters, weighted by the posterior.

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::{Cpu, Float};
use crate::device::gpu::Parameters;
use crate::device::{DType, Device, Gpu};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// Gives every classifier whose log-posterior is below `threshold` the mean of all classifiers' parameters, weighted by
/// the posterior. `weight` is `[N, K, d]`, `bias` `[N, K]`, `log_posterior` F64 `[N]`. The mean of an element leaves
/// out classifiers in which it is not finite.
pub fn catch_up(weight: &Tensor, bias: &Tensor, log_posterior: &Tensor, threshold: f64) {
    assert_alike("catch_up", &[weight, bias]);
    let classifiers = log_posterior.shape().elements();
    assert!(
        log_posterior.dtype() == DType::F64
            && weight.shape().rank() == 3
            && bias.shape().extents() == &weight.shape().extents()[..2]
            && weight.shape()[0] == classifiers,
        "catch_up: weight {}, bias {} and log-posterior {:?} {} are not [N, K, d], [N, K] and F64 [N]",
        weight.shape(),
        bias.shape(),
        log_posterior.dtype(),
        log_posterior.shape()
    );
    match weight.device() {
        Device::Gpu(gpu) => {
            launch(gpu, weight, log_posterior, threshold);
            launch(gpu, bias, log_posterior, threshold);
        }
        Device::Cpu(cpu) => float_dispatch!(weight.dtype(), "catch_up", T => {
            let log_posterior = log_posterior.read::<f64>();
            move_weak::<T>(cpu, &mut weight.write::<T>(), &log_posterior, threshold);
            move_weak::<T>(cpu, &mut bias.write::<T>(), &log_posterior, threshold);
        }),
    }
}

fn move_weak<T: Float>(cpu: &Cpu, parameters: &mut [T], log_posterior: &[f64], threshold: f64) {
    let is_weak = |classifier: usize| log_posterior[classifier] < threshold;
    if !(0..log_posterior.len()).any(is_weak) || parameters.is_empty() {
        return;
    }
    let length = parameters.len() / log_posterior.len();
    let mean = weighted_mean(parameters, length, log_posterior);
    cpu.pieces(parameters, length, log_posterior.len() * length, |classifier, parameters| {
        if is_weak(classifier) {
            let pairs = parameters.iter_mut().zip(&mean).filter(|(_, mean)| mean.is_finite());
            pairs.for_each(|(parameter, mean)| *parameter = T::from_f64(*mean));
        }
    });
}

/// The mean over the classifiers; NaN for an element that is finite in no classifier of positive weight.
fn weighted_mean<T: Float>(parameters: &[T], length: usize, log_posterior: &[f64]) -> Vec<f64> {
    let (mut sums, mut totals) = (vec![0.0; length], vec![0.0; length]);
    for (classifier, log_share) in parameters.chunks(length).zip(log_posterior) {
        let share = log_share.exp();
        for ((sum, total), value) in sums.iter_mut().zip(&mut totals).zip(classifier) {
            if value.is_finite() {
                *sum += share * value.to_f64();
                *total += share;
            }
        }
    }
    sums.iter().zip(totals).map(|(sum, total)| sum / total).collect()
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CatchUpSizes {
    length: u64,
    threshold: f64,
    classifiers: u32,
    is_vector: u32,
}

/// Threads of a block of `catch_up_f32`.
const THREADS: u32 = 256;

fn launch(gpu: &Gpu, parameters: &Tensor, log_posterior: &Tensor, threshold: f64) {
    assert!(
        parameters.dtype() == DType::F32 && parameters.is_contiguous(),
        "catch_up: parameters {:?} {} on a GPU, with a pitch of {}",
        parameters.dtype(),
        parameters.shape(),
        parameters.pitch()
    );
    let classifiers = log_posterior.shape().elements();
    let length = parameters.shape().elements() / classifiers.max(1);
    let pointer = parameters.pointer();
    let is_vector = length.is_multiple_of(4) && pointer.0.is_multiple_of(16);
    let threads = if is_vector { length / 4 } else { length };
    let sizes = CatchUpSizes {
        length: length as u64,
        threshold,
        classifiers: classifiers as u32,
        is_vector: u32::from(is_vector),
    };
    gpu.launch_with_shared(
        "catch_up_f32",
        [threads.div_ceil(THREADS as usize) as u32, 1, 1],
        [THREADS, 1, 1],
        8 * classifiers,
        &[&pointer, &log_posterior.pointer(), &Parameters(&sizes)],
    );
}
