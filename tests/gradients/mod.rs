//! Every op's gradient in f64 against central differences, over awkward shapes.
//!
//! A row of the table is an op's name, the shapes of its inputs and the op. To add an op, add its rows to the file of
//! its family.

mod arithmetic;
mod convolution;
mod fused;
mod head;
mod sequence;
mod vision;

use alrao::ops::tensor::concatenate::concatenate;
use alrao::random::{Philox, Purpose};
use alrao::{Device, Shape, Tape, Tensor};

type Op = Box<dyn Fn(&[Tensor]) -> Tensor>;

struct Row {
    name: &'static str,
    shapes: Vec<Shape>,
    op: Op,
}

fn row<const N: usize>(
    name: &'static str,
    shapes: [&[usize]; N],
    op: impl Fn(&[Tensor]) -> Tensor + 'static,
) -> Row {
    Row { name, shapes: shapes.iter().map(|shape| Shape::new(shape)).collect(), op: Box::new(op) }
}

/// Inputs away from the kinks of relu and max: magnitudes between 0.1 and 1.1.
fn draw(shape: Shape, number: u64) -> Vec<f64> {
    let mut stream = Philox::new(7, Purpose::Data).stream(number);
    (0..shape.elements())
        .map(|_| (0.1 + stream.uniform()) * if stream.uniform() < 0.5 { -1.0 } else { 1.0 })
        .collect()
}

fn table() -> Vec<Row> {
    let families =
        [arithmetic::rows(), convolution::rows(), fused::rows(), sequence::rows(), vision::rows()];
    families.into_iter().flatten().collect()
}

/// `sum(output * upstream)`, with a fixed upstream, for given input values, and its gradients.
fn objective(row: &Row, inputs: &[Vec<f64>], device: &Device) -> (f64, Vec<Tensor>) {
    objective_beside(0, row, inputs, device)
}

/// The same with this number of columns on either side of the output when it is summed: its gradient lies in rows with gaps.
fn objective_beside(
    columns: usize,
    row: &Row,
    inputs: &[Vec<f64>],
    device: &Device,
) -> (f64, Vec<Tensor>) {
    let tape = Tape::new();
    let tensors: Vec<Tensor> = row
        .shapes
        .iter()
        .zip(inputs)
        .map(|(shape, values)| tape.watch(&Tensor::from_slice(device, *shape, values)))
        .collect();
    let output = (row.op)(&tensors);
    let upstream = Tensor::from_slice(device, output.shape(), &draw(output.shape(), 99));
    let with_margins = |x: &Tensor, number| match columns {
        0 => x.clone(),
        _ => {
            let margin = x.shape().with_columns(columns);
            let margin = tape.watch(&Tensor::from_slice(device, margin, &draw(margin, number)));
            concatenate(&[&margin, x, &margin])
        }
    };
    let loss = with_margins(&output, 97).mul(&with_margins(&upstream, 98)).sum();
    tape.backward(&loss);
    let zeros = |tensor: &Tensor| Tensor::zeros(device, tensor.shape(), tensor.dtype());
    let gradients = tensors.iter().map(|x| tape.gradient(x).unwrap_or_else(|| zeros(x))).collect();
    (loss.item(), gradients)
}

#[test]
fn gradients_agree_with_central_differences() {
    const STEP: f64 = 1e-5;
    let device = Device::cpu();
    for row in table() {
        let inputs: Vec<Vec<f64>> = row
            .shapes
            .iter()
            .enumerate()
            .map(|(number, shape)| draw(*shape, number as u64))
            .collect();
        let (_, gradients) = objective(&row, &inputs, &device);
        for (number, gradient) in gradients.iter().enumerate() {
            assert_eq!(
                gradient.shape(),
                row.shapes[number],
                "{}: shape of gradient {number}",
                row.name
            );
            let gradient = gradient.to_vec::<f64>();
            // Large inputs are checked at some of their elements.
            let stride = gradient.len().div_ceil(200).max(1);
            for element in (0..gradient.len()).step_by(stride) {
                let moved = |delta: f64| {
                    let mut inputs = inputs.clone();
                    inputs[number][element] += delta;
                    objective(&row, &inputs, &device).0
                };
                let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                let error = (difference - gradient[element]).abs();
                assert!(
                    error < 1e-7 * (1.0 + difference.abs()) + 1e-10 * gradient.len() as f64,
                    "{}: input {number}, element {element}: gradient {}, difference {difference}",
                    row.name,
                    gradient[element],
                );
            }
        }
    }
}

/// An op must not take its output's gradient to lie without gaps.
#[test]
fn gradients_from_rows_with_gaps_are_the_same() {
    let device = Device::cpu();
    for row in table() {
        let inputs: Vec<Vec<f64>> =
            (0..).zip(&row.shapes).map(|(number, shape)| draw(*shape, number)).collect();
        let (_, dense) = objective(&row, &inputs, &device);
        let output = (row.op)(
            &(row.shapes.iter().zip(&inputs))
                .map(|(shape, values)| Tensor::from_slice(&device, *shape, values))
                .collect::<Vec<_>>(),
        );
        if output.shape().rank() == 0 {
            continue;
        }
        let (_, gaps) = objective_beside(2, &row, &inputs, &device);
        for (number, (dense, gaps)) in dense.iter().zip(&gaps).enumerate() {
            for (index, (dense, gaps)) in dense.to_f64s().iter().zip(gaps.to_f64s()).enumerate() {
                let allowed = 1e-12 * (1.0 + dense.abs());
                let name = row.name;
                assert!(
                    (dense - gaps).abs() <= allowed,
                    "{name}: {number}[{index}]: {gaps}, not {dense}"
                );
            }
        }
    }
}
