//! Reverse-mode differentiation: each op records its backward function, and [`Tape::backward`] calls them in reverse.

use std::any::Any;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::device::{DType, Device};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A tensor's entry on a tape.
#[derive(Clone)]
pub(crate) struct Node {
    /// Weak, since backward functions hold tensors with nodes on the same tape.
    tape: Weak<RefCell<Vec<Entry>>>,
    index: usize,
}

/// Computes the gradients of an op's inputs from the gradient of its output.
pub(crate) type Backward = Box<dyn FnOnce(&Tensor, &mut Gradients)>;

pub(crate) struct Entry {
    device: Device,
    shape: Shape,
    dtype: DType,
    gradient: Option<Tensor>,
    /// Whether `gradient` is a slice of a larger gradient and no other input shares it.
    is_part: bool,
    /// The memory for a parameter's gradient; not yet written while `gradient` is empty.
    home: Option<Tensor>,
    inputs: Vec<Option<usize>>,
    backward: Option<Backward>,
    /// The number of times that ops use it whose backward passes are still to come.
    uses: usize,
    /// See [`record_wanting`].
    wanted: Option<Rc<dyn Any>>,
}

impl Entry {
    fn of(tensor: &Tensor) -> Self {
        Entry {
            device: tensor.device().clone(),
            shape: tensor.shape(),
            dtype: tensor.dtype(),
            gradient: None,
            is_part: false,
            home: None,
            inputs: Vec::new(),
            backward: None,
            uses: 0,
            wanted: None,
        }
    }
}

/// The ops of one forward pass, in order. A clone is the same tape.
///
/// ```
/// use alrao::{Device, Tape, Tensor};
/// let tape = Tape::new();
/// let x = tape.watch(&Tensor::from_slice(&Device::cpu(), [2], &[3f64, -1.0]));
/// let y = x.mul(&x).sum();
/// tape.backward(&y);
/// assert_eq!(tape.gradient(&x).unwrap().to_vec::<f64>(), [6.0, -2.0]);
/// ```
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Vec<Entry>>>);

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Tape::default()
    }

    /// A leaf: the same elements as `tensor`, with a gradient.
    pub fn watch(&self, tensor: &Tensor) -> Tensor {
        self.leaf(tensor, None)
    }

    /// A leaf whose gradient is written to `home`.
    pub(crate) fn watch_into(&self, tensor: &Tensor, home: &Tensor) -> Tensor {
        self.leaf(tensor, Some(home.clone()))
    }

    fn leaf(&self, tensor: &Tensor, home: Option<Tensor>) -> Tensor {
        tensor.with_node(Some(self.push(Entry { home, ..Entry::of(tensor) })))
    }

    fn push(&self, entry: Entry) -> Node {
        let mut entries = self.0.borrow_mut();
        entries.push(entry);
        Node { tape: Rc::downgrade(&self.0), index: entries.len() - 1 }
    }

    /// Runs the backward pass from a scalar loss to every leaf. The tensors that ops stored for it are freed on the way.
    pub fn backward(&self, loss: &Tensor) {
        assert!(loss.shape().elements() == 1, "backward: the loss has shape {}", loss.shape());
        let one = Tensor::full(loss.device(), loss.shape(), loss.dtype(), 1.0);
        self.backward_from(loss, one);
    }

    /// Runs the backward pass from a tensor with a given gradient.
    pub(crate) fn backward_from(&self, output: &Tensor, gradient: Tensor) {
        let Some(node) = output.node() else { return };
        assert!(self.holds(output), "backward: the loss was computed on another tape");
        self.0.borrow_mut()[node.index].gradient = Some(gradient);
        let later = Later::default();
        for index in (0..=node.index).rev() {
            let (gradient, is_part, dtype, backward, inputs) = {
                let mut entries = self.0.borrow_mut();
                let entry = &mut entries[index];
                let inputs = std::mem::take(&mut entry.inputs);
                (entry.gradient.take(), entry.is_part, entry.dtype, entry.backward.take(), inputs)
            };
            match (gradient, backward) {
                (Some(gradient), Some(backward)) => {
                    let is_own = is_part || gradient.owns_its_memory();
                    let mut gradients =
                        Gradients { tape: self, inputs: &inputs, is_own, later: &later };
                    // A gradient accumulated in F32 is rounded to the dtype that its op computes in.
                    backward(&gradient.cast(dtype), &mut gradients);
                }
                (gradient, _) => self.0.borrow_mut()[index].gradient = gradient,
            }
            let mut entries = self.0.borrow_mut();
            inputs.into_iter().flatten().for_each(|input| entries[input].uses -= 1);
        }
        later.run();
    }

    /// The gradient of a watched tensor after [`Tape::backward`]; `None` if the loss does not depend on it.
    pub fn gradient(&self, leaf: &Tensor) -> Option<Tensor> {
        let node = leaf.node().filter(|_| self.holds(leaf))?;
        self.0.borrow()[node.index].gradient.clone()
    }

    /// Whether a tensor's node is on this tape.
    pub(crate) fn holds(&self, tensor: &Tensor) -> bool {
        tensor
            .node()
            .and_then(|node| node.tape.upgrade())
            .is_some_and(|own| Rc::ptr_eq(&own, &self.0))
    }
}

