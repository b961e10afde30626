//! A data set in the device's memory, where each step finds its own batch.

use std::rc::Rc;

use super::batch::{Batch, BatchTensors, Conversion, Draw, Position};
use super::data::{Data, arrays_of};
use super::{Batches, PARTS};
use crate::data::{Arrays, Columns, Part, Split};
use crate::device::{DType, Device};
use crate::tensor::Tensor;

/// All parts, one after the other.
pub(super) struct Resident {
    stored: BatchTensors,
    /// The first row of each part.
    starts: [usize; 3],
    /// First row of the next batch, I32 `[1]`, which the device carries from step to step.
    cursor: Tensor,
    /// The rows of the training part in the order of their use in an epoch, I32.
    order: Tensor,
}

impl Resident {
    /// Bytes of a data set on the device; `None` if its parts differ in type or are image files.
    pub fn bytes(data: &Data) -> Option<usize> {
        if data.is_in_files() {
            return None;
        }
        let size = match data {
            Data::Arrays { arrays, .. } => {
                let mut bytes = 0;
                let own = arrays_of(&arrays.train, arrays.sample);
                for split in splits(arrays) {
                    let of = arrays_of(split, arrays.sample);
                    let alike = of.iter().zip(&own).all(|(own, first)| {
                        own.2 == first.2 && own.1.extents()[1..] == first.1.extents()[1..]
                    });
                    bytes += of.iter().map(|(bytes, ..)| bytes.len()).sum::<usize>();
                    alike.then_some(())?;
                }
                bytes
            }
            Data::Text { parts, .. } => {
                parts.iter().flatten().map(|columns| size_of_val(columns.tokens())).sum()
            }
        };
        Some(size + data.rows(Part::Train) * size_of::<i32>())
    }

    /// Copies a data set to a device. All parts must have the same type.
    pub fn new(data: &Data, device: &Device) -> Resident {
        let (stored, starts) = match data {
            Data::Arrays { arrays, .. } => store_arrays(arrays, device),
            Data::Text { parts, .. } => {
                let parts = parts.each_ref().map(|own| own.as_deref());
                store_text(parts, device)
            }
        };
        let order = Tensor::zeros(device, [data.rows(Part::Train)], DType::I32);
        Resident { stored, starts, cursor: Tensor::zeros(device, [1], DType::I32), order }
    }

    /// The batches of a part from number `first` on; `order` is that of the training part.
    pub fn batches(
        &self,
        data: &Data,
        conversion: &Rc<Conversion>,
        part: Part,
        (order, first): (Option<Vec<u32>>, usize),
        augmentation: Option<Draw>,
    ) -> Batches {
        let order = order.map(|order| {
            self.order.copy_from_slice::<i32>(bytemuck::cast_slice(&order));
            self.order.clone()
        });
        let start = self.starts[part as usize] + first * data.rows_of_batch();
        self.cursor.copy_from_slice(&[start as i32]);
        let sizes = (first..data.steps(part)).map(|number| {
            let rows = data.rows_at(part, number);
            (rows, data.samples(rows))
        });
        let sizes: Vec<(usize, usize)> = sizes.collect();
        let (stored, conversion) = (self.stored.clone(), Rc::clone(conversion));
        let cursor = self.cursor.clone();
        Box::new(sizes.into_iter().map(move |(count, samples)| Batch {
            samples,
            stored: stored.clone(),
            conversion: Rc::clone(&conversion),
            position: Some(Position { cursor: cursor.clone(), order: order.clone(), count }),
            augmentation: augmentation.clone(),
        }))
    }
}

fn splits(arrays: &Arrays) -> impl Iterator<Item = &Split> {
    PARTS.into_iter().filter_map(|part| arrays.part(part).map(|split| &**split))
}

/// The first row of each part, and the number of all rows, with the parts one after the other.
fn starts(rows: [usize; 3]) -> ([usize; 3], usize) {
    ([0, rows[0], rows[0] + rows[1]], rows.iter().sum())
}

fn store_arrays(arrays: &Arrays, device: &Device) -> (BatchTensors, [usize; 3]) {
    let (starts, all) = starts(PARTS.map(|part| arrays.part(part).map_or(0, |split| split.len())));
    let [inputs, targets] = arrays_of(&arrays.train, arrays.sample).map(|(_, shape, dtype)| {
        let mut extents = shape.extents().to_vec();
        extents[0] = all;
        Tensor::empty(device, &extents[..], dtype)
    });
    for (part, start) in PARTS.into_iter().zip(starts) {
        let Some(split) = arrays.part(part) else { continue };
        for (all, (bytes, shape, _)) in
            [&inputs, &targets].into_iter().zip(arrays_of(split, arrays.sample))
        {
            let width = shape.elements() / shape[0].max(1);
            all.view(start * width, shape, shape.columns()).copy_from_bytes(bytes);
        }
    }
    (BatchTensors { inputs, targets }, starts)
}

/// Copies a text's tokens to the device. The targets are the inputs shifted by one row.
fn store_text(parts: [Option<&Columns>; 3], device: &Device) -> (BatchTensors, [usize; 3]) {
    let (starts, all) = starts(parts.map(|columns| columns.map_or(0, Columns::rows)));
    let width = parts.iter().flatten().next().map_or(1, |columns| columns.batch_size());
    let rows = Tensor::empty(device, [all, width], DType::I32);
    for (columns, start) in parts.into_iter().zip(starts) {
        let Some(columns) = columns else { continue };
        let own = rows.view(start * width, [columns.rows(), width], width);
        own.copy_from_slice(columns.tokens());
    }
    let from = |row: usize| rows.view(row * width, [all - 1, width], width);
    (BatchTensors { inputs: from(0), targets: from(1) }, starts)
}
