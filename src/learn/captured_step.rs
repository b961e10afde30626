//! Work that a device repeats by itself: recorded once for each shape of batch and each place that batches come from.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::device::{Device, Recording};
use crate::nn::{BufferKind, Entry, Module, for_each_entry};
use crate::ops::elementwise::copy_into;
use crate::tensor::Tensor;

/// What a learner does again and again, training steps or evaluations, and what each time gives: tensors that stay where
/// they are.
pub struct CapturedStep<T> {
    is_on: Cell<bool>,
    known: RefCell<Vec<(Key, Known<T>)>>,
}

/// What recorded work is bound to.
struct Key {
    samples: usize,
    /// Where its batches come from, and the state that is carried from one to the next: it lies elsewhere for batches of
    /// another shape.
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
    /// The first time is an ordinary one: it makes what later ones find.
    Seen,
    Recorded(Recording, T),
}

impl<T> Default for CapturedStep<T> {
    fn default() -> Self {
        CapturedStep { is_on: Cell::new(true), known: RefCell::default() }
    }
}

impl<T: Clone> CapturedStep<T> {
    /// Whether work is recorded at all, as it is unless this says no. It computes the same either way.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.set(is_on);
    }

    /// What work that was recorded launches: how often each kernel, by name. `None` where none has been recorded.
    pub fn launches(&self) -> Option<BTreeMap<String, usize>> {
        self.known.borrow().iter().find_map(|(_, known)| match known {
            Known::Seen => None,
            Known::Recorded(recording, _) => {
                let launches = recording.launches().into_iter();
                Some(launches.map(|(name, count)| (name.to_owned(), count)).collect())
            }
        })
    }

    /// Whether work on a device is recorded.
    pub(crate) fn is_on(&self, device: &Device) -> bool {
        device.can_capture() && self.is_on.get()
    }

    /// Does work on a batch of so many samples, by itself or by what was recorded. All that changes from batch to batch has to
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
                // It may have moved the state that it carries on.
                known.push((key(), Known::Seen));
                result
            }
            Some(seen @ Known::Seen) => {
                let mut result = None;
                let recording = device.record(|| result = Some(work()));
                let result = result.expect("the work was done");
                if let Some(recording) = recording {
                    *seen = Known::Recorded(recording, result.clone());
                }
                result
            }
            Some(Known::Recorded(recording, result)) => {
                recording.replay();
                result.clone()
            }
        }
    }
}

/// Copies of batches that somebody else has made, where recorded work finds them.
#[derive(Default)]
pub(super) struct StaticInputs(RefCell<Vec<Vec<Tensor>>>);

impl StaticInputs {
    /// Copies what a batch consists of to where the last one of its shapes was.
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
