//! The binary files of CIFAR-10 and CIFAR-100: records of one label byte, or of a coarse and a fine one, and 32 x 32 pixels in
//! three planes.

use std::path::{Path, PathBuf};

use super::validation::ValidationRule;
use super::{
    Arrays, Input, Inputs, LoadOptions, Split, Targets, Task, channels_last, read, unreadable,
};
use crate::error::{Error, Result};
use crate::file;

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PIXELS: usize = SIDE * SIDE * CHANNELS;
/// The training images of CIFAR-10, of which the paper validates on the last 10,000.
const ALL_TRAINING_IMAGES: usize = 50_000;
const TEST_FILE: &str = "test_batch.bin";
const SUBFOLDERS: [&str; 2] = ["cifar-10-batches-bin", "cifar-100-binary"];
/// The files of CIFAR-100.
const HUNDRED: [&str; 2] = ["train.bin", "test.bin"];
/// The file of CIFAR-100's names of classes, one a line.
const NAMES: &str = "fine_label_names.txt";

/// Which of the two data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// CIFAR-10.
    Ten,
    /// CIFAR-100, with its 100 fine classes.
    Hundred,
}

impl Variant {
    /// CIFAR-100 has no other files than `train.bin` and `test.bin`, whose lengths are not those of CIFAR-10's records.
    fn of(files: &[PathBuf]) -> Variant {
        let record = Variant::Ten.record() as u64;
        let is_of_ten = |path: &PathBuf| {
            std::fs::metadata(path).is_ok_and(|own| own.len().is_multiple_of(record))
        };
        let is_own = |path: &PathBuf| HUNDRED.iter().any(|name| path.ends_with(name));
        match files.iter().all(is_own) && !files.iter().all(is_of_ten) {
            true => Variant::Hundred,
            false => Variant::Ten,
        }
    }

    /// The name of the data set.
    fn name(self) -> &'static str {
        match self {
            Variant::Ten => "cifar10",
            Variant::Hundred => "cifar100",
        }
    }

    fn classes(self) -> usize {
        match self {
            Variant::Ten => 10,
            Variant::Hundred => 100,
        }
    }

    /// Bytes before the pixels; the last of them is the label.
    fn labels(self) -> usize {
        match self {
            Variant::Ten => 1,
            Variant::Hundred => 2,
        }
    }

    fn record(self) -> usize {
        self.labels() + PIXELS
    }

    fn test_file(self) -> &'static str {
        match self {
            Variant::Ten => TEST_FILE,
            Variant::Hundred => HUNDRED[1],
        }
    }
}

/// Reads every `*.bin` in the folder, or in its `cifar-10-batches-bin` or `cifar-100-binary`. `test_batch.bin`, of CIFAR-100
/// `test.bin`, is the test part. The other files, in the order of their names, are the training part. A share of it becomes the
/// validation part, of the 50,000 images of CIFAR-10 the last ones; see [`LoadOptions`]. Returns the name of the data set,
/// too.
///
/// # Errors
/// [`Error::Input`] if there is no such file or one of them is damaged; see [`parse`].
pub fn load(folder: &Path, options: &LoadOptions) -> Result<(&'static str, Arrays)> {
    let files = files(folder)?;
    if files.is_empty() {
        let message = format!("no CIFAR-10 here. Looked for {}", layout(folder));
        return Err(Error::file(folder, message));
    }
    let variant = Variant::of(&files);
    let test_file = variant.test_file();
    let is_test = |path: &&PathBuf| path.file_name().is_some_and(|name| name == test_file);
    let test = read_all(files.iter().filter(is_test), variant)?;
    let train = read_all(files.iter().filter(|path| !is_test(path)), variant)?;
    let Some(train) = train.or_else(|| test.clone().filter(|_| options.test_alone)) else {
        let message = format!("has {test_file} but no other *.bin file to train on");
        return Err(Error::file(folder, message));
    };
    let sample = Input::Image { height: SIDE, width: SIDE, channels: CHANNELS };
    let task = Task::Classification { classes: variant.classes() };
    let last = ValidationRule::Last { share: options.valid_split };
    let rule = match (variant, train.len()) {
        (Variant::Ten, ALL_TRAINING_IMAGES) => last,
        _ => ValidationRule::of(options, last),
    };
    let arrays = Arrays::assemble(train, None, test, sample, task, rule);
    Ok((variant.name(), Arrays { names: class_names(&files[0], variant)?, ..arrays }))
}

