//! Compares the architectures with PyTorch in f64; the golden values are from `tests/golden/models.py`.

use safetensors::SafeTensors;

use super::{Activation, Architecture, Input, ModelConfig, build};
use crate::nn::{Buffer, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::{DType, Device, Shape, Tensor};

fn golden(name: &str) -> Vec<f64> {
    let bytes = include_bytes!("../../tests/golden/models.safetensors");
    let file = SafeTensors::deserialize(bytes).expect("the golden file is a safetensors file");
    let view = file.tensor(name).expect("the golden file has every model");
    view.data().chunks_exact(8).map(bytemuck::pod_read_unaligned).collect()
}

/// The golden script's numbers in [0, 1).
fn uniform(count: usize, seed: u64) -> Vec<f64> {
    let one = |index: u64| {
        let mut h = ((index + seed * 7919 + 1).wrapping_mul(2_654_435_761)) as u32;
        h ^= h >> 16;
        h = h.wrapping_mul(2_246_822_519);
        h ^= h >> 13;
        f64::from(h) / 4_294_967_296.0
    };
    (0..count as u64).map(one).collect()
}

fn signed(count: usize, seed: u64) -> Vec<f64> {
    uniform(count, seed).into_iter().map(|u| 2.0 * u - 1.0).collect()
}

struct Parameters<F: FnMut(&Parameter)>(F);

impl<F: FnMut(&Parameter)> Visitor for Parameters<F> {
    fn enter(&mut self, _: &str) {}
    fn leave(&mut self) {}
    fn parameter(&mut self, _: &str, parameter: &Parameter) {
        (self.0)(parameter);
    }
    fn buffer(&mut self, _: &str, _: &Buffer) {}
}

/// The golden script's weights, on a device.
fn set_weights(module: &dyn Module, device: &Device) {
    let mut seed = 0;
    module.visit(&mut Parameters(|parameter| {
        let shape = parameter.layout().file_shape(parameter.shape());
        let values = if shape.rank() == 1 {
            uniform(shape.elements(), seed).into_iter().map(|u| 0.5 + u).collect()
        } else {
            let bound = 2.0 / ((shape.elements() / shape[0]) as f64).sqrt();
            signed(shape.elements(), seed).into_iter().map(|u| u * bound).collect::<Vec<_>>()
        };
        let zeros = || Tensor::zeros(device, parameter.shape(), DType::F64);
        parameter.set_values(&parameter.layout().from_file(parameter.shape(), &values));
        parameter.place(zeros(), None, zeros());
        seed += 1;
    }));
}

fn assert_close(name: &str, values: &[f64], wanted: &[f64]) {
    assert_eq!(values.len(), wanted.len(), "{name}");
    for (element, (value, wanted)) in values.iter().zip(wanted).enumerate() {
        let error = (value - wanted).abs() / (1.0 + wanted.abs());
        assert!(error < 1e-10, "{name}, element {element}: {value}, PyTorch's {wanted}");
    }
}

fn agrees_with_pytorch(architecture: Architecture) {
    let device = Device::cpu();
    let config = ModelConfig {
        architecture,
        width: 0.125,
        hidden: vec![],
        dropout: 0.0,
        activation: Activation::Relu,
    };
    let [height, width] = match architecture {
        Architecture::AlexNet => [256, 224],
        Architecture::ResNet50 | Architecture::DenseNet121 => [64, 72],
        _ => [32, 32],
    };
    let input = Input::Image { height, width, channels: 3 };
    let model = build(&config, input, &mut Init::new(0)).expect("it takes these images").module;
    set_weights(&*model, &device);
    // PyTorch's images differ from ours as its convolution weights do.
    let shape = Shape::from([4, height, width, 3]);
    let pixels = FileLayout::Convolution.from_file(shape, &signed(shape.elements(), 1000));
    let x = Tensor::from_slice(&device, shape, &pixels);

    let name = architecture.name();
    let number = Tensor::from_slice(&device, [1], &[1i64]);
    let context = ForwardContext::training(&device, DType::F64, 0, &number);
    let z = model.forward(&x, &context);
    assert_close(name, &z.to_f64s(), &golden(&format!("{name}.training")));
    let upstream = Tensor::from_slice(&device, z.shape(), &signed(z.shape().elements(), 1001));
    context.tape().expect("a training context has one").backward(&z.mul(&upstream).sum());
    let (mut sums, mut seed) = (Vec::new(), 2000);
    model.visit(&mut Parameters(|parameter| {
        let gradient = parameter.gradient().expect("it was placed").to_f64s();
        let gradient = parameter.layout().to_file(parameter.shape(), &gradient);
        let probe = signed(gradient.len(), seed);
        sums.push(gradient.iter().zip(&probe).map(|(g, p)| g * p).sum());
        sums.push(gradient.iter().map(|g| g * g).sum());
        seed += 1;
    }));
    assert_close(&format!("{name}'s gradients"), &sums, &golden(&format!("{name}.gradients")));

    let z = model.forward(&x, &ForwardContext::evaluation(&device, DType::F64));
    assert_close(name, &z.to_f64s(), &golden(&format!("{name}.evaluation")));
}

#[test]
fn cnn_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::Cnn);
}

#[test]
fn vgg11_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::Vgg11);
}

#[test]
fn mobilenetv2_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::MobileNetV2);
}

#[test]
fn googlenet_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::GoogLeNet);
}

#[test]
fn senet18_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::SeNet18);
}

#[test]
fn alexnet_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::AlexNet);
}

#[test]
fn resnet50_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::ResNet50);
}

#[test]
fn densenet121_agrees_with_pytorch() {
    agrees_with_pytorch(Architecture::DenseNet121);
}

#[test]
fn images_whose_axes_are_swapped_get_advice() {
    let (architecture, activation) = (Architecture::Cnn, Activation::Relu);
    let config = ModelConfig { architecture, width: 1.0, hidden: vec![], activation, dropout: 0.0 };
    let swapped = Input::Image { height: 28, width: 3, channels: 28 };
    let message = build(&config, swapped, &mut Init::new(0)).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("takes images of at least 8 by 8"), "{message}");
    assert!(message.contains("np.moveaxis(x, -1, 1)"), "{message}");
}
