//! A kernel file: CUDA C++, with a header that says what it computes and how it is launched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::column::Column;
use super::reference::Reference;
use super::references::{REFERENCES, reference};
use super::translation::{Untranslatable, translate};
use crate::error::{Error, Result};

/// The sign before each line of the header, which is TOML.
const MARK: &str = "//@";

/// A kernel file with its header.
#[derive(Clone, Debug)]
pub struct KernelFile {
    /// Its path.
    pub path: PathBuf,
    /// What it computes.
    pub reference: &'static Reference,
    /// The kernels' launches, in order.
    pub launches: Vec<LaunchShape>,
    /// The shapes of the problem, each in the order of the reference's extents.
    pub shapes: Vec<Vec<usize>>,
    /// The column of a ladder's table that this rung improves.
    pub improves: Option<Column>,
    /// What an exercise's solution must reach: at most this, or at least for columns that grow.
    pub needs: Vec<(Column, f64)>,
    /// The file, for the host's compiler.
    pub(super) translated: String,
    /// The file as it is.
    pub text: String,
}

/// How a kernel is launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    /// The kernel; the only one of the file if `None`.
    pub kernel: Option<String>,
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// How many blocks there are.
    pub grid: Grid,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
}

/// How many blocks a launch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// As many as cover the output, each with this many of its elements along each axis.
    Tiles([usize; 3]),
    /// This many along each axis.
    Blocks([u32; 3]),
}

impl LaunchShape {
    /// The blocks of a launch on an output with these extents.
    pub(super) fn blocks(&self, output: [usize; 3]) -> [u32; 3] {
        match self.grid {
            Grid::Tiles(tile) => {
                std::array::from_fn(|axis| output[axis].div_ceil(tile[axis]) as u32)
            }
            Grid::Blocks(blocks) => blocks,
        }
    }
}

/// A number, or one for each axis.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a number, or a list of up to three")]
enum Extents {
    One(u32),
    All(Vec<u32>),
}

