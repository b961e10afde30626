//! The estimate of a training step, kernel by kernel.

use std::collections::BTreeMap;

use serde::Serialize;

use super::gpus::GpuModel;
use super::{Limit, estimate};
use crate::alrao::AlraoConfig;
use crate::error::Result;
use crate::learn::TrainConfig;
use crate::models::{Input, ModelConfig};
use crate::supervised::{step_launches, step_profile};

/// A kernel's launches in a step, summed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelEstimate {
    /// Its name.
    pub kernel: String,
    /// Launches.
    pub launches: usize,
    /// Microseconds, estimated.
    pub us: f64,
    /// Megabytes that they move.
    pub megabytes: f64,
    /// What binds most of that time.
    pub limit: Limit,
}

/// The estimate of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepEstimate {
    /// The GPU.
    pub gpu: &'static str,
    /// Milliseconds of the step: its nodes one after the other.
    pub ms: f64,
    /// Nodes of the graph.
    pub nodes: usize,
    /// The longest first.
    pub kernels: Vec<KernelEstimate>,
}

/// Estimates one training step of a model with `classes` classes, as [`crate::supervised::step_launches`] counts it.
///
/// # Errors
/// As there.
pub fn step(
    gpu: &GpuModel,
    model: &ModelConfig,
    input: Input,
    classes: usize,
    alrao: AlraoConfig,
    train: &TrainConfig,
) -> Result<StepEstimate> {
    let profile = step_profile(model, input, classes, alrao.clone(), train)?;
    let mut left = step_launches(model, input, classes, alrao, train)?;
    let mut kernels: BTreeMap<String, (KernelEstimate, Vec<(Limit, f64)>)> = BTreeMap::new();
    let mut nodes = 0;
    // Backwards, because the first step begins with resets of the carried state, which a captured step lacks.
    for launch in profile.launches.iter().rev() {
        match left.get_mut(&launch.kernel) {
            Some(count) if *count > 0 => *count -= 1,
            _ => continue,
        }
        nodes += 1;
        let cost = launch.call.map(|call| profile.calls[call].cost);
        let own = estimate(gpu, launch, cost, train.precision.dtype());
        let (sum, limits) = kernels.entry(launch.kernel.clone()).or_insert_with(|| {
            let kernel = launch.kernel.clone();
            let sum =
                KernelEstimate { kernel, launches: 0, us: 0.0, megabytes: 0.0, limit: own.limit };
            (sum, Vec::new())
        });
        sum.launches += 1;
        sum.us += own.us;
        sum.megabytes += own.bytes / 1e6;
        match limits.iter_mut().find(|(limit, _)| *limit == own.limit) {
            Some((_, us)) => *us += own.us,
            None => limits.push((own.limit, own.us)),
        }
    }
    assert!(left.values().all(|count| *count == 0), "launches without an estimate: {left:?}");
    let mut kernels: Vec<KernelEstimate> = kernels
        .into_values()
        .map(|(sum, limits)| {
            let binding = limits.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
            KernelEstimate { limit: binding.map_or(sum.limit, |(limit, _)| limit), ..sum }
        })
        .collect();
    kernels.sort_by(|a, b| b.us.total_cmp(&a.us));
    let us: f64 = kernels.iter().map(|own| own.us).sum();
    Ok(StepEstimate { gpu: gpu.title, ms: us / 1e3, nodes, kernels })
}
