//! IDX, the format of MNIST and of Fashion-MNIST: images and labels in files of their own, as they are or compressed.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::validation::ValidationRule;
use super::{Arrays, Input, Inputs, LoadOptions, Split, Targets, Task, head, read};
use crate::error::{Error, Result};
use crate::file;

/// The names of a part's files, images first. In some copies a dot stands before `idx`.
const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// The names, for messages.
pub(super) const LAYOUT: &str = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                                 t10k-labels-idx1-ubyte, also with .gz";

/// The magic number's byte for unsigned bytes, the type of MNIST's files.
const BYTES: u8 = 8;

/// The first bytes of a file that is compressed by gzip.
const GZIP: &[u8] = b"\x1f\x8b";

/// Reads the files of MNIST: the training part, and the test part if it is there; see [`LoadOptions::test_alone`]. A share of the training part becomes the
/// validation part; see [`LoadOptions`].
///
/// # Errors
/// [`Error::Input`] naming the file: one that is missing, is not what its name says, is cut short, or does not fit the other.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<Arrays> {
    let train = part(folder, TRAIN)?;
    let test = part(folder, TEST)?;
    let alone = || test.clone().filter(|_| options.test_alone);
    let Some((train, sample)) = train.or_else(alone) else {
        let message = format!("has no images to train on: {} is missing", TRAIN[0]);
        return Err(Error::file(folder, message));
    };
    if let Some((_, other)) = test.as_ref().filter(|(_, other)| *other != sample) {
        let message = format!("the test part has {other}, the training part {sample}");
        return Err(Error::file(folder, message));
    }
    let test = test.map(|(split, _)| split);
    let classes = [Some(&train), test.as_ref()].into_iter().flatten().map(classes).max();
    let task = Task::Classification { classes: classes.unwrap_or(0) };
    let last = ValidationRule::Last { share: options.valid_split };
    Ok(Arrays::assemble(train, None, test, sample, task, ValidationRule::of(options, last)))
}

/// Whether a folder has one of MNIST's files.
pub(super) fn is_in(folder: &Path) -> bool {
    [TRAIN, TEST].concat().iter().any(|name| place(folder, name).is_some())
}

/// Whether a file has the name of one of MNIST's.
pub(super) fn is_named(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [TRAIN, TEST].concat().iter().flat_map(|name| names(name)).any(|own| own == name)
}

/// The file of the test images in a folder, or that of the training images.
pub(super) fn images_in(folder: &Path) -> Option<PathBuf> {
    place(folder, TEST[0]).or_else(|| place(folder, TRAIN[0]))
}

/// Whether a folder has test images beside training images.
pub(super) fn has_both(folder: &Path) -> bool {
    [TRAIN, TEST].iter().all(|part| place(folder, part[0]).is_some())
}

/// Whether a file has images, by its name or its first bytes.
pub(super) fn has_images(path: &Path) -> Result<bool> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_named = [TRAIN, TEST].iter().any(|part| names(part[0]).iter().any(|own| *own == name));
    Ok(is_named || head(path, 4)? == [0, 0, BYTES, 3])
}

/// Whether bytes begin as a file of images or labels does.
pub(super) fn has_magic(head: &[u8]) -> bool {
    matches!(head, [0, 0, BYTES, 1 | 3, ..])
}

/// The names that a file may have, first the one that is taken.
fn names(name: &str) -> [String; 4] {
    let dotted = name.replace("-idx", ".idx");
    [name.to_owned(), dotted.clone(), format!("{name}.gz"), format!("{dotted}.gz")]
}

fn place(folder: &Path, name: &str) -> Option<PathBuf> {
    let places = names(name).map(|name| folder.join(name));
    places.into_iter().find(|place| place.symlink_metadata().is_ok())
}

/// The number of classes that a part's labels stand for.
fn classes(split: &Split) -> usize {
    match &split.targets {
        Targets::Classes(labels) => labels.iter().max().map_or(0, |&label| label as usize + 1),
        Targets::Values { .. } => 0,
    }
}

