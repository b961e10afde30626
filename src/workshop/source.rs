//! A kernel file: CUDA C++, with a header that says what it computes and how it is launched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::column::Column;
use super::factors::Factors;
use super::reference::Reference;
use super::references::{REFERENCES, reference};
use super::translation::{Untranslatable, code, translate};
use crate::error::{Error, Result};

/// The sign before each line of the header, which is TOML.
const MARK: &str = "//@";

/// The largest product of a shape's extents. The simulator would take minutes for more.
const LARGEST: usize = 1 << 25;

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
    /// The code that an exercise's solution must have, since the exercise is about it.
    pub uses: Vec<String>,
    /// What the factors of its products are.
    pub factors: Factors,
    /// The file, for the host's compiler.
    pub(super) translated: String,
    /// The file without space and comments.
    code: String,
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
    /// The parameter that numbers repetitions of this launch, from 0 on, and the argument that says how many they are.
    pub repeat: Option<(String, String)>,
    /// The line of its `repeat`, or else of its `block`.
    pub line: usize,
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

/// What is wrong with a header, and where in it; `None` if something is missing.
struct Wrong {
    at: Option<usize>,
    message: String,
}

impl Wrong {
    fn at<T>(value: &Spanned<T>, message: impl Into<String>) -> Wrong {
        Wrong { at: Some(value.span().start), message: message.into() }
    }

    fn missing(message: &str) -> Wrong {
        Wrong { at: None, message: message.into() }
    }
}

/// A result for a part of a header.
type HeaderResult<T> = std::result::Result<T, Wrong>;

fn all(extents: &Spanned<Extents>) -> HeaderResult<[u32; 3]> {
    let given = match extents.get_ref() {
        Extents::One(x) => std::slice::from_ref(x),
        Extents::All(all) => all,
    };
    if !(1..=3).contains(&given.len()) || given.contains(&0) {
        let message = format!(
            "{given:?}: `block`, `tile` and `grid` are one to three numbers, each at least 1"
        );
        return Err(Wrong::at(extents, message));
    }
    Ok(std::array::from_fn(|axis| given.get(axis).copied().unwrap_or(1)))
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Launch {
    kernel: Option<String>,
    block: Spanned<Extents>,
    tile: Option<Spanned<Extents>>,
    grid: Option<Spanned<Extents>>,
    #[serde(default)]
    shared: usize,
    repeat: Option<Spanned<BTreeMap<String, String>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    computes: Spanned<String>,
    block: Option<Spanned<Extents>>,
    tile: Option<Spanned<Extents>>,
    grid: Option<Spanned<Extents>>,
    shared: Option<Spanned<usize>>,
    repeat: Option<Spanned<BTreeMap<String, String>>>,
    shapes: Option<Spanned<Vec<Vec<usize>>>>,
    improves: Option<Spanned<String>>,
    needs: Option<Spanned<BTreeMap<String, f64>>>,
    #[serde(default)]
    uses: Vec<String>,
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
        // Some editors put a byte order mark before the text.
        let text = text.strip_prefix('\u{feff}').map(String::from).unwrap_or(text);
        let failed = |message: String| Error::file(path, message);
        let toml = toml(&text).map_err(failed)?;
        let line_at = |at: usize| toml[..at].matches('\n').count() + 1;
        let header: Header = toml::from_str(&toml).map_err(|error| {
            let at = error.span().map(|span| span.start);
            failed(placed(at.map(line_at), error.message()))
        })?;
        let wrong = |wrong: Wrong| failed(placed(wrong.at.map(line_at), &wrong.message));
        let reference = header.reference().map_err(wrong)?;
        let launches = header.launches(line_at).map_err(wrong)?;
        let shapes = header.shapes(reference).map_err(wrong)?;
        let improves = header.improves.as_ref().map(|name| column(name, name.get_ref()));
        let improves = improves.transpose().map_err(wrong)?;
        let needs = header.needs().map_err(wrong)?;
        let translated = translate(&text)
            .map_err(|Untranslatable { line, message }| failed(placed(Some(line), &message)))?;
        let code = code(&text);
        let factors = Factors::of(&code);
        let (path, uses) = (path.to_owned(), header.uses);
        Ok(KernelFile {
            path,
            reference,
            launches,
            shapes,
            improves,
            needs,
            uses,
            factors,
            translated,
            code,
            text,
        })
    }

    /// The first of these pieces of code that is not in the file; space and comments do not count.
    pub fn lacks<'a>(&self, pieces: &'a [String]) -> Option<&'a str> {
        pieces.iter().map(String::as_str).find(|piece| !self.code.contains(piece))
    }

    /// The number of arrays in shared memory that are not dynamic.
    pub fn static_arrays(&self) -> usize {
        let count = |word| self.translated.matches(word).count();
        count("SHARED(") - count("DYNAMIC_SHARED(")
    }

    /// Its name without the folder.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The header of a kernel file, as TOML whose lines have the numbers of the file's.