/// CIFAR-100's names of classes, if their file lies beside the others.
fn class_names(beside: &Path, variant: Variant) -> Result<Option<Vec<String>>> {
    let path = beside.with_file_name(NAMES);
    if variant == Variant::Ten || !path.is_file() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&read(&path)?).into_owned();
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|own| !own.is_empty()).map(String::from).collect();
    match names.len() == variant.classes() {
        true => Ok(Some(names)),
        false => Err(Error::file(&path, format!("has {} names for 100 classes", names.len()))),
    }
}

/// Whether the folder holds CIFAR-10's files. If one of them is no regular file, [`load`] refuses it.
pub(super) fn is_in(folder: &Path) -> Result<bool> {
    Ok(files(folder)?.iter().any(|file| file.is_file()))
}

/// The files that [`load`] looks for, for messages.
pub(super) fn layout(folder: &Path) -> String {
    let looked = places(folder).map(|place| place.join("*.bin").display().to_string());
    format!(
        "{}: data_batch_1.bin to data_batch_5.bin and {TEST_FILE}, as in cifar-10-binary.tar.gz, or train.bin and test.bin, as in cifar-100-binary.tar.gz",
        looked.join(" and ")
    )
}

fn places(folder: &Path) -> [PathBuf; 3] {
    let [ten, hundred] = SUBFOLDERS.map(|name| folder.join(name));
    [folder.to_owned(), ten, hundred]
}

/// The binary files of the first folder that has any, sorted by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    for place in &places(folder) {
        if !place.is_dir() {
            continue;
        }
        let entries = std::fs::read_dir(place).map_err(|error| unreadable(place, &error))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(place, &error))?.path();
            if path.extension().is_some_and(|ending| ending == "bin") {
                files.push(path);
            }
        }
        if !files.is_empty() {
            files.sort();
            return Ok(files);
        }
    }
    Ok(Vec::new())
}

/// The records of all files in order; `None` if there is no file.
fn read_all<'a>(
    files: impl Iterator<Item = &'a PathBuf>,
    variant: Variant,
) -> Result<Option<Split>> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        append(&read(path)?, path, variant, &mut images, &mut labels)?;
    }
    let split = Split::new(Inputs::Bytes(images), Targets::Classes(labels));
    Ok((!split.is_empty()).then_some(split))
}

/// The images and labels in a file's bytes; `path` is for messages.
///
/// # Errors
/// [`Error::Input`] if the file is empty, ends within a record, or has a label above 9 (99); it names the record and the byte.
pub fn parse(bytes: &[u8], path: &Path, variant: Variant) -> Result<Split> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    append(bytes, path, variant, &mut images, &mut labels)?;
    Ok(Split::new(Inputs::Bytes(images), Targets::Classes(labels)))
}

