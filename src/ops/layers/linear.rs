//! The product of a fully connected layer, with its bias and its ReLU.

use std::rc::Rc;

use crate::device::{DType, Device, Gpu};
use crate::ops::begin;
use crate::ops::tensor::elementwise::relu_gradient;
use crate::ops::tensor::matmul::{
    Epilogue, Operand, Rows, product, product_completed_by, sum_weight_parts,
};
use crate::ops::tensor::reduce::column_sums;
use crate::tape::{Gradients, record};
use crate::tensor::{Tensor, assert_alike, assert_wide};

/// `y = x weight^T + bias`, or `max(x weight^T + bias, 0)`, over the last axis.
///
/// `x` is `[.., inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]`, the result `[.., outputs]`. Panics if the
/// shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, relu: bool) -> Tensor {
    match x.device() {
        Device::Cpu(_) => {
            let y = x.matmul_transposed(weight).add(bias);
            if relu { y.relu() } else { y }
        }
        Device::Gpu(gpu) => on_gpu(gpu, x, weight, bias, relu),
    }
}

/// One launch: bias and ReLU are applied to the sums in registers. Separate launches would read and write the output
/// once more for each.
fn on_gpu(gpu: &Rc<Gpu>, x: &Tensor, weight: &Tensor, bias: &Tensor, relu: bool) -> Tensor {
    assert_alike("linear", &[x, weight]);
    assert_wide("linear", x, &[bias]);
    let inputs = x.shape().columns();
    let outputs = bias.shape().elements();
    assert!(
        weight.shape().extents() == [outputs, inputs] && bias.shape().rank() == 1,
        "linear: weight {} and bias {} for an input {}",
        weight.shape(),
        bias.shape(),
        x.shape()
    );
    let shape = x.shape();
    let outer = &shape.extents()[..shape.rank() - 1];
    let y = x.empty_like(&[outer, &[outputs]].concat()[..]);
    let epilogue = Epilogue { bias: Some(bias.pointer()), relu, ..Epilogue::default() };
    let operations = 2 * y.shape().elements() * inputs;
    let op = begin("linear forward", &[x, weight, bias, &y], operations);
    product(
        gpu,
        [x.shape().rows(), outputs, inputs],
        Operand::new(x, x.pitch(), false),
        Operand::new(weight, weight.pitch(), true),
        Rows::new(&y, y.pitch()),
        epilogue,
    );
    drop(op);
    let (gpu, saved) = (Rc::clone(gpu), [x.detach(), weight.detach()]);
    let kept = relu.then(|| y.detach());
    record(y, &[x, weight, bias], move |dy, gradients| {
        let dy = kept.as_ref().map_or_else(|| dy.clone(), |y| relu_gradient(y, dy));
        backward(&gpu, &saved, &dy, gradients);
    })
}

fn backward(gpu: &Rc<Gpu>, [x, weight]: &[Tensor; 2], dy: &Tensor, gradients: &mut Gradients) {
    let (rows, outputs, inputs) = (dy.shape().rows(), dy.shape().columns(), x.shape().columns());
    let operations = 2 * rows * outputs * inputs;
    if let Some(slot) = gradients.slot(0, dy.dtype()) {
        let _op = begin("linear input gradient", &[dy, weight, &slot.tensor], operations);
        product(
            gpu,
            [rows, inputs, outputs],
            Operand::new(dy, dy.pitch(), false),
            Operand::new(weight, weight.pitch(), false),
            Rows::new(&slot.tensor, slot.tensor.pitch()),
            Epilogue::add(slot.add),
        );
    }
    let later = gradients.later(1);
    if let Some(slot) = gradients.slot(1, DType::F32) {
        let _op = begin("linear weight gradient", &[dy, x, &slot.tensor], operations);
        product_completed_by(
            |parts| sum_weight_parts(gpu, parts, &slot, later),
            gpu,
            [outputs, inputs, rows],
            [Operand::new(dy, dy.pitch(), true), Operand::new(x, x.pitch(), false)],
            Rows::new(&slot.tensor, slot.tensor.pitch()),
            Epilogue::add(slot.add),
        );
    }
    if let Some(slot) = gradients.slot(2, DType::F32) {
        let _op = begin("linear bias gradient", &[dy, &slot.tensor], dy.shape().elements());
        column_sums(dy, slot);
    }
}
