//! The sums over the gradient of a norm's output that its backward pass needs: in a pass of their own, or by the op that
//! completes the gradient, while it has the gradient in registers.

use std::cell::RefCell;

use super::tiling::{BLOCK, BatchNormShape, Tiling};
use crate::device::gpu::{Launch, Parameters};
use crate::device::{Gpu, LaunchWork};
use crate::ops::tensor::matmul::{NormInput, Parts, lies_in_runs};
use crate::tape::Slot;
use crate::tensor::Tensor;

/// For every channel, the sums of `g` and of `g (x - mean)` over all rows, where `g` is the gradient of the output, or 0
/// where the ReLU gave 0. On a GPU.
pub(crate) struct GradientSums {
    /// The norm's input.
    pub x: Tensor,
    /// `[3, C]`: mean, scale and bias.
    pub affine: Tensor,
    /// Whether a ReLU follows the norm.
    pub relu: bool,
    /// `[parts, 2, C]`: the sums over parts of the rows, if an op has computed them.
    partial: RefCell<Option<Tensor>>,
}

impl GradientSums {
    pub fn new(x: &Tensor, affine: Tensor, relu: bool) -> Self {
        GradientSums { x: x.detach(), affine, relu, partial: RefCell::default() }
    }

    /// Whether an op has computed the sums.
    pub fn are_ready(&self) -> bool {
        self.partial.borrow().is_some()
    }

    /// The sums over parts of the rows; a pass over the gradient `dy` unless an op has computed them.
    pub fn take(&self, gpu: &Gpu, dy: &Tensor) -> Tensor {
        if let Some(partial) = self.partial.take() {
            return partial;
        }
        let (x, from, affine) = (self.x.pointer(), dy.pointer(), self.affine.pointer());
        let tiling = Tiling::of(&[&self.x, dy], &[x, from, affine]);
        let shape = BatchNormShape {
            dy_pitch: dy.pitch() as u64,
            relu: u32::from(self.relu),
            ..tiling.shape(&self.x)
        };
        let partial = self.empty(tiling.grid[1] as usize);
        let to = partial.pointer();
        let kernel = tiling.kernel("sums", &self.x);
        gpu.launch(&kernel, tiling.grid, BLOCK, &[&x, &from, &affine, &to, &Parameters(&shape)]);
        partial
    }

    /// The gradient `dy` with zeros where `y`, the output of a ReLU after the norm and a residual, is 0. Its sums are
    /// computed in the same pass.
    pub fn masked(&self, gpu: &Gpu, y: &Tensor, dy: &Tensor) -> Tensor {
        let g = y.empty_like(y.shape());
        let tensors = [&self.x, dy, y, &g];
        let [x, from, output, to] = tensors.map(Tensor::pointer);
        let affine = self.affine.pointer();
        let tiling = Tiling::of(&tensors, &[x, from, output, to, affine]);
        let shape = BatchNormShape {
            dy_pitch: dy.pitch() as u64,
            y_pitch: y.pitch() as u64,
            dx_pitch: g.pitch() as u64,
            relu: u32::from(self.relu),
            ..tiling.shape(&self.x)
        };
        let partial = self.empty(tiling.grid[1] as usize);
        let sums = partial.pointer();
        let kernel = tiling.kernel("masked_sums", &self.x);
        let shape = Parameters(&shape);
        gpu.launch(&kernel, tiling.grid, BLOCK, &[&x, &from, &output, &affine, &to, &sums, &shape]);
        self.partial.replace(Some(partial));
        g
    }

    /// Stores or accumulates in `slot` the sum of the parts of a product, added in order, which completes the gradient, and
    /// computes the sums in the same pass.
    pub fn of_product(&self, gpu: &Gpu, parts: &Parts, slot: &Slot) {
        let dy = &slot.tensor;
        let (split, x, to) = (parts.pointer(), self.x.pointer(), dy.pointer());
        let affine = self.affine.pointer();
        let tiling = Tiling::of(&[&self.x, dy], &[split, x, to, affine]);
        let shape = BatchNormShape {
            dy_pitch: dy.pitch() as u64,
            relu: u32::from(self.relu),
            add: u32::from(slot.add),
            splits: parts.splits as u32,
            ..tiling.shape(&self.x)
        };
        let partial = self.empty(tiling.grid[1] as usize);
        let sums = partial.pointer();
        let own = (1 + usize::from(slot.add)) * dy.dtype().size() + self.x.dtype().size();
        gpu.launch_kernel(&Launch {
            kernel: &tiling.kernel("split_sums", &self.x),
            grid: tiling.grid,
            block: BLOCK,
            cluster: 1,
            shared: 0,
            work: LaunchWork::bytes(dy.shape().elements() * (4 * parts.splits + own)),
            arguments: &[&split, &x, &affine, &to, &sums, &Parameters(&shape)],
        });
        self.partial.replace(Some(partial));
    }

    /// The norm for the epilogue of a product, which computes the sums for each of its `parts` tiles of rows. `None` if the
    /// epilogue, which takes channels in pairs, does not fit. There are `groups` groups of `channels` channels.
    pub fn in_epilogue(&self, parts: usize, [channels, groups]: [usize; 2]) -> Option<NormInput> {
        let all = self.x.shape().columns();
        let is_in_pairs = channels.is_multiple_of(2) && self.x.pitch().is_multiple_of(2);
        let is_aligned = lies_in_runs(self.x.pointer(), self.x.dtype(), &[]);
        (is_in_pairs && is_aligned && channels * groups == all).then(|| self.begin(parts))
    }

    /// The norm for a kernel that computes the sums over `parts` parts of the rows.
    pub fn begin(&self, parts: usize) -> NormInput {
        let partial = self.empty(parts);
        let input = NormInput {
            x: self.x.pointer(),
            affine: self.affine.pointer(),
            sums: partial.pointer(),
            pitch: self.x.pitch(),
            relu: self.relu,
        };
        self.partial.replace(Some(partial));
        input
    }

    fn empty(&self, parts: usize) -> Tensor {
        self.x.empty_wide([parts, 2, self.x.shape().columns()])
    }
}
