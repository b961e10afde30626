//! Checks that an output file does not overwrite a file in use.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use super::RunDirectory;
use super::tensor_file::replace;
use crate::error::{Error, Result};

/// A file that a command writes its results to.
#[derive(Debug)]
pub struct OutputFile(PathBuf);

impl OutputFile {
    /// A place for results that can be written, and that is neither a file of a run nor one of `inputs`, the files and folders
    /// that the command reads. `setting` names the output in messages.
    ///
    /// # Errors
    /// Where it is not. Nothing is changed.
    pub fn new(setting: &str, path: &Path, inputs: &[&Path]) -> Result<OutputFile> {
        check_output(setting, path, inputs)?;
        Ok(OutputFile(path.to_owned()))
    }

    /// Writes the file, in place of an earlier one, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        replace(&self.0, bytes)
    }
}

/// Checks that a file can be written, and that it is neither a file of a run nor one of `inputs`, the files and folders
/// that the command reads. Links are followed. `setting` names the output.
///
/// # Errors
/// Where the file would take the place of one of those, is not a regular file, or cannot be written. Nothing is changed.
pub(crate) fn check_output(setting: &str, output: &Path, inputs: &[&Path]) -> Result<()> {
    let refused =
        |message: String| Err(Error::input(format!("`{setting}` {}", output.display()), message));
    if output.is_dir() {
        return refused("is a directory; give a file".into());
    }
    if let Some(name) = name_in_run(output) {
        return refused(format!("would replace {name} of a run; give another file"));
    }
    if let Some(input) = inputs.iter().find(|input| is_part_of(output, input)) {
        let input = input.display();
        return refused(format!("would replace a file that is read, {input}; give another file"));
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        let folder = folder.display();
        return refused(format!(
            "cannot be written: there is no folder {folder}; make it first, or give another file"
        ));
    }
    let is_there = output.symlink_metadata().is_ok();
    if is_there && !output.is_file() {
        return refused("is not a regular file; give another".into());
    }
    if let Err(error) = OpenOptions::new().append(true).create(true).open(output) {
        return refused(format!("cannot be written: {error}"));
    }
    if !is_there {
        fs::remove_file(output).map_err(|error| Error::write(output, error))?;
    }
    Ok(())
}

/// The name of the run's file that `output` leads to, if it leads to one.
fn name_in_run(output: &Path) -> Option<String> {
    let target = fs::canonicalize(output).ok();
    let places = [Some(output), target.as_deref()];
    places.into_iter().flatten().find_map(|place| {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let name = place.file_name()?.to_str()?;
        (RunDirectory::has_begun(folder) && RunDirectory::is_file_of_run(name))
            .then(|| name.to_owned())
    })
}

/// Whether `output` is the file `input`, or would be read with the folder `input`. Folders are read for their images, texts
/// and binary files, never for tensors.
fn is_part_of(output: &Path, input: &Path) -> bool {
    if !input.is_dir() {
        return is_same(output, input);
    }
    let is_tensors = output.extension().is_some_and(|ending| ending == "safetensors");
    let whole = (fs::canonicalize(output), fs::canonicalize(input));
    !is_tensors && matches!(whole, (Ok(output), Ok(input)) if output.starts_with(&input))
}

/// Whether two paths lead to one file, by links of any kind.
#[cfg(unix)]
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| fs::metadata(path).map(|own| (own.dev(), own.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(not(unix))]
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_needed_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("run")).unwrap();
        fs::create_dir(at("data")).unwrap();
        for name in ["run/config.toml", "run/best.safetensors", "data/train.txt", "tensors"] {
            fs::write(at(name), name).unwrap();
        }
        fs::hard_link(at("tensors"), at("hard")).unwrap();
        let inputs = [&*at("data"), &*at("tensors")];
        let refusal = |name: &str| {
            let error = check_output("predictions", &at(name), &inputs).err()?.to_string();
            assert!(error.starts_with("`predictions` "), "{error}");
            Some(error)
        };
        for name in [
            "run/config.toml",
            "run/best.safetensors",
            "run/last.safetensors",
            "run/../run/metrics.jsonl",
        ] {
            assert!(refusal(name).expect(name).contains("of a run"), "{name}");
        }
        for name in ["data/train.txt", "tensors", "hard"] {
            assert!(refusal(name).expect(name).contains("that is read"), "{name}");
        }
        assert!(refusal("data").expect("a folder").contains("is a directory"));
        let missing = refusal("nowhere/out").expect("no folder");
        assert!(
            missing.contains("there is no folder") && missing.contains("nowhere; make it first")
        );
        for name in ["out", "run/predictions.safetensors", "data/predictions.safetensors"] {
            assert_eq!(refusal(name), None);
            assert!(!at(name).exists(), "{name}");
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(at("run/best.safetensors"), at("link")).unwrap();
            symlink(at("nothing"), at("dangling")).unwrap();
            assert!(refusal("link").expect("a link").contains("best.safetensors of a run"));
            assert!(refusal("dangling").expect("a link").contains("not a regular file"));
            let null = check_output("predictions", "/dev/null".as_ref(), &[]).unwrap_err();
            assert!(null.to_string().contains("not a regular file"), "{null}");
        }
        assert_eq!(fs::read_to_string(at("run/best.safetensors")).unwrap(), "run/best.safetensors");
        assert_eq!(fs::read_to_string(at("tensors")).unwrap(), "tensors");
    }
}
