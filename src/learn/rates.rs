//! Learning rates from a file.

use std::path::Path;

use crate::alrao::learning_rates;
use crate::error::{Error, Result};
use crate::learn::tensor_file::TensorFile;
use crate::optim::FlatParameters;

/// Loads the pre-classifier's learning rates from a file with one vector for each of its parameters.
///
/// # Errors
/// One error for all vectors that are missing or unknown, or have a wrong shape, type or value.
pub(crate) fn load_rates(flat: &FlatParameters, path: &Path) -> Result<()> {
    let file = TensorFile::read(path)?;
    let mut vectors = std::collections::BTreeMap::new();
    let mut faults = Vec::new();
    for (name, array) in &file.arrays {
        match array.to_f64s().filter(|_| array.shape.len() == 1) {
            Some(vector) => drop(vectors.insert(name.clone(), vector)),
            None => faults.push(format!(
                "{name} has type {:?} and shape {:?}; a vector of floats is needed",
                array.dtype, array.shape
            )),
        }
    }
    if !faults.is_empty() {
        return Err(Error::file(path, faults.join("; ")));
    }
    learning_rates::set_from_file(flat, &vectors, &path.display().to_string())
}
