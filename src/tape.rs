//! Reverse-mode differentiation: each op records its backward function, and [`Tape::backward`] calls them in reverse.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::device::DType;
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
type Backward = Box<dyn FnOnce(&Tensor, &mut Gradients)>;

#[derive(Default)]
pub(crate) struct Entry {
    shape: Option<Shape>,
    dtype: Option<DType>,
    gradient: Option<Tensor>,
    /// Whether `gradient` is a slice of a larger gradient and no other input shares it.
    is_part: bool,
    /// The memory for a parameter's gradient; not yet written while `gradient` is empty.
    home: Option<Tensor>,
    inputs: Vec<Option<usize>>,
    backward: Option<Backward>,
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
        let (shape, dtype) = (Some(tensor.shape()), Some(tensor.dtype()));
        let entry = Entry { shape, dtype, home, ..Entry::default() };
        tensor.with_node(Some(self.push(entry)))
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
        for index in (0..=node.index).rev() {
            let (gradient, is_part, dtype, backward, inputs) = {
                let mut entries = self.0.borrow_mut();
                let entry = &mut entries[index];
                let Some(backward) = entry.backward.take() else { continue };
                let Some(gradient) = entry.gradient.take() else { continue };
                (gradient, entry.is_part, entry.dtype, backward, std::mem::take(&mut entry.inputs))
            };
            let is_own = is_part || gradient.owns_its_memory();
            // A gradient accumulated in F32 is rounded to the dtype that its op computes in.
            let gradient = dtype.map_or_else(|| gradient.clone(), |dtype| gradient.cast(dtype));
            backward(&gradient, &mut Gradients { tape: self, inputs: &inputs, is_own });
        }
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

    /// The slot for the gradient of input number `input`, with the device and dtype of `like`; `None` if the input needs no
    /// gradient. Panics if the gradient has another dtype already.
    pub fn slot(&mut self, input: usize, like: &Tensor) -> Option<Slot> {
        self.slot_in(input, like, like.dtype())
    }

    /// The same for a weight: the gradient of a BF16 weight is F32.
    pub fn wide_slot(&mut self, input: usize, weight: &Tensor) -> Option<Slot> {
        self.slot_in(input, weight, weight.dtype().wide())
    }

    fn slot_in(&mut self, input: usize, like: &Tensor, dtype: DType) -> Option<Slot> {
        let slot = self.any_slot(input, like, dtype)?;
        assert_in(slot.tensor.dtype(), dtype);
        Some(slot)
    }

    /// The same for an op that can write F32 and BF16: the slot decides the dtype, and `dtype` is the default.
    pub fn any_slot(&mut self, input: usize, like: &Tensor, dtype: DType) -> Option<Slot> {
        self.slot_where(input, like, dtype, Tensor::is_contiguous)
    }

    /// The same as [`Gradients::slot`] for an op that writes rows at any pitch: a slice of a larger gradient is accumulated
    /// in place, unless it shares its memory with `dy`, which the op reads meanwhile.
    pub fn slot_at_any_pitch(&mut self, input: usize, like: &Tensor, dy: &Tensor) -> Option<Slot> {
        let slot = self.slot_where(input, like, like.dtype(), |own| !own.shares_memory_with(dy))?;
        assert_in(slot.tensor.dtype(), like.dtype());
        Some(slot)
    }

    /// The slot for an input's gradient. An existing gradient is accumulated in place if `may_lie` accepts its layout, else
    /// in a copy.
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
        let shape = entry.shape.unwrap_or(like.shape());
        let empty = || Tensor::empty(like.device(), shape, dtype);
        let tensor = entry.home.clone().unwrap_or_else(empty);
        entry.gradient = Some(tensor.clone());
        Some(Slot { tensor, add: false })
    }

    /// The memory to accumulate the gradient of input number `input` in, set to zero if there is no gradient yet.
    pub fn sum_slot(&mut self, input: usize, like: &Tensor) -> Option<Tensor> {
        let slot = self.slot(input, like)?;
        if !slot.add {
            slot.tensor.zero_();
        }
        Some(slot.tensor)
    }

    /// Hands `gradient` to input number `input` without a copy, if that has no gradient yet and no memory for one. Otherwise
    /// it returns the slot that the gradient must be written to.
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

    /// The same for a slice of the gradient of the op's output, whose other slices go to other inputs. The slice can be
    /// accumulated in place if no other entry shares the whole.
    pub fn offer_part(&mut self, input: usize, part: &Tensor) -> Option<Slot> {
        let slot = self.offer(input, part);
        if let (None, Some(index)) = (&slot, self.inputs[input]) {
            self.tape.0.borrow_mut()[index].is_part = self.is_own;
        }
        slot
    }

    /// The dtype of the memory for a leaf's gradient.
    pub fn home_dtype(&self, input: usize) -> Option<DType> {
        let entries = self.tape.0.borrow();
        entries[self.inputs[input]?].home.as_ref().map(Tensor::dtype)
    }
}

fn assert_in(own: DType, dtype: DType) {
    assert!(own == dtype, "backward: a gradient in {dtype:?} beside one in {own:?}");
}

/// Records an op: gives `output` an entry on the tape of its inputs, if they are on one.
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
