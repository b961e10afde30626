//! Norms and pools at their edges: what is not finite, ties, single samples, running statistics, threads.

use alrao::ops::layers::batch_norm::{BatchNormConfig, batch_norm_eval, batch_norm_train};
use alrao::ops::layers::pool::{average_pool2d, max_pool2d};
use alrao::random::{Philox, Purpose};
use alrao::{DType, Device, DeviceKind, Shape, Tape, Tensor};

fn draw(shape: Shape, mean: f64) -> Vec<f32> {
    let mut stream = Philox::new(11, Purpose::Data).stream(0);
    (0..shape.elements()).map(|_| (mean + stream.normal()) as f32).collect()
}

fn full(device: &Device, channels: usize, value: f64) -> Tensor {
    Tensor::full(device, [channels], DType::F32, value)
}

fn norm(x: &Tensor, mean: &Tensor, variance: &Tensor) -> Tensor {
    let channels = x.shape().columns();
    let (one, zero) = (full(x.device(), channels, 1.0), full(x.device(), channels, 0.0));
    batch_norm_train(x, &one, &zero, mean, variance, BatchNormConfig::default())
}

#[test]
fn statistics_are_exact_far_from_zero() {
    let device = Device::cpu();
    let shape = Shape::from([8, 32, 32, 5]);
    let values = draw(shape, 1000.0);
    let (mean, variance) = (full(&device, 5, 0.0), full(&device, 5, 1.0));
    norm(&Tensor::from_slice(&device, shape, &values), &mean, &variance);
    for channel in 0..5 {
        let own: Vec<f64> = values.iter().skip(channel).step_by(5).map(|x| f64::from(*x)).collect();
        let count = own.len() as f64;
        let exact = own.iter().sum::<f64>() / count;
        let squares = own.iter().map(|x| (x - exact).powi(2)).sum::<f64>();
        let unbiased = 0.9 + 0.1 * squares / (count - 1.0);
        assert!((mean.to_f64s()[channel] - 0.1 * exact).abs() < 1e-5 * 1.1);
        assert!((variance.to_f64s()[channel] - unbiased).abs() < 2e-7 * unbiased);
    }
}

#[test]
fn a_channel_that_is_not_finite_keeps_its_running_statistics() {
    let device = Device::cpu();
    let x = [f32::NAN, 1.0, 1e30, 2.0, 3.0, -1e30, f32::INFINITY, 5.0, 0.0];
    let x = Tensor::from_slice(&device, [3, 3], &x);
    let (mean, variance) = (full(&device, 3, 0.5), full(&device, 3, 2.0));
    let y = norm(&x, &mean, &variance).to_f64s();
    assert!(y[0].is_nan() && y[3].is_nan());
    assert!(y[1].is_finite() && y[4].is_finite());
    assert_eq!(mean.to_vec::<f32>()[0], 0.5);
    assert_eq!(mean.to_vec::<f32>()[2], 0.5);
    assert_eq!(variance.to_vec::<f32>()[2], 2.0);
    assert!((mean.to_f64s()[1] - (0.45 + 0.1 * 3.0)).abs() < 1e-6);
    assert!((variance.to_f64s()[1] - (1.8 + 0.1 * 4.0)).abs() < 1e-6);
}

#[test]
fn a_single_sample_is_its_own_mean() {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, [1, 1, 1, 2], &[3f32, -7.0]);
    let (mean, variance) = (full(&device, 2, 0.25), full(&device, 2, 1.0));
    assert_eq!(norm(&x, &mean, &variance).to_vec::<f32>(), [0.0, 0.0]);
    assert_eq!((mean.to_vec(), variance.to_vec()), (vec![0.25f32; 2], vec![1f32; 2]));
}

#[test]
fn evaluation_leaves_running_statistics_alone() {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, [2, 1], &[3f32, -1.0]);
    let [zero, one, four] = [0.0, 1.0, 4.0].map(|value| full(&device, 1, value));
    let config = BatchNormConfig { epsilon: 0.0, relu: true, ..BatchNormConfig::default() };
    let y = batch_norm_eval(&x, &one, &zero, &one, &four, config);
    assert_eq!(y.to_vec::<f32>(), [1.0, 0.0]);
    assert_eq!((one.item(), four.item()), (1.0, 4.0));
}

#[test]
fn max_pool_takes_the_first_of_equals_and_nan_before_all() {
    let device = Device::cpu();
    for channels in [1, 16] {
        let image = [1f64, 1.0, f64::NAN, 5.0, 1.0, 1.0, 6.0, 2.0];
        let values: Vec<f64> = image.iter().flat_map(|x| vec![*x; channels]).collect();
        let tape = Tape::new();
        let x = tape.watch(&Tensor::from_slice(&device, [1, 2, 4, channels], &values));
        let y = max_pool2d(&x, 2, 2, 0);
        let pooled = y.to_vec::<f64>();
        assert!(pooled[0] == 1.0 && pooled[channels].is_nan());
        tape.backward(&y.sum());
        let gradient = tape.gradient(&x).expect("a gradient reaches it").to_vec::<f64>();
        let first: Vec<f64> = gradient.iter().step_by(channels).copied().collect();
        assert_eq!(first, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn max_pool_of_nothing_but_minus_infinity_is_minus_infinity() {
    let x = Tensor::full(&Device::cpu(), [1, 3, 3, 17], DType::F32, f64::NEG_INFINITY);
    assert!(max_pool2d(&x, 3, 2, 1).to_vec::<f32>().iter().all(|y| *y == f32::NEG_INFINITY));
}

#[test]
fn average_pool_counts_the_padding() {
    let x = Tensor::full(&Device::cpu(), [1, 2, 2, 1], DType::F32, 1.0);
    assert_eq!(average_pool2d(&x, 2, 2, 1).to_vec::<f32>(), [0.25; 4]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let outcomes = [1, 3].map(|threads| {
        let device = Device::open_with_threads(DeviceKind::Cpu, Some(threads)).expect("a CPU");
        let shape = Shape::from([4, 32, 32, 24]);
        let tape = Tape::new();
        let x = tape.watch(&Tensor::from_slice(&device, shape, &draw(shape, 0.5)));
        let (mean, variance) = (full(&device, 24, 0.0), full(&device, 24, 1.0));
        let y = average_pool2d(&max_pool2d(&norm(&x, &mean, &variance), 2, 2, 0), 3, 2, 1);
        tape.backward(&y.square().sum());
        let gradient = tape.gradient(&x).expect("a gradient reaches it");
        [y, gradient, mean, variance].map(|tensor| tensor.to_vec::<f32>())
    });
    assert!(outcomes[0] == outcomes[1]);
}
