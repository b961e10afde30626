//! Samples to predict, with or without targets: a table's rows, arrays, or images in files.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::format::Format;
use super::images::samples::{ImageBatches, SampleFiles};
use super::pad::padded;
use super::sample_batch::{SampleBatch, SampleForm, SampleName};
use super::{
    Arrays, Content, Inputs, Kind, LoadOptions, Normalize, Part, Split, Table, Targets, arrays,
    cifar, csv, generated_seed, idx, images, load_with, numpy, read, unreadable,
};
use crate::error::{Error, Result};
use crate::input::Input;

/// The source that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// A remark where only the test part of data is predicted.
const TEST_ALONE: &str = "the test part is predicted; `split` chooses another";

/// Samples to predict.
#[derive(Debug)]
pub struct Samples {
    held: Held,
    count: usize,
    /// Remarks on what was left out.
    pub notes: Vec<String>,
}

#[derive(Debug)]
enum Held {
    /// The rows of a table, or the samples of arrays.
    InMemory(Rows),
    Files(SampleFiles),
}

/// Samples in memory, with their targets where they are a part of a data set.
#[derive(Debug)]
struct Rows {
    inputs: Inputs,
    is_table: bool,
    targets: Option<Targets>,
    /// The samples' numbers in their file; `None` if they are all of its samples, in order.
    numbers: Option<Vec<usize>>,
}

impl Samples {
    /// Reads samples for a trained model. Targets are passed over if there are any; of arrays and of the files of MNIST and
    /// CIFAR-10, the test part is taken if there is one. Images are read when a batch needs them. `source` is a file, a
    /// folder, `generated`, or `-` for the rows of a table from standard input.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file, and the column, tensor or line at fault, and what the model takes.
    pub fn read(source: &str, form: &SampleForm) -> Result<Samples> {
        if source == STANDARD_INPUT {
            return from_standard_input(form);
        }
        if generated_seed(source)?.is_some() {
            return loaded(source, form);
        }
        let path = Path::new(source);
        std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if path.is_dir() { in_folder(path, form) } else { in_file(path, form) }
    }

    /// The samples of a part of a data set, as they were before any standardisation, with their targets; `None` if there is no
    /// such part.
    ///
    /// # Errors
    /// [`Error::Input`] if they do not fit the model; `path` is for messages.
    pub(crate) fn of_part(
        arrays: Arrays,
        part: Part,
        path: &Path,
        form: &SampleForm,
    ) -> Result<Option<Samples>> {
        let Some(split) = arrays.part(part).map(Arc::clone) else { return Ok(None) };
        let (sample, is_table) = (arrays.sample, arrays.table.is_some());
        // The other parts need not stay in memory.
        drop(arrays);
        let Split { inputs, targets, numbers } = Arc::unwrap_or_clone(split);
        if let Inputs::Files(files) = inputs {
            return in_images(SampleFiles::of_part(&files, targets, form)?).map(Some);
        }
        let mut samples = checked((sample, inputs), path, form)?;
        if let Held::InMemory(rows) = &mut samples.held {
            (rows.is_table, rows.targets, rows.numbers) = (is_table, Some(targets), numbers);
        }
        Ok(Some(samples))
    }

    /// Number of samples. Images that turn out to be broken count too.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The inputs; `None` for images in files.
    pub(crate) fn inputs(&self) -> Option<&Inputs> {
        match &self.held {
            Held::InMemory(rows) => Some(&rows.inputs),
            Held::Files(_) => None,
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The samples in order, in batches of at most `size`. Images are read ahead.
    pub fn batches(self, size: usize) -> SampleBatches {
        let size = size.max(1);
        SampleBatches(match self.held {
            Held::InMemory(rows) => Batches::InMemory { rows, count: self.count, size, next: 0 },
            Held::Files(files) => Batches::Files(ImageBatches::new(Arc::new(files), size)),
        })
    }

    fn in_memory(inputs: Inputs, form: &SampleForm, is_table: bool) -> Samples {
        let count = inputs.elements() / form.sample.elements();
        let rows = Rows { inputs, is_table, targets: None, numbers: None };
        Samples { held: Held::InMemory(rows), count, notes: Vec::new() }
    }
}

/// Batches of samples, in order.
pub struct SampleBatches(Batches);

enum Batches {
    InMemory { rows: Rows, count: usize, size: usize, next: usize },
    Files(ImageBatches),
}

impl Iterator for SampleBatches {
    type Item = SampleBatch;

    fn next(&mut self) -> Option<SampleBatch> {
        let (rows, count, size, next) = match &mut self.0 {
            Batches::Files(batches) => return batches.next(),
            Batches::InMemory { rows, count, size, next } => (&*rows, *count, *size, next),
        };
        let range = *next..(*next + size).min(count);
        if range.is_empty() {
            return None;
        }
        *next = range.end;
        let width = rows.inputs.elements() / count;
        let own = range.start * width..range.end * width;
        let inputs = match &rows.inputs {
            Inputs::Bytes(bytes) => Inputs::Bytes(bytes[own].to_vec()),
            Inputs::Floats(floats) => Inputs::Floats(floats[own].to_vec()),
            Inputs::Files(files) => Inputs::Bytes(files.gather(range.clone())),
        };
        let targets = rows.targets.as_ref().map(|own| own.gather(range.clone()));
        let name = |place: usize| {
            let number = rows.numbers.as_ref().map_or(place, |numbers| numbers[place]);
            match rows.is_table {
                true => SampleName::Row(number + 1),
                false => SampleName::Sample(number),
            }
        };
        let names = range.map(name).collect();
        Some(SampleBatch { names, inputs, targets, broken: Vec::new() })
    }
}

fn from_standard_input(form: &SampleForm) -> Result<Samples> {
    let path = Path::new("standard input");
    let Some(table) = &form.table else {
        let message = "has the rows of a CSV, and the model was not trained on one: give it a file or a folder";
        return Err(Error::file(path, message));
    };
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error))?;
    rows(bytes, path, table, form)
}

