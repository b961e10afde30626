//! A data set in host memory as rows that batches are cut from.

use std::sync::Arc;

use super::batch::Stored;
use crate::data::{
    Arrays, Columns, HostBatch, ImageFiles, Inputs, Loader, Part, SampleShape, Split, Targets,
    Window,
};
use crate::device::{DType, Device};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Alignment in bytes of a batch's targets, which follow its inputs.
const ALIGNMENT: usize = 16;

/// A data set. A row is a sample, or one token of each column of a text.
pub(super) enum Data {
    Arrays { arrays: Arrays, batch_size: usize },
    Text { parts: [Option<Arc<Columns>>; 3], bptt: usize },
}

/// The rows of one batch in host memory.
pub(super) enum HostRows {
    Samples(HostBatch, SampleShape),
    Window { columns: Arc<Columns>, number: usize, bptt: usize },
}

/// The layout of a batch's bytes in a block on the device.
pub(super) struct Layout {
    inputs: (Shape, DType),
    targets: (usize, Shape, DType),
}

impl Data {
    /// Rows of every batch but the last.
    pub fn rows_of_batch(&self) -> usize {
        match self {
            Data::Arrays { batch_size, .. } => *batch_size,
            Data::Text { bptt, .. } => *bptt,
        }
    }

    /// Rows of a part.
    pub fn rows(&self, part: Part) -> usize {
        match self {
            Data::Arrays { arrays, .. } => arrays.part(part).map_or(0, |split| split.len()),
            Data::Text { parts, .. } => {
                parts[part as usize].as_ref().map_or(0, |columns| columns.rows() - 1)
            }
        }
    }

    /// Batches of one pass over a part.
    pub fn steps(&self, part: Part) -> usize {
        self.rows(part).div_ceil(self.rows_of_batch())
    }

    /// Rows of the batch `number` of a part: the last may be short.
    pub fn rows_at(&self, part: Part, number: usize) -> usize {
        let before = number * self.rows_of_batch();
        self.rows_of_batch().min(self.rows(part) - before)
    }

    /// Number of samples, or of tokens, in `rows` rows.
    pub fn samples(&self, rows: usize) -> usize {
        match self {
            Data::Arrays { .. } => rows,
            Data::Text { parts, .. } => {
                let columns = parts.iter().flatten().next();
                rows * columns.map_or(0, |columns| columns.batch_size())
            }
        }
    }

    /// Bytes of the largest batch in one block.
    pub fn bytes_of_batch(&self) -> usize {
        match self {
            Data::Arrays { arrays, batch_size } => {
                let inputs = arrays.sample.elements() * batch_size;
                let targets = match &arrays.train.targets {
                    Targets::Classes(_) => *batch_size,
                    Targets::Values { columns, .. } => columns * batch_size,
                };
                // An element takes at most four bytes.
                (4 * inputs).next_multiple_of(ALIGNMENT) + 4 * targets
            }
            Data::Text { bptt, .. } => 4 * self.samples(bptt + 1),
        }
    }

    /// Whether the inputs are files, which are decoded batch by batch.
    pub fn is_in_files(&self) -> bool {
        self.files().is_some()
    }

    /// The image files of the training part; all parts share their record of damaged files.
    pub fn files(&self) -> Option<&ImageFiles> {
        match self {
            Data::Arrays { arrays, .. } => arrays.files(Part::Train),
            Data::Text { .. } => None,
        }
    }

    /// The same data with the training images in files cropped and flipped at random, as in an epoch.
    pub fn with_random_crops(&self, seed: u64, epoch: u64) -> Option<Data> {
        let (Data::Arrays { arrays, batch_size }, Some(files)) = (self, self.files()) else {
            return None;
        };
        let inputs = Inputs::Files(files.with_random_crops(seed, epoch));
        let train = Arc::new(Split { inputs, targets: arrays.train.targets.clone() });
        let arrays = Arrays { train, ..arrays.clone() };
        Some(Data::Arrays { arrays, batch_size: *batch_size })
    }

    /// The batches of a part from number `first` on.
    pub fn batches(
        &self,
        part: Part,
        order: Option<Vec<u32>>,
        first: usize,
    ) -> Box<dyn Iterator<Item = HostRows>> {
        match self {
            Data::Arrays { arrays, batch_size } => match arrays.part(part) {
                None => Box::new(std::iter::empty()),
                Some(split) => {
                    let (order, sample) = (order.map(Arc::new), arrays.sample);
                    let loader = Loader::new(Arc::clone(split), order, *batch_size, first);
                    Box::new(loader.map(move |batch| HostRows::Samples(batch, sample)))
                }
            },
            Data::Text { parts, bptt } => match &parts[part as usize] {
                None => Box::new(std::iter::empty()),
                Some(columns) => {
                    let (columns, bptt) = (Arc::clone(columns), *bptt);
                    let numbers = first..columns.window_count(bptt);
                    Box::new(numbers.map(move |number| HostRows::Window {
                        columns: Arc::clone(&columns),
                        number,
                        bptt,
                    }))
                }
            },
        }
    }
}

