//! Batches on the device, part by part and epoch by epoch.

use std::sync::Arc;

pub(crate) use crate::data::Part;
use crate::data::{
    Arrays, Columns, Content, Dataset, HostBatch, Inputs, Loader, SampleShape, Targets, Task,
};
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::ops::augment::{Augmentation, images_from_bytes, images_from_floats};
use crate::ops::classifiers;
use crate::random::{Philox, Purpose};
use crate::tensor::Tensor;
use crate::train::{Order, TrainConfig};

/// Pixels of black around an image before a crop of its own size is taken.
const PADDING: usize = 4;

/// What a step learns from.
pub(crate) struct Batch {
    /// Images `[B, H, W, C]`, vectors `[B, D]`, or characters I32 `[T, B]`.
    pub x: Tensor,
    targets: Tensor,
    is_regression: bool,
    /// Number of samples, or of characters.
    pub samples: usize,
}

impl Batch {
    pub fn targets(&self) -> classifiers::Targets<'_> {
        match self.is_regression {
            true => classifiers::Targets::Values(&self.targets),
            false => classifiers::Targets::Classes(&self.targets),
        }
    }
}

/// The batches of one pass, in order.
pub(crate) type Batches = Box<dyn Iterator<Item = Batch>>;

/// A data set as batches on a device.
pub(crate) struct Feed {
    source: Source,
    batch_size: usize,
    seed: u64,
    order: Order,
    augment: bool,
}

enum Source {
    Arrays { arrays: Arrays, images: ToDevice },
    Text { parts: [Option<Arc<Columns>>; 3], bptt: usize, device: Device },
}

/// Brings a batch to the device and into the run's precision.
#[derive(Clone)]
struct ToDevice {
    device: Device,
    dtype: DType,
    sample: SampleShape,
    /// Channel mean and deviation, F64 `[C]`.
    normalisation: Option<(Tensor, Tensor)>,
}

impl Feed {
    /// # Errors
    /// Where a part is smaller than one batch, or the data cannot be augmented.
    pub fn new(dataset: &Dataset, config: &TrainConfig, device: &Device) -> Result<Self> {
        let source = match &dataset.content {
            Content::Arrays(arrays) => arrays_source(arrays, config, device)?,
            Content::Text(text) => {
                let columns = |part| -> Result<Option<Arc<Columns>>> {
                    let is_there = text.part(part).is_some();
                    is_there
                        .then(|| text.columns(part, config.batch_size).map(Arc::new))
                        .transpose()
                };
                let parts = [columns(Part::Train)?, columns(Part::Valid)?, columns(Part::Test)?];
                Source::Text { parts, bptt: config.bptt, device: device.clone() }
            }
        };
        let TrainConfig { batch_size, seed, order, augment, .. } = *config;
        Ok(Feed { source, batch_size, seed, order, augment })
    }

    /// Whether there is such a part.
    pub fn has(&self, part: Part) -> bool {
        self.steps(part) > 0
    }

    /// Batches of one pass over a part.
    pub fn steps(&self, part: Part) -> u64 {
        let steps = match &self.source {
            Source::Arrays { arrays, .. } => {
                arrays.part(part).map_or(0, |split| split.len().div_ceil(self.batch_size))
            }
            Source::Text { parts, bptt, .. } => {
                parts[part as usize].as_ref().map_or(0, |columns| columns.window_count(*bptt))
            }
        };
        steps as u64
    }

    /// Whether the targets are classes.
    pub fn is_classification(&self) -> bool {
        match &self.source {
            Source::Arrays { arrays, .. } => {
                matches!(arrays.task, Task::Classification { .. })
            }
            Source::Text { .. } => true,
        }
    }

    /// The training batches of an epoch, from the batch `first` on. `step` is the coming step's number on the device.
    pub fn training_batches(&self, epoch: u64, first: u64, step: &Tensor) -> Batches {
        match &self.source {
            Source::Arrays { arrays, images } => {
                let split = &arrays.train;
                let order = (self.order == Order::Shuffled).then(|| {
                    Arc::new(
                        Philox::new(self.seed, Purpose::Order)
                            .stream(epoch)
                            .permutation(split.len()),
                    )
                });
                let loader = Loader::new(Arc::clone(split), order, self.batch_size, first as usize);
                let (images, seed) = (images.clone(), self.seed);
                let step = self.augment.then(|| step.clone());
                Box::new(loader.map(move |batch| {
                    let augmentation =
                        step.as_ref().map(|step| Augmentation { seed, step, padding: PADDING });
                    images.batch(batch, augmentation)
                }))
            }
            Source::Text { .. } => Box::new(self.batches(Part::Train).skip(first as usize)),
        }
    }

