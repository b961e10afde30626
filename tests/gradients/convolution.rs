//! Convolutions.

use alrao::ops::layers::conv2d::{Conv2dConfig, conv2d};
use alrao::ops::layers::depthwise::depthwise_conv2d;
use alrao::{DType, Device, DeviceKind, Tape, Tensor};

use super::{Row, draw, fused, objective, row};

fn config(stride: usize, padding: usize, groups: usize) -> Conv2dConfig {
    Conv2dConfig { stride, padding, groups }
}

/// A convolution, with a bias where there is a third shape.
fn conv<const N: usize>(name: &'static str, shapes: [&[usize]; N], config: Conv2dConfig) -> Row {
    row(name, shapes, move |x| conv2d(&x[0], &x[1], x.get(2), config))
}

fn depthwise<const N: usize>(
    name: &'static str,
    shapes: [&[usize]; N],
    stride: usize,
    padding: usize,
) -> Row {
    row(name, shapes, move |x| depthwise_conv2d(&x[0], &x[1], x.get(2), stride, padding))
}

pub fn rows() -> Vec<Row> {
    let mut rows = dense();
    rows.extend(by_channel());
    rows
}

fn dense() -> Vec<Row> {
    vec![
        conv("conv2d 1x1", [&[2, 3, 2, 5], &[4, 1, 1, 5], &[4]], config(1, 0, 1)),
        conv("conv2d one of all", [&[1, 1, 1, 1], &[1, 1, 1, 1], &[1]], config(1, 0, 1)),
        conv("conv2d 3x3 of colours", [&[2, 5, 4, 3], &[7, 3, 3, 3]], config(1, 1, 1)),
        conv("conv2d no padding", [&[1, 4, 6, 2], &[3, 3, 3, 2], &[3]], config(1, 0, 1)),
        conv("conv2d stride 2", [&[2, 5, 7, 3], &[4, 3, 3, 3], &[4]], config(2, 1, 1)),
        conv("conv2d stride 2, even", [&[1, 6, 4, 2], &[3, 3, 3, 2], &[3]], config(2, 1, 1)),
        conv("conv2d stride 3, kernel 2", [&[2, 7, 6, 2], &[3, 2, 2, 2]], config(3, 0, 1)),
        conv("conv2d stride 2 of 1x1", [&[2, 5, 4, 3], &[4, 1, 1, 3]], config(2, 0, 1)),
        conv("conv2d padding 2", [&[1, 3, 4, 1], &[2, 5, 5, 1], &[2]], config(1, 2, 1)),
        conv("conv2d padding past the kernel", [&[1, 3, 2, 2], &[2, 2, 1, 2]], config(1, 2, 1)),
        conv("conv2d kernel over the side", [&[3, 2, 2, 3], &[5, 3, 3, 3], &[5]], config(1, 1, 1)),
        conv("conv2d kernel on one pixel", [&[9, 1, 1, 2], &[3, 3, 3, 2], &[3]], config(1, 1, 1)),
        conv("conv2d rectangular kernel", [&[2, 4, 5, 3], &[2, 1, 3, 3]], config(1, 1, 1)),
        conv("conv2d two groups", [&[2, 3, 4, 6], &[4, 3, 3, 3], &[4]], config(1, 1, 2)),
        conv("conv2d groups, stride 2", [&[1, 5, 4, 6], &[9, 3, 3, 2], &[9]], config(2, 1, 3)),
        conv("conv2d 17 to 33 channels", [&[1, 3, 3, 17], &[33, 3, 3, 17], &[33]], config(1, 1, 1)),
        conv("conv2d 40 to 9 channels", [&[9, 2, 2, 40], &[9, 3, 3, 40], &[9]], config(1, 1, 1)),
        conv("conv2d 16 to 65 channels", [&[2, 3, 9, 16], &[65, 1, 2, 16]], config(1, 0, 1)),
        conv("conv2d many pixels", [&[2, 20, 30, 2], &[2, 3, 3, 2], &[2]], config(1, 1, 1)),
        conv("conv2d many pixels, stride 2", [&[3, 21, 30, 2], &[2, 3, 3, 2]], config(2, 1, 1)),
        row("conv2d of a slice", [&[2, 4, 3, 7], &[4, 3, 3, 3]], |x| {
            conv2d(&x[0].slice(3, 2, 3), &x[1], None, config(1, 1, 1)).square()
        }),
        row("conv2d of a wide slice", [&[1, 3, 3, 40], &[3, 3, 3, 33]], |x| {
            conv2d(&x[0].slice(3, 5, 33), &x[1], None, config(1, 1, 1))
        }),
        row("a slice of conv2d", [&[2, 3, 3, 2], &[5, 3, 3, 2], &[5]], |x| {
            conv2d(&x[0], &x[1], Some(&x[2]), config(1, 1, 1)).slice(3, 1, 3).square()
        }),
        row("conv2d of an image used twice", [&[2, 3, 3, 2], &[2, 3, 3, 2], &[2]], |x| {
            let config = config(1, 1, 1);
            let first = conv2d(&x[0], &x[1], Some(&x[2]), config);
            conv2d(&first, &x[1], Some(&x[2]), config).add(&x[0])
        }),
        row("conv2d of data", [&[4, 3, 3, 2]], |x| {
            let images = (0..36).map(|i| (f64::from(i) * 0.7).sin()).collect::<Vec<_>>();
            let images = Tensor::from_f64s(x[0].device(), [2, 3, 3, 2], x[0].dtype(), &images);
            conv2d(&images, &x[0], None, config(1, 1, 1))
        }),
    ]
}

