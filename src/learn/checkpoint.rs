//! A run's whole state in one file, under PyTorch's names and layouts where PyTorch has them.
//!
//! Weights and running statistics have PyTorch's names; all other names begin with `alrao.`. The metadata has one key,
//! which holds a [`Record`] as JSON with sorted keys. The file contains no time, path or host name, so equal states
//! give equal files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::tensor_file::{self, Array, TensorFile, replace};
use super::{Learner, ModelRecord, Progress, Record};
use crate::alrao::learning_rates;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::nn::{Buffer, BufferKind, Entry, FileLayout, for_each_entry};
use crate::optim::FlatEntry;
use crate::tensor::Tensor;
use safetensors::tensor::Dtype;

/// The version of this file's layout.
pub(super) const FORMAT: u32 = 1;

/// Key of a record's checksum.
const CHECKSUM: &str = "checksum";

/// Prefix of the names that PyTorch does not have.
pub(super) const OWN: &str = "alrao.";

/// Name of the batch counter that PyTorch's batch norm keeps beside its running statistics.
pub(super) const COUNTER: &str = "num_batches_tracked";

/// A run's state on the host.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The metadata.
    pub record: Record,
    /// Whether it lacked the weights of predicted values: version 0.1.0 took the posterior.
    pub(crate) is_of_first_version: bool,
    /// Whether the file's checksum does not match. Files of version 0.1.0 have none.
    pub(super) is_altered: bool,
    pub(super) file: TensorFile,
}

impl Checkpoint {
    /// Reads a learner's whole state back from its device.
    pub fn capture(learner: &Learner, model: Option<ModelRecord>, progress: Progress) -> Self {
        let mut file = TensorFile::default();
        for_each_array(learner, progress.step, &mut |name, _, read| {
            file.arrays.insert(name, read());
        });
        let record = Record { format: FORMAT, model, settings: BTreeMap::new(), progress };
        let mut own = Checkpoint { record, is_of_first_version: false, is_altered: false, file };
        own.set_best_loss(f64::INFINITY);
        own
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A `Value` sorts its keys, a struct does not.
        let mut record = serde_json::to_value(&self.record).expect("a record is plain data");
        record[CHECKSUM] = checksum(&self.file, &record).into();
        self.file.to_bytes_with(Some(record.to_string()))
    }