fn toml(text: &str) -> std::result::Result<String, String> {
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
    Ok(toml.join("\n"))
}

/// A message with its line.
fn placed(line: Option<usize>, message: &str) -> String {
    line.map_or_else(|| message.to_owned(), |line| format!("line {line}: {message}"))
}

/// The column of this name; `place` is where the name stands.
fn column<T>(place: &Spanned<T>, name: &str) -> HeaderResult<Column> {
    Column::named(name).map_err(|message| Wrong::at(place, message))
}

impl Header {
    fn reference(&self) -> HeaderResult<&'static Reference> {
        let name = self.computes.get_ref();
        reference(name).ok_or_else(|| {
            let known: Vec<&str> = REFERENCES.iter().map(|reference| reference.name).collect();
            let message = format!("`computes` is one of {}, not {name}", known.join(", "));
            Wrong::at(&self.computes, message)
        })
    }

    fn shapes(&self, reference: &Reference) -> HeaderResult<Vec<Vec<usize>>> {
        let Some(given) = &self.shapes else { return Ok(reference.usual_shapes()) };
        let shapes = given.get_ref();
        if shapes.is_empty() {
            return Err(Wrong::at(given, "`shapes` is empty: give at least one, or leave it out"));
        }
        for shape in shapes {
            reference
                .check_shape(shape)
                .map_err(|message| Wrong::at(given, format!("`shapes` {message}")))?;
            let product = shape.iter().try_fold(1, |all: usize, own| all.checked_mul(*own));
            if product.is_none_or(|product| product > LARGEST) {
                let message = format!("`shapes` has {shape:?}, too large for the simulator");
                return Err(Wrong::at(given, message));
            }
        }
        Ok(shapes.clone())
    }

    fn needs(&self) -> HeaderResult<Vec<(Column, f64)>> {
        let Some(needs) = &self.needs else { return Ok(Vec::new()) };
        needs.get_ref().iter().map(|(name, bound)| Ok((column(needs, name)?, *bound))).collect()
    }

    fn launches(&self, line_at: impl Fn(usize) -> usize) -> HeaderResult<Vec<LaunchShape>> {
        let Header { block, tile, grid, shared, repeat, .. } = self.clone();
        if !self.launch.is_empty() {
            let extents = [&block, &tile, &grid].into_iter().flatten().map(|own| own.span().start);
            let others = [
                shared.as_ref().map(|own| own.span().start),
                repeat.as_ref().map(|own| own.span().start),
            ];
            let at = extents.chain(others.into_iter().flatten()).next();
            if at.is_some() {
                let message = "give block, tile, grid, shared and repeat in each [[launch]]".into();
                return Err(Wrong { at, message });
            }
            return self.launch.iter().map(|launch| launch.shape(&line_at)).collect();
        }
        let Some(block) = block else {
            let message =
                "lacks `block`, the number of threads of a block, such as `//@ block = 256`";
            return Err(Wrong::missing(message));
        };
        let shared = shared.map_or(0, |own| *own.get_ref());
        Ok(vec![Launch { kernel: None, block, tile, grid, shared, repeat }.shape(&line_at)?])
    }
}

