//! Embeddings, dropout masks and cross-entropy: what their gradients do not show.

use alrao::models::text_lstm::TextLstm;
use alrao::nn::{Buffer, Dropout, Features, ForwardContext, Init, Module, Parameter, Visitor};
use alrao::ops::layers::dropout::dropout;
use alrao::ops::layers::embedding::embedding;
use alrao::random::{Philox, Purpose, unit_f32};
use alrao::{DType, Device, Tape, Tensor};

fn mask(seed: u64, step: i64, layer: u32) -> Vec<f32> {
    let device = Device::cpu();
    let ones = Tensor::full(&device, [50_001], DType::F32, 1.0);
    let step = Tensor::from_slice(&device, [1], &[step]);
    dropout(&ones, 0.2, seed, &step, layer).to_vec::<f32>()
}

#[test]
fn an_element_is_kept_by_its_own_random_number() {
    let philox = Philox::new(5, Purpose::Dropout);
    for (element, value) in mask(5, 3, 2).iter().enumerate() {
        let bits = philox.at(3, 2 << 32 | (element / 4) as u64)[element % 4];
        assert_eq!(*value, if unit_f32(bits) < 0.2 { 0.0 } else { 1.25 }, "element {element}");
    }
}

#[test]
fn masks_differ_by_seed_step_and_layer_and_drop_the_stated_share() {
    let masks = [mask(1, 1, 0), mask(2, 1, 0), mask(1, 2, 0), mask(1, 1, 1)];
    for (number, own) in masks.iter().enumerate() {
        let dropped = own.iter().filter(|value| **value == 0.0).count() as f64 / own.len() as f64;
        assert!((dropped - 0.2).abs() < 0.01, "{dropped}");
        for other in &masks[..number] {
            let equal = own.iter().zip(other).filter(|(a, b)| a == b).count() as f64;
            let share = equal / own.len() as f64;
            // 0.2^2 + 0.8^2.
            assert!((share - 0.68).abs() < 0.02, "masks agree on {share}");
        }
    }
}

#[test]
fn a_layer_draws_in_training_alone_and_each_time_anew() {
    let device = Device::cpu();
    let x = Tensor::full(&device, [64], DType::F32, 1.0);
    let layer = Dropout::new(0.5);
    let evaluation = ForwardContext::evaluation(&device, DType::F32);
    assert_eq!(layer.forward(&x, &evaluation).to_vec::<f32>(), x.to_vec::<f32>());
    let number = Tensor::from_slice(&device, [1], &[1i64]);
    let step = || ForwardContext::training(&device, DType::F32, 0, &number);
    let (first, again) = (step(), step());
    let drawn = layer.forward(&x, &first).to_vec::<f32>();
    assert_ne!(layer.forward(&x, &first).to_vec::<f32>(), drawn);
    assert_eq!(layer.forward(&x, &again).to_vec::<f32>(), drawn);
}

#[test]
#[should_panic(expected = "embedding: token 3 is outside the table's 3 rows")]
fn a_token_outside_the_vocabulary_panics() {
    let device = Device::cpu();
    let table = Tensor::zeros(&device, [3, 2], DType::F32);
    embedding(&Tensor::from_slice(&device, [2], &[0i32, 3]), &table);
}

#[test]
fn cross_entropy_is_sound_for_large_logits() {
    let (device, tape) = (Device::cpu(), Tape::new());
    let logits = [1e4f32, -1e4, 0.0, -1e4, 1e4, 0.0];
    let x = tape.watch(&Tensor::from_slice(&device, [2, 3], &logits));
    let labels = Tensor::from_slice(&device, [2], &[0i32, 0]);
    let loss = alrao::ops::head::cross_entropy::cross_entropy(&x, &labels);
    assert_eq!(loss.item(), 1e4);
    tape.backward(&loss);
    assert_eq!(tape.gradient(&x).unwrap().to_vec::<f32>(), [0.0, 0.0, 0.0, -0.5, 0.5, 0.0]);
}

/// Full name, shape and features of every parameter.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    found: Vec<(String, Vec<usize>, Features)>,
}

impl Visitor for Parameters {
    fn enter(&mut self, name: &str) {
        self.path.push(name.to_owned());
    }
    fn leave(&mut self) {
        self.path.pop();
    }
    fn parameter(&mut self, name: &str, parameter: &Parameter) {
        let name = format!("{}.{name}", self.path.join("."));
        let shape = parameter.shape().extents().to_vec();
        self.found.push((name, shape, parameter.features()));
    }
    fn buffer(&mut self, _: &str, _: &Buffer) {}
}

#[test]
fn the_language_model_has_pytorchs_names_and_a_unit_is_a_feature() {
    let mut parameters = Parameters::default();
    TextLstm::new(50, 0.5, 0.2, &mut Init::new(0)).visit(&mut parameters);
    let features = |count, inner, group| Features { count, inner, group };
    let mut wanted = vec![("encoder.weight".to_owned(), vec![50, 50], features(50, 1, 1))];
    for (layer, group) in [(0, 2), (1, 3)] {
        for (name, shape, inner) in [
            ("weight_ih", vec![200, 50], 50),
            ("weight_hh", vec![200, 50], 50),
            ("bias_ih", vec![200], 1),
            ("bias_hh", vec![200], 1),
        ] {
            wanted.push((format!("rnn.{name}_l{layer}"), shape, features(50, inner, group)));
        }
    }
    assert_eq!(parameters.found, wanted);
}
