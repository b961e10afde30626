//! Numbers in place of missing ones.

use std::sync::Arc;

use crate::data::{Arrays, Inputs};

impl Arrays {
    /// Puts numbers in place of missing inputs, which are NaN: those of the trained model if there is one, or the means of
    /// the training part. Of a column of categories, these are the categories' shares.
    ///
    /// # Errors
    /// The name of a column without a value in the training part.
    pub(super) fn fill_missing(&mut self) -> Result<(), String> {
        let (Some(table), Inputs::Floats(floats)) = (&mut self.table, &self.train.inputs) else {
            return Ok(());
        };
        let table = Arc::make_mut(table);
        if table.fill.is_empty() {
            let width = table.inputs();
            let mut names =
                table.columns.iter().flat_map(|column| vec![&column.name; column.inputs()]);
            let mean = |input: usize| {
                let name = names.next().cloned().unwrap_or_default();
                let own = || floats[input..].iter().step_by(width).filter(|own| !own.is_nan());
                let count = own().count();
                let sum: f64 = own().map(|own| f64::from(*own)).sum();
                if count == 0 { Err(name) } else { Ok(sum / count as f64) }
            };
            table.fill = (0..width).map(mean).collect::<Result<_, _>>()?;
        }
        let own = table.fill.clone();
        self.change_splits(|split| {
            if let Inputs::Floats(floats) = &mut split.inputs {
                fill(floats, &own);
            }
        });
        Ok(())
    }
}

/// Puts numbers in place of NaN in rows; none if there are no such numbers.
pub(super) fn fill(floats: &mut [f32], numbers: &[f64]) {
    for row in floats.chunks_exact_mut(numbers.len().max(1)) {
        let missing = row.iter_mut().zip(numbers).filter(|(own, _)| own.is_nan());
        missing.for_each(|(own, number)| *own = *number as f32);
    }
}
