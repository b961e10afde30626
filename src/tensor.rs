//! Tensors: shapes over blocks of device memory.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use crate::device::cpu::{self, Float, ReadGuard, WriteGuard};
use crate::device::gpu::{self, Pointer};
use crate::device::{Cost, DType, Device, Element, Storage};
use crate::shape::Shape;
use crate::tape::Node;

/// An n-dimensional array on a device. A clone is cheap and shares the elements.
///
/// The last axis is contiguous. Its rows are `pitch` elements apart, so that a slice of an image's channels is a tensor too.
/// The other axes have no gaps.
///
/// ```
/// use alrao::{Device, Tensor};
/// let x = Tensor::from_slice(&Device::cpu(), [2, 2], &[1f32, 2.0, 3.0, 4.0]);
/// assert_eq!(x.add(&x).to_vec::<f32>(), [2.0, 4.0, 6.0, 8.0]);
/// ```
#[derive(Clone)]
pub struct Tensor(Rc<Inner>);

struct Inner {
    shape: Shape,
    pitch: usize,
    offset: usize,
    dtype: DType,
    storage: Storage,
    device: Device,
    node: Option<Node>,
}

impl Tensor {
    /// A tensor without defined content.
    pub(crate) fn empty(device: &Device, shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        Tensor(Rc::new(Inner {
            shape,
            pitch: shape.columns(),
            offset: 0,
            dtype,
            storage: device.allocate(shape.elements() * dtype.size()),
            device: device.clone(),
            node: None,
        }))
    }

    /// A tensor of the same device and dtype, without defined content.
    pub(crate) fn empty_like(&self, shape: impl Into<Shape>) -> Self {
        Tensor::empty(&self.0.device, shape, self.0.dtype)
    }

    /// The tensor for an output: `place` if it is given, else a new tensor of the same device and dtype. Panics if `place`
    /// has another shape or dtype.
    pub(crate) fn empty_at(&self, place: Option<&Tensor>, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        let Some(place) = place else { return self.empty_like(shape) };
        assert!(
            place.shape() == shape && place.dtype() == self.dtype(),
            "an output {shape} {:?} for a place {} {:?}",
            self.dtype(),
            place.shape(),
            place.dtype()
        );
        place.detach()
    }

    /// A tensor of the same device for sums or statistics of this one's elements, without defined content.
    pub(crate) fn empty_wide(&self, shape: impl Into<Shape>) -> Self {
        Tensor::empty(&self.0.device, shape, self.0.dtype.wide())
    }

    /// A tensor of zeros.
    pub fn zeros(device: &Device, shape: impl Into<Shape>, dtype: DType) -> Self {
        let tensor = Tensor::empty(device, shape, dtype);
        tensor.zero_();
        tensor
    }

    /// A tensor with the given elements, in row-major order. Panics if their number does not match the shape.
    pub fn from_slice<T: Element>(
        device: &Device,
        shape: impl Into<Shape>,
        elements: &[T],
    ) -> Self {
        let tensor = Tensor::empty(device, shape, T::DTYPE);
        tensor.copy_from_slice(elements);
        tensor
    }

    /// A tensor from the bytes of its elements, in row-major order. Panics if their number does not match the shape.
    pub(crate) fn from_bytes(
        device: &Device,
        shape: impl Into<Shape>,
        dtype: DType,
        bytes: &[u8],
    ) -> Self {
        let tensor = Tensor::empty(device, shape, dtype);
        tensor.copy_from_bytes(bytes);
        tensor
    }

    /// A tensor of `dtype` with the given numbers, rounded to it.
    pub fn from_f64s(
        device: &Device,
        shape: impl Into<Shape>,
        dtype: DType,
        elements: &[f64],
    ) -> Self {
        match dtype {
            DType::F64 => Tensor::from_slice(device, shape, elements),
            DType::F32 => Tensor::from_slice(device, shape, &convert(elements, |x| x as f32)),
            DType::I32 => Tensor::from_slice(device, shape, &convert(elements, |x| x as i32)),
            DType::U8 => Tensor::from_slice(device, shape, &convert(elements, |x| x as u8)),
            DType::I64 => Tensor::from_slice(device, shape, &convert(elements, |x| x as i64)),
            DType::BF16 => {
                Tensor::from_slice(device, shape, &convert(elements, half::bf16::from_f64))
            }
        }
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.0.shape
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The device that holds the elements.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Elements from one row of the last axis to the next.
    pub fn pitch(&self) -> usize {
        self.0.pitch
    }

    /// Whether the elements have no gaps between them.
    pub fn is_contiguous(&self) -> bool {
        self.0.pitch == self.0.shape.columns() || self.0.shape.rows() <= 1
    }

    /// The entry on a tape, if a gradient flows through this tensor.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.0.node.as_ref()
    }

