//! The recurrent layers against PyTorch, and what their state does.

use std::collections::HashMap;

use alrao::nn::{Buffer, BufferKind, ForwardContext, Init, Lstm, Module, Parameter, Visitor};
use alrao::ops::layers::dropout::dropout;
use alrao::ops::layers::lstm::{LstmWeights, lstm};
use alrao::random::{Philox, Purpose};
use alrao::{DType, Device, DeviceKind, Tape, Tensor};
use safetensors::SafeTensors;

/// Shape and elements of every tensor of `tests/golden/lstm.py`.
fn golden() -> HashMap<String, (Vec<usize>, Vec<f64>)> {
    let file = SafeTensors::deserialize(include_bytes!("golden/lstm.safetensors"))
        .expect("the golden file is a safetensors file");
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect()
    };
    file.iter()
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), numbers(view.data()))))
        .collect()
}

fn assert_close(name: &str, values: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(values.len(), wanted.len(), "{name}");
    for (element, (value, wanted)) in values.iter().zip(wanted).enumerate() {
        let error = (value - wanted).abs();
        assert!(error < tolerance, "{name}, element {element}: {value}, PyTorch's {wanted}");
    }
}

/// Calls one function with each parameter, another with each buffer.
struct Each<P: FnMut(&str, &Parameter), B: FnMut(&str, &Buffer)>(P, B);

impl<P: FnMut(&str, &Parameter), B: FnMut(&str, &Buffer)> Visitor for Each<P, B> {
    fn enter(&mut self, _: &str) {}
    fn leave(&mut self) {}
    fn parameter(&mut self, name: &str, parameter: &Parameter) {
        self.0(name, parameter);
    }
    fn buffer(&mut self, name: &str, buffer: &Buffer) {
        self.1(name, buffer);
    }
}

fn buffers(module: &dyn Module) -> HashMap<String, (Vec<usize>, Vec<f64>)> {
    let mut found = HashMap::new();
    module.visit(&mut Each(
        |_, _| {},
        |name, buffer| {
            let tensor = buffer.current().expect("a step has been made");
            let values = (tensor.shape().extents().to_vec(), tensor.to_f64s());
            found.insert(name.to_owned(), values);
        },
    ));
    found
}

fn training(device: &Device, dtype: DType) -> ForwardContext {
    ForwardContext::training(device, dtype, 0, &Tensor::from_slice(device, [1], &[1i64]))
}

#[test]
fn two_layers_carry_their_state_as_pytorch_does() {
    let (golden, device) = (golden(), Device::cpu());
    let rnn = Lstm::new(5, 6, 2, 0.0, &mut Init::new(1));
    rnn.visit(&mut Each(|name, parameter| parameter.set_values(&golden[name].1), |_, _| {}));
    for (input, output) in [("first", "first_output"), ("second", "output")] {
        let (shape, values) = &golden[input];
        let x = Tensor::from_slice(&device, &shape[..], values);
        let y = rnn.forward(&x, &training(&device, DType::F64));
        assert_close(output, &y.to_f64s(), &golden[output].1, 1e-12);
    }
    let states = buffers(&rnn);
    assert_eq!(states.len(), 2);
    for (name, (shape, values)) in states {
        assert_eq!(shape, golden[&name].0, "{name}");
        assert_close(&name, &values, &golden[&name].1, 1e-12);
    }
}

