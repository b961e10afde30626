//! Data sets in host memory, the files they are read from, and the loader that gathers their batches.

pub mod arrays;
pub mod cifar;
mod classes;
pub mod csv;
mod dataset;
mod encoding;
mod format;
pub mod generated;
pub mod generated_text;
pub mod idx;
mod images;
pub mod loader;
pub mod normalisation;
pub mod numpy;
mod overview;
mod pad;
mod remarks;
mod sample_batch;
mod samples;
mod split;
mod subset;
mod table;
pub mod text;
mod validation;
mod vocabulary;

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file;
pub use crate::input::Input;
pub use crate::task::Task;
pub use csv::ColumnOverview;
pub use dataset::{Arrays, Content, Dataset, Kind};
use format::Format;
pub(crate) use images::are_folder_means;
pub use images::{ImageFiles, RgbImage, decode_image};
pub use loader::Loader;
pub use normalisation::{Normalisation, Normalize};
pub use overview::{Overview, overview};
pub use sample_batch::{SampleBatch, SampleForm, SampleName};
pub use samples::{STANDARD_INPUT, SampleBatches, Samples};
pub use split::{Inputs, Part, Split, Targets};
pub use table::{Column, ColumnList, Missing, Table, TableOptions, TargetKind};
pub(crate) use table::{check_columns, column_list};
pub use text::{Columns, Text, TextFiles, Window};
pub use vocabulary::{TokenKind, Vocabulary};

/// How data is read.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// The most samples of each part; all of them if `None`. They are drawn with a fixed seed, so they do not depend on any
    /// other setting. A text keeps this many characters or words from its start.
    pub samples: Option<usize>,
    /// The share of the training data that becomes the validation part, from 0 to below 1. It does not apply to generated
    /// data or to data with a validation part of its own.
    pub valid_split: f64,
    /// The seed of the draw of the validation part: a share of each class, rounded, or of all samples in regression; one
    /// sample always stays for training. A text and CIFAR-10's 50,000 training images are not drawn: their end is the
    /// validation part, in file order.
    pub split_seed: u64,
    /// Which numbers are standardised.
    pub normalize: Normalize,
    /// How a CSV is read; other formats have no use for it.
    pub table: TableOptions,
    /// Rows and columns that the images of a folder are resized to.
    pub image_size: usize,
    /// Rows and columns that smaller images in arrays are given by a black border.
    pub pad: Option<usize>,
    /// Whether data may have a test part only, which then stands for the training part too: for evaluations.
    pub test_alone: bool,
    /// Threads that decode images; all cores if `None`. The images do not depend on it.
    pub threads: Option<usize>,
    /// Whether the data is read as version 0.1.0 read it, for a run of that version: the end of the data is the validation
    /// part, of a folder of images the end of each class; only images in bytes are standardised; images other than JPEG and
    /// PNG are left out; a text's byte-order mark is one of its characters; and numbers need not be finite.
    pub first_rules: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            samples: None,
            valid_split: 0.2,
            split_seed: 0,
            normalize: Normalize::Standard,
            table: TableOptions::default(),
            image_size: 32,
            pad: None,
            test_alone: false,
            threads: None,
            first_rules: false,
        }
    }
}

/// Reads or generates a data set as [`load_with`] does; the images of a folder become 32 by 32.
///
/// # Errors
/// As [`load_with`].
pub fn load(source: &str, kind: Kind, valid_split: f64) -> Result<Dataset> {
    load_with(source, kind, &LoadOptions { valid_split, ..LoadOptions::default() })
}

