//! SGD and Adam against torch's own, with a parameter group for each feature.

use alrao::ops::update::optimizer::{Buffers, Rule, Span, Table, update};
use alrao::{DType, Device, Tensor};

use super::{assert_close, load};

/// Elements, consecutive elements of a feature, features; as in the script.
const PARAMETERS: [(usize, usize, usize); 4] = [(35, 7, 5), (5, 1, 5), (36, 1, 4), (24, 2, 3)];

fn table() -> Table {
    let (mut base, mut rate_base) = (0, 0);
    Table::new(PARAMETERS.map(|(length, inner, features)| {
        let span = Span { base, length, inner, features, rate_base, in_head: false };
        (base, rate_base) = (base + length, rate_base + features);
        span
    }))
}

#[test]
fn updates_agree_with_pytorch() {
    let device = Device::cpu();
    let file = load(&device, "optimizer.safetensors");
    let decayed = |is_decoupled| Rule::Adam {
        beta1: 0.8,
        beta2: 0.99,
        epsilon: 1e-6,
        weight_decay: 0.1,
        is_decoupled,
    };
    for (name, rule) in [
        ("sgd", Rule::SGD),
        ("sgd weight decay", Rule::Sgd { momentum: 0.0, weight_decay: 0.1 }),
        ("sgd momentum", Rule::Sgd { momentum: 0.9, weight_decay: 0.0 }),
        ("sgd momentum weight decay", Rule::Sgd { momentum: 0.9, weight_decay: 0.1 }),
        ("adam", Rule::ADAM),
        ("adam weight decay", decayed(false)),
        ("adamw", decayed(true)),
    ] {
        let values = file["initial"].copy();
        let zeros = || Tensor::zeros(&device, values.shape(), DType::F64);
        let buffers = Buffers {
            gradients: zeros(),
            first_moment: (rule.moments() > 0).then(zeros),
            second_moment: (rule.moments() > 1).then(zeros),
            rates: file["rates"].clone(),
            narrow: None,
            values,
        };
        let scales = Tensor::full(&device, [2], DType::F64, 1.0);
        let skipped = Tensor::zeros(&device, [1], DType::I64);
        let gradients = &file["gradients"];
        for step in 0..gradients.shape()[0] {
            buffers.gradients.copy_from_f64s(&gradients.slice(0, step, 1).to_f64s());
            let number = Tensor::from_slice(&device, [1], &[step as i64 + 1]);
            update(&buffers, &table(), rule, &scales, None, &number, &skipped);
        }
        assert_close(name, &buffers.values.to_f64s(), &file[name].to_f64s(), 1e-12);
        assert_eq!(skipped.item(), 0.0);
    }
}
