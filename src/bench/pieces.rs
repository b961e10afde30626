//! The parts of a step that Alrao adds to plain training, each alone: the update with a learning rate for every
//! feature, the head with its classifiers, the switch.

use std::time::Duration;

use serde::Serialize;

use super::step::Contestant;
use super::workloads::learning::{head, learned};
use super::workloads::{Work, whole};
use crate::device::{CapturedGraph, Device, Gpu};
use crate::error::Result;
use crate::ops::head::classifiers::{Targets, classifiers};
use crate::random::{Philox, Purpose};

/// Passes in one graph, so that its launch overhead does not matter.
const PASSES: usize = 20;

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    /// The update of all parameters, with a learning rate for each feature.
    Update,
    /// The classifiers' forward and backward pass, from the features to their gradient.
    Head,
    /// The posterior's update from the classifiers' losses.
    Switch,
}

impl Piece {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Piece::Update => "update",
            Piece::Head => "head",
            Piece::Switch => "switch",
        }
    }
}

/// A part of a model's step, ready to be timed.
pub struct Part<'a> {
    work: Box<dyn Fn() + 'a>,
    /// On a GPU: the captured passes.
    graph: Option<CapturedGraph>,
}

impl<'a> Part<'a> {
    /// The part of a contestant's step: the switch on the losses of its last step, the head on random features, the
    /// update on random gradients. The update destroys its weights.
    pub fn new(contestant: &'a Contestant, piece: Piece, device: &Device) -> Part<'a> {
        let work: Box<dyn Fn() + 'a> = match piece {
            Piece::Update => {
                let (learner, head) = (contestant.learner(), contestant.step());
                // The model fits its one batch, so the true gradients are nearly zero.
                let gradients = learner.flat().gradients();
                let mut random = Philox::new(0, Purpose::Data).stream(0);
                let numbers = (0..gradients.shape().elements()).map(|_| random.normal() as f32);
                gradients.copy_from_slice(&numbers.collect::<Vec<f32>>());
                Box::new(move || learner.update(&head))
            }
            Piece::Head => {
                let work = head_of(contestant, device);
                Box::new(move || drop(work()))
            }
            Piece::Switch => {
                let head = contestant.step();
                Box::new(move || contestant.learner().average(&head, contestant.samples()))
            }
        };
        // The first pass allocates.
        work();
        let graph = match device {
            Device::Cpu(_) => None,
            Device::Gpu(gpu) => Some(Gpu::capture(gpu, || (0..PASSES).for_each(|_| work()))),
        };
        Part { work, graph }
    }

    /// The time of `passes` passes.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn time(&self, device: &Device, passes: usize) -> Result<Duration> {
        let Some(graph) = &self.graph else {
            return device.time(|| (0..passes).for_each(|_| (self.work)()));
        };
        let graphs = passes.div_ceil(PASSES);
        let time = device.time(|| (0..graphs).for_each(|_| graph.replay()))?;
        Ok(time.mul_f64(passes as f64 / (graphs * PASSES) as f64))
    }
}

/// A head with the sizes of a contestant's model: samples, features, classifiers, classes.
fn head_of(contestant: &Contestant, device: &Device) -> Work {
    let weight = contestant.learner().model().classifiers().weight().shape();
    let [copies, outputs, inputs] = [0, 1, 2].map(|axis| weight.extents()[axis]);
    let dtype = contestant.precision().dtype();
    let samples = contestant.samples();
    let classes = whole(device, &[samples], outputs, 1);
    learned(
        head(device, dtype, [samples, inputs, copies, outputs]),
        move |[z, weight, bias], posterior| {
            classifiers(z, weight, bias, Targets::Classes(&classes), posterior)
        },
    )
}
