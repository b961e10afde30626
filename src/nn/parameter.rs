//! Parameters, which a layer learns, and buffers, which it only keeps.

use std::cell::{Ref, RefCell};

use crate::device::{DType, Device};
use crate::nn::ForwardContext;
use crate::ops::tensor::elementwise::accumulate;
use crate::shape::Shape;
use crate::tape::{Slot, Tape};
use crate::tensor::Tensor;

/// The features of a parameter: element `e` has the learning rate `rate[(e / inner) % count]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Number of features.
    pub count: usize,
    /// Consecutive elements of one feature.
    pub inner: usize,
    /// Parameters of the same group share their learning rates; see [`crate::nn::Init::group`].
    pub group: u32,
}

/// The layout of a parameter in files, which is PyTorch's, and in memory, which is channels-last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileLayout {
    /// The same in both.
    Same,
    /// In memory `[K, R, S, C]`, in files `[K, C, R, S]`.
    Convolution,
    /// In memory `[R, S, K]`, in files `[K, 1, R, S]`.
    Depthwise,
}

impl FileLayout {
    /// The shape in a file, for `shape` in memory.
    pub fn file_shape(self, shape: Shape) -> Shape {
        match (self, shape.extents()) {
            (FileLayout::Convolution, &[k, r, s, c]) => Shape::from([k, c, r, s]),
            (FileLayout::Depthwise, &[r, s, k]) => Shape::from([k, 1, r, s]),
            _ => shape,
        }
    }

    /// The index in file order of an element in memory order.
    fn file_index(self, shape: Shape, element: usize) -> usize {
        match (self, shape.extents()) {
            (FileLayout::Convolution, &[_, r, s, c]) => {
                let (channel, tap, filter) =
                    (element % c, element / c % (r * s), element / (c * r * s));
                (filter * c + channel) * r * s + tap
            }
            (FileLayout::Depthwise, &[r, s, k]) => element % k * (r * s) + element / k,
            _ => element,
        }
    }

    /// Reorders elements from file order to memory order.
    pub fn from_file<T: Copy>(self, shape: Shape, elements: &[T]) -> Vec<T> {
        (0..elements.len()).map(|element| elements[self.file_index(shape, element)]).collect()
    }

    /// Reorders elements from memory order to file order.
    pub fn to_file<T: Copy + Default>(self, shape: Shape, elements: &[T]) -> Vec<T> {
        let mut file = vec![T::default(); elements.len()];
        for (element, value) in elements.iter().enumerate() {
            file[self.file_index(shape, element)] = *value;
        }
        file
    }
}

/// A parameter of a layer. Its values are in host memory until [`crate::optim::FlatParameters`] moves them into the model's
/// flat buffers.
pub struct Parameter {
    shape: Shape,
    features: Features,
    layout: FileLayout,
    /// Whether the parameter is added rather than multiplied.
    is_bias: bool,
    /// Whether the gradient is zero by algebra, so that no op computes it.
    has_zero_gradient: bool,
    values: RefCell<Values>,
    /// The leaf on the latest tape, so that a parameter used several times in a pass has one gradient.
    leaf: RefCell<Option<Tensor>>,
}

enum Values {
    Host(Vec<f32>),
    Device {
        value: Tensor,
        /// A copy of the value in BF16, if forward passes read that.
        narrow: Option<Tensor>,
        gradient: Tensor,
    },
}

impl Parameter {
    /// A parameter with the given initial values. Panics if their number does not match the shape.
    pub fn new(
        shape: impl Into<Shape>,
        initial: Vec<f32>,
        features: Features,
        layout: FileLayout,
    ) -> Self {
        let shape = shape.into();
        assert!(
            initial.len() == shape.elements(),
            "parameter: {} values for shape {shape}",
            initial.len()
        );
        Parameter {
            values: RefCell::new(Values::Host(initial)),
            ..Self::empty(shape, features, layout)
        }
    }

    /// A parameter without values, for counting.
    pub(crate) fn empty(shape: Shape, features: Features, layout: FileLayout) -> Self {
        let values = RefCell::new(Values::Host(Vec::new()));
        let is_bias = shape.rank() < 2;
        Parameter {
            shape,
            features,
            layout,
            is_bias,
            has_zero_gradient: false,
            values,
            leaf: RefCell::default(),
        }
    }

    /// Marks a parameter that no backward pass reaches, since its gradient is zero by algebra: a bias before a batch norm,
    /// which subtracts the mean.
    pub(crate) fn with_zero_gradient(self) -> Self {
        Parameter { has_zero_gradient: true, ..self }
    }

    /// Marks the parameter as a bias though it has more than one axis.
    pub(crate) fn marked_as_bias(self) -> Self {
        Parameter { is_bias: true, ..self }
    }

    /// Its dtype in a forward pass of `precision`. Only weights of products and tables are narrow; biases and a norm's
    /// factors are few, and enter sums.
    pub(crate) fn dtype_in(&self, precision: DType) -> DType {
        if self.is_bias { precision.wide() } else { precision }
    }

