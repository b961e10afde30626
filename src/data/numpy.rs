//! NumPy's arrays: an `.npz` archive, or a folder with an `.npy` file for each. Their names are those of a safetensors file.

mod zip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::{Arrays, Input, LoadOptions, arrays, head, read, unreadable};
use crate::error::{Error, Result};
use crate::file;

/// The first bytes of an `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// The first bytes of an archive.
pub(super) const ARCHIVE: &[u8] = b"PK\x03\x04";

/// Looked for in a folder, for messages.
pub(super) const LAYOUT: &str = "inputs.npy or images.npy, and labels.npy or targets.npy";

/// Reads an archive; see [`parse`].
///
/// # Errors
/// [`Error::Input`] where the file cannot be read, and those of [`parse`].
pub fn load(path: &Path, options: &LoadOptions) -> Result<Arrays> {
    parse(&read(path)?, path, options)
}

/// The samples in an archive's bytes; `path` is for messages. Arrays of 64-bit floats, and integers among inputs and
/// targets, become 32-bit floats; labels of any integers become 64-bit ones. The rest is as in [`super::arrays::parse`].
///
/// # Errors
/// [`Error::Input`] naming the file and the array: a damaged archive, another type, another byte order, Fortran order, and
/// those of [`super::arrays::parse`].
pub fn parse(bytes: &[u8], path: &Path, options: &LoadOptions) -> Result<Arrays> {
    arrays::from_tensors(views(&members(bytes, path, &as_named)?, path)?, path, options)
}

/// Arrays by their names.
pub(super) type Found = BTreeMap<String, Array>;

/// The name of the data that an array is, by its own name.
type Role<'a> = dyn Fn(&str) -> &str + 'a;

fn as_named(name: &str) -> &str {
    name
}

/// As the inputs of a model that takes `sample`; an array without one of the known names may be the only one.
fn as_inputs(sample: Input) -> impl Fn(&str) -> &str {
    move |name| match (arrays::is_known(name), sample) {
        (true, _) => name,
        (false, Input::Image { .. }) => "images",
        (false, _) => "inputs",
    }
}

/// An archive's arrays, for a model that takes `sample`.
///
/// # Errors
/// As [`parse`], but for wrong names.
pub(super) fn archive(path: &Path, sample: Input) -> Result<Found> {
    members(&read(path)?, path, &as_inputs(sample))
}

/// The arrays in a folder's files, for a model that takes `sample`.
///
/// # Errors
/// As [`load_folder`], but for wrong names.
pub(super) fn folder(folder: &Path, sample: Input) -> Result<Found> {
    in_files(files(folder)?, &as_inputs(sample))
}

/// The array in a file, for a model that takes `sample`.
///
/// # Errors
/// As [`folder`].
pub(super) fn one_array(path: &Path, sample: Input) -> Result<Found> {
    in_files(vec![path.to_owned()], &as_inputs(sample))
}

/// Whether a file begins as an array.
pub(super) fn is_one_array(path: &Path) -> Result<bool> {
    Ok(head(path, MAGIC.len() as u64)? == MAGIC)
}

fn members(bytes: &[u8], path: &Path, role: &Role) -> Result<Found> {
    let members = zip::members(bytes).map_err(|what| Error::file(path, what))?;
    let mut found = BTreeMap::new();
    for member in &members {
        let Some(name) = member.name.strip_suffix(".npy") else { continue };
        let wrong = |what: String| Error::file(path, format!("array '{name}': {what}"));
        let content = zip::content(bytes, member).map_err(wrong)?;
        let array = Array::parse(&content).and_then(|own| own.for_name(role(name)));
        if found.insert(name.to_owned(), array.map_err(wrong)?).is_some() {
            return Err(wrong("is there twice".into()));
        }
    }
    if found.is_empty() {
        let message = "is a ZIP archive without NumPy's arrays, as PyTorch's .pt is; np.savez writes one with arrays";
        return Err(Error::file(path, message));
    }
    Ok(found)
}

