//! Batches of a data set on the device.
//!
//! A device that captures graphs holds the data set if it fits and is not in files; otherwise batches are copied to it
//! while it works. On the CPU a thread gathers rows ahead, and each step converts its own.

mod batch;
mod data;
mod resident;
mod streamed;

use std::rc::Rc;
use std::sync::Arc;

use self::batch::{Conversion, Draw};
use self::data::{Data, HostRows};
use self::resident::Resident;
use self::streamed::Streamed;
pub(crate) use crate::data::Part;
use crate::data::{Arrays, Content, Dataset, ImageFiles, Input, Targets, Task};
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::learn::{Order, TrainConfig};
use crate::random::{Philox, Purpose};
use crate::tensor::Tensor;
pub(crate) use batch::Batch;

/// Pixels of black around an image before a crop of its own size is taken.
const PADDING: usize = 4;

/// All parts, in their order in a device's memory.
const PARTS: [Part; 3] = [Part::Train, Part::Valid, Part::Test];

/// The batches of one pass, in order.
pub(crate) type Batches = Box<dyn Iterator<Item = Batch>>;

/// A data set as batches on a device.
pub(crate) struct BatchSource {
    data: Data,
    conversion: Rc<Conversion>,
    placement: Placement,
    device: Device,
    seed: u64,
    order: Order,
    augment: bool,
}

/// The place of the data set during training.
enum Placement {
    Host,
    Device(Resident),
    /// In host memory; batches are copied to the device.
    Streamed(Streamed),
}

impl BatchSource {
    /// # Errors
    /// Where a part is smaller than one batch, or the data cannot be augmented.
    pub fn new(dataset: &Dataset, config: &TrainConfig, device: &Device) -> Result<Self> {
        let (data, conversion) = match &dataset.content {
            Content::Arrays(arrays) => {
                check_arrays(arrays, config)?;
                let data = Data::Arrays { arrays: arrays.clone(), batch_size: config.batch_size };
                (data, conversion(arrays, config, device))
            }
            Content::Text(text) => {
                let columns = |part| {
                    let own = text.part(part).map(|_| text.columns(part, config.batch_size));
                    own.transpose().map(|columns| columns.map(Arc::new))
                };
                let parts = [columns(Part::Train)?, columns(Part::Valid)?, columns(Part::Test)?];
                (Data::Text { parts, bptt: config.bptt }, Conversion::Tokens)
            }
        };
        let placement = match device.room_for_data() {
            None => Placement::Host,
            Some(room) if Resident::bytes(&data).is_some_and(|bytes| bytes <= room) => {
                Placement::Device(device.owned_by("data", || Resident::new(&data, device)))
            }
            Some(_) => {
                Placement::Streamed(device.owned_by("data", || Streamed::new(&data, device)))
            }
        };
        let TrainConfig { seed, order, augment, .. } = *config;
        let (conversion, device) = (Rc::new(conversion), device.clone());
        Ok(BatchSource { data, conversion, placement, device, seed, order, augment })
    }

    /// Whether the data set has this part.
    pub fn has(&self, part: Part) -> bool {
        self.steps(part) > 0
    }

    /// Batches of one pass over a part.
    pub fn steps(&self, part: Part) -> u64 {
        self.data.steps(part) as u64
    }

    /// Whether the targets are classes.
    pub fn is_classification(&self) -> bool {
        match &self.data {
            Data::Arrays { arrays, .. } => matches!(arrays.task, Task::Classification { .. }),
            Data::Text { .. } => true,
        }
    }

    /// The numbers to predict in a part, as the model sees them, and how many there are for a sample; `None` for classes.
    pub fn values(&self, part: Part) -> Option<(Vec<f32>, usize)> {
        let Data::Arrays { arrays, .. } = &self.data else { return None };
        match &arrays.part(part)?.targets {
            Targets::Values { values, columns } => Some((values.clone(), *columns)),
            Targets::Classes(_) => None,
        }
    }

    /// The classes of a part's samples; `None` for values and for text.
    pub fn classes(&self, part: Part) -> Option<&[i32]> {
        let Data::Arrays { arrays, .. } = &self.data else { return None };
        match &arrays.part(part)?.targets {
            Targets::Classes(classes) => Some(classes),
            Targets::Values { .. } => None,
        }
    }

    /// The targets' own units for one unit of what the model sees, for each output; `None` if they are the same.
    pub fn target_scale(&self) -> Option<Vec<f64>> {
        let Data::Arrays { arrays, .. } = &self.data else { return None };
        arrays.target_normalisation.as_ref().map(|own| own.deviation.clone())
    }

    /// Gives predicted numbers the targets' own units.
    pub fn undo_normalisation(&self, values: &mut [f32]) {
        if let Data::Arrays { arrays, .. } = &self.data
            && let Some(normalisation) = &arrays.target_normalisation
        {
            normalisation.undo(values);
        }
    }