/// A part's samples; `None` if both files are missing.
fn part(folder: &Path, names: [&str; 2]) -> Result<Option<(Split, Input)>> {
    let missing = |at: &Path, name: &str| {
        let message = format!("needs {name} (or {name}.gz) beside it");
        Err(Error::file(at, message))
    };
    let (images_at, labels_at) = match names.map(|name| place(folder, name)) {
        [Some(images), Some(labels)] => (images, labels),
        [None, None] => return Ok(None),
        [Some(images), None] => return missing(&images, names[1]),
        [None, Some(labels)] => return missing(&labels, names[0]),
    };
    let (sample, images) = images(&read(&images_at)?, &images_at)?;
    let labels = labels(&read(&labels_at)?, &labels_at)?;
    let count = images.len() / sample.elements();
    if labels.len() != count {
        let message =
            format!("has {} labels, {} has {count} images", labels.len(), images_at.display());
        return Err(Error::file(&labels_at, message));
    }
    let split = Split::new(Inputs::Bytes(images), Targets::Classes(labels));
    Ok(Some((split, sample)))
}

/// The images in a file's bytes, and the shape of one; `path` is for messages.
///
/// # Errors
/// [`Error::Input`] if the bytes are no images of bytes in the IDX format, or if there are fewer or more than they say.
pub fn images(bytes: &[u8], path: &Path) -> Result<(Input, Vec<u8>)> {
    let ([_, height, width], pixels) = array(bytes, path, "images")?;
    Ok((Input::Image { height, width, channels: 1 }, pixels))
}

/// The labels in a file's bytes; `path` is for messages.
///
/// # Errors
/// As [`images`].
pub fn labels(bytes: &[u8], path: &Path) -> Result<Vec<i32>> {
    let ([_], labels) = array(bytes, path, "labels")?;
    Ok(labels.into_iter().map(i32::from).collect())
}

