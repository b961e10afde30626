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
        let fill: Vec<f32> = table.fill.iter().map(|own| *own as f32).collect();
        self.change_splits(|split| {
            let Inputs::Floats(floats) = &mut split.inputs else { return };
            for row in floats.chunks_exact_mut(fill.len()) {
                let missing = row.iter_mut().zip(&fill).filter(|(own, _)| own.is_nan());
                missing.for_each(|(own, fill)| *own = *fill);
            }
        });
        Ok(())
    }
}