    /// Replaces the file at `path` atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace(path, &self.to_bytes())
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Where the file cannot be read, is cut short, or was not written by this engine.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::read(path)?;
        let text = file.record.as_deref();
        let text = text.ok_or_else(|| {
            Error::file(path, "is not a checkpoint of alrao: it has no record of a run")
        })?;
        let unreadable = |error: serde_json::Error| {
            // The command line shows names in backticks as flags.
            let error = error.to_string().replace('`', "'");
            Error::file(path, format!("is not a checkpoint that this version can read: {error}"))
        };
        let mut value: Value = serde_json::from_str(text).map_err(unreadable)?;
        let is_altered =
            take_checksum(&mut value).is_some_and(|own| own != checksum(&file, &value));
        let record: Record = serde_json::from_value(value).map_err(unreadable)?;
        if record.format != FORMAT {
            let format = record.format;
            return Err(Error::file(
                path,
                format!("has format {format}; this version reads format {FORMAT}"),
            ));
        }
        let mut checkpoint = Checkpoint { record, is_of_first_version: false, is_altered, file };
        checkpoint.upgrade();
        Ok(checkpoint)
    }

    /// Brings a checkpoint of an earlier version to this version's state.
    fn upgrade(&mut self) {
        let arrays = &mut self.file.arrays;
        let name = |name: &str| format!("{OWN}{name}");
        let filtered = name("switch.log_filtered");
        self.is_of_first_version = !arrays.contains_key(&filtered);
        if let Some(posterior) = arrays.get(&name("switch.log_posterior")).cloned() {
            arrays.entry(filtered).or_insert(posterior);
        }
        // Early versions counted steps in 32 bits, and drew random numbers by them as unsigned numbers.
        let step = arrays.get_mut(&name("step"));
        if let Some(step) = step.filter(|step| step.dtype == Dtype::I32) {
            let numbers = step.elements::<u32>().into_iter().map(i64::from);
            *step = Array::new(step.shape.clone(), &numbers.collect::<Vec<_>>());
        }
    }

    /// A remark on a file that is not as it was written.
    pub(crate) fn note_of_alteration(&self, path: &Path) -> Option<String> {
        let path = path.display();
        self.is_altered.then(|| {
            format!(
                "{path} was damaged or edited after it was written: its checksum does not match"
            )
        })
    }

    /// The best validation loss so far; infinite if there is none.
    pub fn best_loss(&self) -> f64 {
        let array = self.file.arrays.get(&format!("{OWN}best_loss"));
        array
            .and_then(Array::to_f64s)
            .and_then(|values| values.first().copied())
            .filter(|loss| !loss.is_nan())
            .unwrap_or(f64::INFINITY)
    }

    /// Writes the best validation loss so far; infinite if there is none.
    pub(crate) fn set_best_loss(&mut self, best_loss: f64) {
        self.put(&format!("{OWN}best_loss"), Array::new(vec![1], &[best_loss]));
    }

    /// Writes an array beside the learner's state.
    pub(crate) fn put(&mut self, name: &str, array: Array) {
        self.file.arrays.insert(name.to_owned(), array);
    }

    /// An array of the file.
    ///
    /// # Errors
    /// Where the file has no such array. `path` is for the message.
    pub(crate) fn array(&self, name: &str, path: &Path) -> Result<&Array> {
        let array = self.file.arrays.get(name);
        array.ok_or_else(|| Error::file(path, format!("lacks {name}")))
    }

    /// The checkpoint without the arrays whose names begin with `prefix`.
    pub(crate) fn without(&self, prefix: &str) -> Checkpoint {
        let others = self.file.arrays.iter().filter(|(name, _)| !name.starts_with(prefix));
        let arrays = others.map(|(name, array)| (name.clone(), array.clone())).collect();
        let (record, file) = (self.record.clone(), TensorFile { arrays, record: None });
        Checkpoint { record, file, ..*self }
    }

    /// Restores a learner to this state. `path` is for the message.
    ///
    /// # Errors
    /// Where the checkpoint is of another model (the message lists the differences, and nothing is changed), or the
    /// device has failed before.
    pub fn restore(&self, learner: &Learner, path: &Path) -> Result<()> {
        self.restore_beside(learner, None, path)
    }

    /// As [`Checkpoint::restore`], for a checkpoint with a task's own arrays, whose names begin with `others`.
    ///
    /// # Errors
    /// As [`Checkpoint::restore`].
    pub(crate) fn restore_beside(
        &self,
        learner: &Learner,
        others: Option<&str>,
        path: &Path,
    ) -> Result<()> {
        self.check(learner, path, &|name| {
            let is_other = others.is_some_and(|prefix| name.starts_with(prefix));
            !is_other && !name.starts_with("alrao.carried.")
        })?;
        self.restore_model(learner);
        let flat = learner.flat();
        for entry in flat.entries() {
            let rates = self.numbers(&format!("{OWN}rates.{}", entry.name));
            flat.rates_of(entry).copy_from_f64s(&rates[..entry.features.count]);
            for (moment, which) in
                learner.optimizer().moments().zip(["first_moment", "second_moment"])
            {
                let values = self.numbers(&format!("{OWN}{which}.{}", entry.name));
                let values = entry.layout.from_file(entry.shape, &values);
                flat.view(moment, entry).copy_from_f64s(&values);
            }
        }
        for (name, tensor) in device_state(learner) {
            self.copy_to(&name, tensor);
        }
        for_each_entry(learner.model(), &mut |name, entry| {
            if let Entry::Buffer(buffer) = entry
                && buffer.kind() == BufferKind::Carried
            {
                self.restore_carried(name, buffer, learner);
            }
        });
        Ok(())
    }

    /// Restores all that predictions depend on: weights, running statistics and the posterior.
    ///
    /// # Errors
    /// As [`Checkpoint::restore`].
    pub fn restore_predictor(&self, learner: &Learner, path: &Path) -> Result<()> {
        let weights = ["log_posterior", "log_filtered"].map(|name| format!("{OWN}switch.{name}"));
        self.check(learner, path, &|name| {
            !name.starts_with(OWN) || weights.iter().any(|own| own == name)
        })?;
        self.restore_model(learner);
        let averaging = learner.averaging();
        for (name, tensor) in
            weights.iter().zip([averaging.log_posterior(), averaging.log_value_weights()])
        {
            self.copy_to(name, tensor);
        }
        Ok(())
    }

    /// Compares the arrays whose names `matters` accepts with those that the learner would write.
    fn check(&self, learner: &Learner, path: &Path, matters: &dyn Fn(&str) -> bool) -> Result<()> {
        learner.device().check()?;
        let mut own = BTreeMap::from([(format!("{OWN}best_loss"), (Dtype::F64, vec![1]))]);
        for_each_array(learner, 0, &mut |name, form, _| drop(own.insert(name, form)));
        let faults = differences(&own, &self.file, matters);
        if faults.is_empty() {
            return Ok(());
        }
        let message = format!("is a checkpoint of another model: {}", faults.join("; "));
        Err(Error::file(path, message))
    }

    pub(super) fn restore_model(&self, learner: &Learner) {
        let flat = learner.flat();
        for entry in flat.entries() {
            let values = entry.layout.from_file(entry.shape, &self.numbers(&entry.name));
            flat.view(flat.values(), entry).copy_from_f64s(&values);
        }
        flat.refresh_narrow();
        for_each_entry(learner.model(), &mut |name, entry| {
            if let Entry::Buffer(buffer) = entry
                && buffer.kind() == BufferKind::Statistic
            {
                let dtype = learner.dtype().wide();
                buffer.value(learner.device(), dtype).copy_from_f64s(&self.numbers(name));
            }
        });
    }

    fn restore_carried(&self, name: &str, buffer: &Buffer, learner: &Learner) {
        match self.file.arrays.get(&format!("{OWN}carried.{name}")) {
            Some(array) => {
                let dtype = learner.dtype().wide();
                let own = buffer.shaped(&array.shape[..], learner.device(), dtype);
                own.copy_from_f64s(&array.to_f64s().unwrap_or_default());
            }
            None => buffer.reset(),
        }
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.file
            .arrays
            .get(name)
            .and_then(Array::to_f64s)
            .expect("the file was checked against the model")
    }

    fn copy_to(&self, name: &str, tensor: &Tensor) {
        let array = &self.file.arrays[name];
        let values = array
            .to_tensor(tensor.device())
            .expect("the file was checked against the model's types");
        tensor.copy_from_f64s(&values.to_f64s());
    }
}

