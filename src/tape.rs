//! Reverse-mode differentiation: ops record how to go back; [`Tape::backward`] goes.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::device::DType;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A tensor's place on a tape.
#[derive(Clone)]
pub(crate) struct Node {
    /// Weak, since what the ops on a tape keep are tensors with places on it.
    tape: Weak<RefCell<Vec<Entry>>>,
    index: usize,
}

/// What turns the gradient of an op's output into gradients of its inputs.
type Backward = Box<dyn FnOnce(&Tensor, &mut Gradients)>;

#[derive(Default)]
pub(crate) struct Entry {
    shape: Option<Shape>,
    dtype: Option<DType>,
    gradient: Option<Tensor>,
    /// Whether `gradient` is a part of a larger one and nobody else's.
    is_part: bool,
    /// Where a parameter's gradient has to be stored; it is not yet written while `gradient` is empty.
    home: Option<Tensor>,
    inputs: Vec<Option<usize>>,
    backward: Option<Backward>,
}

/// The ops of one forward pass, in order. Cloning it gives the same tape.
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

    /// The same elements as `tensor`, with a gradient: a leaf.
    pub fn watch(&self, tensor: &Tensor) -> Tensor {
        self.leaf(tensor, None)
    }

    /// A leaf whose gradient is written to `home`.
    pub(crate) fn watch_into(&self, tensor: &Tensor, home: &Tensor) -> Tensor {
        self.leaf(tensor, Some(home.clone()))
    }

    fn leaf(&self, tensor: &Tensor, home: Option<Tensor>) -> Tensor {
        let (shape, dtype) = (Some(tensor.shape()), Some(tensor.dtype()));
        let entry = Entry { shape, dtype, home, ..Entry::default() };
        tensor.with_node(Some(self.push(entry)))
    }

    fn push(&self, entry: Entry) -> Node {
        let mut entries = self.0.borrow_mut();
        entries.push(entry);
        Node { tape: Rc::downgrade(&self.0), index: entries.len() - 1 }
    }

    /// Goes back from a scalar, whose gradient is 1, to every leaf. What the ops kept is freed on the way.
    pub fn backward(&self, loss: &Tensor) {
        assert!(loss.shape().elements() == 1, "backward: the loss has shape {}", loss.shape());
        let one = Tensor::full(loss.device(), loss.shape(), loss.dtype(), 1.0);
        self.backward_from(loss, one);
    }

    /// Goes back from a tensor with a given gradient.
    pub(crate) fn backward_from(&self, output: &Tensor, gradient: Tensor) {
        let Some(node) = output.node() else { return };
        assert!(self.holds(output), "backward: the loss was computed on another tape");
        self.0.borrow_mut()[node.index].gradient = Some(gradient);
        for index in (0..=node.index).rev() {
            let (gradient, is_part, dtype, backward, inputs) = {
                let mut entries = self.0.borrow_mut();
                let entry = &mut entries[index];
                let Some(backward) = entry.backward.take() else { continue };
                let Some(gradient) = entry.gradient.take() else { continue };
                (gradient, entry.is_part, entry.dtype, backward, std::mem::take(&mut entry.inputs))
            };
            let is_own = is_part || gradient.owns_its_memory();
            // What was summed wide goes back as narrow as its op computes.
            let gradient = dtype.map_or_else(|| gradient.clone(), |dtype| gradient.cast(dtype));
            backward(&gradient, &mut Gradients { tape: self, inputs: &inputs, is_own });
        }
    }

    /// The gradient of a watched tensor after [`Tape::backward`]; `None` where none reached it.
    pub fn gradient(&self, leaf: &Tensor) -> Option<Tensor> {
        let node = leaf.node().filter(|_| self.holds(leaf))?;
        self.0.borrow()[node.index].gradient.clone()
    }

    /// Whether a tensor has its place on this very tape.
    pub(crate) fn holds(&self, tensor: &Tensor) -> bool {
        tensor
            .node()
            .and_then(|node| node.tape.upgrade())
            .is_some_and(|own| Rc::ptr_eq(&own, &self.0))
    }
}

/// The gradients of one op's inputs, while its backward runs.
pub(crate) struct Gradients<'a> {
    tape: &'a Tape,
    inputs: &'a [Option<usize>],
    /// Whether the gradient of the op's output is nobody else's.
    is_own: bool,
}

/// Where an input's gradient goes.
pub(crate) struct Slot {
    /// The memory to write.
    pub tensor: Tensor,
    /// Whether to add to what is there (`+=`) or to overwrite it (`=`).
    pub add: bool,
}

