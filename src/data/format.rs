//! The format of a file or folder of images or vectors. The content decides, not only the name.

use std::path::Path;

use super::{cifar, csv, head, idx, images, numpy};
use crate::error::{Error, Result};
use crate::file;

/// The bytes at a file's start that tell its format.
const HEAD: u64 = 4096;

/// A format of images or vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// CIFAR-10's binary files in a folder.
    Cifar,
    /// A table of comma-separated values.
    Csv,
    /// The files of MNIST in a folder.
    Idx,
    /// A folder of images with a folder for each class.
    Images,
    /// A folder with an array of NumPy's in each file.
    NpyFolder,
    /// An archive of NumPy's arrays.
    Npz,
    /// A safetensors file.
    Safetensors,
}

impl Format {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Cifar => "CIFAR-10's binary files",
            Format::Csv => "CSV",
            Format::Idx => "MNIST's files",
            Format::Images => "a folder of images",
            Format::NpyFolder => "NumPy's arrays in a folder",
            Format::Npz => "NumPy's arrays",
            Format::Safetensors => "safetensors",
        }
    }

    /// The format of what lies at a path.
    ///
    /// # Errors
    /// [`Error::Input`] if the path cannot be read or is of no format that is known. For a folder it names the files that
    /// were looked for.
    pub fn of(path: &Path) -> Result<Format> {
        Format::of_data(path, false)
    }

    /// The same where a folder of images may have a test part only.
    ///
    /// # Errors
    /// As [`Format::of`].
    pub fn of_data(path: &Path, test_alone: bool) -> Result<Format> {
        if path.is_dir() { Format::of_folder(path, test_alone) } else { Format::of_file(path) }
    }

    fn of_folder(folder: &Path, test_alone: bool) -> Result<Format> {
        if cifar::is_in(folder)? {
            return Ok(Format::Cifar);
        }
        match () {
            _ if idx::is_in(folder) => Ok(Format::Idx),
            _ if numpy::is_in(folder)? => Ok(Format::NpyFolder),
            _ if images::folder::is_in(folder, test_alone) => Ok(Format::Images),
            _ => Err(nothing_in(folder)),
        }
    }

    fn of_file(path: &Path) -> Result<Format> {
        let head = head(path, HEAD)?;
        let ends = |ending: &str| path.extension().is_some_and(|own| own == ending);
        match head.as_slice() {
            [] => Err(Error::file(path, "is empty")),
            _ if head.starts_with(numpy::ARCHIVE) && !file::is_pytorch(&head) => Ok(Format::Npz),
            _ if head.starts_with(numpy::MAGIC) => {
                let message = format!(
                    "is one array: put {} in a folder and give the folder, or write an .npz with np.savez",
                    numpy::LAYOUT
                );
                Err(Error::file(path, message))
            }
            _ if ends("safetensors") || is_safetensors(&head) => Ok(Format::Safetensors),
            _ if idx::is_named(path) || idx::has_magic(&head) => {
                let message = "is one of MNIST's files, which are read together: give the folder that they are in";
                Err(Error::file(path, message))
            }
            _ if file::mistaken(&head).is_some() => Err(Error::file(path, unknown(&head))),
            _ if ends("csv") || ends("tsv") || csv::looks_like(&head) => Ok(Format::Csv),
            _ => Err(Error::file(path, unknown(&head))),
        }
    }
}

/// Whether a file begins with the length of a header and a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    const LONGEST: u64 = 100_000_000;
    let Some((length, rest)) = head.split_first_chunk() else { return false };
    u64::from_le_bytes(*length) <= LONGEST && rest.starts_with(b"{\"")
}

/// The message for a file of no known format.
fn unknown(head: &[u8]) -> String {
    file::mistaken(head).map_or_else(
        || {
            "is of no format that is read here. Images and vectors are read from a .safetensors or .npz file, a CSV, a folder with \
             CIFAR-10's binary files, MNIST's files or images, or are generated; a UTF-8 text is for char-lstm and word-lstm"
                .into()
        },
        str::to_owned,
    )
}

/// The error for a folder of no known format.
fn nothing_in(folder: &Path) -> Error {
    if let Some(class) = images::folder::only_class(folder) {
        let class = class.display();
        let message = format!(
            "has one folder of images, {class}: there must be one for each class, and two classes or more"
        );
        return Error::file(folder, message);
    }
    let has = |name: &str| folder.join(name).exists();
    let text = match () {
        _ if has("train.txt") => "; its train.txt is a text, for char-lstm and word-lstm",
        _ if has("test") && !has("train") => "; it has test, but no train",
        _ if images::folder::has_images(folder) => {
            "; it has images, but a folder for each class is needed"
        }
        _ => "",
    };
    let message = format!(
        "no data to train on here{text}. Looked for CIFAR-10: {}; for MNIST: {}; for NumPy's arrays: {}; and for a folder a class: {}, or the same without train",
        cifar::layout(folder),
        idx::LAYOUT,
        numpy::LAYOUT,
        folder.join(images::LAYOUT).display()
    );
    Error::file(folder, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Format::of(&path).map_err(|error| error.to_string())
        };
        assert_eq!(of(b"\x40\0\0\0\0\0\0\0{\"images\":"), Ok(Format::Safetensors));
        assert!(of(b"\0\0\x08\x03\0\0\0\x01").unwrap_err().contains("give the folder"));
        assert!(of(b"\0\0\x08\x03").unwrap_err().contains("give the folder"));
        assert!(of(b"<html>").unwrap_err().contains("web page"));
        assert_eq!(of(b"PK\x03\x04"), Ok(Format::Npz));
        assert!(of(b"PK\x03\x04model/data.pkl").unwrap_err().contains("PyTorch's .pt"));
        assert!(of(b"\x93NUMPY").unwrap_err().contains("is one array"));
        assert_eq!(of(b"a;b\n1;2\n"), Ok(Format::Csv));
        assert!(of(b"Well, no.\nThis is text.\n").unwrap_err().contains("of no format"));
        assert!(of(b"").unwrap_err().ends_with("is empty"));
    }
}
