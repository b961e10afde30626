//! Dropout with a mask that the backward pass draws again, so that it is not stored.

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::gpu::Parameters;
use crate::device::{Device, Gpu};
use crate::ops::{begin, check_step, kernel_in, step_of, vector_of};
use crate::random::{Philox, Purpose};
use crate::tape::record;
use crate::tensor::{Tensor, dense, float_dispatch};

/// Elements of one task; a multiple of [`GROUP`].
const PIECE: usize = 1 << 14;

/// Elements whose random bits are drawn together, so that the rounds fill vectors.
const GROUP: usize = 64;

/// The mask: a function of seed, step, layer and index.
#[derive(Clone, Copy)]
struct Mask {
    philox: Philox,
    step: u64,
    layer: u32,
    /// An element is dropped if its 24 random bits are below this.
    threshold: u32,
    /// The factor of all other elements.
    scale: f64,
}

impl Mask {
    /// The random bits of the elements `start` to `start + GROUP`: element e has word `e % 4` of random number `e / 4`
    /// of the layer.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "words are filled across, numbers drawn down")]
    fn bits(&self, start: usize) -> [u32; GROUP] {
        let first = u64::from(self.layer) << 32 | (start / 4) as u64;
        // Word by word and not number by number, so that the compiler draws several numbers in one vector.
        let mut words = [[0; GROUP / 4]; 4];
        for index in 0..GROUP / 4 {
            let drawn = self.philox.at(self.step, first + index as u64);
            for word in 0..4 {
                words[word][index] = drawn[word];
            }
        }
        std::array::from_fn(|element| words[element % 4][element / 4])
    }
}

/// A dropped element: 0, or NaN for one that is not finite. PyTorch multiplies by 0.
#[inline(always)]
#[allow(clippy::eq_op, reason = "the difference is 0 for finite numbers only")]
fn dropped<T: Float>(x: T) -> T {
    x - x
}

vectorised! {
    /// Stores in `y` or accumulates the scaled element, or 0 if it is dropped; `start` is the index of the first
    /// element.
    fn apply[T: Float](mask: Mask, start: usize, x: &[T], y: &mut [T], add: bool) {
        let scale = T::from_f64(mask.scale);
        for (group, (y, x)) in y.chunks_mut(GROUP).zip(x.chunks(GROUP)).enumerate() {
            let bits = mask.bits(start + group * GROUP);
            for ((y, x), bits) in y.iter_mut().zip(x).zip(&bits) {
                let kept = if bits >> 8 < mask.threshold { dropped(*x) } else { *x * scale };
                *y = if add { *y + kept } else { kept };
            }
        }
    }
}

fn apply_all<T: Float>(cpu: &Cpu, mask: Mask, x: &Tensor, y: &Tensor, add: bool) {
    let x = &*dense::<T>(x);
    let x = x.read::<T>();
    cpu.pieces(&mut y.write::<T>(), PIECE, x.len() * 8, |piece, y| {
        let start = piece * PIECE;
        apply(mask, start, &x[start..start + y.len()], y, add);
    });
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DropoutShape {
    seed: u64,
    elements: u64,
    columns: u64,
    pitch: u64,
    layer: u32,
    threshold: u32,
    scale: f32,
    add: u32,
}

fn launch(gpu: &Gpu, draw: DropoutShape, x: &Tensor, step: &Tensor, y: &Tensor, add: bool) {
    const THREADS: u64 = 256;
    assert!(y.is_contiguous(), "dropout: the output {} has gaps", y.shape());
    let elements = x.shape().elements() as u64;
    let dense = x.is_contiguous();
    let shape = DropoutShape {
        elements,
        columns: if dense { elements } else { x.shape().columns() as u64 },
        pitch: if dense { elements } else { x.pitch() as u64 },
        add: add.into(),
        ..draw
    };
    let grid = [elements.div_ceil(THREADS * vector_of(x.dtype()) as u64) as u32, 1, 1];
    let kernel = kernel_in("dropout", x.dtype());
    let (x, y, step) = (x.pointer(), y.pointer(), step.pointer());
    let block = [THREADS as u32, 1, 1];
    gpu.launch(&kernel, grid, block, &[&x, &y, &step, &Parameters(&shape)]);
}

/// Inverted dropout (Srivastava et al. 2014): sets each element to 0 with this probability, and multiplies the others by
/// `1 / (1 - probability)`. As in PyTorch, which multiplies by 0, a dropped element that is not finite gives NaN, forward
/// and backward.
///
/// The mask is a function of `seed`, of `step` (the step's number, I64 `[1]` on the device), of `layer` (the number of
/// this mask in the step) and of the element's index. The backward pass draws it again, so the step's number may not
/// change before.
///
/// Panics if the probability is not in `0..=1`.
pub fn dropout(x: &Tensor, probability: f64, seed: u64, step: &Tensor, layer: u32) -> Tensor {
    assert!((0.0..=1.0).contains(&probability), "dropout: probability {probability}");
    check_step("dropout", step);
    let step = step.clone();
    let threshold = (probability * f64::from(1 << 24)).ceil() as u32;
    let scale = 1.0 / (1.0 - probability);
    let philox = Philox::new(seed, Purpose::Dropout);
    let mask = {
        let step = step.clone();
        move || Mask { philox, step: step_of(&step), layer, threshold, scale }
    };
    let draw = DropoutShape { seed, layer, threshold, scale: scale as f32, ..Zeroable::zeroed() };
    let out = x.empty_like(x.shape());
    let op = begin("dropout forward", &[x, &out], x.shape().elements());
    match x.device() {
        Device::Gpu(gpu) => launch(gpu, draw, x, &step, &out, false),
        Device::Cpu(cpu) => {
            float_dispatch!(x.dtype(), "dropout", T => apply_all::<T>(cpu, mask(), x, &out, false));
        }
    }
    drop(op);
    record(out, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, dy.dtype()) else { return };
        let dx = &slot.tensor;
        let _op = begin("dropout backward", &[dy, dx], dx.shape().elements());
        match dy.device() {
            Device::Gpu(gpu) => launch(gpu, draw, dy, &step, &slot.tensor, slot.add),
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "dropout", T => {
                apply_all::<T>(cpu, mask(), dy, &slot.tensor, slot.add);
            }),
        }
    })
}