impl Gradients<'_> {
    /// Whether input number `input` has a gradient at all.
    pub fn wants(&self, input: usize) -> bool {
        self.inputs[input].is_some()
    }

    /// Where to write the gradient of input number `input`, of the device and dtype of `like`; `None` where nobody wants
    /// it. Panics where it is kept in another dtype.
    pub fn slot(&mut self, input: usize, like: &Tensor) -> Option<Slot> {
        self.slot_in(input, like, like.dtype())
    }

    /// The same for a weight, whose gradient is F32 where the weight is BF16.
    pub fn wide_slot(&mut self, input: usize, weight: &Tensor) -> Option<Slot> {
        self.slot_in(input, weight, weight.dtype().wide())
    }

    fn slot_in(&mut self, input: usize, like: &Tensor, dtype: DType) -> Option<Slot> {
        let slot = self.any_slot(input, like, dtype)?;
        assert_in(slot.tensor.dtype(), dtype);
        Some(slot)
    }

    /// The same for who can write F32 as well as BF16: what it is to be is for the slot to say; `dtype` where nothing
    /// else does.
    pub fn any_slot(&mut self, input: usize, like: &Tensor, dtype: DType) -> Option<Slot> {
        self.slot_where(input, like, dtype, Tensor::is_contiguous)
    }

    /// The same as [`Gradients::slot`] for who writes rows at any pitch: where the gradient is a part of a larger one,
    /// it is added to in its place. `dy` is what is read meanwhile.
    pub fn slot_at_any_pitch(&mut self, input: usize, like: &Tensor, dy: &Tensor) -> Option<Slot> {
        let slot = self.slot_where(input, like, like.dtype(), |own| !own.shares_memory_with(dy))?;
        assert_in(slot.tensor.dtype(), like.dtype());
        Some(slot)
    }

    /// Where to add to a gradient that is there, if it lies where `may_lie` says; else to a copy.
    fn slot_where(
        &mut self,
        input: usize,
        like: &Tensor,
        dtype: DType,
        may_lie: impl Fn(&Tensor) -> bool,
    ) -> Option<Slot> {
        let index = self.inputs[input]?;
        let mut entries = self.tape.0.borrow_mut();
        let entry = &mut entries[index];
        if let Some(gradient) = entry.gradient.take() {
            let is_home = entry.home.is_some();
            // A gradient that was passed on unchanged may be somebody else's too.
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
        let shape = entry.shape.unwrap_or(like.shape());
        let empty = || Tensor::empty(like.device(), shape, dtype);
        let tensor = entry.home.clone().unwrap_or_else(empty);
        entry.gradient = Some(tensor.clone());
        Some(Slot { tensor, add: false })
    }

    /// Where to add to the gradient of input number `input`: it is set to zero first if nothing is there.
    pub fn sum_slot(&mut self, input: usize, like: &Tensor) -> Option<Tensor> {
        let slot = self.slot(input, like)?;
        if !slot.add {
            slot.tensor.zero_();
        }
        Some(slot.tensor)
    }

    /// Gives input number `input` this gradient as it is, without a copy, if it is the first and may lie anywhere.
    /// Otherwise it is told where this gradient has to be written.
    pub fn offer(&mut self, input: usize, gradient: &Tensor) -> Option<Slot> {
        let index = self.inputs[input]?;
        {
            let entry = &mut self.tape.0.borrow_mut()[index];
            if entry.gradient.is_none() && entry.home.is_none() {
                entry.gradient = Some(gradient.detach());
                return None;
            }
        }
        self.any_slot(input, gradient, gradient.dtype())
    }

    /// The same with a part of the gradient of the op's output, the other parts of which go to other inputs: it may be
    /// added to in its place if nobody else has the whole.
    pub fn offer_part(&mut self, input: usize, part: &Tensor) -> Option<Slot> {
        let slot = self.offer(input, part);
        if let (None, Some(index)) = (&slot, self.inputs[input]) {
            self.tape.0.borrow_mut()[index].is_part = self.is_own;
        }
        slot
    }

    /// The dtype that a leaf's gradient is to have.
    pub fn home_dtype(&self, input: usize) -> Option<DType> {
        let entries = self.tape.0.borrow();
        entries[self.inputs[input]?].home.as_ref().map(Tensor::dtype)
    }
}

fn assert_in(own: DType, dtype: DType) {
    assert!(own == dtype, "backward: a gradient in {dtype:?} beside one in {own:?}");
}

/// Gives `output` a place on the tape of its inputs, if any of them has one.
pub(crate) fn record(
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
    let entry = Entry {
        shape: Some(output.shape()),
        dtype: Some(output.dtype()),
        inputs: inputs.iter().map(|input| input.node().map(|node| node.index)).collect(),
        backward: Some(Box::new(backward)),
        ..Entry::default()
    };
    let node = tape.push(entry);
    output.with_node(Some(node))
}