fn by_channel() -> Vec<Row> {
    vec![
        depthwise("depthwise", [&[2, 4, 5, 3], &[3, 3, 3], &[3]], 1, 1),
        depthwise("depthwise, one of all", [&[1, 1, 1, 1], &[1, 1, 1]], 1, 0),
        depthwise("depthwise, one pixel", [&[2, 1, 1, 3], &[3, 3, 3], &[3]], 1, 1),
        depthwise("depthwise, 2x2 pixels", [&[2, 2, 2, 3], &[3, 3, 3]], 1, 1),
        depthwise("depthwise, no padding", [&[1, 5, 4, 2], &[3, 3, 2], &[2]], 1, 0),
        depthwise("depthwise, stride 2", [&[2, 5, 7, 3], &[3, 3, 3], &[3]], 2, 1),
        depthwise("depthwise, stride 2, even", [&[1, 6, 4, 2], &[3, 3, 2]], 2, 1),
        depthwise("depthwise, stride 3", [&[1, 7, 8, 2], &[2, 3, 2]], 3, 1),
        depthwise("depthwise, padding 2", [&[1, 3, 4, 2], &[5, 5, 2], &[2]], 1, 2),
        depthwise("depthwise, padding past the kernel", [&[1, 2, 3, 2], &[1, 2, 2]], 1, 2),
        depthwise("depthwise, 17 channels", [&[1, 3, 3, 17], &[3, 3, 17], &[17]], 1, 1),
        depthwise("depthwise, 70 channels", [&[1, 3, 4, 70], &[3, 3, 70], &[70]], 1, 1),
        depthwise("depthwise, many pixels", [&[3, 20, 30, 2], &[3, 3, 2], &[2]], 1, 1),
        row("depthwise of a slice", [&[2, 4, 3, 7], &[3, 3, 3]], |x| {
            depthwise_conv2d(&x[0].slice(3, 2, 3), &x[1], None, 1, 1).square()
        }),
        row("a slice of depthwise", [&[2, 3, 3, 5], &[3, 3, 5], &[5]], |x| {
            depthwise_conv2d(&x[0], &x[1], Some(&x[2]), 1, 1).slice(3, 1, 3).square()
        }),
        row("depthwise of an image used twice", [&[1, 3, 3, 2], &[3, 3, 2]], |x| {
            depthwise_conv2d(&depthwise_conv2d(&x[0], &x[1], None, 1, 1), &x[1], None, 1, 1)
                .add(&x[0])
        }),
    ]
}

