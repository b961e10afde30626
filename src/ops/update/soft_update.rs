//! The soft update of a target network.

use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::gpu::Launch;
use crate::device::{DType, Device, Gpu, LaunchWork};
use crate::ops::update::optimizer::{CHUNKS_OF_A_TASK, Cutter, Table};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// Threads of a block, which does one chunk.
const THREADS: u32 = 256;

/// The soft update of a target network (after Lillicrap et al. 2015, whose tau is the other share): `target = tau
/// target + (1 - tau) online`, over the parameters of `table` in two flat buffers of values; with `tau` of 0.9 the
/// target keeps nine tenths of its value. Gaps between parameters are not touched. Panics if the buffers differ in
/// shape or dtype, end before the table does, or if `tau` is not in `0..=1`.
///
/// ```
/// use alrao::ops::update::optimizer::{Span, Table};
/// use alrao::{Device, Tensor, ops::update::soft_update::soft_update};
/// let device = Device::cpu();
/// let span = Span { base: 1, length: 2, inner: 1, features: 2, rate_base: 0, in_head: false };
/// let target = Tensor::from_slice(&device, [4], &[1f64, 1.0, 2.0, 1.0]);
/// let online = Tensor::from_slice(&device, [4], &[5f64, 5.0, 2.0, 5.0]);
/// soft_update(&target, &online, &Table::new([span]), 0.75);
/// assert_eq!(target.to_vec::<f64>(), [1.0, 2.0, 2.0, 1.0]);
/// ```
pub fn soft_update(target: &Tensor, online: &Tensor, table: &Table, tau: f64) {
    assert_alike("soft_update", &[target, online]);
    assert!((0.0..=1.0).contains(&tau), "soft_update: tau {tau} is not in 0..=1");
    let end = table.chunks().last().map_or(0, |last| last.range().end);
    assert!(
        target.shape() == online.shape()
            && target.is_contiguous()
            && online.is_contiguous()
            && end <= target.shape().elements(),
        "soft_update: buffers {} and {} for parameters that end at {end}",
        target.shape(),
        online.shape()
    );
    match target.device() {
        Device::Gpu(gpu) => launch(gpu, target, online, table, tau),
        Device::Cpu(cpu) => float_dispatch!(target.dtype(), "soft_update", T => {
            update_typed(cpu, &mut target.write::<T>(), &online.read::<T>(), table, tau);
        }),
    }
}

fn update_typed<T: Float>(cpu: &Cpu, target: &mut [T], online: &[T], table: &Table, tau: f64) {
    let (keep, take) = (T::from_f64(tau), T::from_f64(1.0 - tau));
    let mut target = Cutter::new(target);
    let mut parts: Vec<(&mut [T], &[T])> = (table.chunks().iter())
        .map(|chunk| {
            let range = chunk.range();
            (target.cut(range.start, range.len()), &online[range])
        })
        .collect();
    cpu.pieces(&mut parts, CHUNKS_OF_A_TASK, table.elements(), |_, parts| {
        parts.iter_mut().for_each(|(target, online)| mix(target, online, keep, take));
    });
}

vectorised! {
    fn mix[T: Float](target: &mut [T], online: &[T], keep: T, take: T) {
        for (target, online) in target.iter_mut().zip(online) {
            *target = keep * *target + take * *online;
        }
    }
}

fn launch(gpu: &Gpu, target: &Tensor, online: &Tensor, table: &Table, tau: f64) {
    assert!(target.dtype() == DType::F32, "soft_update: no kernel for {:?}", target.dtype());
    let chunks = table.on(target.device()).pointer();
    let (keep, take) = (tau as f32, (1.0 - tau) as f32);
    gpu.launch_kernel(&Launch {
        kernel: "soft_update_f32",
        grid: [table.chunks().len() as u32, 1, 1],
        block: [THREADS, 1, 1],
        cluster: 1,
        shared: 0,
        // The target is read and written.
        work: LaunchWork::bytes(12 * table.elements()),
        arguments: &[&target.pointer(), &online.pointer(), &chunks, &keep, &take],
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::update::optimizer::Span;

    fn table(spans: &[(usize, usize)]) -> Table {
        Table::new(spans.iter().map(|(base, length)| Span {
            base: *base,
            length: *length,
            inner: 1,
            features: *length,
            rate_base: 0,
            in_head: false,
        }))
    }

    #[test]
    fn it_goes_there_step_by_step_and_leaves_the_gaps() {
        let device = Device::cpu();
        let buffer = |value: f64| Tensor::full(&device, [20_000], DType::F32, value);
        let (target, online) = (buffer(0.0), buffer(1.0));
        let table = table(&[(16, 1), (32, 9_999), (10_048, 9_000)]);
        for _ in 0..3 {
            soft_update(&target, &online, &table, 0.9);
        }
        for (element, value) in target.to_vec::<f32>().into_iter().enumerate() {
            let is_own = element == 16
                || (32..32 + 9_999).contains(&element)
                || (10_048..19_048).contains(&element);
            let expected = if is_own { 1.0 - 0.9f32.powi(3) } else { 0.0 };
            assert!((value - expected).abs() < 1e-6, "element {element} is {value}");
        }
    }

    #[test]
    #[should_panic(expected = "soft_update: buffers [8] and [8] for parameters that end at 9")]
    fn a_buffer_that_ends_before_its_parameters_panics() {
        let target = Tensor::zeros(&Device::cpu(), [8], DType::F32);
        soft_update(&target, &target.copy(), &table(&[(0, 9)]), 0.9);
    }

    #[test]
    #[should_panic(expected = "soft_update: tau 1.5 is not in 0..=1")]
    fn a_tau_above_one_panics() {
        let target = Tensor::zeros(&Device::cpu(), [8], DType::F32);
        soft_update(&target, &target.copy(), &table(&[(0, 8)]), 1.5);
    }
}
