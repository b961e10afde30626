//! The recurrent layers against PyTorch, and what their state does.

use std::collections::HashMap;

use alrao::nn::{Buffer, BufferKind, Init, Lstm, Module, Parameter, Step, Visitor};
use alrao::{DType, Device, Tensor};
use safetensors::SafeTensors;

/// Shape and elements of every tensor of `tests/golden/lstm.py`.
fn golden() -> HashMap<String, (Vec<usize>, Vec<f64>)> {
    let file = SafeTensors::deserialize(include_bytes!("golden/lstm.safetensors")).unwrap();
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        bytes.chunks_exact(8).map(|eight| f64::from_le_bytes(eight.try_into().unwrap())).collect()
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

/// Calls a function with each parameter.
struct Parameters<F: FnMut(&str, &Parameter)>(F);

impl<F: FnMut(&str, &Parameter)> Visitor for Parameters<F> {
    fn enter(&mut self, _: &str) {}
    fn leave(&mut self) {}
    fn parameter(&mut self, name: &str, parameter: &Parameter) {
        self.0(name, parameter);
    }
    fn buffer(&mut self, _: &str, _: &Buffer) {}
}

/// Calls a function with each buffer.
struct Buffers<F: FnMut(&str, &Buffer)>(F);

impl<F: FnMut(&str, &Buffer)> Visitor for Buffers<F> {
    fn enter(&mut self, _: &str) {}
    fn leave(&mut self) {}
    fn parameter(&mut self, _: &str, _: &Parameter) {}
    fn buffer(&mut self, name: &str, buffer: &Buffer) {
        self.0(name, buffer);
    }
}

fn training(device: &Device, dtype: DType) -> Step {
    Step::training(device, dtype, 0, &Tensor::from_slice(device, [1], &[1i32]))
}