fn rows(bytes: Vec<u8>, path: &Path, table: &Table, form: &SampleForm) -> Result<Samples> {
    let inputs = Inputs::Floats(csv::inputs(bytes, path, table)?);
    Ok(Samples::in_memory(inputs, form, true))
}

fn in_file(path: &Path, form: &SampleForm) -> Result<Samples> {
    if images::is_image(path)? {
        return in_images(SampleFiles::one(path, form)?);
    }
    if idx::has_images(path)? {
        return of_idx(path, form);
    }
    if numpy::is_one_array(path)? {
        let tensors = numpy::one_array(path, form.sample)?;
        return of_tensors(&tensors, path, form);
    }
    match (Format::of(path)?, &form.table) {
        (Format::Csv, Some(table)) => rows(read(path)?, path, table, form),
        (Format::Csv, None) => {
            let message = format!(
                "is a CSV, and the model was not trained on one: it takes {}, for example in an .npz",
                form.sample
            );
            Err(Error::file(path, message))
        }
        (Format::Npz, _) => of_tensors(&numpy::archive(path, form.sample)?, path, form),
        (Format::Safetensors, _) => {
            of_arrays(arrays::inputs(&read(path)?, path, form.sample)?, path, form)
        }
        _ => loaded(&path.to_string_lossy(), form),
    }
}

fn in_folder(folder: &Path, form: &SampleForm) -> Result<Samples> {
    if cifar::is_in(folder)? {
        return loaded(&folder.to_string_lossy(), form);
    }
    if let Some(path) = idx::images_in(folder) {
        let samples = of_idx(&path, form)?;
        let note = idx::has_both(folder).then(|| TEST_ALONE.into());
        return Ok(Samples { notes: note.into_iter().collect(), ..samples });
    }
    if numpy::is_in(folder)? {
        return of_tensors(&numpy::folder(folder, form.sample)?, folder, form);
    }
    in_images(SampleFiles::below(folder, form)?)
}

fn in_images(files: SampleFiles) -> Result<Samples> {
    let (count, notes) = (files.len(), files.notes());
    Ok(Samples { held: Held::Files(files), count, notes })
}

fn of_idx(path: &Path, form: &SampleForm) -> Result<Samples> {
    let (sample, bytes) = idx::images(&read(path)?, path)?;
    checked((sample, Inputs::Bytes(bytes)), path, form)
}

fn of_tensors(found: &numpy::Found, path: &Path, form: &SampleForm) -> Result<Samples> {
    of_arrays(arrays::inputs_of(numpy::views(found, path)?, path, form.sample)?, path, form)
}

fn of_arrays(found: arrays::FoundInputs, path: &Path, form: &SampleForm) -> Result<Samples> {
    let samples = checked((found.sample, found.inputs), path, form)?;
    Ok(Samples { notes: found.note.into_iter().collect(), ..samples })
}

/// The samples of data in a format that always has targets: those of the test part, or all.
fn loaded(source: &str, form: &SampleForm) -> Result<Samples> {
    let options =
        LoadOptions { valid_split: 0.0, normalize: Normalize::None, ..LoadOptions::default() };
    let dataset = load_with(source, Kind::Arrays, &options)?;
    let Content::Arrays(arrays) = dataset.content else {
        return Err(Error::input(format!("`data` {source}"), "is a text"));
    };
    let split = arrays.test.as_ref().unwrap_or(&arrays.train);
    let samples = checked((arrays.sample, split.inputs.clone()), Path::new(source), form)?;
    let note = arrays.test.is_some().then(|| TEST_ALONE.into());
    Ok(Samples { notes: note.into_iter().collect(), ..samples })
}

/// The samples, if they have the shape and type of the training data.
fn checked((sample, inputs): (Input, Inputs), path: &Path, form: &SampleForm) -> Result<Samples> {
    let (sample, inputs) = match form.is_padded && is_smaller(sample, form.sample) {
        true => (form.sample, padded(&inputs, sample, form.sample, None)),
        false => (sample, inputs),
    };
    if sample != form.sample {
        return Err(Error::file(path, format!("has {sample}, the model takes {}", form.sample)));
    }
    let is_bytes = !matches!(inputs, Inputs::Floats(_));
    if form.is_bytes.is_some_and(|known| known != is_bytes) {
        let (own, trained, wanted) = match is_bytes {
            true => ("bytes", "floats", "f32, on the scale of its training data"),
            false => ("floats", "bytes", "u8, from 0 to 255"),
        };
        let message = format!(
            "holds {own}, but the model was trained on {trained}: give it images as {wanted}"
        );
        return Err(Error::file(path, message));
    }
    Ok(Samples::in_memory(inputs, form, false))
}

/// Whether images fit into others with as many channels.
fn is_smaller(own: Input, other: Input) -> bool {
    let extents = [own.extents(), other.extents()];
    let [[height, width, channels], [rows, columns, others]] =
        extents.each_ref().map(Vec::as_slice)
    else {
        return false;
    };
    height <= rows && width <= columns && channels == others
}
