//! Every op's gradient in f64 against central differences, over awkward shapes.
//!
//! A row of the table is an op's name, the shapes of its inputs and the op. To add an op, add its rows.

use alrao::ops::concatenate::concatenate;
use alrao::random::{Philox, Purpose};
use alrao::{Device, Shape, Tape, Tensor};

type Op = Box<dyn Fn(&[Tensor]) -> Tensor>;

struct Row {
    name: &'static str,
    shapes: Vec<Shape>,
    op: Op,
}

fn row<const N: usize>(name: &'static str, shapes: [&[usize]; N], op: impl Fn(&[Tensor]) -> Tensor + 'static) -> Row {
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
    let mut rows = vec![
        row("relu", [&[3, 5]], |x| x[0].relu()),
        row("exp", [&[2, 3]], |x| x[0].exp()),
        row("ln", [&[2, 3]], |x| x[0].square().ln()),
        row("tanh", [&[17]], |x| x[0].tanh()),
        row("sigmoid", [&[33]], |x| x[0].sigmoid()),
        row("sqrt", [&[4]], |x| x[0].square().sqrt()),
        row("affine", [&[4, 1]], |x| x[0].affine(-3.0, 2.0)),
        row("add one input twice", [&[2, 3]], |x| x[0].add(&x[0])),
        row("sub", [&[2, 3], &[2, 3]], |x| x[0].sub(&x[1])),
        row("mul used again", [&[2, 3], &[2, 3]], |x| x[0].mul(&x[1]).add(&x[0]).mul(&x[1])),
        row("div", [&[2, 3], &[3]], |x| x[0].div(&x[1])),
        row("mul both broadcast", [&[4, 1, 3], &[5, 1]], |x| x[0].mul(&x[1])),
        row("add scalar", [&[2, 2], &[]], |x| x[0].add(&x[1])),
        row("add a column", [&[4, 3], &[4, 1]], |x| x[0].mul(&x[1])),
        row("sum", [&[5, 7]], |x| x[0].sum()),
        row("mean", [&[5, 7]], |x| x[0].mean()),
        row("sum to columns", [&[1030, 3]], |x| x[0].sum_to([3])),
        row("sum to a middle axis", [&[2, 3, 4]], |x| x[0].sum_to([3, 1])),
        row("reshape", [&[2, 6]], |x| x[0].reshape([3, 4]).square()),
        row("slice the last axis", [&[3, 5]], |x| x[0].slice(1, 1, 3).square()),
        row("slice the first axis", [&[4, 3]], |x| x[0].slice(0, 1, 2).square()),
        row("slice a middle axis", [&[2, 4, 3]], |x| x[0].slice(1, 2, 2).square()),
        row("two slices of one input", [&[2, 5]], |x| x[0].slice(1, 0, 3).mul(&x[0].slice(1, 2, 3))),
        row("slice of a slice", [&[2, 4, 6]], |x| x[0].slice(2, 1, 4).slice(1, 1, 2).slice(2, 0, 3).square()),
        row("concatenate", [&[2, 3], &[2, 1], &[2, 4]], |x| concatenate(&[&x[0], &x[1], &x[2]]).square()),
        row("arithmetic on a slice", [&[3, 5], &[2]], |x| x[0].slice(1, 2, 2).mul(&x[1]).relu()),
        row("linear in a slice", [&[3, 5], &[4, 2]], |x| x[0].slice(1, 2, 2).matmul_transposed(&x[1])),
        row("matmul", [&[3, 5], &[5, 2]], |x| x[0].matmul(&x[1])),
        row("matmul, right transposed", [&[3, 5], &[2, 5]], |x| x[0].matmul_transposed(&x[1])),
        row("matmul, left transposed", [&[5, 3], &[5, 2]], |x| x[0].transposed_matmul(&x[1])),
        row("matmul of one row", [&[1, 1], &[1, 1]], |x| x[0].matmul(&x[1])),
        row("matmul, batched", [&[2, 3, 4], &[2, 4, 5]], |x| x[0].matmul(&x[1])),
        row("matmul, batched, right transposed", [&[2, 3, 4], &[2, 5, 4]], |x| x[0].matmul_transposed(&x[1])),
        row("matmul, batched, left transposed", [&[2, 4, 3], &[2, 4, 5]], |x| x[0].transposed_matmul(&x[1])),
        row("matmul, one right for all", [&[2, 3, 4], &[4, 5]], |x| x[0].matmul(&x[1])),
        row("matmul, one left for all", [&[3, 4], &[2, 4, 5]], |x| x[0].matmul(&x[1])),
    ];
    rows.push(row("sum in pieces", [&[20_000]], |x| x[0].square().sum()));
    rows
}

/// `sum(output * upstream)`, with a fixed upstream, for given input values.
fn objective(row: &Row, inputs: &[Vec<f64>], device: &Device) -> (f64, Vec<Tensor>) {
    let tape = Tape::new();
    let tensors: Vec<Tensor> = row
        .shapes
        .iter()
        .zip(inputs)
        .map(|(shape, values)| tape.watch(&Tensor::from_slice(device, *shape, values)))
        .collect();
    let output = (row.op)(&tensors);
    let upstream = Tensor::from_slice(device, output.shape(), &draw(output.shape(), 99));
    let loss = output.mul(&upstream).sum();
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
        let inputs: Vec<Vec<f64>> =
            row.shapes.iter().enumerate().map(|(number, shape)| draw(*shape, number as u64)).collect();
        let (_, gradients) = objective(&row, &inputs, &device);
        for (number, gradient) in gradients.iter().enumerate() {
            assert_eq!(gradient.shape(), row.shapes[number], "{}: shape of gradient {number}", row.name);
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