/// The gradients of one op's inputs, while its backward function runs.
pub(crate) struct Gradients<'a> {
    tape: &'a Tape,
    inputs: &'a [Option<usize>],
    /// Whether no other entry shares the gradient of the op's output.
    is_own: bool,
    later: &'a Later,
}

/// Work that ops put off to the end of a backward pass, in order to do it together.
pub(crate) trait Batched: Any {
    /// Does all of it that is still to be done.
    fn run(&mut self);
}

/// Where a backward pass keeps work that is put off. A clone is the same place.
#[derive(Clone, Default)]
pub(crate) struct Later(Rc<RefCell<Option<Box<dyn Batched>>>>);

impl Later {
    /// Calls `add` with the batch of work, a new one if there is none yet. Panics if it has another type.
    pub fn with<T: Batched + Default>(&self, add: impl FnOnce(&mut T)) {
        let mut batch = self.0.borrow_mut();
        let batch: &mut dyn Any = batch.get_or_insert_with(|| Box::<T>::default()).as_mut();
        add(batch.downcast_mut().expect("a backward pass puts off one kind of work"));
    }

    fn run(&self) {
        let batch = self.0.borrow_mut().take();
        batch.into_iter().for_each(|mut batch| batch.run());
    }
}

/// The memory that an input's gradient is written to.
pub(crate) struct Slot {
    /// The memory to write.
    pub tensor: Tensor,
    /// Whether to accumulate (`+=`) or to store (`=`).
    pub add: bool,
}

