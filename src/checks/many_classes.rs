//! The head of many classes, whose kernels store no logits.

use crate::ops::head::classifiers::{Form, Targets, classifiers_in};
use crate::{DType, Device, Tensor};

use super::classifiers::{
    Extents, ODD, Odd, Task, Values, classes_of, head, report, some_gradients, tensors,
};
use super::{Case, Outputs};

/// Extents around the tiles of 64 samples and 64 classes, at both depths, with enough classes for several parts of
/// several tiles.
const MANY: [Extents; 11] = [
    Extents { samples: 2, inputs: 40, classifiers: 1, outputs: 33 },
    Extents { samples: 2, inputs: 100, classifiers: 1, outputs: 33 },
    Extents { samples: 1, inputs: 1, classifiers: 1, outputs: 1 },
    Extents { samples: 63, inputs: 63, classifiers: 2, outputs: 65 },
    Extents { samples: 64, inputs: 64, classifiers: 3, outputs: 64 },
    Extents { samples: 65, inputs: 65, classifiers: 2, outputs: 63 },
    Extents { samples: 130, inputs: 100, classifiers: 2, outputs: 129 },
    Extents { samples: 3, inputs: 128, classifiers: 1, outputs: 192 },
    Extents { samples: 2, inputs: 5, classifiers: 33, outputs: 70 },
    Extents { samples: 5, inputs: 7, classifiers: 1, outputs: 64 * 264 + 65 },
    Extents { samples: 200, inputs: 3, classifiers: 1, outputs: 9 },
];

/// The sizes of odd cases for the kernels that store no logits.
const ODD_MANY: [Extents; 2] = [
    Extents { samples: 7, inputs: 5, classifiers: 4, outputs: 70 },
    Extents { samples: 66, inputs: 68, classifiers: 3, outputs: 7 },
];

/// Whole tiles of 64 samples and 64 classes, with every kind of row: at both depths, with whole pairs and not.
const WHOLE_MANY: [Extents; 4] = [
    Extents { samples: 66, inputs: 63, classifiers: 1, outputs: 65 },
    Extents { samples: 66, inputs: 64, classifiers: 1, outputs: 65 },
    Extents { samples: 66, inputs: 127, classifiers: 1, outputs: 65 },
    Extents { samples: 66, inputs: 128, classifiers: 1, outputs: 65 },
];

fn add_many(cases: &mut Vec<Case>, sizes: Extents, odd: Odd) {
    let Extents { samples, inputs, classifiers, outputs } = sizes;
    let name =
        format!("many classes [{samples}, {inputs}] into {classifiers} of {outputs}, {odd:?}");
    let run = move |device: &Device, dtype| {
        head(device, dtype, Form::Recomputed, sizes, Task::Classes, odd)
    };
    // g is rounded for the tensor cores.
    let case = Case::new(name.clone(), classifiers * outputs + samples, run);
    cases.push(case.rounded_to(10));
    let seen = move |device: &Device, dtype| seen_head(device, dtype, sizes, odd);
    cases.push(Case::new(format!("{name}, seen"), classifiers * outputs + samples, seen));
}

/// The losses of many classes in an evaluation.
fn seen_head(device: &Device, dtype: DType, sizes: Extents, odd: Odd) -> Outputs {
    let mut values = Values::new(sizes, odd);
    values.round();
    let [z, weight, bias] = tensors(device, dtype, sizes, &values, odd);
    let log_posterior = Tensor::from_slice(device, [sizes.classifiers], &values.log_posterior);
    let classes = classes_of(device, sizes);
    let targets = Targets::Classes(&classes);
    report(&classifiers_in(Form::Recomputed, &z, &weight, &bias, targets, &log_posterior))
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sizes in MANY {
        add_many(&mut cases, sizes, Odd::Nothing);
    }
    for sizes in ODD_MANY {
        for odd in ODD {
            add_many(&mut cases, sizes, odd);
        }
        let run = move |device: &Device, dtype| {
            head(device, dtype, Form::Recomputed, sizes, Task::Classes, Odd::OutsideClasses)
        };
        let name = format!("many classes {}, one outside", sizes.outputs);
        let terms = sizes.classifiers * sizes.outputs + sizes.samples;
        cases.push(Case::new(name, terms, run).rounded_to(10));
    }
    for sizes in WHOLE_MANY {
        for odd in [Odd::Nothing, Odd::Twice] {
            add_many(&mut cases, sizes, odd);
        }
    }
    // With 133 classifiers, a block goes over several tiles of classes, at the larger depth.
    let sizes = Extents { samples: 2, inputs: 65, classifiers: 133, outputs: 65 };
    let seen = move |device: &Device, dtype| seen_head(device, dtype, sizes, Odd::Nothing);
    cases.push(Case::new("many classes of many classifiers, seen", 133 * 65, seen));
    let few = Extents { samples: 3, inputs: 5, classifiers: 3, outputs: 7 };
    for wanted in 1..8 {
        let wanted = [wanted & 1 != 0, wanted & 2 != 0, wanted & 4 != 0];
        let many =
            Case::new(format!("many classes gradients {wanted:?}"), 21, move |device, dtype| {
                some_gradients(device, dtype, Form::Recomputed, Task::Classes, few, wanted)
            });
        cases.push(many.rounded_to(10));
    }
    cases
}