    /// Number of elements, even of a parameter too large for any memory.
    pub fn count(&self) -> u128 {
        self.shape.extents().iter().map(|extent| *extent as u128).product()
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Which elements share a learning rate.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Its layout in files.
    pub fn layout(&self) -> FileLayout {
        self.layout
    }

    /// Its value in a forward pass; in training it is a leaf on the pass's tape.
    pub fn value(&self, context: &ForwardContext) -> Tensor {
        let Some(tape) = context.tape() else {
            return match &*self.values.borrow() {
                Values::Device { value, narrow, .. } => narrow.as_ref().unwrap_or(value).clone(),
                Values::Host(values) => self.host_tensor(values, context),
            };
        };
        if let Some(leaf) = self.leaf_on(tape) {
            return leaf;
        }
        let leaf = match &*self.values.borrow() {
            Values::Device { value, narrow, gradient } => {
                tape.watch_into(narrow.as_ref().unwrap_or(value), gradient)
            }
            Values::Host(values) => tape.watch(&self.host_tensor(values, context)),
        };
        *self.leaf.borrow_mut() = Some(leaf.clone());
        leaf
    }

    fn leaf_on(&self, tape: &Tape) -> Option<Tensor> {
        self.leaf.borrow().clone().filter(|leaf| tape.holds(leaf))
    }

    /// Sets the gradient to zero if the backward pass on `tape` did not reach this parameter; one that is always zero keeps
    /// the zeros of its buffer.
    pub(crate) fn zero_gradient_unless_reached(&self, tape: &Tape) {
        let is_reached =
            self.leaf.borrow_mut().take().is_some_and(|leaf| tape.gradient(&leaf).is_some());
        let is_kept = is_reached || self.has_zero_gradient;
        if let (Values::Device { gradient, .. }, false) = (&*self.values.borrow(), is_kept) {
            gradient.zero_();
        }
    }

    /// Moves the values to memory on a device. The caller fills `narrow`.
    pub(crate) fn place(&self, value: Tensor, narrow: Option<Tensor>, gradient: Tensor) {
        let mut stored = self.values.borrow_mut();
        match &*stored {
            Values::Host(values) => copy_f32s(&value, values),
            Values::Device { value: old, .. } => value.copy_from_f64s(&old.to_f64s()),
        }
        *stored = Values::Device { value, narrow, gradient };
    }

    fn host_tensor(&self, values: &[f32], context: &ForwardContext) -> Tensor {
        let tensor = Tensor::empty(context.device(), self.shape, self.dtype_in(context.dtype()));
        copy_f32s(&tensor, values);
        tensor
    }

    /// The tensor that updates write, once placed.
    pub(crate) fn stored(&self) -> Option<Tensor> {
        match &*self.values.borrow() {
            Values::Host(_) => None,
            Values::Device { value, .. } => Some(value.clone()),
        }
    }

    /// The values in memory order, as f64.
    pub fn values(&self) -> Vec<f64> {
        match &*self.values.borrow() {
            Values::Host(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Values::Device { value, .. } => value.to_f64s(),
        }
    }

    /// Overwrites the values, in memory order. Panics if their number does not match the shape.
    pub fn set_values(&self, values: &[f64]) {
        assert!(
            values.len() == self.shape.elements(),
            "parameter: {} values for {}",
            values.len(),
            self.shape
        );
        match &mut *self.values.borrow_mut() {
            Values::Host(own) => {
                own.iter_mut().zip(values).for_each(|(own, value)| *own = *value as f32)
            }
            Values::Device { value, narrow, .. } => {
                value.copy_from_f64s(values);
                if let Some(narrow) = narrow {
                    accumulate(value, &Slot { tensor: narrow.clone(), add: false });
                }
            }
        }
    }

    /// The gradient of the last backward pass, once placed.
    pub fn gradient(&self) -> Option<Tensor> {
        match &*self.values.borrow() {
            Values::Host(_) => None,
            Values::Device { gradient, .. } => Some(gradient.clone()),
        }
    }
}

fn copy_f32s(tensor: &Tensor, values: &[f32]) {
    match tensor.dtype() {
        // Only the shapes of a parameter without values matter.
        _ if values.is_empty() => {}
        DType::F32 => tensor.copy_from_slice(values),
        _ => {
            tensor.copy_from_f64s(&values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>())
        }
    }
}

/// The purpose of a [`Buffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// A running statistic: part of the model, saved under its own name.
    Statistic,
    /// State carried from one window of a text to the next: zero at the start of an epoch and of an evaluation.
    Carried,
}

/// State that a layer keeps from step to step and does not learn by gradient.
pub struct Buffer {
    kind: BufferKind,
    initial: f64,
    value: RefCell<Option<Tensor>>,
    shape: std::cell::Cell<Shape>,
}

impl Buffer {
    /// A running statistic that starts at `initial` everywhere.
    pub fn statistic(shape: impl Into<Shape>, initial: f64) -> Self {
        Buffer {
            kind: BufferKind::Statistic,
            initial,
            value: RefCell::new(None),
            shape: std::cell::Cell::new(shape.into()),
        }
    }

    /// Carried state that starts at zero; its shape follows the batch.
    pub fn carried() -> Self {
        Buffer { kind: BufferKind::Carried, ..Buffer::statistic([0], 0.0) }
    }

    /// Its purpose.
    pub fn kind(&self) -> BufferKind {
        self.kind
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape.get()
    }

    /// Its tensor, created by the first call.
    pub fn value(&self, device: &Device, dtype: DType) -> Tensor {
        self.value
            .borrow_mut()
            .get_or_insert_with(|| Tensor::full(device, self.shape.get(), dtype, self.initial))
            .clone()
    }

    /// Its tensor with the given shape; a new one at the initial value if the shape was another.
    pub fn shaped(&self, shape: impl Into<Shape>, device: &Device, dtype: DType) -> Tensor {
        let shape = shape.into();
        if self.shape.get() != shape {
            self.shape.set(shape);
            *self.value.borrow_mut() = None;
        }
        self.value(device, dtype)
    }

    /// Its tensor, if one was created.
    pub fn current(&self) -> Option<Ref<'_, Tensor>> {
        Ref::filter_map(self.value.borrow(), Option::as_ref).ok()
    }

    /// Sets it back to the initial value.
    pub fn reset(&self) {
        if let Some(value) = &*self.value.borrow() {
            value.copy_from_f64s(&vec![self.initial; value.shape().elements()]);
        }
    }
}
