//! SGD and Adam with a learning rate for every feature; with equal rates they are the usual optimisers.

use crate::device::DType;
use crate::ops::update::clip::gradient_norm_factor;
use crate::ops::update::optimizer::{Buffers, Rule, Span, Table, update};
use crate::optim::FlatParameters;
use crate::tensor::Tensor;

/// Updates all parameters of a model in one pass over its flat buffers.
pub struct Optimizer {
    rule: Rule,
    table: Table,
    buffers: Buffers,
    clipped_gradients: Tensor,
    /// The schedule's factor on all rates, and the clip's on `clipped_gradients`, F64.
    scales: Tensor,
    clip: Option<f64>,
    skipped: Tensor,
}

impl Optimizer {
    /// An optimiser of everything in `flat`, with moments of zero. `clip` is the largest norm of the gradient, the
    /// head's apart.
    pub fn new(rule: Rule, flat: &FlatParameters, clip: Option<f64>) -> Self {
        let values = flat.values();
        let device = values.device();
        let moment = |number: usize| (rule.moments() > number).then(|| flat.zeros_like_values());
        let spans = flat.entries().iter().map(|entry| Span {
            base: entry.base,
            length: entry.shape.elements(),
            inner: entry.features.inner,
            features: entry.features.count,
            rate_base: entry.rate_base,
            in_head: entry.in_head,
        });
        Optimizer {
            table: Table::new(spans),
            buffers: Buffers {
                values: values.clone(),
                narrow: flat.narrow().cloned(),
                gradients: flat.gradients().clone(),
                first_moment: moment(0),
                second_moment: moment(1),
                rates: flat.rates().clone(),
            },
            clipped_gradients: flat.clipped_gradients(),
            scales: Tensor::full(device, [2], DType::F64, 1.0),
            clip,
            skipped: Tensor::zeros(device, [1], DType::I64),
            rule,
        }
    }

    /// Multiplies all rates from now on by `factor`.
    pub fn set_schedule(&self, factor: f64) {
        self.scales.view(0, [1], 1).copy_from_slice(&[factor]);
    }

    /// One update from the gradients as they stand. `diverged`, U8, is not 0 for the classifiers
    /// to freeze; `number`, I64 `[1]`, is 1 for the first update.
    pub fn step(&self, diverged: Option<&Tensor>, number: &Tensor) {
        if let Some(limit) = self.clip {
            gradient_norm_factor(&self.clipped_gradients, limit, &self.scales.view(1, [1], 1));
        }
        let Optimizer { buffers, table, rule, scales, skipped, .. } = self;
        update(buffers, table, *rule, scales, diverged, number, skipped);
    }

    /// The moments that the rule keeps, each as long as the values.
    pub fn moments(&self) -> impl Iterator<Item = &Tensor> {
        [&self.buffers.first_moment, &self.buffers.second_moment].into_iter().flatten()
    }

    /// The parameters' chunks, for other passes over buffers with the values' layout.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How many elements were skipped because their gradient was not finite, I64 `[1]`.
    pub fn skipped(&self) -> &Tensor {
        &self.skipped
    }
}
