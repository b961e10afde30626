//! A folder of images with a subfolder for each class, `train/CLASS/*.jpg` or `CLASS/*.jpg`, as torchvision's `ImageFolder` reads it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::look::look;
use super::others::Others;
use super::{
    Broken, CHANNELS, DecodeFailures, ImageFile, ImageFiles, LAYOUT, LeftOut, Shared, normalisation,
};
use crate::data::validation::ValidationRule;
use crate::data::{Arrays, Input, Inputs, LoadOptions, Part, Split, Targets, Task, unreadable};
use crate::device::threads::start_pool;
use crate::error::{Error, Result, quoted};
use crate::file;

/// The folders that are read.
const PARTS: [&str; 4] = ["train", "valid", "val", "test"];

/// The extensions of the formats that are decoded, in lower case.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "bmp"];

/// The number of them that the first rules read.
const FIRST_ENDINGS: usize = 3;

/// How deep in a folder its first image may lie.
const DEPTH: usize = 4;

/// Lists a folder of images: `train`, and `valid` (or `val`) and `test` if they exist, each with a folder for each class.
/// Where there is none of them, the folder itself is the training part.
///
/// The classes are the folders of `train`, sorted by name. A class without images keeps its number, as with `ImageFolder`'s
/// `allow_empty`, and is reported. Images may be in subfolders of a class's folder, and links are followed. Names that begin
/// with a dot are ignored; files with other extensions, and pipes, sockets and devices, are left out and reported. Without a
/// validation part, a share of each class becomes one; see [`LoadOptions`]. Broken files are left out and reported.
///
/// # Errors
/// [`Error::Input`] naming the folder or file, if a part has no classes or no images, if `train` lacks a class, if both
/// `valid` and `val` exist, or if more than 1 % of the files (and more than ten) are broken.
pub(in crate::data) fn load(root: &Path, options: &LoadOptions) -> Result<Arrays> {
    let pool = start_pool("images", options.threads)?;
    check_parts(root)?;
    let has = |part: &str| root.join(part).is_dir();
    let train_at = match has("train") {
        true => "train",
        false if options.test_alone && has("test") => "test",
        false => "",
    };
    let names = folders(root, train_at.as_ref())?;
    if names.is_empty() {
        let message = format!("has no folders; each class is a folder of its own: {LAYOUT}");
        return Err(Error::file(&root.join("train"), message));
    }
    if let Some(name) = names.iter().find(|name| name.to_str().is_none() && !options.first_rules) {
        let message = "the name of a class is not UTF-8, and a model's classes are told apart by name; rename the folder";
        return Err(Error::file(&root.join(train_at).join(name), message));
    }
    let endings = if options.first_rules { &ENDINGS[..FIRST_ENDINGS] } else { &ENDINGS };
    let mut left_out = LeftOut::default();
    let train = listed(root, train_at, &names, endings, &pool, &mut left_out)?;
    let mut listed_if_there = |name: Option<&str>| {
        name.map(|name| listed(root, name, &names, endings, &pool, &mut left_out)).transpose()
    };
    let valid = listed_if_there(validation(root)?)?;
    let test = match train_at {
        "test" => Some(train.clone()),
        _ => listed_if_there(has("test").then_some("test"))?,
    };
    let beside = if train_at.is_empty() { Vec::new() } else { entries(root)? };
    for (name, entry) in beside {
        match entry {
            Entry::Folder if PARTS.iter().any(|part| name == *part) => {}
            Entry::Folder => left_out.others.add_folder(&name),
            Entry::File if has_ending(&name, endings) => left_out.others.add_unclassed(),
            Entry::File | Entry::Irregular(_) => {}
        }
    }
    left_out.check(root)?;
    for (name, part) in
        [("train", Some(&train)), ("valid", valid.as_ref()), ("test", test.as_ref())]
    {
        if part.is_some_and(Vec::is_empty) {
            let layout = LAYOUT.replacen("train", name, 1);
            let message = format!("the {name} part has no images; give it some: {layout}");
            return Err(Error::file(root, message));
        }
    }
    let classes = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let size = options.image_size;
    let (root, failures) = (root.to_owned(), Mutex::new(DecodeFailures::default()));
    let shared = Arc::new(Shared { root, classes, size, pool, left_out, failures });
    let split = |part: Vec<Sample>| {
        let (classes, files): (Vec<i32>, Vec<ImageFile>) = part.into_iter().unzip();
        let files = ImageFiles { shared: Arc::clone(&shared), files: Arc::new(files), draw: None };
        Split::new(Inputs::Files(files), Targets::Classes(classes))
    };
    let sample = Input::Image { height: size, width: size, channels: CHANNELS };
    let task = Task::Classification { classes: names.len() };
    let last = ValidationRule::LastOfEachClass { share: options.valid_split };
    let rule = ValidationRule::of(options, last);
    let (valid, test) = (valid.map(split), test.map(split));
    let arrays = Arrays::assemble(split(train), valid, test, sample, task, rule);
    Ok(Arrays { normalisation: Some(normalisation()), ..arrays })
}

