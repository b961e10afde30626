//! Named arrays in safetensors files, and atomic replacement of files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};

use super::disk::operation;
use crate::device::{DType, Device, Element};
use crate::error::{Error, Result};
use crate::file::{self, tensors};
use crate::tensor::Tensor;

/// An array of a file, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Array {
    /// A tensor's elements, read back from its device.
    pub fn from_tensor(tensor: &Tensor) -> Self {
        let shape = tensor.shape().extents().to_vec();
        match tensor.dtype() {
            DType::F32 => Array::new(shape, &tensor.to_vec::<f32>()),
            DType::F64 => Array::new(shape, &tensor.to_vec::<f64>()),
            DType::I32 => Array::new(shape, &tensor.to_vec::<i32>()),
            DType::I64 => Array::new(shape, &tensor.to_vec::<i64>()),
            DType::U8 => Array::new(shape, &tensor.to_vec::<u8>()),
            DType::BF16 => Array::new(shape, &tensor.to_vec::<half::bf16>()),
        }
    }

    /// An array of the given elements.
    pub fn new<T: Element>(shape: Vec<usize>, elements: &[T]) -> Self {
        Array { dtype: dtype(T::DTYPE), shape, bytes: bytemuck::cast_slice(elements).to_vec() }
    }

    /// A single whole number.
    pub fn whole_number(value: i64) -> Self {
        Array { dtype: Dtype::I64, shape: Vec::new(), bytes: value.to_le_bytes().to_vec() }
    }

    /// The elements as f64, whichever floating-point type they have; `None` for any other type.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        match self.dtype {
            Dtype::F32 => Some(self.numbers(|bytes| f64::from(f32::from_le_bytes(bytes)))),
            Dtype::F64 => Some(self.numbers(f64::from_le_bytes)),
            _ => None,
        }
    }

    fn numbers<const SIZE: usize>(&self, one: impl Fn([u8; SIZE]) -> f64) -> Vec<f64> {
        let (chunks, _) = self.bytes.as_chunks::<SIZE>();
        chunks.iter().map(|bytes| one(*bytes)).collect()
    }

    /// The same elements in memory of a device.
    pub fn to_tensor(&self, device: &Device) -> Option<Tensor> {
        let shape = &self.shape[..];
        match self.dtype {
            Dtype::F32 => Some(Tensor::from_slice::<f32>(device, shape, &self.elements())),
            Dtype::F64 => Some(Tensor::from_slice::<f64>(device, shape, &self.elements())),
            Dtype::I32 => Some(Tensor::from_slice::<i32>(device, shape, &self.elements())),
            Dtype::I64 => Some(Tensor::from_slice::<i64>(device, shape, &self.elements())),
            Dtype::U8 => Some(Tensor::from_slice::<u8>(device, shape, &self.elements())),
            _ => None,
        }
    }

    /// The elements as `T`, whose size must be theirs.
    pub fn elements<T: bytemuck::Pod>(&self) -> Vec<T> {
        bytemuck::allocation::pod_collect_to_vec(&self.bytes)
    }
}

/// A type's name in a file.
pub(crate) fn dtype(own: DType) -> Dtype {
    match own {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
        DType::BF16 => Dtype::BF16,
    }
}

/// The arrays of a file and its metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TensorFile {
    pub arrays: BTreeMap<String, Array>,
    /// The text under the metadata's key `alrao`.
    pub record: Option<String>,
}

const RECORD_KEY: &str = "alrao";

impl TensorFile {
    /// Reads a file whole.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = file::read(path)
            .map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
        TensorFile::parse(&bytes, path)
    }

    /// Parses a file's bytes; `path` is for the message.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let (metadata, tensors) = tensors::parse(bytes, path)?;
        let record = metadata.metadata().as_ref().and_then(|pairs| pairs.get(RECORD_KEY).cloned());
        let array = |view: TensorView| Array {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        let arrays = tensors.iter().map(|(name, view)| (name.to_owned(), array(view))).collect();
        Ok(TensorFile { arrays, record })
    }

    /// The file's bytes, a function of the arrays and the record.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_bytes_with(self.record.clone())
    }

    /// As [`TensorFile::to_bytes`], with another record.
    pub fn to_bytes_with(&self, record: Option<String>) -> Vec<u8> {
        let views = self.arrays.iter().map(|(name, array)| {
            let view = TensorView::new(array.dtype, array.shape.clone(), &array.bytes);
            (name, view.expect("an array has as many bytes as its shape and type need"))
        });
        let metadata = record.map(|record| [(RECORD_KEY.to_owned(), record)].into());
        safetensors::serialize(views, metadata).expect("arrays of known types can be written")
    }
}

/// Replaces a file atomically: the old one stays until the new one is on the disk. If a write fails, the temporary file
/// is removed.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_name(path);
    write_through(&temporary, path, bytes).map_err(|error| {
        // Report the first failure. Removing fails if the file was never created.
        let _ = fs::remove_file(&temporary);
        Error::write(path, error)
    })
}

fn write_through(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = operation(|| File::create(temporary))?;
    operation(|| file.write_all(bytes))?;
    operation(|| file.sync_all())?;
    drop(file);
    operation(|| fs::rename(temporary, path))?;
    operation(|| sync_folder(path))
}

/// Syncs a file's folder, which makes a rename permanent.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    )?
    .sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::disk::failing;

    #[test]
    fn a_file_comes_back_as_it_was_written() {
        let mut file = TensorFile { record: Some("{}".into()), ..TensorFile::default() };
        file.arrays.insert("b".into(), Array::new(vec![2, 1], &[1.5f32, -2.0]));
        file.arrays.insert("a".into(), Array::whole_number(7));
        let bytes = file.to_bytes();
        assert_eq!(TensorFile::parse(&bytes, Path::new("x")).expect("whole"), file);
        assert_eq!(file.clone().to_bytes(), bytes);
        for length in 0..bytes.len() {
            let error = TensorFile::parse(&bytes[..length], Path::new("x.safetensors"))
                .expect_err("cut short");
            assert!(
                error.to_string().starts_with("x.safetensors: is not a complete safetensors file")
            );
        }
    }

    #[test]
    fn a_file_is_created_written_synced_renamed_and_its_folder_synced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("last");
        for number in 0..5 {
            failing::fail_at(number);
            replace(&path, b"new").expect_err("an operation fails");
        }
        failing::fail_at(5);
        replace(&path, b"new").expect("there are five operations");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("last");
        replace(&path, b"old").expect("a fresh file");
        fs::create_dir(folder.path().join("last.tmp")).expect("something in the way");
        assert!(matches!(replace(&path, b"new"), Err(Error::Write { .. })));
        assert_eq!(fs::read(&path).expect("still there"), b"old");
    }
}
