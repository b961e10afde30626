//! Layers without parameters over images `[N, H, W, C]`.

use crate::nn::{ForwardContext, Module, Visitor};
use crate::ops::layers::flatten::flatten;
use crate::ops::layers::pool::{
    adaptive_average_pool2d, average_pool2d, global_average_pool, max_pool2d,
};
use crate::tensor::Tensor;

/// Takes the largest value in each square window.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d {
    /// Side of the window.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Rows and columns around the image, which count as minus infinity.
    pub padding: usize,
}

impl MaxPool2d {
    /// Windows side by side, no padding.
    pub fn new(kernel: usize) -> Self {
        MaxPool2d { kernel, stride: kernel, padding: 0 }
    }
}

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        max_pool2d(x, self.kernel, self.stride, self.padding)
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}

/// Takes the mean of each square window.
#[derive(Clone, Copy, Debug)]
pub struct AveragePool2d {
    /// Side of the window.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
}

impl AveragePool2d {
    /// Windows side by side, no padding.
    pub fn new(kernel: usize) -> Self {
        AveragePool2d { kernel, stride: kernel, padding: 0 }
    }
}

impl Module for AveragePool2d {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        average_pool2d(x, self.kernel, self.stride, self.padding)
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}

/// Takes the mean of each channel of each image, `[N, C]`.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAveragePool;

impl Module for GlobalAveragePool {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        global_average_pool(x)
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}

/// Takes the mean of windows that divide each image evenly: `[N, height, width, C]` for images of any size.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAveragePool2d {
    /// Rows and columns of the output.
    pub size: [usize; 2],
}

impl Module for AdaptiveAveragePool2d {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        adaptive_average_pool2d(x, self.size)
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}

/// Reshapes `[N, H, W, C]` to `[N, C H W]`, in PyTorch's order.
#[derive(Clone, Copy, Debug)]
pub struct Flatten;

impl Module for Flatten {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        flatten(x)
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}