    /// The same elements without a gradient.
    pub fn detach(&self) -> Tensor {
        self.with_node(None)
    }

    pub(crate) fn with_node(&self, node: Option<Node>) -> Tensor {
        Tensor(Rc::new(Inner { node, ..self.alias(self.0.shape, self.0.pitch, 0) }))
    }

    /// A view of some elements, which starts `offset` elements further on and has another shape and pitch.
    pub(crate) fn view(&self, offset: usize, shape: impl Into<Shape>, pitch: usize) -> Tensor {
        Tensor(Rc::new(self.alias(shape.into(), pitch, offset)))
    }

    /// A view of some bytes of a contiguous U8 tensor as elements of another dtype. Panics if the first byte is not aligned
    /// to their size, or if they reach beyond the end.
    pub(crate) fn reinterpret(
        &self,
        first_byte: usize,
        shape: impl Into<Shape>,
        dtype: DType,
    ) -> Tensor {
        let (shape, size) = (shape.into(), dtype.size());
        let start = self.0.offset + first_byte;
        let fits = first_byte + shape.elements() * size <= self.0.shape.elements();
        assert!(
            self.0.dtype == DType::U8 && self.is_contiguous() && start.is_multiple_of(size) && fits,
            "{shape} {dtype:?} does not lie at byte {first_byte} of {} {:?}",
            self.0.shape,
            self.0.dtype
        );
        let alias = self.alias(shape, shape.columns(), 0);
        Tensor(Rc::new(Inner { dtype, offset: start / size, ..alias }))
    }

    /// Copies `parts` to the block through pinned memory, each to its own first byte, while the device computes. Kernels
    /// launched after this call read the new bytes. GPU only.
    pub(crate) fn receive(&self, ring: &gpu::Ring, place: usize, parts: &[(usize, &[u8])]) {
        match &self.0.storage {
            Storage::Gpu(block) => block.receive(ring, place, parts),
            Storage::Cpu(_) => panic!("a tensor on the CPU waits for a copy"),
        }
    }

    fn alias(&self, shape: Shape, pitch: usize, offset: usize) -> Inner {
        Inner {
            shape,
            pitch,
            // A block without bytes has no other place. Any other view keeps its own, even if it has no elements: its
            // address may be given to a kernel.
            offset: self.0.offset + if self.0.shape.elements() == 0 { 0 } else { offset },
            dtype: self.0.dtype,
            storage: self.0.storage.clone(),
            device: self.0.device.clone(),
            node: None,
        }
    }

    /// Whether no other tensor shares its block of memory.
    pub(crate) fn owns_its_memory(&self) -> bool {
        self.0.storage.holders() == 1 && Rc::strong_count(&self.0) == 1
    }

