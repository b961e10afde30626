//! Ladders: one kernel in several files, from naive to fast, one idea a file.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::KernelFile;
use crate::error::{Error, Result};

/// The rungs of a kernel.
#[derive(Debug)]
pub struct Ladder {
    /// Its name.
    pub name: &'static str,
    /// What its kernels compute, in a few words.
    pub about: &'static str,
    /// File names and texts, the first rung first.
    pub rungs: &'static [(&'static str, &'static str)],
}

macro_rules! ladder {
    ($name:literal, $about:literal, $($file:literal),+ $(,)?) => {
        Ladder {
            name: $name,
            about: $about,
            rungs: &[$((concat!($file, ".cu"), include_str!(concat!("../../workshop/", $name, "/", $file, ".cu")))),+],
        }
    };
}

/// All ladders: first those of the kernels that this engine is about.
pub const LADDERS: [Ladder; 7] = [
    ladder!(
        "update",
        "an update with a learning rate for each feature",
        "1_feature_each",
        "2_coalesced",
        "3_vectors",
        "4_rates_once",
    ),
    ladder!(
        "head",
        "softmax, losses, gradients and responsibilities of Alrao's classifiers",
        "1_thread_each",
        "2_warp_each",
        "3_one_pass",
        "4_fused",
    ),
    ladder!("switch", "the posterior over the classifiers", "1_one_thread", "2_threads", "3_warp"),
    ladder!(
        "matmul",
        "a product of matrices",
        "1_naive",
        "2_coalesced",
        "3_shared",
        "4_registers",
        "5_vectors",
        "6_swizzled",
        "7_asynchronous",
        "8_tensor_cores",
    ),
    ladder!(
        "reduce",
        "the sum of each row",
        "1_thread_each",
        "2_interleaved",
        "3_sequential",
        "4_shuffles",
        "5_vectors",
    ),
    ladder!("conv2d", "a convolution", "1_direct", "2_implicit_gemm", "3_registers"),
    ladder!(
        "lstm",
        "a recurrent layer",
        "1_launch_each_step",
        "2_one_launch",
        "3_shared_state",
        "4_weights_in_registers",
    ),
];

fn unknown(name: &str) -> Error {
    let known: Vec<&str> = LADDERS.iter().map(|ladder| ladder.name).collect();
    let known = known.join(", ");
    Error::input(name, format!("is no ladder and no folder of versions; ladders are {known}"))
}

impl Ladder {
    /// The ladder with this name.
    ///
    /// # Errors
    /// [`Error::Input`] with all names.
    pub fn named(name: &str) -> Result<&'static Ladder> {
        LADDERS.iter().find(|ladder| ladder.name == name).ok_or_else(|| unknown(name))
    }

    /// Its rungs as kernel files. Their paths are those in the project's folder.
    ///
    /// # Errors
    /// Those of [`KernelFile::parse`].
    pub fn files(&self) -> Result<Vec<KernelFile>> {
        let file = |(name, text): &(&str, &str)| {
            KernelFile::parse(&self.folder().join(name), (*text).to_owned())
        };
        self.rungs.iter().map(file).collect()
    }

    fn folder(&self) -> PathBuf {
        Path::new("workshop").join(self.name)
    }
}

/// The versions of a kernel, to be compared.
#[derive(Debug)]
pub struct Versions {
    /// The ladder's name, or the folder.
    pub name: String,
    /// What they compute, in a few words.
    pub about: String,
    /// The files in order, at least one. They compute the same, and their last shapes are equal.
    pub files: Vec<KernelFile>,
}

impl Versions {
    /// Those of the ladder with this name, or else the `.cu` files of this folder in the order of their names.
    ///
    /// # Errors
    /// [`Error::Input`] with all names if it is neither; if a file is wrong, or differs from the first one in what it computes or is counted for.
    pub fn named(name: &str) -> Result<Versions> {
        match LADDERS.iter().find(|ladder| ladder.name == name) {
            Some(ladder) => Ok(Versions {
                name: name.to_owned(),
                about: ladder.about.to_owned(),
                files: ladder.files()?,
            }),
            None if Path::new(name).is_dir() => Versions::of_folder(Path::new(name)),
            None => Err(unknown(name)),
        }
    }

    fn of_folder(folder: &Path) -> Result<Versions> {
        let failed = |error: std::io::Error| Error::file(folder, error.to_string());
        let entries: Vec<fs::DirEntry> =
            fs::read_dir(folder).and_then(Iterator::collect).map_err(failed)?;
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.extension().is_some_and(|own| own == "cu"));
        paths.sort();
        let files: Vec<KernelFile> =
            paths.iter().map(|path| KernelFile::read(path)).collect::<Result<_>>()?;
        let Some(first) = files.first() else {
            let message = "has no .cu file; `alrao workshop ladder matmul --copy .` writes some";
            return Err(Error::file(folder, message));
        };
        for file in &files {
            let differs = |what: String| {
                Error::file(
                    &file.path,
                    format!("{what}; versions can be compared only if they are alike in this"),
                )
            };
            if file.reference.name != first.reference.name {
                let (own, other) = (file.reference.name, first.reference.name);
                return Err(differs(format!("computes {own}, and {} {other}", first.name())));
            }
            if file.shapes.last() != first.shapes.last() {
                let [own, other] = [file, first].map(|file| file.shapes.last());
                let [own, other] =
                    [own, other].map(|shape| format!("{:?}", shape.map_or(&[][..], |shape| shape)));
                return Err(differs(format!(
                    "is counted for the shape {own}, and {} for {other}",
                    first.name()
                )));
            }
        }
        let (name, about) = (folder.display().to_string(), first.reference.formula.to_owned());
        Ok(Versions { name, about, files })
    }
}