/// Reads or generates a data set. `source` is the value of `--data`: `generated`, a file, or a folder. A folder's files
/// tell its format: CIFAR-10's `*.bin` files, MNIST's files, or images in `train/CLASS/`.
///
/// # Errors
/// [`Error::Input`] naming the file, and the faulty record, tensor or byte. For a folder of neither format it names the
/// files that were looked for.
pub fn load_with(source: &str, kind: Kind, options: &LoadOptions) -> Result<Dataset> {
    let whole = load_whole(source, kind, options)?;
    let mut dataset = match options.samples {
        Some(samples) => whole.cut_to(samples),
        None => whole,
    };
    if let Content::Arrays(arrays) = &mut dataset.content {
        match options.normalize {
            _ if options.first_rules => {}
            Normalize::Standard => arrays.standardise(),
            Normalize::None => arrays.only_scale(),
        }
        if let Some(side) = options.pad {
            arrays.pad(side).map_err(|what| Error::input(format!("`data` {source}"), what))?;
        }
    }
    Ok(dataset)
}

fn load_whole(source: &str, kind: Kind, options: &LoadOptions) -> Result<Dataset> {
    let valid_split = options.valid_split;
    if !(0.0..1.0).contains(&valid_split) {
        let message = format!(
            "{valid_split} is not a share of the data: give a number from 0 (none) to below 1"
        );
        return Err(Error::field("valid_split", message));
    }
    if let Some(seed) = generated_seed(source)? {
        return Ok(match kind {
            Kind::Arrays => Dataset::new("generated", Content::Arrays(generated::images(seed))),
            Kind::Text(kind) => {
                Dataset::new("generated", Content::Text(generated_text::text(seed, kind)))
            }
        });
    }
    let path = Path::new(source);
    std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if let Kind::Text(kind) = kind {
        let text = text::load(path, kind, options)?;
        return Ok(Dataset::new(stem(path), Content::Text(text)));
    }
    let format = Format::of_data(path, options.test_alone)?;
    let mut name = stem(path);
    let arrays = match format {
        Format::Cifar => {
            let (own, arrays) = cifar::load(path, options)?;
            name = own.into();
            arrays
        }
        Format::Idx => idx::load(path, options)?,
        Format::Csv => csv::load(path, options)?,
        Format::Images => images::folder::load(path, options)?,
        Format::Npz => numpy::load(path, options)?,
        Format::NpyFolder => numpy::load_folder(path, options)?,
        Format::Safetensors => arrays::load(path, options)?,
    };
    Ok(Dataset::new(name, Content::Arrays(arrays)))
}

/// Whether data is a text by its name: a file that ends in `.txt`, or a folder with `train.txt` and no folder of images.
pub(crate) fn is_named_as_text(source: &str) -> bool {
    let path = Path::new(source);
    let has = |name: &str| path.join(name).exists();
    let is_text = path.extension().is_some_and(|own| own == "txt");
    has("train.txt") && !has("train") || is_text && path.is_file()
}

/// Whether data for images or vectors is a CSV.
pub(crate) fn is_csv(source: &str, kind: Kind) -> bool {
    kind == Kind::Arrays && matches!(Format::of(Path::new(source)), Ok(Format::Csv))
}

/// The bytes in which the names of arrays are looked for.
const NAMES: u64 = 1 << 16;

/// Whether data is a CSV, or arrays of vectors by their names.
pub(crate) fn has_vectors(source: &str) -> bool {
    let path = Path::new(source);
    let has = |bytes: Result<Vec<u8>>, name: &[u8]| {
        bytes.is_ok_and(|bytes| bytes.windows(name.len()).any(|own| own == name))
    };
    match Format::of(path) {
        Ok(Format::Csv) => true,
        Ok(Format::NpyFolder) => path.join("inputs.npy").is_file(),
        // An archive has the names of its arrays at its end.
        Ok(Format::Npz) => has(tail(path, NAMES), b"inputs.npy"),
        Ok(Format::Safetensors) => has(head(path, NAMES), b"\"inputs\""),
        _ => false,
    }
}