    /// All batches of a part, in file order, as they are; none where there is no such part.
    pub fn batches(&self, part: Part) -> Batches {
        match &self.source {
            Source::Arrays { arrays, images } => match arrays.part(part) {
                None => Box::new(std::iter::empty()),
                Some(split) => {
                    let images = images.clone();
                    let loader = Loader::new(Arc::clone(split), None, self.batch_size, 0);
                    Box::new(loader.map(move |batch| images.batch(batch, None)))
                }
            },
            Source::Text { parts, bptt, device } => match &parts[part as usize] {
                None => Box::new(std::iter::empty()),
                Some(columns) => {
                    let (columns, bptt, device) = (Arc::clone(columns), *bptt, device.clone());
                    let windows = 0..columns.window_count(bptt);
                    Box::new(windows.map(move |number| window(&columns, number, bptt, &device)))
                }
            },
        }
    }

    /// A small batch of inputs, which tells a model's shapes.
    pub fn sample(&self) -> Tensor {
        match &self.source {
            Source::Arrays { arrays, images } => images.batch(arrays.train.gather(0..1), None).x,
            Source::Text { device, .. } => Tensor::zeros(device, [1, 1], DType::I32),
        }
    }
}

fn arrays_source(arrays: &Arrays, config: &TrainConfig, device: &Device) -> Result<Source> {
    let samples = arrays.train.len();
    if config.batch_size > samples {
        let message = format!(
            "{} is more than the {samples} training samples; give at most that",
            config.batch_size
        );
        return Err(Error::input("--batch-size", message));
    }
    if config.augment && !matches!(arrays.sample, SampleShape::Image { .. }) {
        return Err(Error::input("--augment", "crops and flips images; this data has vectors"));
    }
    let channels = |values: &[f64]| Tensor::from_slice(device, [values.len()], values);
    let normalisation = arrays.normalisation.as_ref();
    let images = ToDevice {
        device: device.clone(),
        dtype: config.precision.dtype(),
        sample: arrays.sample,
        normalisation: normalisation.map(|own| (channels(&own.mean), channels(&own.deviation))),
    };
    Ok(Source::Arrays { arrays: arrays.clone(), images })
}

fn window(columns: &Columns, number: usize, bptt: usize, device: &Device) -> Batch {
    let window = columns.window(number, bptt);
    Batch {
        x: Tensor::from_slice(device, [window.length, columns.batch_size()], window.tokens),
        targets: Tensor::from_slice(device, [window.targets.len()], window.targets),
        is_regression: false,
        samples: window.targets.len(),
    }
}

impl ToDevice {
    fn batch(&self, batch: HostBatch, augmentation: Option<Augmentation>) -> Batch {
        let samples = batch.samples;
        let (targets, is_regression) = match &batch.targets {
            Targets::Classes(classes) => {
                (Tensor::from_slice(&self.device, [samples], classes), false)
            }
            Targets::Values { values, columns } => {
                (self.floats([samples, *columns], values, self.dtype.wide()), true)
            }
        };
        Batch {
            x: self.inputs(&batch.inputs, samples, augmentation),
            targets,
            is_regression,
            samples,
        }
    }

    fn inputs(
        &self,
        inputs: &Inputs,
        samples: usize,
        augmentation: Option<Augmentation>,
    ) -> Tensor {
        match (inputs, self.sample) {
            (Inputs::Floats(floats), SampleShape::Vector { size }) => {
                self.floats([samples, size], floats, self.dtype)
            }
            (Inputs::Floats(floats), SampleShape::Image { height, width, channels }) => {
                let images =
                    Tensor::from_slice(&self.device, [samples, height, width, channels], floats);
                images_from_floats(&images, self.dtype, augmentation)
            }
            (Inputs::Bytes(bytes), SampleShape::Image { height, width, channels }) => {
                let images =
                    Tensor::from_slice(&self.device, [samples, height, width, channels], bytes);
                let (mean, deviation) =
                    self.normalisation.as_ref().expect("images in bytes have a normalisation");
                images_from_bytes(&images, mean, deviation, self.dtype, augmentation)
            }
            (Inputs::Bytes(_), SampleShape::Vector { .. }) => panic!("feed: vectors are floats"),
        }
    }

    fn floats(&self, shape: [usize; 2], values: &[f32], dtype: DType) -> Tensor {
        match dtype {
            DType::F32 => Tensor::from_slice(&self.device, shape, values),
            _ => Tensor::from_f64s(
                &self.device,
                shape,
                dtype,
                &values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>(),
            ),
        }
    }
}

/// What the model has to predict.
pub(crate) fn task(dataset: &Dataset) -> Task {
    match &dataset.content {
        Content::Arrays(arrays) => arrays.task,
        Content::Text(text) => Task::Classification { classes: text.vocabulary.len() },
    }
}