/// All images of a folder and of the folders in it, sorted by their paths, and lines about what was left out.
///
/// # Errors
/// Where a folder cannot be read.
pub(super) fn images_of(root: &Path) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let (mut images, mut others) = (Vec::new(), Others::default());
    let mut found = Found { endings: &ENDINGS, images: &mut images, others: &mut others };
    images_below(root, Path::new(""), &mut Vec::new(), &mut found)?;
    sort_as_walked(&mut images);
    Ok((images, others.notes()))
}

/// Whether a folder has the layout of a folder of images.
pub(in crate::data) fn is_in(root: &Path, test_alone: bool) -> bool {
    let has = |part: &str| root.join(part).is_dir();
    has("train") || (test_alone && has("test")) || has_classes(root)
}

/// Whether a folder has no parts but folders of images, which then are the classes.
fn has_classes(root: &Path) -> bool {
    classes(root).nth(1).is_some()
}

/// Whether a folder has images, not below but beside its folders.
pub(in crate::data) fn has_images(root: &Path) -> bool {
    has_image(root, 1)
}

/// The only folder of images in a folder without parts.
pub(in crate::data) fn only_class(root: &Path) -> Option<OsString> {
    let mut classes = classes(root);
    classes.next().filter(|_| classes.next().is_none())
}

/// The folders of images in a folder without parts.
fn classes(root: &Path) -> impl Iterator<Item = OsString> {
    let has_parts = PARTS.iter().any(|part| root.join(part).symlink_metadata().is_ok());
    let folders =
        if has_parts { Vec::new() } else { folders(root, "".as_ref()).unwrap_or_default() };
    folders.into_iter().filter(move |name| has_image(&root.join(name), DEPTH))
}

fn has_image(folder: &Path, depth: usize) -> bool {
    let entries = entries(folder).unwrap_or_default();
    entries.iter().any(|(name, entry)| match entry {
        Entry::File => has_ending(name, &ENDINGS),
        Entry::Folder => depth > 1 && has_image(&folder.join(name), depth - 1),
        Entry::Irregular(_) => false,
    })
}

/// Fails for a link that leads nowhere, or a file, in place of a part or of a class.
fn check_parts(root: &Path) -> Result<()> {
    for part in PARTS.map(|part| root.join(part)) {
        if file::is_dangling(&part) {
            return Err(Error::file(&part, file::DANGLING));
        }
        if part.is_file() {
            return Err(Error::file(&part, format!("is a file, not a folder: {LAYOUT}")));
        }
        for (name, _) in if part.is_dir() { entries(&part)? } else { Vec::new() } {
            let class = part.join(name);
            if file::is_dangling(&class) {
                return Err(Error::file(&class, file::DANGLING));
            }
        }
    }
    Ok(())
}

/// The number of an image's class, and the image's file.
type Sample = (i32, ImageFile);

/// The name of the validation part's folder, if there is one.
fn validation(root: &Path) -> Result<Option<&'static str>> {
    match [Part::Valid.name(), "val"].map(|name| root.join(name).is_dir()) {
        [true, true] => Err(Error::file(root, "has both valid and val; leave one out")),
        [true, false] => Ok(Some("valid")),
        [false, true] => Ok(Some("val")),
        [false, false] => Ok(None),
    }
}