impl Extents {
    fn all(&self) -> std::result::Result<[u32; 3], String> {
        let given = match self {
            Extents::One(x) => std::slice::from_ref(x),
            Extents::All(all) => all,
        };
        if !(1..=3).contains(&given.len()) || given.contains(&0) {
            return Err(format!(
                "{given:?}: `block`, `tile` and `grid` are one to three numbers, each at least 1"
            ));
        }
        Ok(std::array::from_fn(|axis| given.get(axis).copied().unwrap_or(1)))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Launch {
    kernel: Option<String>,
    block: Extents,
    tile: Option<Extents>,
    grid: Option<Extents>,
    #[serde(default)]
    shared: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    computes: String,
    block: Option<Extents>,
    tile: Option<Extents>,
    grid: Option<Extents>,
    shared: Option<usize>,
    shapes: Option<Vec<Vec<usize>>>,
    improves: Option<String>,
    #[serde(default)]
    needs: BTreeMap<String, f64>,
    #[serde(default)]
    launch: Vec<Launch>,
}

impl KernelFile {
    /// Reads a kernel file.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file: it cannot be read, has no header or a wrong one, or something that the simulator cannot take;
    /// then with the line.
    pub fn read(path: &Path) -> Result<KernelFile> {
        let bytes = std::fs::read(path).map_err(|error| Error::file(path, format!("{error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "is not UTF-8 text"))?;
        KernelFile::parse(path, text)
    }

    /// A kernel file with this text; `path` is for messages.
    ///
    /// # Errors
    /// As [`KernelFile::read`].
    pub fn parse(path: &Path, text: String) -> Result<KernelFile> {
        let failed = |message: String| Error::file(path, message);
        let header = header(&text).map_err(|message| failed(message.clone()))?;
        let reference = reference(&header.computes).ok_or_else(|| {
            let known: Vec<&str> = REFERENCES.iter().map(|reference| reference.name).collect();
            failed(format!("`computes` is one of {}, not {}", known.join(", "), header.computes))
        })?;
        let launches = header.launches().map_err(failed)?;
        let shapes = header.shapes.clone().unwrap_or_else(|| reference.usual_shapes());
        for shape in &shapes {
            if shape.len() != reference.extents.len() || shape.contains(&0) {
                let extents = reference.extents.join(", ");
                return Err(failed(format!(
                    "`shapes` has {shape:?}: give the extents [{extents}], each at least 1"
                )));
            }
        }
        if shapes.is_empty() {
            return Err(failed("`shapes` is empty: give at least one, or leave it out".into()));
        }
        let translated = translate(&text).map_err(|Untranslatable { line, message }| {
            failed(format!("line {line}: {message}"))
        })?;
        let column = |name: &str| Column::named(name).map_err(failed);
        let improves = header.improves.as_deref().map(column).transpose()?;
        let needs = header.needs.iter().map(|(name, bound)| Ok((column(name)?, *bound)));
        let needs = needs.collect::<Result<_>>()?;
        let path = path.to_owned();
        Ok(KernelFile { path, reference, launches, shapes, improves, needs, translated, text })
    }

    /// Its name without the folder.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The header of a kernel file.
fn header(text: &str) -> std::result::Result<Header, String> {
    // Lines that are no header stay as empty ones, so that the parser's line numbers are those of the file.
    let is_header = |line: &&str| line.trim_start().starts_with(MARK);
    if !text.lines().any(|line| is_header(&line)) {
        return Err(format!(
            "has no header: write `{MARK} computes = \"vector_add\"` and `{MARK} block = 256` at its top; \
             `alrao workshop references` lists what can be computed"
        ));
    }
    let toml: Vec<&str> = text
        .lines()
        .map(|line| if is_header(&line) { line.trim_start().trim_start_matches(MARK) } else { "" })
        .collect();
    toml::from_str(&toml.join("\n")).map_err(|error| {
        let line = error.span().map(|span| toml.join("\n")[..span.start].matches('\n').count() + 1);
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        format!("{place}{}", error.message())
    })
}

impl Header {
    fn launches(&self) -> std::result::Result<Vec<LaunchShape>, String> {
        let Header { block, tile, grid, shared, .. } = self.clone();
        if !self.launch.is_empty() {
            if block.is_some() || tile.is_some() || grid.is_some() || shared.is_some() {
                return Err("give block, tile, grid and shared in each [[launch]]".into());
            }
            return self.launch.iter().map(Launch::shape).collect();
        }
        let Some(block) = block else {
            return Err(
                "lacks `block`, the number of threads of a block, such as `//@ block = 256`".into(),
            );
        };
        let launch = Launch { kernel: None, block, tile, grid, shared: shared.unwrap_or(0) };
        Ok(vec![launch.shape()?])
    }
}

impl Launch {
    fn shape(&self) -> std::result::Result<LaunchShape, String> {
        let block = self.block.all()?;
        let grid = match (&self.tile, &self.grid) {
            (Some(_), Some(_)) => return Err("give `tile` or `grid`, not both".into()),
            (_, Some(grid)) => Grid::Blocks(grid.all()?),
            (tile, None) => {
                let tile = tile.as_ref().unwrap_or(&self.block);
                Grid::Tiles(tile.all()?.map(|extent| extent as usize))
            }
        };
        let threads: u64 = block.iter().map(|extent| u64::from(*extent)).product();
        if threads > 1024 {
            return Err(format!("`block` has {threads} threads; a GPU takes at most 1024"));
        }
        Ok(LaunchShape { kernel: self.kernel.clone(), block, grid, shared: self.shared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> std::result::Result<KernelFile, String> {
        KernelFile::parse(Path::new("a.cu"), text.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_header_says_what_is_computed_and_how_it_is_launched() {
        let file =
            parsed("// Adds.\n//@ computes = \"vector_add\"\n//@ block = 64\n//@ tile = 256\n")
                .unwrap();
        assert_eq!(file.reference.name, "vector_add");
        assert_eq!(file.launches[0].block, [64, 1, 1]);
        assert_eq!(file.launches[0].blocks([1000, 1, 1]), [4, 1, 1]);
        assert_eq!(file.shapes, file.reference.usual_shapes());
        let two = "//@ computes = \"transpose\"\n//@ shapes = [[8, 4]]\n//@ [[launch]]\n//@ kernel = \"a\"\n//@ block = [8, 4]\n\
                   //@ [[launch]]\n//@ kernel = \"b\"\n//@ block = 32\n//@ grid = [2, 3]\n//@ shared = 128\n";
        let file = parsed(two).unwrap();
        assert_eq!(file.launches.len(), 2);
        assert_eq!(file.launches[0].blocks([9, 4, 1]), [2, 1, 1]);
        assert_eq!(file.launches[1].blocks([9, 4, 1]), [2, 3, 1]);
        assert_eq!((file.launches[1].shared, file.shapes), (128, vec![vec![8, 4]]));
    }

    #[test]
    fn wrong_headers_are_refused_with_the_reason() {
        let head = "//@ computes = \"vector_add\"\n";
        for (text, part) in [
            ("int x;", "has no header"),
            ("//@ computes = \"dance\"\n//@ block = 1", "`computes` is one of"),
            (head, "lacks `block`"),
            ("\n//@ computes = \"vector_add\"\n//@ blok = 3", "line 3: unknown field `blok`"),
            (&format!("{head}//@ block = 2048"), "2048 threads"),
            (&format!("{head}//@ block = [0]"), "at least 1"),
            (&format!("{head}//@ block = 32\n//@ tile = 1\n//@ grid = 1"), "`tile` or `grid`"),
            (&format!("{head}//@ block = 32\n//@ shapes = [[1, 2]]"), "give the extents [n]"),
            (&format!("{head}//@ block = 32\n__shared__ int a;"), "line 3: a __shared__ array"),
            (&format!("{head}//@ block = \"many\""), "line 2: a number, or a list"),
        ] {
            let message = parsed(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
