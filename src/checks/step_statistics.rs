//! Statistics over steps.

use crate::ops::head::classifiers::Head;
use crate::ops::update::step_statistics::{Sums, accumulate, advance};
use crate::{DType, Device, Tensor};

use super::{Case, Outputs};

fn head(device: &Device, loss: f64, diverged: &[u8]) -> Head {
    Head {
        objective: Tensor::zeros(device, [], DType::F32),
        loss: Tensor::from_slice(device, [1], &[loss]),
        correct: Tensor::from_slice(device, [1], &[7i32]),
        classifier_losses: Tensor::zeros(device, [diverged.len()], DType::F64),
        diverged: Tensor::from_slice(device, [diverged.len()], diverged),
        samples_without_finite_classifier: Tensor::from_slice(device, [1], &[2i32]),
    }
}

fn sums(device: &Device, losses: &[f64], classifiers: usize) -> Outputs {
    let sums = Sums::new(device);
    // Every third classifier, the last one among them.
    let diverged: Vec<u8> =
        (0..classifiers).map(|number| u8::from((classifiers - number) % 3 == 1)).collect();
    for loss in losses {
        accumulate(&sums, &head(device, *loss, &diverged), 31);
    }
    let before = sums.values().to_f64s();
    sums.start_epoch();
    vec![("sums", before), ("of the next epoch", sums.values().to_f64s())]
}

pub fn cases() -> Vec<Case> {
    const LOW: f64 = f64::NEG_INFINITY;
    const HIGH: f64 = f64::INFINITY;
    let losses: [(&str, &[f64], usize); 4] = [
        ("one step", &[0.75], 1),
        ("steps", &[0.5, 2.25, 1e-3], 10),
        ("streaks", &[1.0, HIGH, f64::NAN, 0.5, HIGH, LOW], 33),
        ("many classifiers", &[1.0, 2.0], 100),
    ];
    let sums = losses.into_iter().map(|(name, losses, classifiers)| {
        Case::new(format!("step statistics {name}"), 1, move |device, _| {
            sums(device, losses, classifiers)
        })
    });
    let advance = Case::new("step statistics advance", 1, |device, _| {
        let number = Tensor::from_slice(device, [1], &[(1i64 << 32) - 1]);
        let cursor = Tensor::from_slice(device, [1], &[5i32]);
        advance(Some(&number), Some((&cursor, 7)));
        advance(Some(&number), None);
        advance(None, Some((&cursor, 30)));
        vec![("number", number.to_f64s()), ("cursor", cursor.to_f64s())]
    });
    sums.chain([advance]).collect()
}
