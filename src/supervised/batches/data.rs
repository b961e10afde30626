//! A data set in host memory as rows that batches are cut from.

use std::sync::Arc;

use super::batch::BatchTensors;
use crate::data::{Arrays, Columns, ImageFiles, Input, Inputs, Loader, Part, Split, Targets};
use crate::device::{DType, Device};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Alignment in bytes of a batch's targets, which follow its inputs.
pub(super) const ALIGNMENT: usize = 16;

/// A data set. A row is a sample, or one token of each column of a text.
pub(super) enum Data {
    Arrays { arrays: Arrays, batch_size: usize },
    Text { parts: [Option<Arc<Columns>>; 3], bptt: usize },
}

/// The rows of one batch in host memory.
pub(super) enum HostRows {
    Samples(Split, Input),
    Window { columns: Arc<Columns>, number: usize, bptt: usize },
}

/// Numbers in host memory, and the shape and type that they have on a device.
pub(super) type HostArray<'a> = (&'a [u8], Shape, DType);

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
        let (inputs, targets) = match self {
            Data::Arrays { arrays, batch_size } => {
                let columns = match &arrays.train.targets {
                    Targets::Classes(_) => 1,
                    Targets::Values { columns, .. } => *columns,
                };
                (arrays.sample.elements() * batch_size, columns * batch_size)
            }
            Data::Text { bptt, .. } => (self.samples(*bptt), self.samples(*bptt)),
        };
        // An element takes at most four bytes.
        (4 * inputs).next_multiple_of(ALIGNMENT) + 4 * targets
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
        let train = Arc::new(Split::new(inputs, arrays.train.targets.clone()));
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

/// The inputs and targets of samples.
pub(super) fn arrays_of(split: &Split, sample: Input) -> [HostArray<'_>; 2] {
    let samples = split.len();
    let shape = Shape::from(&sample.batch(samples)[..]);
    let inputs = match &split.inputs {
        Inputs::Bytes(bytes) => (&bytes[..], shape, DType::U8),
        Inputs::Floats(floats) => (bytemuck::cast_slice(floats), shape, DType::F32),
        Inputs::Files(_) => unreachable!("images in files are decoded before they are uploaded"),
    };
    let targets = match &split.targets {
        Targets::Classes(classes) => {
            (bytemuck::cast_slice(&classes[..]), [samples].into(), DType::I32)
        }
        Targets::Values { values, columns } => {
            (bytemuck::cast_slice(&values[..]), [samples, *columns].into(), DType::F32)
        }
    };
    [inputs, targets]
}

impl HostRows {
    /// Inputs and targets.
    pub fn arrays(&self) -> [HostArray<'_>; 2] {
        match self {
            HostRows::Samples(split, sample) => arrays_of(split, *sample),
            HostRows::Window { columns, number, bptt } => {
                let window = columns.window(*number, *bptt);
                let shape = Shape::from([window.length, columns.batch_size()]);
                [window.tokens, window.targets]
                    .map(|tokens| (bytemuck::cast_slice(tokens), shape, DType::I32))
            }
        }
    }

    /// Copies the rows to a device and waits for it.
    pub fn upload(&self, device: &Device) -> BatchTensors {
        let [inputs, targets] = self
            .arrays()
            .map(|(bytes, shape, dtype)| Tensor::from_bytes(device, shape, dtype, bytes));
        BatchTensors { inputs, targets }
    }

    /// Number of samples, or of tokens.
    pub fn samples(&self) -> usize {
        match self {
            HostRows::Samples(split, _) => split.len(),
            HostRows::Window { columns, number, bptt } => {
                columns.window(*number, *bptt).targets.len()
            }
        }
    }
}
