//! Training steps and evaluations as captured graphs, one per batch shape and batch source.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::device::{CapturedGraph, Device};
use crate::nn::{BufferKind, Entry, Module, for_each_entry};
use crate::ops::tensor::elementwise::copy_into;
use crate::tensor::Tensor;

/// A learner's captured graphs and their results, which stay in the same memory.
pub struct CapturedStep<T> {
    is_on: Cell<bool>,
    known: RefCell<Vec<(Key, Known<T>)>>,
}

/// The batch size and the memory that a captured graph is bound to.
struct Key {
    samples: usize,
    /// The sources of its batches, and an LSTM's carried state, whose memory depends on the batch size.
    tensors: Vec<Tensor>,
}

impl Key {
    fn new(model: &dyn Module, sources: &[Tensor], samples: usize) -> Key {
        let mut tensors = sources.to_vec();
        for_each_entry(model, &mut |_, entry| {
            if let Entry::Buffer(buffer) = entry
                && buffer.kind() == BufferKind::Carried
            {
                tensors.extend(buffer.current().map(|state| state.clone()));
            }
        });
        Key { samples, tensors }
    }

    fn is(&self, other: &Key) -> bool {
        let lies_there = |(own, other): (&Tensor, &Tensor)| own.shares_memory_with(other);
        self.samples == other.samples
            && self.tensors.len() == other.tensors.len()
            && self.tensors.iter().zip(&other.tensors).all(lies_there)
    }
}

enum Known<T> {
    /// Run once without capture, which allocates the memory that the captured graph uses.
    Seen,
    Captured(CapturedGraph, T),
}

impl<T> Default for CapturedStep<T> {
    fn default() -> Self {
        CapturedStep { is_on: Cell::new(true), known: RefCell::default() }
    }
}

impl<T: Clone> CapturedStep<T> {
    /// Turns capture on or off; it is on by default. Results do not depend on it.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.set(is_on);
    }

    /// The number of launches of each kernel in a captured graph, by name; `None` before the first capture.
    pub fn launches(&self) -> Option<BTreeMap<String, usize>> {
        self.known.borrow().iter().find_map(|(_, known)| match known {
            Known::Seen => None,
            Known::Captured(graph, _) => {
                let launches = graph.launches().into_iter();
                Some(launches.map(|(name, count)| (name.to_owned(), count)).collect())
            }
        })
    }

    /// Whether work on a device is captured.
    pub(crate) fn is_on(&self, device: &Device) -> bool {
        device.can_capture() && self.is_on.get()
    }

    /// Runs the work for a batch, or replays its captured graph. Everything that changes from batch to batch has to
    /// come from `sources`.
    pub(crate) fn run(
        &self,
        (model, device): (&dyn Module, &Device),
        sources: &[Tensor],
        samples: usize,
        work: &dyn Fn() -> T,
    ) -> T {
        if !self.is_on(device) {
            return work();
        }
        let key = || Key::new(model, sources, samples);
        let own = key();
        let mut known = self.known.borrow_mut();
        match known.iter_mut().find(|(known, _)| known.is(&own)).map(|(_, known)| known) {
            None => {
                let result = work();
                // The work may have allocated the carried state.
                known.push((key(), Known::Seen));
                result
            }
            Some(seen @ Known::Seen) => {
                let mut result = None;
                let graph = device.capture(|| result = Some(work()));
                let result = result.expect("the work was done");
                if let Some(graph) = graph {
                    *seen = Known::Captured(graph, result.clone());
                }
                result
            }
            Some(Known::Captured(graph, result)) => {
                graph.replay();
                result.clone()
            }
        }
    }
}

/// Copies of batches, in the memory that captured graphs read.
#[derive(Default)]
pub(super) struct StaticInputs(RefCell<Vec<Vec<Tensor>>>);

impl StaticInputs {
    /// Copies a batch's tensors over the previous ones of the same shapes.
    pub fn copy(&self, batch: &[&Tensor]) -> Vec<Tensor> {
        let mut held = self.0.borrow_mut();
        let is_alike = |(own, other): (&Tensor, &&Tensor)| {
            (own.shape(), own.dtype()) == (other.shape(), other.dtype())
        };
        let place =
            held.iter().find(|own| own.len() == batch.len() && own.iter().zip(batch).all(is_alike));
        if let Some(place) = place {
            batch.iter().zip(place).for_each(|(tensor, own)| copy_into(tensor, own));
            return place.clone();
        }
        let own: Vec<Tensor> = batch.iter().map(|tensor| tensor.copy()).collect();
        held.push(own.clone());
        own
    }
}