impl Launch {
    fn shape(&self, line_at: &impl Fn(usize) -> usize) -> HeaderResult<LaunchShape> {
        let block = all(&self.block)?;
        let grid = match (&self.tile, &self.grid) {
            (Some(_), Some(grid)) => {
                return Err(Wrong::at(grid, "give `tile` or `grid`, not both"));
            }
            (_, Some(grid)) => Grid::Blocks(all(grid)?),
            (tile, None) => {
                let tile = tile.as_ref().unwrap_or(&self.block);
                Grid::Tiles(all(tile)?.map(|extent| extent as usize))
            }
        };
        let threads: u64 = block.iter().map(|extent| u64::from(*extent)).product();
        if threads > 1024 {
            let message = format!("`block` has {threads} threads; a GPU takes at most 1024");
            return Err(Wrong::at(&self.block, message));
        }
        let repeat = match &self.repeat {
            None => None,
            Some(given) => {
                let mut pairs = given.get_ref().iter();
                let (Some((name, count)), None) = (pairs.next(), pairs.next()) else {
                    let message =
                        "`repeat` has one parameter, such as `repeat = { t = \"steps\" }`";
                    return Err(Wrong::at(given, message));
                };
                Some((name.clone(), count.clone()))
            }
        };
        let at = self.repeat.as_ref().map_or(self.block.span(), Spanned::span).start;
        let (kernel, shared) = (self.kernel.clone(), self.shared);
        Ok(LaunchShape { kernel, block, grid, shared, repeat, line: line_at(at) })
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
        assert!(parsed(&format!("\u{feff}{}", file.text)).is_ok());
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
        assert_eq!((file.launches[0].line, file.launches[1].line), (5, 8));
        let file =
            parsed("//@ computes = \"lstm\"\n//@ block = 32\n//@ repeat = { t = \"steps\" }\n")
                .unwrap();
        assert_eq!(file.launches[0].repeat, Some(("t".into(), "steps".into())));
    }

    #[test]
    fn wrong_headers_are_refused_with_the_reason() {
        let head = "//@ computes = \"vector_add\"\n";
        for (text, part) in [
            ("int x;", "has no header"),
            ("//@ computes = \"dance\"\n//@ block = 1", "line 1: `computes` is one of"),
            (head, "lacks `block`"),
            ("\n//@ computes = \"vector_add\"\n//@ blok = 3", "line 3: unknown field `blok`"),
            (&format!("{head}//@ block = 2048"), "line 2: `block` has 2048 threads"),
            (&format!("{head}\n//@ block = [0]"), "line 3: [0]: `block`"),
            (&format!("{head}//@ block = 1\n//@ grid = 0"), "line 3: [0]: `block`"),
            (
                &format!("{head}//@ block = 32\n//@ tile = 1\n//@ grid = 1"),
                "line 4: give `tile` or `grid`",
            ),
            (
                &format!("{head}//@ block = 32\n//@ shapes = [[1, 2]]"),
                "line 3: `shapes` has [1, 2]: give the extents [n]",
            ),
            (
                &format!("{head}//@ block = 32\n//@ shapes = [[4000000000]]"),
                "line 3: `shapes` has [4000000000], too large for the simulator",
            ),
            (&format!("{head}//@ block = 32\n//@ shapes = []"), "line 3: `shapes` is empty"),
            (
                &format!("{head}//@ block = 32\n//@ improves = \"luck\""),
                "line 3: `luck` is no column",
            ),
            (
                &format!("{head}//@ block = 32\n//@ needs = {{ luck = 1 }}"),
                "line 3: `luck` is no column",
            ),
            (&format!("{head}//@ block = 32\n//@ repeat = {{}}"), "line 3: `repeat` has one"),
            (&format!("{head}//@ block = 32\n__shared__ int a;"), "line 3: a __shared__ array"),
            (&format!("{head}//@ block = \"many\""), "line 2: a number, or a list"),
        ] {
            let message = parsed(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
