//! Initial parameters from a file.

use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::{COUNTER, Checkpoint, FORMAT, OWN, checksum, take_checksum};
use super::tensor_file::TensorFile;
use super::{Learner, Progress, Record};
use crate::error::{Error, Result};
use crate::nn::{BufferKind, Entry, for_each_entry};
use crate::shape::Shape;

impl Learner {
    /// Loads initial parameters and running statistics from a safetensors file with PyTorch's names and layouts.
    /// `alrao.*` and batch counters are ignored, so a run's checkpoint works too.
    ///
    /// # Errors
    /// One error for all names that are missing or unknown, have a wrong shape or type, or hold NaN; a checkpoint whose checksum
    /// does not match.
    pub fn load_initial(&self, path: &Path) -> Result<()> {
        let file = TensorFile::read(path)?;
        let mut record = file.record.as_deref().and_then(|text| serde_json::from_str(text).ok());
        if let Some(record) = &mut record
            && take_checksum(record).is_some_and(|own| own != checksum(&file, record))
        {
            let message = "was damaged or edited after it was written: its checksum does not match; if you edited it, save it \
                           without its metadata";
            return Err(Error::file(path, message));
        }
        let wanted = initial_shapes(self);
        let mut faults = Vec::new();
        for (name, shape) in &wanted {
            match file.arrays.get(name) {
                None => faults.push(format!("{name} is missing")),
                Some(array) if array.shape != shape.extents() => {
                    faults.push(format!("{name} has shape {:?} instead of {shape}", array.shape));
                }
                Some(array) => match array.to_f64s() {
                    None => {
                        faults.push(format!(
                            "{name} has type {:?} instead of F32 or F64",
                            array.dtype
                        ));
                    }
                    // A diverged classifier's weights may be infinite, but not NaN.
                    Some(values) => {
                        let nan = values.iter().position(|value| value.is_nan());
                        faults.extend(
                            nan.map(|at| format!("{name} holds NaN, first as element {at}")),
                        );
                    }
                },
            }
        }
        let is_passed_over = |name: &str| name.starts_with(OWN) || name.ends_with(COUNTER);
        let extra = file
            .arrays
            .keys()
            .filter(|name| !is_passed_over(name) && wanted.iter().all(|(own, _)| own != *name));
        faults.extend(extra.map(|name| format!("{name} is not in the model")));
        if !faults.is_empty() {
            return Err(Error::file(
                path,
                format!("does not fit the model: {}", faults.join("; ")),
            ));
        }
        let record = Record {
            format: FORMAT,
            model: None,
            settings: BTreeMap::new(),
            progress: Progress::default(),
        };
        let no_run = Checkpoint { record, is_of_first_version: false, is_altered: false, file };
        no_run.restore_model(self);
        Ok(())
    }
}

fn initial_shapes(learner: &Learner) -> Vec<(String, Shape)> {
    let mut shapes = Vec::new();
    for_each_entry(learner.model(), &mut |name, entry| match entry {
        Entry::Parameter(parameter) => {
            shapes.push((name.to_owned(), parameter.layout().file_shape(parameter.shape())));
        }
        Entry::Buffer(buffer) if buffer.kind() == BufferKind::Statistic => {
            shapes.push((name.to_owned(), buffer.shape()));
        }
        Entry::Buffer(_) => {}
    });
    shapes
}