/// A split's arrays as bytes, with the shapes and types of `samples` samples.
fn arrays<'a>(
    inputs: &'a Inputs,
    targets: &'a Targets,
    samples: usize,
    sample: SampleShape,
) -> [(&'a [u8], Shape, DType); 2] {
    let shape: Shape = match sample {
        SampleShape::Image { height, width, channels } => [samples, height, width, channels].into(),
        SampleShape::Vector { size } => [samples, size].into(),
    };
    let inputs = match inputs {
        Inputs::Bytes(bytes) => (&bytes[..], shape, DType::U8),
        Inputs::Floats(floats) => (bytemuck::cast_slice(floats), shape, DType::F32),
        Inputs::Files(_) => unreachable!("images in files are decoded before they are uploaded"),
    };
    let targets = match targets {
        Targets::Classes(classes) => {
            (bytemuck::cast_slice(&classes[..]), [samples].into(), DType::I32)
        }
        Targets::Values { values, columns } => {
            (bytemuck::cast_slice(&values[..]), [samples, *columns].into(), DType::F32)
        }
    };
    [inputs, targets]
}

/// The arrays of a whole split.
pub(super) fn arrays_of(split: &Split, sample: SampleShape) -> [(&[u8], Shape, DType); 2] {
    arrays(&split.inputs, &split.targets, split.len(), sample)
}

impl HostRows {
    fn window(columns: &Columns, number: usize, bptt: usize) -> ([usize; 2], Window<'_>) {
        let window = columns.window(number, bptt);
        ([window.length, columns.batch_size()], window)
    }

    /// Copies the rows to a device and waits for it.
    pub fn upload(&self, device: &Device) -> Stored {
        match self {
            HostRows::Samples(batch, sample) => {
                let of = arrays(&batch.inputs, &batch.targets, batch.samples, *sample);
                let [inputs, targets] =
                    of.map(|(bytes, shape, dtype)| Tensor::from_bytes(device, shape, dtype, bytes));
                Stored { inputs, targets }
            }
            HostRows::Window { columns, number, bptt } => {
                let (shape, window) = HostRows::window(columns, *number, *bptt);
                Stored {
                    inputs: Tensor::from_slice(device, shape, window.tokens),
                    targets: Tensor::from_slice(device, shape, window.targets),
                }
            }
        }
    }

    /// Number of samples, or of tokens.
    pub fn samples(&self) -> usize {
        match self {
            HostRows::Samples(batch, _) => batch.samples,
            HostRows::Window { columns, number, bptt } => {
                columns.window(*number, *bptt).targets.len()
            }
        }
    }

    /// The bytes of inputs and targets with their offsets in the block, and its layout.
    pub fn parts(&self) -> (Vec<(usize, &[u8])>, Layout) {
        match self {
            HostRows::Samples(batch, sample) => {
                let of = arrays(&batch.inputs, &batch.targets, batch.samples, *sample);
                let [(inputs, shape, dtype), (targets, targets_shape, targets_dtype)] = of;
                let start = inputs.len().next_multiple_of(ALIGNMENT);
                let layout = Layout {
                    inputs: (shape, dtype),
                    targets: (start, targets_shape, targets_dtype),
                };
                (vec![(0, inputs), (start, targets)], layout)
            }
            HostRows::Window { columns, number, bptt } => {
                let (shape, window) = HostRows::window(columns, *number, *bptt);
                // The targets are the inputs shifted by one row.
                let width = size_of::<i32>() * columns.batch_size();
                let rows = bytemuck::cast_slice(&window.tokens[..columns.batch_size()]);
                let parts = vec![(0, rows), (width, bytemuck::cast_slice(window.targets))];
                let layout = Layout {
                    inputs: (shape.into(), DType::I32),
                    targets: (width, shape.into(), DType::I32),
                };
                (parts, layout)
            }
        }
    }
}

impl Layout {
    /// The rows in a block of bytes on the device.
    pub fn of(&self, block: &Tensor) -> Stored {
        let (shape, dtype) = self.inputs;
        let (start, targets_shape, targets_dtype) = self.targets;
        Stored {
            inputs: block.reinterpret(0, shape, dtype),
            targets: block.reinterpret(start, targets_shape, targets_dtype),
        }
    }
}