/// Type and shape of an array in the file.
type Form = (Dtype, Vec<usize>);

/// A callback: an array's name, its form, and a function that reads it from the device.
type Each<'a> = dyn FnMut(String, Form, &dyn Fn() -> Array) + 'a;

/// Calls `each` for every array of a learner's state. `step` is the number of batches in the running statistics.
fn for_each_array(learner: &Learner, step: u64, each: &mut Each<'_>) {
    let flat = learner.flat();
    for entry in flat.entries() {
        let mut put = |name: String, tensor: Tensor| {
            let shape = entry.layout.file_shape(entry.shape).extents().to_vec();
            let form = (tensor_file::dtype(tensor.dtype()), shape);
            each(name, form, &|| in_file_layout(&tensor, entry.layout));
        };
        put(entry.name.clone(), flat.view(flat.values(), entry));
        for (moment, which) in learner.optimizer().moments().zip(["first_moment", "second_moment"])
        {
            put(format!("{OWN}{which}.{}", entry.name), flat.view(moment, entry));
        }
        let rates = flat.rates_of(entry);
        let form = (tensor_file::dtype(rates.dtype()), vec![learning_rates::file_length(entry)]);
        each(format!("{OWN}rates.{}", entry.name), form, &|| rates_array(&rates, entry));
    }
    let mut put = |name: String, tensor: &Tensor| {
        let form = (tensor_file::dtype(tensor.dtype()), tensor.shape().extents().to_vec());
        each(name, form, &|| Array::from_tensor(tensor));
    };
    let mut counters = Vec::new();
    for_each_entry(learner.model(), &mut |name, entry| {
        let Entry::Buffer(buffer) = entry else { return };
        match buffer.kind() {
            BufferKind::Statistic => {
                put(name.to_owned(), &buffer.value(learner.device(), learner.dtype()));
                counters.extend(name.strip_suffix("running_var").map(str::to_owned));
            }
            BufferKind::Carried => {
                if let Some(value) = buffer.current() {
                    put(format!("{OWN}carried.{name}"), &value);
                }
            }
        }
    });
    for (name, tensor) in device_state(learner) {
        put(name, tensor);
    }
    for layer in counters {
        let form = (Dtype::I64, Vec::new());
        each(format!("{layer}{COUNTER}"), form, &|| Array::whole_number(step as i64));
    }
}