impl Gradients<'_> {
    /// Whether input number `input` needs a gradient.
    pub fn wants(&self, input: usize) -> bool {
        self.inputs[input].is_some()
    }

    /// The shape of input number `input`; `None` if it needs no gradient.
    pub fn shape(&self, input: usize) -> Option<Shape> {
        Some(self.tape.0.borrow()[self.inputs[input]?].shape)
    }

    /// The wish, of type `T`, that the op behind input number `input` has for its gradient ([`record_wanting`]), if the running op
    /// is the last to write to that gradient. `None` if the running op uses the input twice.
    pub fn wanted<T: 'static>(&self, input: usize) -> Option<Rc<T>> {
        let entries = self.tape.0.borrow();
        let entry = &entries[self.inputs[input]?];
        let wanted = entry.wanted.clone().filter(|_| entry.uses == 1);
        wanted.and_then(|wanted| wanted.downcast().ok())
    }

    /// The place for work that completes the gradient of input number `input`, if the running op alone writes it and nothing
    /// reads it until the backward pass ends. Ask before the slot.
    pub fn later(&self, input: usize) -> Option<Later> {
        let entries = self.tape.0.borrow();
        let entry = &entries[self.inputs[input]?];
        let is_alone = entry.uses == 1 && entry.gradient.is_none();
        (is_alone && entry.backward.is_none()).then(|| self.later.clone())
    }

    /// Contiguous memory of type `dtype` for the gradient of input number `input`; `None` if the input needs no gradient.
    /// Panics if the gradient has another type already.
    pub fn slot(&mut self, input: usize, dtype: DType) -> Option<Slot> {
        let slot = self.slot_where(input, dtype, Tensor::is_contiguous)?;
        let own = slot.tensor.dtype();
        assert!(own == dtype, "backward: a gradient in {dtype:?} beside one in {own:?}");
        Some(slot)
    }

    /// The same for an op that writes rows at any pitch, in F32 and BF16: the memory has the type that the gradient has
    /// already, or the input's. A slice of a larger gradient is accumulated in place, unless it shares its memory with
    /// `dy`, which the op reads meanwhile.
    pub fn any_slot(&mut self, input: usize, dy: &Tensor) -> Option<Slot> {
        let dtype = self.tape.0.borrow()[self.inputs[input]?].dtype;
        self.slot_where(input, dtype, |own| !own.shares_memory_with(dy))
    }

    /// The slot for an input's gradient. An existing gradient is accumulated in place if `may_lie` accepts its layout, else
    /// in a copy.
    fn slot_where(
        &mut self,
        input: usize,
        dtype: DType,
        may_lie: impl Fn(&Tensor) -> bool,
    ) -> Option<Slot> {
        let mut entries = self.tape.0.borrow_mut();
        let entry = &mut entries[self.inputs[input]?];
        if let Some(gradient) = entry.gradient.take() {
            let is_home = entry.home.is_some();
            // A gradient that was passed on without a copy may be shared with another entry.
            let is_own = entry.is_part || gradient.owns_its_memory();
            let gradient = match is_home || (is_own && may_lie(&gradient)) {
                true => gradient,
                false => {
                    entry.is_part = false;
                    gradient.copy()
                }
            };
            entry.gradient = Some(gradient.clone());
            return Some(Slot { tensor: gradient, add: true });
        }
        let empty = || Tensor::empty(&entry.device, entry.shape, dtype);
        let tensor = entry.home.clone().unwrap_or_else(empty);
        entry.gradient = Some(tensor.clone());
        Some(Slot { tensor, add: false })
    }

    /// Hands `gradient` to input number `input` without a copy, if that has no gradient yet and no memory for one. Otherwise
    /// it returns the slot that the gradient must be written to. `is_part`: whether it is a slice of the gradient of the
    /// op's output, whose other slices go to other inputs; it can be accumulated in place if no other entry shares the
    /// whole.
    pub fn offer(&mut self, input: usize, gradient: &Tensor, is_part: bool) -> Option<Slot> {
        let index = self.inputs[input]?;
        {
            let entry = &mut self.tape.0.borrow_mut()[index];
            let is_like = entry.shape == gradient.shape() && entry.dtype == gradient.dtype();
            if is_like && entry.gradient.is_none() && entry.home.is_none() {
                entry.gradient = Some(gradient.detach());
                entry.is_part = is_part && self.is_own;
                return None;
            }
        }
        self.any_slot(input, gradient)
    }
}

impl Slot {
    /// The memory to accumulate the gradient in, set to zero if there is no gradient yet.
    pub fn sum(self) -> Tensor {
        if !self.add {
            self.tensor.zero_();
        }
        self.tensor
    }
}

/// Records an op: gives `output` an entry on the tape of its inputs, if they are on one.
pub(crate) fn record(
    output: Tensor,
    inputs: &[&Tensor],
    backward: impl FnOnce(&Tensor, &mut Gradients) + 'static,
) -> Tensor {
    record_wanting(None, output, inputs, backward)
}