#[test]
fn the_second_windows_gradients_are_pytorchs() {
    let (golden, device, tape) = (golden(), Device::cpu(), Tape::new());
    let tensor = |name: &str| {
        let (shape, values) = &golden[name];
        Tensor::from_slice(&device, &shape[..], values)
    };
    let mut leaves: Vec<(String, Tensor)> = Vec::new();
    let mut leaf = |name: String| {
        let watched = tape.watch(&tensor(&name));
        leaves.push((name, watched.clone()));
        watched
    };
    let second = leaf("second".to_owned());
    let (mut first, mut x) = (tensor("first"), second);
    for layer in 0..2 {
        let [weight_ih, weight_hh, bias_ih, bias_hh] =
            ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
                .map(|name| leaf(format!("{name}_l{layer}")));
        let weights = LstmWeights {
            weight_ih: &weight_ih,
            weight_hh: &weight_hh,
            bias_ih: &bias_ih,
            bias_hh: &bias_hh,
        };
        let zero = Tensor::zeros(&device, [3, 6], DType::F64);
        let before = lstm(&first, weights, &zero, &zero);
        first = before.y.detach();
        x = lstm(&x, weights, &before.h, &before.c).y;
    }
    tape.backward(&x.mul(&tensor("upstream")).sum());
    for (name, leaf) in leaves {
        let gradient = tape.gradient(&leaf).unwrap().to_f64s();
        assert_close(&name, &gradient, &golden[&format!("gradient.{name}")].1, 1e-12);
    }
}

#[test]
fn the_state_is_zero_after_a_reset_and_where_the_batch_has_another_width() {
    let device = Device::cpu();
    let rnn = Lstm::new(2, 3, 1, 0.0, &mut Init::new(1));
    let step = ForwardContext::evaluation(&device, DType::F32);
    let run = |batch: usize| {
        let x = Tensor::full(&device, [2, batch, 2], DType::F32, 1.0);
        rnn.forward(&x, &step).to_vec::<f32>()
    };
    let reset = |_: &str, buffer: &Buffer| {
        assert_eq!(buffer.kind(), BufferKind::Carried);
        buffer.reset();
    };
    let fresh = run(1);
    assert_ne!(run(1), fresh, "evaluation carries the state too");
    rnn.visit(&mut Each(|_, _| {}, reset));
    assert_eq!(run(1), fresh);
    run(4);
    assert_eq!(run(1), fresh);
}

#[test]
fn dropout_stands_between_the_layers_and_not_after_the_last() {
    let device = Device::cpu();
    let run = |layers: usize, value: f64| {
        let rnn = Lstm::new(2, 3, layers, 1.0, &mut Init::new(1));
        let x = Tensor::full(&device, [2, 1, 2], DType::F32, value);
        rnn.forward(&x, &training(&device, DType::F32)).to_vec::<f32>()
    };
    assert_ne!(run(1, 1.0), run(1, -1.0));
    assert_eq!(run(2, 1.0), run(2, -1.0));
    assert!(run(2, 1.0).iter().all(|y| *y != 0.0));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let results = [1, 2, 3].map(|threads| {
        let device = Device::open_with_threads(DeviceKind::Cpu, Some(threads)).unwrap();
        let tape = Tape::new();
        let mut stream = Philox::new(1, Purpose::Data).stream(0);
        let mut leaf = |shape: &[usize]| {
            let count = shape.iter().product();
            let values: Vec<f32> =
                (0..count).map(|_| stream.uniform_in(-0.3, 0.3) as f32).collect();
            tape.watch(&Tensor::from_slice(&device, shape, &values))
        };
        let leaves = [&[9, 33, 40][..], &[200, 40], &[200, 50], &[200], &[200]].map(&mut leaf);
        let weights = LstmWeights {
            weight_ih: &leaves[1],
            weight_hh: &leaves[2],
            bias_ih: &leaves[3],
            bias_hh: &leaves[4],
        };
        let zero = Tensor::zeros(&device, [33, 50], DType::F32);
        let y = lstm(&leaves[0], weights, &zero, &zero).y;
        let y = dropout(&y, 0.3, 1, &Tensor::from_slice(&device, [1], &[7i64]), 0);
        tape.backward(&y.square().sum());
        leaves.map(|leaf| tape.gradient(&leaf).unwrap().to_vec::<f32>())
    });
    assert!(results[0] == results[1] && results[0] == results[2]);
}