fn append(
    bytes: &[u8],
    path: &Path,
    variant: Variant,
    images: &mut Vec<u8>,
    labels: &mut Vec<i32>,
) -> Result<()> {
    let length = variant.record();
    let (records, rest) = (bytes.len() / length, bytes.len() % length);
    if bytes.is_empty() {
        return Err(Error::file(path, "is empty"));
    }
    if let Some(what) = file::mistaken(bytes).filter(|_| rest > 0) {
        return Err(Error::file(path, what));
    }
    if rest > 0 {
        let message = format!(
            "is cut short or no file of CIFAR-{}: record {records} starts at byte {} and has {rest} of its {length} bytes",
            variant.classes(),
            records * length
        );
        return Err(Error::file(path, message));
    }
    let start = images.len();
    images.resize(start + records * PIXELS, 0);
    let own = images[start..].chunks_exact_mut(PIXELS);
    for (index, (record, image)) in bytes.chunks_exact(length).zip(own).enumerate() {
        let (before, pixels) = record.split_at(variant.labels());
        let label = before[before.len() - 1];
        if usize::from(label) >= variant.classes() {
            let (byte, most) = (index * length + before.len() - 1, variant.classes() - 1);
            let message = format!("record {index}, byte {byte}: the label {label} is above {most}");
            return Err(Error::file(path, message));
        }
        labels.push(i32::from(label));
        channels_last(pixels.iter().copied(), CHANNELS, image, SIDE * SIDE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Content, Kind, load_with};

    /// Records whose pixels depend on record, channel and position.
    fn records(labels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, &label) in labels.iter().enumerate() {
            bytes.push(label);
            bytes.extend((0..PIXELS).map(|i| (i * 7 + index * 31) as u8));
        }
        bytes
    }

    const RECORD: usize = 1 + PIXELS;

    fn message(bytes: &[u8]) -> String {
        parse(bytes, Path::new("some.bin"), Variant::Ten).unwrap_err().to_string()
    }

    #[test]
    fn planes_become_channels() {
        let split = parse(&records(&[3, 9]), Path::new("some.bin"), Variant::Ten).unwrap();
        assert_eq!(split.targets, Targets::Classes(vec![3, 9]));
        let Inputs::Bytes(images) = split.inputs else { panic!("no bytes") };
        for (index, channel, pixel) in [(0, 0, 0), (0, 2, 5), (1, 1, 1023), (1, 2, 400)] {
            let expected = ((channel * 1024 + pixel) * 7 + index * 31) as u8;
            assert_eq!(images[index * PIXELS + pixel * CHANNELS + channel], expected);
        }
    }

    #[test]
    fn a_damaged_file_is_named_with_record_and_byte() {
        assert_eq!(message(&[]), "some.bin: is empty");
        assert!(message(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
        let short = &records(&[1, 2])[..2 * RECORD - 1];
        assert!(message(short).contains("record 1 starts at byte 3073 and has 3072 of its 3073"));
        assert!(message(&records(&[1])[..1]).contains("record 0 starts at byte 0"));
        assert_eq!(
            message(&records(&[1, 2, 10])),
            "some.bin: record 2, byte 6146: the label 10 is above 9"
        );
    }

    #[test]
    fn without_a_seed_the_last_training_records_are_for_validation() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join(SUBFOLDERS[0]);
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("data_batch_2.bin"), records(&[5, 6])).unwrap();
        std::fs::write(inner.join("data_batch_1.bin"), records(&[1, 2, 3])).unwrap();
        std::fs::write(inner.join(TEST_FILE), records(&[8])).unwrap();
        let options = LoadOptions { valid_split: 0.4, first_rules: true, ..LoadOptions::default() };
        let data = load_with(folder.path().to_str().unwrap(), Kind::Arrays, &options).unwrap();
        assert_eq!(data.name, "cifar10");
        let Content::Arrays(arrays) = data.content else { panic!("no arrays") };
        assert_eq!(arrays.train.targets, Targets::Classes(vec![1, 2, 3]));
        assert_eq!(arrays.valid.unwrap().targets, Targets::Classes(vec![5, 6]));
        assert_eq!(arrays.test.unwrap().targets, Targets::Classes(vec![8]));
        assert_eq!(arrays.task, Task::Classification { classes: 10 });
        let Inputs::Bytes(images) = &arrays.train.inputs else { panic!("no bytes") };
        assert_eq!(arrays.normalisation, Some(crate::data::Normalisation::of(images, 3)));

        let again = crate::data::load(inner.to_str().unwrap(), Kind::Arrays, 0.0).unwrap();
        let Content::Arrays(whole) = again.content else { panic!("no arrays") };
        assert!(whole.valid.is_none() && whole.train.len() == 5);
        assert_ne!(again.fingerprint, data.fingerprint);
    }

    #[test]
    fn the_fine_labels_of_cifar_100_count() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join(SUBFOLDERS[1]);
        std::fs::create_dir(&inner).unwrap();
        // A coarse label before each record of CIFAR-10.
        let of = |labels: &[u8]| -> Vec<u8> {
            let whole = records(labels);
            whole.chunks(RECORD).flat_map(|own| [&[19], own].concat()).collect()
        };
        std::fs::write(inner.join("train.bin"), of(&[99, 1, 99, 1])).unwrap();
        std::fs::write(inner.join("test.bin"), of(&[42])).unwrap();
        let names: String = (0..100).map(|class| format!("class {class}\n")).collect();
        std::fs::write(inner.join(NAMES), names).unwrap();
        let data = crate::data::load(folder.path().to_str().unwrap(), Kind::Arrays, 0.5).unwrap();
        assert_eq!(data.name, "cifar100");
        let Content::Arrays(arrays) = data.content else { panic!("no arrays") };
        assert_eq!(arrays.task, Task::Classification { classes: 100 });
        assert_eq!(arrays.test.as_ref().unwrap().targets, Targets::Classes(vec![42]));
        assert_eq!((arrays.train.len(), arrays.valid.as_ref().unwrap().len()), (2, 2));
        assert_eq!(arrays.class_names().unwrap()[42], "class 42");
        let error = parse(&of(&[100]), Path::new("train.bin"), Variant::Hundred).unwrap_err();
        assert!(error.to_string().contains("record 0, byte 1: the label 100 is above 99"));
        std::fs::write(inner.join("test.bin"), records(&[4])).unwrap();
        let error = load(&inner, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("test.bin: is cut short or no file of CIFAR-100"), "{error}");
    }

    #[test]
    fn a_folder_without_files_lists_what_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
        assert!(
            error.contains("/*.bin and ") && error.contains("cifar-10-batches-bin/*.bin"),
            "{error}"
        );
        std::fs::write(folder.path().join(TEST_FILE), records(&[8])).unwrap();
        let error = load(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("no other *.bin file"), "{error}");
    }
}