/// Rows that are work for several threads: too many elements for central differences.
fn large() -> Vec<Row> {
    vec![
        conv("conv2d of colours", [&[3, 20, 21, 3], &[40, 3, 3, 3], &[40]], config(1, 1, 1)),
        conv("conv2d of colours, stride 2", [&[3, 25, 26, 3], &[33, 5, 5, 3]], config(2, 2, 1)),
        conv("conv2d 1x1, wider", [&[2, 19, 20, 24], &[40, 1, 1, 24], &[40]], config(1, 0, 1)),
        conv("conv2d 1x1, narrower", [&[2, 19, 20, 40], &[17, 1, 1, 40]], config(1, 0, 1)),
        conv("conv2d 1x1, groups", [&[2, 19, 20, 40], &[48, 1, 1, 20]], config(1, 0, 2)),
        conv("conv2d 3x3", [&[3, 12, 13, 20], &[40, 3, 3, 20], &[40]], config(1, 1, 1)),
        conv("conv2d 3x3, stride 2", [&[3, 14, 15, 20], &[40, 3, 3, 20]], config(2, 1, 1)),
        conv("conv2d of small images", [&[19, 4, 4, 24], &[33, 3, 3, 24]], config(1, 1, 1)),
        conv("conv2d of many weights", [&[4, 3, 3, 160], &[200, 3, 3, 160]], config(1, 1, 1)),
        depthwise("depthwise", [&[5, 20, 21, 40], &[3, 3, 40], &[40]], 1, 1),
        depthwise("depthwise, stride 2", [&[5, 20, 21, 40], &[3, 3, 40]], 2, 1),
        depthwise("depthwise of small images", [&[19, 4, 4, 48], &[3, 3, 48]], 1, 1),
        row("conv2d 1x1 of a slice", [&[2, 19, 20, 50], &[24, 1, 1, 40]], |x| {
            conv2d(&x[0].slice(3, 3, 40), &x[1], None, config(1, 0, 1)).slice(3, 1, 20).square()
        }),
        row("depthwise of a slice", [&[2, 19, 20, 50], &[3, 3, 40]], |x| {
            depthwise_conv2d(&x[0].slice(3, 3, 40), &x[1], None, 1, 1).slice(3, 1, 20).square()
        }),
    ]
}

/// A row's output and its inputs' gradients.
fn results(row: &Row, device: &Device, dtype: DType) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let x: Vec<Tensor> = (row.shapes.iter().enumerate())
        .map(|(number, shape)| {
            Tensor::from_f64s(device, *shape, dtype, &draw(*shape, number as u64))
        })
        .map(|tensor| tape.watch(&tensor))
        .collect();
    let y = (row.op)(&x);
    let upstream = Tensor::from_f64s(device, y.shape(), dtype, &draw(y.shape(), 99));
    tape.backward(&y.mul(&upstream).sum());
    let mut results = vec![y.to_f64s()];
    results.extend(x.iter().map(|x| tape.gradient(x).expect("a gradient").to_f64s()));
    results
}

/// The rows above run in f64, the processor's own vectors in f32: both must agree to f32's rounding.
#[test]
fn single_precision_agrees_with_double() {
    let device = Device::cpu();
    let all = [rows(), large(), fused::rows(), fused::large()];
    for row in all.into_iter().flatten() {
        let run = |dtype| results(&row, &device, dtype);
        for (number, (single, double)) in run(DType::F32).iter().zip(run(DType::F64)).enumerate() {
            let largest = double.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            for (a, b) in single.iter().zip(&double) {
                let fits = (a - b).abs() <= 1e-5 * (1.0 + largest);
                assert!(fits, "{}: result {number}: {a} in f32, {b} in f64", row.name);
            }
        }
    }
}

/// The large rows in f64 against a central difference along one direction.
#[test]
fn large_gradients_agree_with_a_difference() {
    let device = Device::cpu();
    for row in large().into_iter().chain(fused::large()) {
        let inputs: Vec<_> = (row.shapes.iter().enumerate())
            .map(|(number, shape)| draw(*shape, number as u64))
            .collect();
        let (_, gradients) = objective(&row, &inputs, &device);
        for (number, gradient) in gradients.iter().enumerate() {
            let direction = draw(row.shapes[number], 50 + number as u64);
            let at = |distance: f64| {
                let mut moved = inputs.clone();
                for (x, d) in moved[number].iter_mut().zip(&direction) {
                    *x += distance * d;
                }
                objective(&row, &moved, &device).0
            };
            let difference = (at(1e-4) - at(-1e-4)) / 2e-4;
            let gradient = gradient.to_f64s();
            let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale: f64 = gradient.iter().zip(&direction).map(|(g, d)| (g * d).abs()).sum();
            let fits = (slope - difference).abs() <= 1e-7 * scale;
            assert!(fits, "{}: input {number}: {slope} against {difference}", row.name);
        }
    }
}

#[test]
fn convolutions_do_not_depend_on_the_number_of_threads() {
    let device =
        |threads| Device::open_with_threads(DeviceKind::Cpu, Some(threads)).expect("a CPU");
    let (one, three) = (device(1), device(3));
    for row in large().into_iter().chain(fused::large()) {
        for dtype in [DType::F32, DType::F64] {
            let bits = |device: &Device| -> Vec<Vec<u64>> {
                let results = results(&row, device, dtype);
                results.iter().map(|all| all.iter().map(|x| x.to_bits()).collect()).collect()
            };
            assert!(bits(&one) == bits(&three), "{} in {dtype:?}", row.name);
        }
    }
}
