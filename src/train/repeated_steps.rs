//! Steps that a device repeats by itself: recorded once for each shape of batch.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::device::Recording;
use crate::nn::{BufferKind, Entry, Module, for_each_entry};
use crate::ops::classifiers::{Head, Targets};
use crate::ops::elementwise::copy_into;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The steps of one learner, by the shape of their batch.
pub struct RepeatedSteps {
    is_on: Cell<bool>,
    known: RefCell<Vec<(Key, Known)>>,
}

/// What a recorded step is bound to.
struct Key {
    x: Shape,
    targets: Shape,
    is_regression: bool,
    /// The state that is carried from step to step: for batches of another shape it lies elsewhere.
    carried: Vec<Tensor>,
}

impl Key {
    fn is(&self, other: &Key) -> bool {
        let lies_there = |(own, other): (&Tensor, &Tensor)| own.shares_memory_with(other);
        (self.x, self.targets, self.is_regression) == (other.x, other.targets, other.is_regression)
            && self.carried.len() == other.carried.len()
            && self.carried.iter().zip(&other.carried).all(lies_there)
    }
}

enum Known {
    /// The first step is an ordinary one: it makes what later ones find.
    Seen,
    Recorded(Step),
}

struct Step {
    recording: Recording,
    x: Tensor,
    targets: Tensor,
    head: Head,
}

impl Default for RepeatedSteps {
    fn default() -> Self {
        RepeatedSteps { is_on: Cell::new(true), known: RefCell::default() }
    }
}

impl RepeatedSteps {
    /// Whether steps are recorded at all, as they are unless this says no. They compute the same either way.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.set(is_on);
    }

    /// What one recorded step launches: how often each kernel, by name. `None` where none has been recorded.
    pub fn launches(&self) -> Option<BTreeMap<String, usize>> {
        self.known.borrow().iter().find_map(|(_, known)| match known {
            Known::Seen => None,
            Known::Recorded(step) => {
                let launches = step.recording.launches().into_iter();
                Some(launches.map(|(name, count)| (name.to_owned(), count)).collect())
            }
        })
    }

    /// Does a step on a batch, by itself or by what was recorded.
    pub(super) fn run(
        &self,
        model: &dyn Module,
        x: &Tensor,
        targets: Targets,
        step: &dyn Fn(&Tensor, Targets) -> Head,
    ) -> Head {
        if !(x.device().can_repeat() && self.is_on.get()) {
            return step(x, targets);
        }
        let key = key(model, x, targets);
        let mut known = self.known.borrow_mut();
        match known.iter_mut().find(|(own, _)| own.is(&key)).map(|(_, known)| known) {
            None => {
                let head = step(x, targets);
                // The step may have moved the state it carries on.
                known.push((self::key(model, x, targets), Known::Seen));
                head
            }
            Some(seen @ Known::Seen) => {
                let (own, head) = record(x, targets, step);
                if let Some(own) = own {
                    *seen = Known::Recorded(own);
                }
                head
            }
            Some(Known::Recorded(own)) => {
                copy_into(x, &own.x);
                copy_into(tensor_of(targets), &own.targets);
                own.recording.replay();
                own.head.clone()
            }
        }
    }
}

fn key(model: &dyn Module, x: &Tensor, targets: Targets) -> Key {
    let mut carried = Vec::new();
    for_each_entry(model, &mut |_, entry| {
        if let Entry::Buffer(buffer) = entry
            && buffer.kind() == BufferKind::Carried
        {
            carried.extend(buffer.current().map(|state| state.clone()));
        }
    });
    Key {
        x: x.shape(),
        targets: tensor_of(targets).shape(),
        is_regression: matches!(targets, Targets::Values(_)),
        carried,
    }
}

fn tensor_of(targets: Targets<'_>) -> &Tensor {
    match targets {
        Targets::Classes(tensor) | Targets::Values(tensor) => tensor,
    }
}

/// Does a step on copies of its inputs, which stay where they are, and keeps what it launched.
fn record(
    x: &Tensor,
    targets: Targets,
    step: &dyn Fn(&Tensor, Targets) -> Head,
) -> (Option<Step>, Head) {
    let (own_x, own_targets) = (x.copy(), tensor_of(targets).copy());
    let own = match targets {
        Targets::Classes(_) => Targets::Classes(&own_targets),
        Targets::Values(_) => Targets::Values(&own_targets),
    };
    let mut head = None;
    let recording = x.device().record(|| head = Some(step(&own_x, own)));
    let head = head.expect("the step was done");
    let recorded = recording.map(|recording| Step {
        recording,
        x: own_x.clone(),
        targets: own_targets.clone(),
        head: head.clone(),
    });
    (recorded, head)
}