/// State that is neither the model's nor an optimiser's, with its name in the file.
fn device_state(learner: &Learner) -> Vec<(String, &Tensor)> {
    let averaging = learner
        .averaging()
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (format!("{OWN}switch.{name}"), tensor));
    let others = [
        ("sums", learner.sums().values()),
        ("skipped", learner.optimizer().skipped()),
        ("step", learner.number()),
    ];
    averaging
        .chain(others.into_iter().map(|(name, tensor)| (format!("{OWN}{name}"), tensor)))
        .collect()
}

fn in_file_layout(tensor: &Tensor, layout: FileLayout) -> Array {
    let mut array = Array::from_tensor(tensor);
    let shape = tensor.shape();
    if layout != FileLayout::Same {
        array.bytes = match tensor.dtype().size() {
            8 => bytemuck::cast_slice(&layout.to_file(shape, &tensor.to_vec::<f64>())).to_vec(),
            _ => bytemuck::cast_slice(&layout.to_file(shape, &tensor.to_vec::<f32>())).to_vec(),
        };
        array.shape = layout.file_shape(shape).extents().to_vec();
    }
    array
}

/// A parameter's rates in the form that `--rates` takes.
fn rates_array(rates: &Tensor, entry: &FlatEntry) -> Array {
    let mut array = Array::from_tensor(rates);
    let repeats = learning_rates::file_length(entry) / entry.features.count.max(1);
    array.bytes = array.bytes.repeat(repeats);
    array.shape = vec![learning_rates::file_length(entry)];
    array
}

/// Lists the arrays that are missing, unexpected, or of another shape or type, among the names that `matters` accepts.
fn differences(
    own: &BTreeMap<String, Form>,
    file: &TensorFile,
    matters: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, (dtype, shape)) in own.iter().filter(|(name, _)| matters(name)) {
        match file.arrays.get(name) {
            None => faults.push(format!("{name} is missing")),
            Some(other) if other.shape != *shape => {
                faults.push(format!("{name} has shape {:?} instead of {shape:?}", other.shape));
            }
            Some(other) if other.dtype != *dtype => {
                faults.push(format!("{name} has type {:?} instead of {dtype:?}", other.dtype));
            }
            Some(_) => {}
        }
    }
    let extra = file.arrays.keys().filter(|name| matters(name) && !own.contains_key(*name));
    faults.extend(extra.map(|name| format!("{name} is not in the model")));
    faults
}

/// Removes the checksum from a record.
pub(super) fn take_checksum(record: &mut Value) -> Option<Value> {
    record.as_object_mut().and_then(|record| record.remove(CHECKSUM))
}

/// A hash of the arrays and of a record without its checksum.
pub(super) fn checksum(file: &TensorFile, record: &Value) -> String {
    let mut fingerprint = Fingerprint::default();
    fingerprint.bytes(record.to_string().as_bytes());
    for (name, array) in &file.arrays {
        fingerprint.bytes(name.as_bytes());
        fingerprint.bytes(format!("{:?} {:?}", array.dtype, array.shape).as_bytes());
        fingerprint.bytes(&array.bytes);
    }
    fingerprint.hex()
}