    /// Whether two tensors share a block of memory.
    pub(crate) fn shares_memory_with(&self, other: &Tensor) -> bool {
        match (&self.0.storage, &other.0.storage) {
            (Storage::Cpu(a), Storage::Cpu(b)) => Rc::ptr_eq(a, b),
            (Storage::Gpu(a), Storage::Gpu(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Whether this tensor and another of the same shape are the same view of the same memory.
    pub(crate) fn lies_where(&self, other: &Tensor) -> bool {
        self.shares_memory_with(other)
            && (self.0.offset, self.0.pitch) == (other.0.offset, other.0.pitch)
    }

    /// Number of elements from the first to the last, gaps between rows included.
    fn span(&self) -> usize {
        match self.0.shape.elements() {
            0 => 0,
            _ => (self.0.shape.rows() - 1) * self.0.pitch + self.0.shape.columns(),
        }
    }

    /// The elements for reading, gaps between rows included. CPU only.
    pub(crate) fn read<T: Element>(&self) -> ReadGuard<'_, T> {
        self.assert_holds::<T>();
        self.host_block().read(self.0.offset, self.span())
    }

    /// The elements for writing, gaps between rows included. CPU only.
    pub(crate) fn write<T: Element>(&self) -> WriteGuard<'_, T> {
        self.assert_holds::<T>();
        self.host_block().write(self.0.offset, self.span())
    }

    fn host_block(&self) -> &cpu::Block {
        match &self.0.storage {
            Storage::Cpu(block) => block,
            Storage::Gpu(_) => panic!("a tensor on {} was used on the CPU", self.0.device.name()),
        }
    }

    /// The address of the first element, for kernels. GPU only.
    pub(crate) fn pointer(&self) -> Pointer {
        match &self.0.storage {
            Storage::Gpu(block) => block.pointer(self.0.offset * self.0.dtype.size()),
            Storage::Cpu(_) => panic!("a tensor on the CPU was given to a kernel"),
        }
    }

    fn assert_holds<T: Element>(&self) {
        assert!(
            T::DTYPE == self.0.dtype,
            "a tensor of {:?} was used as {:?}",
            self.0.dtype,
            T::DTYPE
        );
    }

    /// The elements in row-major order. Panics if the device has failed; within [`crate::device::catch_failure`], returns to it.
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        self.assert_holds::<T>();
        match &self.0.storage {
            Storage::Cpu(_) => self.without_gaps(&self.read::<T>()),
            Storage::Gpu(block) => {
                let mut elements = vec![T::zeroed(); self.span()];
                let bytes = bytemuck::cast_slice_mut(&mut elements);
                block.download(self.0.offset * self.0.dtype.size(), bytes);
                self.without_gaps(&elements)
            }
        }
    }

    /// Leaves out the gaps from elements in rows of this tensor's pitch.
    fn without_gaps<T: Element>(&self, elements: &[T]) -> Vec<T> {
        if self.is_contiguous() {
            return elements.to_vec();
        }
        let columns = self.0.shape.columns();
        elements.chunks(self.0.pitch).flat_map(|row| &row[..columns]).copied().collect()
    }

    /// The elements in row-major order, converted to f64.
    pub fn to_f64s(&self) -> Vec<f64> {
        match self.0.dtype {
            DType::F64 => self.to_vec::<f64>(),
            DType::F32 => convert(&self.to_vec::<f32>(), f64::from),
            DType::I32 => convert(&self.to_vec::<i32>(), f64::from),
            DType::U8 => convert(&self.to_vec::<u8>(), f64::from),
            DType::I64 => convert(&self.to_vec::<i64>(), |x| x as f64),
            DType::BF16 => convert(&self.to_vec::<half::bf16>(), f64::from),
        }
    }

    /// The only element. Panics if there is not exactly one.
    pub fn item(&self) -> f64 {
        let elements = self.to_f64s();
        assert!(elements.len() == 1, "item: the tensor has shape {}", self.0.shape);
        elements[0]
    }

    /// Overwrites the elements, in row-major order. Panics if their number does not match the shape.
    pub fn copy_from_slice<T: Element>(&self, elements: &[T]) {
        let shape = self.0.shape;
        assert!(
            elements.len() == shape.elements(),
            "{} elements do not fill a tensor of shape {shape}",
            elements.len()
        );
        self.assert_holds::<T>();
        if let Storage::Gpu(block) = &self.0.storage {
            return self.upload(block, elements);
        }
        let (pitch, columns) = (self.0.pitch.max(1), shape.columns().max(1));
        let mut own = self.write::<T>();
        if self.is_contiguous() {
            own.copy_from_slice(elements);
        } else {
            let rows = own.chunks_mut(pitch).zip(elements.chunks(columns));
            rows.for_each(|(to, from)| to[..columns].copy_from_slice(from));
        }
    }

    /// Overwrites the elements by their bytes, in row-major order. Panics if their number does not match the shape, or if the
    /// bytes are not aligned.
    pub(crate) fn copy_from_bytes(&self, bytes: &[u8]) {
        match self.0.dtype {
            DType::F64 => self.copy_from_slice::<f64>(bytemuck::cast_slice(bytes)),
            DType::F32 => self.copy_from_slice::<f32>(bytemuck::cast_slice(bytes)),
            DType::I32 => self.copy_from_slice::<i32>(bytemuck::cast_slice(bytes)),
            DType::U8 => self.copy_from_slice::<u8>(bytes),
            DType::I64 => self.copy_from_slice::<i64>(bytemuck::cast_slice(bytes)),
            DType::BF16 => self.copy_from_slice::<half::bf16>(bytemuck::cast_slice(bytes)),
        }
    }

    fn upload<T: Element>(&self, block: &gpu::Block, elements: &[T]) {
        let size = size_of::<T>();
        let runs = if self.is_contiguous() { elements.len() } else { self.0.shape.columns() };
        for (row, run) in elements.chunks(runs.max(1)).enumerate() {
            block.upload((self.0.offset + row * self.0.pitch) * size, bytemuck::cast_slice(run));
        }
    }

    /// Overwrites the elements with numbers rounded to the dtype.
    pub fn copy_from_f64s(&self, elements: &[f64]) {
        match self.0.dtype {
            DType::F64 => self.copy_from_slice(elements),
            DType::F32 => self.copy_from_slice(&convert(elements, |x| x as f32)),
            DType::I32 => self.copy_from_slice(&convert(elements, |x| x as i32)),
            DType::U8 => self.copy_from_slice(&convert(elements, |x| x as u8)),
            DType::I64 => self.copy_from_slice(&convert(elements, |x| x as i64)),
            DType::BF16 => self.copy_from_slice(&convert(elements, half::bf16::from_f64)),
        }
    }

    /// Forbids accesses to these elements of a contiguous tensor; the simulator reports any.
    pub(crate) fn forbid(&self, elements: Range<usize>) {
        assert!(
            self.is_contiguous(),
            "forbid: a tensor of shape {} has gaps already",
            self.0.shape
        );
        if let Storage::Gpu(block) = &self.0.storage {
            let size = self.0.dtype.size();
            block.forbid((self.0.offset + elements.start) * size, elements.len() * size);
        }
    }

    /// Sets every element to zero.
    pub(crate) fn zero_(&self) {
        let _op =
            self.device().op("fill", || Cost::bytes(self.shape().elements() * self.dtype().size()));
        if let Storage::Gpu(block) = &self.0.storage {
            return self.zero_on(block);
        }
        match self.0.dtype {
            DType::F64 => self.fill_::<f64>(0.0),
            DType::F32 => self.fill_::<f32>(0.0),
            DType::I32 => self.fill_::<i32>(0),
            DType::U8 => self.fill_::<u8>(0),
            DType::I64 => self.fill_::<i64>(0),
            DType::BF16 => self.fill_(half::bf16::ZERO),
        }
    }

    fn zero_on(&self, block: &gpu::Block) {
        let (size, shape) = (self.0.dtype.size(), self.0.shape);
        let (rows, width) = match self.is_contiguous() {
            true => (1, shape.elements()),
            false => (shape.rows(), shape.columns()),
        };
        for row in 0..rows {
            block.set_zero((self.0.offset + row * self.0.pitch) * size, width * size);
        }
    }

    fn fill_<T: Element>(&self, value: T) {
        let (pitch, columns) = (self.0.pitch.max(1), self.0.shape.columns());
        let mut own = self.write::<T>();
        if self.is_contiguous() {
            own.fill(value);
        } else {
            own.chunks_mut(pitch).for_each(|row| row[..columns].fill(value));
        }
    }
}

/// Element-wise conversion of a slice.
fn convert<A: Copy, B>(elements: &[A], one: impl Fn(A) -> B) -> Vec<B> {
    elements.iter().map(|&element| one(element)).collect()
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements = self.to_f64s();
        let shown = &elements[..elements.len().min(8)];
        let more = if elements.len() > 8 { ", .." } else { "" };
        write!(f, "Tensor {} {:?} {shown:?}{more}", self.0.shape, self.0.dtype)
    }
}