/// Reads a folder's `.npy` files; the names of the files are those of the arrays.
///
/// # Errors
/// [`Error::Input`] naming the file, as in [`parse`].
pub fn load_folder(folder: &Path, options: &LoadOptions) -> Result<Arrays> {
    let found = in_files(files(folder)?, &as_named)?;
    arrays::from_tensors(views(&found, folder)?, folder, options)
}

fn in_files(paths: Vec<PathBuf>, role: &Role) -> Result<Found> {
    let mut found = BTreeMap::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let array = Array::parse(&read(&path)?).and_then(|own| own.for_name(role(&name)));
        found.insert(name, array.map_err(|what| Error::file(&path, what))?);
    }
    Ok(found)
}

/// Whether a folder has a file of an array that is looked for.
pub(super) fn is_in(folder: &Path) -> Result<bool> {
    let stem = |path: &PathBuf| {
        path.file_stem().and_then(|stem| stem.to_str()).is_some_and(arrays::is_known)
    };
    Ok(files(folder)?.iter().any(stem))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if path.extension().is_some_and(|ending| ending == "npy") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The arrays as tensors; `path` is for messages.
pub(super) fn views<'a>(found: &'a Found, path: &Path) -> Result<BTreeMap<String, TensorView<'a>>> {
    let mut views = BTreeMap::new();
    for (name, Array { dtype, shape, bytes }) in found {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        let view = view.map_err(|error| Error::file(path, format!("array '{name}': {error}")))?;
        views.insert(name.clone(), view);
    }
    Ok(views)
}

/// An array, little-endian.
pub(super) struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    /// The array in the bytes of an `.npy` file.
    fn parse(bytes: &[u8]) -> std::result::Result<Array, String> {
        if let Some(what) = file::mistaken(bytes).filter(|_| !bytes.starts_with(MAGIC)) {
            return Err(what.into());
        }
        let (header, data) =
            header(bytes).ok_or("is no whole .npy file: write it anew with np.save")?;
        let wrong = || format!("has a header that is not NumPy's: {}", header.trim_end());
        let dtype = dtype(value_of(header, "descr").ok_or_else(wrong)?)?;
        let shape = value_of(header, "shape").and_then(shape).ok_or_else(wrong)?;
        let is_fortran = value_of(header, "fortran_order") == Some("True");
        let size = dtype.bitsize() / 8;
        let length = shape.iter().try_fold(size, |all, own| all.checked_mul(*own));
        match length {
            Some(length) if length == data.len() => {
                let bytes = match is_fortran {
                    true => in_c_order(data, &shape, size),
                    false => data.to_vec(),
                };
                Ok(Array { dtype, shape, bytes })
            }
            Some(length) if length > data.len() => Err(format!(
                "is cut short: its shape {shape:?} takes {length} bytes, and {} are there",
                data.len()
            )),
            _ => Err(format!("has {} bytes, which its shape {shape:?} does not take", data.len())),
        }
    }

    /// The array with the type that data of this name has, where it can be converted without asking.
    fn for_name(self, name: &str) -> std::result::Result<Array, String> {
        let is = |end: &str| name.ends_with(end);
        let target = match self.dtype {
            Dtype::U8 | Dtype::I32 if is("labels") => Dtype::I64,
            Dtype::F64 if is("images") => Dtype::F32,
            Dtype::F64 | Dtype::U8 | Dtype::I32 | Dtype::I64 if is("inputs") || is("targets") => {
                Dtype::F32
            }
            own => own,
        };
        if target == self.dtype {
            return Ok(self);
        }
        let bytes = match self.dtype {
            Dtype::F64 => {
                self.check_range()?;
                converted(&self.bytes, |own| (f64::from_le_bytes(own) as f32).to_le_bytes())
            }
            Dtype::I64 => {
                converted(&self.bytes, |own| (i64::from_le_bytes(own) as f32).to_le_bytes())
            }
            Dtype::I32 if target == Dtype::I64 => {
                converted(&self.bytes, |own| i64::from(i32::from_le_bytes(own)).to_le_bytes())
            }
            Dtype::I32 => {
                converted(&self.bytes, |own| (i32::from_le_bytes(own) as f32).to_le_bytes())
            }
            _ if target == Dtype::I64 => {
                converted(&self.bytes, |[own]: [u8; 1]| i64::from(own).to_le_bytes())
            }
            _ => converted(&self.bytes, |[own]: [u8; 1]| f32::from(own).to_le_bytes()),
        };
        Ok(Array { dtype: target, bytes, ..self })
    }

    /// Refuses a number of 64 bits that would be infinite in 32.
    fn check_range(&self) -> std::result::Result<(), String> {
        let numbers = self.bytes.as_chunks().0.iter().map(|own| f64::from_le_bytes(*own));
        let is_too_large = |own: &f64| own.is_finite() && (*own as f32).is_infinite();
        let mut numbers = numbers.enumerate();
        let found = numbers.find(|(_, own)| is_too_large(own));
        let Some((element, number)) = found else { return Ok(()) };
        let place = arrays::place(element, &self.shape);
        Err(format!("has {number:e} at {place}, too large for 32 bits: scale the numbers down"))
    }
}