    /// The training batches of an epoch, from the batch `first` on. `step` is the next step's number on the device.
    pub fn training_batches(&self, epoch: u64, first: u64, step: &Tensor) -> Batches {
        let is_shuffled = self.order == Order::Shuffled && matches!(self.data, Data::Arrays { .. });
        let order = is_shuffled.then(|| {
            let rows = self.data.rows(Part::Train);
            Philox::new(self.seed, Purpose::Order).stream(epoch).permutation(rows)
        });
        let (seed, step) = (self.seed, step.clone());
        let data = &self.data;
        match self.augment.then(|| data.with_random_crops(seed, epoch)) {
            // Images in files are cropped on the host, since the crops are smaller than the images.
            Some(Some(cropped)) => self.pass(&cropped, Part::Train, (order, first as usize), None),
            Some(None) => {
                let draw = Some(Draw { seed, step, padding: PADDING });
                self.pass(data, Part::Train, (order, first as usize), draw)
            }
            None => self.pass(data, Part::Train, (order, first as usize), None),
        }
    }

    /// Checks that the batches so far are valid.
    ///
    /// # Errors
    /// [`Error::Data`] where files of the data are gone or too many are damaged.
    pub fn check(&self) -> Result<()> {
        self.data.files().map_or(Ok(()), ImageFiles::check)
    }

    /// Files of the data found damaged since the last call.
    pub fn newly_damaged(&self) -> Vec<String> {
        self.data.files().map(ImageFiles::newly_damaged).unwrap_or_default()
    }

    /// All batches of a part, in file order and without augmentation; none if the data set lacks the part.
    pub fn batches(&self, part: Part) -> Batches {
        self.pass(&self.data, part, (None, 0), None)
    }

    fn pass(
        &self,
        data: &Data,
        part: Part,
        (order, first): (Option<Vec<u32>>, usize),
        augmentation: Option<Draw>,
    ) -> Batches {
        let conversion = &self.conversion;
        match &self.placement {
            Placement::Device(resident) => {
                resident.batches(data, conversion, part, (order, first), augmentation)
            }
            Placement::Streamed(streamed) => {
                let rows = data.batches(part, order, first);
                streamed.batches(rows, conversion, augmentation)
            }
            Placement::Host => {
                let (device, conversion) = (self.device.clone(), Rc::clone(conversion));
                let rows = data.batches(part, order, first);
                Box::new(
                    rows.map(move |rows| {
                        uploaded(&rows, &conversion, augmentation.clone(), &device)
                    }),
                )
            }
        }
    }

    /// A small batch of inputs, from which a model's shapes follow.
    pub fn sample(&self) -> Tensor {
        match &self.data {
            Data::Arrays { arrays, .. } => {
                let first = HostRows::Samples(arrays.train.gather(0..1), arrays.sample);
                uploaded(&first, &self.conversion, None, &self.device).tensors().inputs
            }
            Data::Text { .. } => Tensor::zeros(&self.device, [1, 1], DType::I32),
        }
    }
}

fn uploaded(
    rows: &HostRows,
    conversion: &Rc<Conversion>,
    augmentation: Option<Draw>,
    device: &Device,
) -> Batch {
    Batch {
        samples: rows.samples(),
        stored: rows.upload(device),
        conversion: Rc::clone(conversion),
        position: None,
        augmentation,
    }
}

fn check_arrays(arrays: &Arrays, config: &TrainConfig) -> Result<()> {
    let samples = arrays.train.len();
    // The usual size stands for all samples where there are fewer.
    let is_usual = config.batch_size == TrainConfig::default().batch_size;
    if config.batch_size > samples && !is_usual {
        let message = format!(
            "{} is more than the {samples} training samples; give at most that",
            config.batch_size
        );
        return Err(Error::field("batch_size", message));
    }
    if config.augment && !matches!(arrays.sample, Input::Image { .. }) {
        return Err(Error::field("augment", "crops and flips images; this data has vectors"));
    }
    Ok(())
}

fn conversion(arrays: &Arrays, config: &TrainConfig, device: &Device) -> Conversion {
    let dtype = config.precision.dtype();
    let channels = |values: &[f64]| Tensor::from_slice(device, [values.len()], values);
    let normalisation = arrays.normalisation.as_ref();
    match arrays.sample {
        Input::Tokens { .. } => Conversion::Tokens,
        Input::Vector { .. } => Conversion::Vectors { dtype },
        Input::Image { .. } => Conversion::Images {
            dtype,
            normalisation: normalisation.map(|own| (channels(&own.mean), channels(&own.deviation))),
        },
    }
}

/// The task of a data set.
pub(crate) fn task(dataset: &Dataset) -> Task {
    match &dataset.content {
        Content::Arrays(arrays) => arrays.task,
        Content::Text(text) => Task::Classification { classes: text.vocabulary.len() },
    }
}