/// The images of a part, class by class. Broken files, classes without images and other files are added to `left_out`.
fn listed(
    root: &Path,
    part: &str,
    classes: &[OsString],
    endings: &[&str],
    pool: &ThreadPool,
    left_out: &mut LeftOut,
) -> Result<Vec<Sample>> {
    let mut own = BTreeSet::new();
    for (name, entry) in entries(&root.join(part))? {
        match entry {
            Entry::Folder => drop(own.insert(name)),
            Entry::File if has_ending(&name, endings) => left_out.others.add_unclassed(),
            Entry::File => left_out.others.add(&name),
            Entry::Irregular(what) => left_out.others.add_irregular(what),
        }
    }
    if let Some(unknown) = own.iter().find(|name| !classes.contains(name)) {
        let names = quoted(classes.iter().map(|name| name.to_string_lossy()));
        let message = format!("is a class that train does not have; it has {names}");
        return Err(Error::file(&root.join(part).join(unknown), message));
    }
    let mut found = Vec::new();
    for (number, class) in classes.iter().enumerate().filter(|(_, class)| own.contains(*class)) {
        let folder = Path::new(part).join(class);
        let mut paths = Vec::new();
        let mut below = Found { endings, images: &mut paths, others: &mut left_out.others };
        // A link back to the part would make the images of all classes this class's.
        let whole = root.join(part);
        let whole = fs::canonicalize(&whole).map_err(|error| unreadable(&whole, &error))?;
        images_below(root, &folder, &mut vec![whole], &mut below)?;
        sort_as_walked(&mut paths);
        if paths.is_empty() {
            left_out.empty.push(folder);
        }
        found.extend(paths.into_iter().map(|path| (number as i32, path)));
    }
    left_out.found += found.len();
    let looked: Vec<_> =
        pool.install(|| found.par_iter().map(|(_, path)| look(&root.join(path))).collect());
    let mut samples = Vec::with_capacity(found.len());
    for ((class, path), looked) in found.into_iter().zip(looked) {
        match looked {
            Ok(bytes) => samples.push((class, ImageFile { path, bytes })),
            Err(reason) => left_out.broken.push(Broken { path, reason }),
        }
    }
    Ok(samples)
}

fn is_passed_over(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether a file has the name of an image that is decoded.
pub(super) fn is_named_image(name: &OsStr) -> bool {
    has_ending(name, &ENDINGS)
}

fn has_ending(name: &OsStr, endings: &[&str]) -> bool {
    let ending = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default();
    endings.iter().any(|own| ending.eq_ignore_ascii_case(own))
}

/// What a name in a folder stands for.
enum Entry {
    Folder,
    File,
    /// A named pipe, socket or device.
    Irregular(&'static str),
}

/// The names in a folder; links are followed, and one that leads nowhere is a file that cannot be read.
fn entries(folder: &Path) -> Result<Vec<(OsString, Entry)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?;
        let target = kind.is_symlink().then(|| fs::metadata(entry.path()).ok()).flatten();
        let kind = target.map_or(kind, |target| target.file_type());
        let what = match file::irregular(kind) {
            _ if kind.is_dir() => Entry::Folder,
            Some(what) if !kind.is_symlink() => Entry::Irregular(what),
            _ => Entry::File,
        };
        if !is_passed_over(&entry.file_name()) {
            entries.push((entry.file_name(), what));
        }
    }
    Ok(entries)
}

/// The folders in a folder, sorted by the bytes of their names.
fn folders(root: &Path, folder: &Path) -> Result<Vec<OsString>> {
    let entries = entries(&root.join(folder))?;
    let is_folder = |entry: &Entry| matches!(entry, Entry::Folder);
    let mut names: Vec<OsString> =
        entries.into_iter().filter(|(_, entry)| is_folder(entry)).map(|(name, _)| name).collect();
    names.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    Ok(names)
}

/// What is found in the folder of a class.
struct Found<'a> {
    endings: &'a [&'a str],
    images: &'a mut Vec<PathBuf>,
    others: &'a mut Others,
}

/// Adds every file in a folder and its subfolders. `above` holds the parent folders with links resolved; a link back to
/// one of them is not followed.
fn images_below(
    root: &Path,
    folder: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Found,
) -> Result<()> {
    let place = root.join(folder);
    let real = fs::canonicalize(&place).map_err(|error| unreadable(&place, &error))?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for (name, entry) in entries(&place)? {
        let path = folder.join(&name);
        match entry {
            Entry::Folder => images_below(root, &path, above, found)?,
            Entry::File if has_ending(&name, found.endings) => found.images.push(path),
            Entry::File => found.others.add(&name),
            Entry::Irregular(what) => found.others.add_irregular(what),
        }
    }
    above.pop();
    Ok(())
}

/// Sorts as Python's sorted `os.walk` does: by the bytes of the folder's path, then of the name.
fn sort_as_walked(paths: &mut [PathBuf]) {
    let bytes = |part: Option<&OsStr>| part.map(OsStr::as_encoded_bytes).map(<[u8]>::to_vec);
    paths.sort_by_cached_key(|path| {
        (bytes(path.parent().map(Path::as_os_str)), bytes(path.file_name()))
    });
}