/// The extents and elements of an array of bytes with `AXES` axes.
fn array<const AXES: usize>(
    bytes: &[u8],
    path: &Path,
    what: &str,
) -> Result<([usize; AXES], Vec<u8>)> {
    let error = |message: String| Error::file(path, message);
    let is_compressed = bytes.starts_with(GZIP);
    let mut reader: Box<dyn Read> =
        if is_compressed { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
    let broken = |cause: std::io::Error| match is_compressed {
        true => error(format!("could not be unpacked: {cause}; get the file again")),
        false => error(format!("could not be read: {cause}")),
    };
    let mut header = Vec::new();
    reader.by_ref().take(4 * (1 + AXES as u64)).read_to_end(&mut header).map_err(broken)?;
    let (words, _) = header.as_chunks::<4>();
    let expected = [0, 0, BYTES, AXES as u8];
    match words.first() {
        Some(magic) if *magic == expected && words.len() == 1 + AXES => {}
        Some(magic) if *magic != expected => {
            return Err(error(wrong_magic(&header, what, expected)));
        }
        _ => return Err(error(format!("has {} bytes, too few for {what}", header.len()))),
    }
    let mut extents = [0; AXES];
    for (extent, word) in extents.iter_mut().zip(&words[1..]) {
        *extent = u32::from_be_bytes(*word) as usize;
    }
    if extents.contains(&0) {
        return Err(error(format!("has no {what}: its extents are {extents:?}")));
    }
    let length = extents.iter().try_fold(1u64, |all, &own| all.checked_mul(own as u64));
    let length = length.filter(|length| *length < u64::MAX);
    let length = length.ok_or_else(|| error(format!("says that it has {extents:?} {what}")))?;
    let mut elements = Vec::new();
    // One more tells whether there are too many.
    reader.take(length + 1).read_to_end(&mut elements).map_err(broken)?;
    match elements.len() as u64 {
        found if found == length => Ok((extents, elements)),
        found if found < length => Err(error(format!(
            "is cut short: it says {extents:?}, which takes {length} bytes after the header, and has {found}; get the \
             file again"
        ))),
        _ => Err(error(format!(
            "has more than the {length} bytes that its extents {extents:?} take; get the file again"
        ))),
    }
}

/// The message for a file that begins otherwise.
fn wrong_magic(header: &[u8], what: &str, expected: [u8; 4]) -> String {
    let [.., dtype, axes] = expected;
    let found = match header {
        [0, 0, 8, 1, ..] => "is a file of labels".into(),
        [0, 0, 8, 3, ..] => "is a file of images".into(),
        [0, 0, 9 | 11..=14, ..] => "holds numbers that are not bytes".into(),
        _ => match file::mistaken(header) {
            Some(known) => known.to_owned(),
            None => {
                format!("is not in the IDX format: it begins with the bytes {:?}", &header[..4])
            }
        },
    };
    format!("{found}; {what} begin with the magic number [0, 0, {dtype}, {axes}]")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::data::{Content, Kind, Part, load_with};

    fn idx(extents: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, BYTES, extents.len() as u8];
        extents.iter().for_each(|extent| bytes.extend(extent.to_be_bytes()));
        [&bytes, elements].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn message(bytes: &[u8]) -> String {
        let message = images(bytes, Path::new("some")).unwrap_err().to_string();
        message.strip_prefix("some: ").unwrap().to_owned()
    }

    #[test]
    fn a_folder_is_read_compressed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        let pixels: Vec<u8> = (0..60).collect();
        write("train-images-idx3-ubyte.gz", &gzip(&idx(&[10, 2, 3], &pixels)));
        write("train-labels.idx1-ubyte", &idx(&[10], &[0, 1, 0, 1, 0, 1, 0, 1, 0, 1]));
        write("t10k-images-idx3-ubyte", &idx(&[1, 2, 3], &pixels[..6]));
        // The name says nothing of the content.
        write("t10k-labels-idx1-ubyte", &gzip(&idx(&[1], &[4])));
        let options = LoadOptions { valid_split: 0.2, ..LoadOptions::default() };
        let source = folder.path().to_str().unwrap();
        let dataset = load_with(source, Kind::Arrays, &options).unwrap();
        let Content::Arrays(arrays) = dataset.content else { panic!("no arrays") };
        assert_eq!(arrays.sample, Input::Image { height: 2, width: 3, channels: 1 });
        assert_eq!(arrays.task, Task::Classification { classes: 5 });
        let sizes =
            [Part::Train, Part::Valid, Part::Test].map(|part| arrays.part(part).unwrap().len());
        assert_eq!(sizes, [8, 2, 1]);
        assert_eq!(arrays.test.unwrap().inputs, Inputs::Bytes(pixels[..6].to_vec()));
        // The test part alone is for evaluations.
        for name in ["train-images-idx3-ubyte.gz", "train-labels.idx1-ubyte"] {
            std::fs::rename(folder.path().join(name), folder.path().join(format!("_{name}")))
                .unwrap();
        }
        let error = load_with(source, Kind::Arrays, &options).unwrap_err().to_string();
        assert!(error.contains("has no images to train on"), "{error}");
        let alone = LoadOptions { test_alone: true, valid_split: 0.0, ..options.clone() };
        let dataset = load_with(source, Kind::Arrays, &alone).unwrap();
        assert_eq!([Part::Train, Part::Test].map(|part| dataset.size(part)), [Some(1); 2]);
        std::fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).unwrap();
        let error = load_with(source, Kind::Arrays, &options).unwrap_err().to_string();
        assert!(error.contains("t10k-images-idx3-ubyte: needs t10k-labels-idx1-ubyte"), "{error}");
        write("t10k-labels-idx1-ubyte", &idx(&[2], &[1, 2]));
        let error = load_with(source, Kind::Arrays, &options).unwrap_err().to_string();
        assert!(error.contains("t10k-labels-idx1-ubyte: has 2 labels"), "{error}");
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(message(&[]), "has 0 bytes, too few for images");
        assert!(message(&idx(&[2], &[0, 1])).starts_with("is a file of labels; images begin with"));
        assert!(message(b"\0\0\x0d\x03\0\0\0\x01").starts_with("holds numbers that are not bytes"));
        assert!(message(b"\x01\x02\x03\x04").contains("it begins with the bytes [1, 2, 3, 4]"));
        assert!(message(b"<html><body></body></html>").starts_with("is a web page"));
        assert!(message(&idx(&[2, 2, 2], &[0; 7])).starts_with("is cut short: it says [2, 2, 2]"));
        assert!(message(&idx(&[2, 2, 2], &[0; 9])).starts_with("has more than the 8 bytes"));
        assert!(message(&idx(&[0, 2, 2], &[])).starts_with("has no images"));
        assert!(message(&idx(&[u32::MAX; 3], &[0; 9])).contains("4294967295"));
        let whole = gzip(&idx(&[4, 4, 4], &[7; 64]));
        assert!(message(&whole[..whole.len() - 9]).starts_with("could not be unpacked"));
    }
}
