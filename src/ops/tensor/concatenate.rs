//! Concatenation along the last axis.

use crate::ops::tensor::elementwise::accumulate;
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, assert_alike};
use crate::trace::{self, Operation};

/// Concatenates tensors along their last axis. Panics if any other extent differs.
///
/// ```
/// use alrao::{Device, Tensor, ops::tensor::concatenate::concatenate};
/// let device = Device::cpu();
/// let a = Tensor::from_slice(&device, [2, 1], &[1f32, 2.0]);
/// let b = Tensor::from_slice(&device, [2, 2], &[3f32, 4.0, 5.0, 6.0]);
/// assert_eq!(concatenate(&[&a, &b]).to_vec::<f32>(), [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
/// ```
pub fn concatenate(parts: &[&Tensor]) -> Tensor {
    assert!(!parts.is_empty(), "concatenate: nothing to concatenate");
    let columns = parts.iter().map(|part| part.shape().columns()).sum();
    let mut whole = Concatenation::new(parts[0], columns);
    parts.iter().for_each(|part| whole.push(part));
    whole.joined()
}

/// A tensor that grows along its last axis, in memory allocated from the start. An op may write a part to its place,
/// and a part's gradient is a slice of the whole gradient: neither is copied.
///
/// ```text
/// memory    [.., columns]      | part 0 | part 1 |   place   |         |
/// joined    [.., 0 .. start]   |-----------------|
/// ```
///
/// An op that writes to the place may not read the joined parts, which lie between its rows.
pub(crate) struct Concatenation {
    memory: Tensor,
    /// The parts joined so far, on their tape.
    joined: Option<Tensor>,
}

impl Concatenation {
    /// An empty concatenation with the rows of `like` and room for `columns` columns.
    pub fn new(like: &Tensor, columns: usize) -> Self {
        let memory = like.empty_like(like.shape().with_columns(columns));
        Concatenation { memory, joined: None }
    }

    fn start(&self) -> usize {
        self.joined.as_ref().map_or(0, |joined| joined.shape().columns())
    }

    /// The place of the next part, of `columns` columns.
    pub fn place(&self, columns: usize) -> Tensor {
        let (start, whole) = (self.start(), self.memory.shape());
        assert!(
            start + columns <= whole.columns(),
            "concatenate: {columns} more columns than the {start} of {whole} that are there"
        );
        self.memory.view(start, whole.with_columns(columns), whole.columns())
    }

    /// Adds a part; copies it unless it was written to its place.
    pub fn push(&mut self, part: &Tensor) {
        assert_alike("concatenate", &[&self.memory, part]);
        let (shape, whole) = (part.shape(), self.memory.shape());
        let fits = shape.rank() == whole.rank() && shape.with_columns(1) == whole.with_columns(1);
        assert!(fits, "concatenate: shapes {whole} and {shape} differ before the last axis");
        let place = self.place(shape.columns());
        if !part.lies_where(&place) {
            accumulate(part, &Slot { tensor: place, add: false });
        }
        let start = self.start();
        let longer = whole.with_columns(start + shape.columns());
        let joined = self.memory.view(0, longer, whole.columns());
        let (before, inputs) = match &self.joined {
            Some(before) => (Some(before.shape()), vec![before, part]),
            None => (None, vec![part]),
        };
        trace::note(Operation::Concatenate, &inputs, &[&joined]);
        self.joined = Some(record(joined, &inputs, move |gradient, gradients| {
            let places = before.map(|before| (0, before)).into_iter().chain([(start, shape)]);
            for (input, (start, shape)) in places.enumerate() {
                gradients.pass_part(input, &gradient.view(start, shape, gradient.pitch()));
            }
        }));
    }

    /// All parts so far, as a view. Panics if there is none.
    pub fn joined(&self) -> Tensor {
        self.joined.clone().expect("concatenate: there is no part yet")
    }
}