/// [`record`] for an op whose backward pass wants more of its output's gradient than its elements: the op that completes the
/// gradient finds `wanted` by [`Gradients::wanted`], and may compute it on the way.
pub(crate) fn record_wanting(
    wanted: Option<Rc<dyn Any>>,
    output: Tensor,
    inputs: &[&Tensor],
    backward: impl FnOnce(&Tensor, &mut Gradients) + 'static,
) -> Tensor {
    let Some(tape) = inputs.iter().find_map(|input| input.node()?.tape.upgrade()).map(Tape) else {
        return output;
    };
    for input in inputs.iter().filter(|input| input.node().is_some()) {
        assert!(tape.holds(input), "an op's inputs are on two tapes, or on one that is gone");
    }
    let inputs: Vec<_> = inputs.iter().map(|input| input.node().map(|node| node.index)).collect();
    {
        let mut entries = tape.0.borrow_mut();
        inputs.iter().flatten().for_each(|input| entries[*input].uses += 1);
    }
    let backward: Backward = Box::new(backward);
    let entry = Entry { inputs, backward: Some(backward), wanted, ..Entry::of(&output) };
    let node = tape.push(entry);
    output.with_node(Some(node))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The ops that may complete a gradient on the way, and put work off, in the order of the backward pass.
    type Told = Rc<RefCell<Vec<(&'static str, bool, bool)>>>;

    /// `x + x`, which notes what its backward pass learns about the gradient of its only input.
    fn doubled(name: &'static str, x: &Tensor, told: &Told) -> Tensor {
        let told = Rc::clone(told);
        record(x.detach().add(&x.detach()), &[x], move |dy, gradients| {
            let wanted = gradients.wanted::<u32>(0).is_some();
            told.borrow_mut().push((name, wanted, gradients.later(0).is_some()));
            gradients.pass(0, &dy.add(dy));
        })
    }

    #[test]
    fn the_last_op_that_writes_a_gradient_is_told_so() {
        let (tape, told) = (Tape::new(), Told::default());
        let leaf = tape.watch(&Tensor::full(&Device::cpu(), [2], DType::F64, 1.0));
        let wanting = record_wanting(Some(Rc::new(7u32)), leaf.detach(), &[&leaf], |dy, all| {
            all.pass(0, dy);
        });
        let first = doubled("first", &wanting, &told);
        let second = doubled("second", &wanting, &told);
        tape.backward(&first.add(&second).sum());
        // The op that was recorded first runs last.
        assert_eq!(*told.borrow(), [("second", false, false), ("first", true, false)]);
        assert_eq!(tape.gradient(&leaf).map(|own| own.to_f64s()), Some(vec![4.0, 4.0]));
    }

    #[test]
    fn work_on_a_leaf_used_once_may_be_put_off() {
        let (tape, told, device) = (Tape::new(), Told::default(), Device::cpu());
        let [one, two] =
            [1.0, 2.0].map(|value| tape.watch(&Tensor::full(&device, [2], DType::F64, value)));
        let once = doubled("once", &one, &told);
        let twice = doubled("again", &two, &told).add(&doubled("at first", &two, &told));
        tape.backward(&once.add(&twice).sum());
        let expected = [("at first", false, false), ("again", false, false), ("once", false, true)];
        assert_eq!(*told.borrow(), expected);
    }

    /// A batch of work that counts how often it runs.
    #[derive(Default)]
    struct Counted(Vec<Rc<RefCell<u32>>>);

    impl Batched for Counted {
        fn run(&mut self) {
            self.0.drain(..).for_each(|count| *count.borrow_mut() += 1);
        }
    }

    #[test]
    fn work_that_is_put_off_runs_once_at_the_end() {
        let (tape, count) = (Tape::new(), Rc::new(RefCell::new(0)));
        let leaf = tape.watch(&Tensor::full(&Device::cpu(), [2], DType::F64, 1.0));
        let own = Rc::clone(&count);
        let y = record(leaf.detach(), &[&leaf], move |dy, gradients| {
            let later = gradients.later(0).expect("the leaf is used once");
            later.with(|counted: &mut Counted| counted.0.push(Rc::clone(&own)));
            assert_eq!(*own.borrow(), 0);
            gradients.pass(0, dy);
        });
        tape.backward(&y.sum());
        assert_eq!(*count.borrow(), 1);
    }
}
