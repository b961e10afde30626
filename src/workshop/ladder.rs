//! Ladders: one kernel in several files, from naive to fast, one idea a file.

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
    ladder!("lstm", "a recurrent layer", "1_global", "2_shared_state", "3_weights_in_registers"),
];

impl Ladder {
    /// The ladder with this name.
    ///
    /// # Errors
    /// [`Error::Input`] with all names.
    pub fn named(name: &str) -> Result<&'static Ladder> {
        LADDERS.iter().find(|ladder| ladder.name == name).ok_or_else(|| {
            let known: Vec<&str> = LADDERS.iter().map(|ladder| ladder.name).collect();
            Error::input(name, format!("is no ladder; they are {}", known.join(", ")))
        })
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