/// The elements of `size` bytes of an array in Fortran order, as pandas gives them, in C order.
fn in_c_order(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len());
    for element in 0..data.len() / size {
        let (mut rest, mut place, mut stride) = (element, 0, data.len() / size);
        for extent in shape.iter().rev() {
            stride /= extent;
            place += rest % extent * stride;
            rest /= extent;
        }
        bytes.extend_from_slice(&data[place * size..][..size]);
    }
    bytes
}

fn converted<const FROM: usize, const TO: usize>(
    bytes: &[u8],
    one: impl Fn([u8; FROM]) -> [u8; TO],
) -> Vec<u8> {
    bytes.as_chunks().0.iter().flat_map(|own| one(*own)).collect()
}

/// The header's text and the bytes after it.
fn header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (&[major, _], rest) = rest.split_first_chunk()?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return None,
    };
    let (text, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, data))
}

/// The value of a key in the header, which is a dictionary of Python's. Its values are a text, a truth value and a tuple.
fn value_of<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    let rest = rest.trim_start();
    let end = match rest.chars().next()? {
        '(' => rest.find(')')? + 1,
        '[' => rest.find(']')? + 1,
        _ => rest.find([',', '}'])?,
    };
    Some(rest[..end].trim_end())
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let extents = inner.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.map(|extent| extent.parse().ok()).collect()
}

fn dtype(text: &str) -> std::result::Result<Dtype, String> {
    let known = [
        ("f4", Dtype::F32),
        ("f8", Dtype::F64),
        ("u1", Dtype::U8),
        ("i4", Dtype::I32),
        ("i8", Dtype::I64),
    ];
    let name = text.trim_matches('\'');
    let (order, own) = name.split_at_checked(1).unwrap_or_default();
    match known.iter().find(|(known, _)| *known == own) {
        Some((_, dtype)) if ["<", "|"].contains(&order) => Ok(*dtype),
        Some(_) => {
            Err(format!("is big-endian ({name}): x.astype(\"<{own}\") turns the bytes round"))
        }
        None if own == "O" => {
            Err("holds Python's objects: np.asarray(x, \"float32\") makes numbers of them; of texts as labels, \
                 np.unique(y, return_inverse=True)[1] does".into())
        }
        None if own.starts_with(['U', 'S']) => {
            Err("holds texts; for labels, np.unique(y, return_inverse=True)[1] numbers them by their order".into())
        }
        None => Err(format!(
            "holds {name}; x.astype(\"float32\") or, for labels, x.astype(\"int64\") converts it"
        )),
    }
}

#[cfg(test)]
mod tests;
