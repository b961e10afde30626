//! The factor of a gradient's norm.

use crate::ops::update::clip::gradient_norm_factor;
use crate::{DType, Tensor};

use super::{Case, draw};

pub fn cases() -> Vec<Case> {
    let cases = [
        (0, 0, 1.0),
        (1, 0, 0.125),
        (1, 0, 10.0),
        (4_096, 0, 0.5),
        (4_099, 0, 0.5),
        (30_011, 0, 0.5),
        (30_011, 3, 0.5),
    ];
    cases
        .into_iter()
        .map(|(count, start, limit)| {
            let name = format!("clip {count} from {start}, limit {limit}");
            Case::new(name, count + 1, move |device, dtype| {
                let mut values = draw(count + start, 0);
                for (index, value) in values.iter_mut().enumerate().skip(start + 10) {
                    *value = match index % 1000 {
                        7 => f64::NAN,
                        8 => f64::INFINITY,
                        9 => f64::NEG_INFINITY,
                        _ => *value,
                    };
                }
                let whole = Tensor::from_f64s(device, [count + start], dtype, &values);
                let factor = Tensor::zeros(device, [2], DType::F64);
                let gradients = whole.slice(0, start, count);
                gradient_norm_factor(&gradients, limit, &factor.slice(0, 1, 1));
                vec![("factor", factor.to_f64s())]
            })
        })
        .collect()
}