/// The least memory, in bytes, that reading a data set takes: its files, and the numbers made of them. 0 for generated data
/// and for images, which stay in their files.
pub(crate) fn least_bytes(source: &str, kind: Kind) -> u128 {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |own| u128::from(own.len()));
    let path = Path::new(source);
    let factor = match kind {
        Kind::Arrays => 2,
        // Four bytes for each character.
        Kind::Text(TokenKind::Character) => 5,
        Kind::Text(TokenKind::Word) => 1,
    };
    let is_read = |file: &PathBuf| {
        let ends = |ending: &str| file.extension().is_some_and(|own| own == ending);
        match kind {
            Kind::Arrays => ends("bin") || ends("npy") || idx::is_named(file),
            Kind::Text(_) => ends("txt"),
        }
    };
    // The numbers of a CSV may take fewer bytes than their digits.
    let factor = if is_csv(source, kind) { 1 } else { factor };
    let Ok(entries) = std::fs::read_dir(path) else { return factor * length(path) };
    let files = entries.flatten().map(|entry| entry.path()).filter(is_read);
    files.map(|file| factor * length(&file)).sum()
}

/// The seed in `generated` (0) or `generated:SEED`; `None` for a path.
fn generated_seed(source: &str) -> Result<Option<u64>> {
    match source.strip_prefix("generated") {
        Some("") => Ok(Some(0)),
        Some(rest) if rest.starts_with(':') => match rest[1..].parse() {
            Ok(seed) => Ok(Some(seed)),
            Err(_) => {
                let message =
                    format!("'{}' is not a seed: give a whole number, 0 or more", &rest[1..]);
                Err(Error::input(format!("`data` {source}"), message))
            }
        },
        _ => Ok(None),
    }
}

/// A path's last component without its extension.
fn stem(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.file_stem().map_or_else(|| "data".into(), |stem| stem.to_string_lossy().into_owned())
}

/// How many samples the last `share` of `length` holds, rounded down.
fn tail_length(length: usize, share: f64) -> usize {
    (length as f64 * share) as usize
}

fn read(path: &Path) -> Result<Vec<u8>> {
    file::read(path).map_err(|error| unreadable(path, &error))
}

/// A file's first bytes, `most` at most.
fn head(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let read = file::open(path).and_then(|file| file.take(most).read_to_end(&mut head));
    read.map_err(|error| unreadable(path, &error))?;
    Ok(head)
}

/// A file's last bytes.
fn tail(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut tail = Vec::new();
    let read = file::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        file.read_to_end(&mut tail)
    });
    read.map_err(|error| unreadable(path, &error))?;
    Ok(tail)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::file(path, format!("could not be read: {error}"))
}

/// Copies images from `[n, C, plane]` to `[n, plane, C]`.
fn channels_last<T: Copy>(
    images: impl Iterator<Item = T>,
    channels: usize,
    out: &mut [T],
    plane: usize,
) {
    let mut images = images;
    for image in out.chunks_exact_mut(channels * plane) {
        for channel in 0..channels {
            let own = image[channel..].iter_mut().step_by(channels);
            own.zip(&mut images).for_each(|(to, from)| *to = from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_whole_number() {
        assert_eq!(generated_seed("generated").unwrap(), Some(0));
        assert_eq!(generated_seed("generated:7").unwrap(), Some(7));
        assert_eq!(generated_seed("generated.txt").unwrap(), None);
        for wrong in ["generated:", "generated:-1", "generated:x", "generated:1.5"] {
            assert!(
                generated_seed(wrong).unwrap_err().to_string().contains("not a seed"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_split_must_be_a_share() {
        for wrong in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            let error = load("generated", Kind::Text(TokenKind::Word), wrong).unwrap_err();
            assert!(error.to_string().starts_with("`valid_split`: "), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_or_not_arrays_is_named() {
        let error = load("/nowhere/at-all", Kind::Arrays, 0.2).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/at-all") && error.contains("could not be read"),
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        std::fs::write(&path, "some text").unwrap();
        let error = load(path.to_str().unwrap(), Kind::Arrays, 0.2).unwrap_err().to_string();
        assert!(error.contains("text.txt: is of no format"), "{error}");
    }

    #[test]
    fn channels_go_last() {
        let mut out = [0; 12];
        channels_last([1, 2, 3, 10, 20, 30, 4, 5, 6, 40, 50, 60].into_iter(), 2, &mut out, 3);
        assert_eq!(out, [1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60]);
    }
}