/// Evaluates an expression with `T` as the Rust type of a floating-point dtype.
macro_rules! float_dispatch {
    ($dtype:expr, $op:literal, $T:ident => $body:expr) => {
        match $dtype {
            $crate::device::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::device::DType::F64 => {
                type $T = f64;
                $body
            }
            other => panic!("{}: no arithmetic on {other:?}", $op),
        }
    };
}
pub(crate) use float_dispatch;

/// Panics unless all tensors have the dtype and device of the first.
pub(crate) fn assert_alike(op: &str, tensors: &[&Tensor]) {
    for tensor in &tensors[1..] {
        assert!(
            tensor.dtype() == tensors[0].dtype(),
            "{op}: {:?} and {:?} do not mix",
            tensors[0].dtype(),
            tensor.dtype()
        );
        assert!(tensor.device().same(tensors[0].device()), "{op}: tensors of two devices");
    }
}

/// Panics unless the tensors have `x`'s device and the dtype for sums and statistics of `x`.
pub(crate) fn assert_wide(op: &str, x: &Tensor, tensors: &[&Tensor]) {
    for tensor in tensors {
        assert!(
            tensor.dtype() == x.dtype().wide(),
            "{op}: {:?} beside {:?} {}",
            tensor.dtype(),
            x.dtype(),
            x.shape()
        );
        assert!(tensor.device().same(x.device()), "{op}: tensors of two devices");
    }
}

/// A contiguous tensor of the same elements, copied only if rows have gaps.
pub(crate) fn dense<T: Float>(tensor: &Tensor) -> std::borrow::Cow<'_, Tensor> {
    tensor.assert_holds::<T>();
    match tensor.is_contiguous() {
        true => std::borrow::Cow::Borrowed(tensor),
        false => std::borrow::Cow::Owned(tensor.copy()),
    }
}
