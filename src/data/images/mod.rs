//! Images in files, which are decoded when a batch needs them.

mod bmp;
mod broken;
mod crop;
mod decode;
pub(super) mod folder;
mod formats;
mod gif;
#[cfg(test)]
mod golden;
mod look;
mod others;
mod rgb;
pub(super) mod samples;
mod webp;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::{Normalisation, head};
use crate::error::{Error, Result};
use crate::file;
use crate::fingerprint::Fingerprint;
use broken::DecodeFailures;
pub(super) use broken::{Broken, LeftOut};
pub use rgb::RgbImage;

const CHANNELS: usize = 3;

/// The bytes at a file's start that tell whether it is an image.
const HEAD: u64 = 16;

/// Mean and deviation of ImageNet's channels, which torchvision's models expect.
const MEAN: [f64; CHANNELS] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; CHANNELS] = [0.229, 0.224, 0.225];

/// The layout of a folder of images, for messages.
pub(super) const LAYOUT: &str = "train/CLASS/*.jpg, *.jpeg, *.png, *.webp, *.gif or *.bmp";

/// The images of one part of a data set. They stay in their files; a batch reads and decodes its images on the data set's
/// own threads.
///
/// If an image turns out to be broken then, an image of the mean colour replaces it, which normalises to nearly 0. It keeps
/// its class and its position, so the epoch keeps its number of steps. The file is reported once (see
/// [`crate::learn::Event::Damaged`]). If more than 1 % of the files are broken, or if one can no longer be read, the run
/// ends; it can be resumed.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    shared: Arc<Shared>,
    files: Arc<Vec<ImageFile>>,
    draw: Option<Draw>,
}

/// One image.
#[derive(Clone, Debug)]
struct ImageFile {
    /// Relative to the data set's folder.
    path: PathBuf,
    bytes: u64,
}

/// What the parts of a data set share.
#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// Names of the classes, by number.
    classes: Vec<String>,
    /// Rows and columns of the decoded images.
    size: usize,
    pool: ThreadPool,
    left_out: LeftOut,
    failures: Mutex<DecodeFailures>,
}

/// Seed and epoch, which random crops and flips depend on beside the sample's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Draw {
    seed: u64,
    epoch: u64,
}

/// Equal if they are the same files with the same crops.
impl PartialEq for ImageFiles {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.files, &other.files) && self.draw == other.draw
    }
}

impl ImageFiles {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Rows and columns of the decoded images, which have three channels.
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// Names of the classes, by number: the folders of the training part.
    pub fn classes(&self) -> &[String] {
        &self.shared.classes
    }

    /// The image's file.
    pub fn path(&self, number: usize) -> PathBuf {
        self.shared.root.join(&self.files[number].path)
    }

    /// The same images with random crops and flips in place of the central crop; they differ from epoch to epoch.
    pub(crate) fn with_random_crops(&self, seed: u64, epoch: u64) -> ImageFiles {
        ImageFiles { draw: Some(Draw { seed, epoch }), ..self.clone() }
    }

    /// The images with these numbers, `[n, size, size, 3]`. Panics if a number is out of range.
    pub(crate) fn gather(&self, numbers: impl Iterator<Item = usize>) -> Vec<u8> {
        let numbers: Vec<usize> = numbers.collect();
        let mut bytes = vec![0; numbers.len() * self.elements_of_one()];
        let images = bytes.par_chunks_exact_mut(self.elements_of_one()).with_max_len(1);
        self.shared.pool.install(|| {
            images.zip(&numbers).for_each(|(out, &number)| self.write(number, out));
        });
        bytes
    }

    pub(super) fn elements_of_one(&self) -> usize {
        self.size() * self.size() * CHANNELS
    }

    fn write(&self, number: usize, out: &mut [u8]) {
        match self.decoded(number) {
            Some(image) => match self.draw {
                Some(draw) => {
                    decode::random_view(&image, self.size(), draw, number as u32, out);
                }
                None => decode::centred_view(&image, self.size(), out),
            },
            None => {
                let mean = MEAN.map(|mean| (255.0 * mean).round() as u8);
                out.as_chunks_mut().0.fill(mean);
            }
        }
    }

    /// The decoded image; `None` if that fails, which is added to the failures.
    fn decoded(&self, number: usize) -> Option<RgbImage> {
        let own = &self.files[number].path;
        let broken = |reason| Broken { path: own.clone(), reason };
        match file::read(&self.shared.root.join(own)) {
            Err(error) => {
                self.failures().unreadable(broken(format!("could no longer be read: {error}")));
                None
            }
            Ok(bytes) => decode::decode(&bytes)
                .map_err(|reason| self.failures().damaged(broken(reason)))
                .ok(),
        }
    }

    fn failures(&self) -> MutexGuard<'_, DecodeFailures> {
        self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines about what was left out when the folder was listed.
    pub(super) fn notes(&self) -> Vec<String> {
        self.shared.left_out.notes(&self.shared.root)
    }

    /// How many files were left out when the folder was listed; `None` if there were none.
    pub(super) fn left_out(&self) -> Option<String> {
        self.shared.left_out.summary()
    }

    /// The images with these numbers, as a part of their own.
    pub(super) fn subset(&self, numbers: &[usize]) -> ImageFiles {
        let files = numbers.iter().map(|&number| self.files[number].clone()).collect();
        ImageFiles { files: Arc::new(files), ..self.clone() }
    }

    /// One line for each file found broken since the last call.
    pub(crate) fn newly_damaged(&self) -> Vec<String> {
        let news = self.failures().take_unreported();
        let line = |broken: &Broken| {
            let line = broken.line(&self.shared.root);
            format!("{line}; an image of the mean colour replaces it")
        };
        news.iter().map(line).collect()
    }

    /// Checks that the images could be decoded so far.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if a file could no longer be read, or if too many files are broken.
    pub(crate) fn check(&self) -> Result<()> {
        self.failures().check(&self.shared.root, &self.shared.left_out)
    }

    /// Adds the names, lengths and classes of the files, but not their content.
    pub(super) fn fingerprint(&self, fingerprint: &mut Fingerprint) {
        fingerprint.numbers([self.shared.classes.len() as u64, self.files.len() as u64]);
        self.shared.classes.iter().for_each(|class| fingerprint.bytes(class.as_bytes()));
        for file in self.files.iter() {
            fingerprint.numbers([file.path.components().count() as u64, file.bytes]);
            for component in file.path.components() {
                fingerprint.bytes(component.as_os_str().as_encoded_bytes());
            }
        }
    }
}

/// An image file's pixels, as of a file in a folder of images; `path` is for messages.
///
/// # Errors
/// [`crate::Error::Input`] if the bytes are of no known format, end too early, or are damaged.
pub fn decode_image(bytes: &[u8], path: &Path) -> Result<RgbImage> {
    let looked = look::look_at(std::io::Cursor::new(bytes));
    looked.and_then(|_| decode::decode(bytes)).map_err(|reason| Error::file(path, reason))
}

/// Whether a file is an image of a format that is decoded, by its first bytes or its name.
pub(super) fn is_image(path: &Path) -> Result<bool> {
    let begins_as_one = formats::format(&head(path, HEAD)?).is_some();
    Ok(begins_as_one || path.file_name().is_some_and(folder::is_named_image))
}

/// Whether means are those by which a folder's images are standardised.
pub(crate) fn are_folder_means(mean: &[f64]) -> bool {
    *mean == MEAN
}

fn normalisation() -> Normalisation {
    Normalisation { mean: MEAN.to_vec(), deviation: DEVIATION.to_vec() }
}

/// The path of a file in the data set's folder, for messages.
fn shown(root: &Path, path: &Path) -> String {
    root.join(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::data::{Content, Inputs, Kind, LoadOptions, Part, Split, Targets, load_with};

    /// A folder with the given number of noise images in each class; their extents differ.
    fn folder(counts: &[(&str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (class, count) in counts {
            let place = folder.path().join(class);
            std::fs::create_dir_all(&place).unwrap();
            for number in 0..*count {
                let image = RgbImage::from_fn(40 + number, 30, |x, y| {
                    [(x * 37 + y * 91 + number * 11) as u8, (x * y) as u8, number as u8].into()
                });
                image.save(place.join(format!("{number}.png"))).unwrap();
            }
        }
        folder
    }

    fn loaded(folder: &Path, options: &LoadOptions) -> (crate::data::Arrays, String) {
        let dataset = load_with(folder.to_str().unwrap(), Kind::Arrays, options).unwrap();
        let Content::Arrays(arrays) = dataset.content else { panic!("no arrays") };
        (arrays, dataset.fingerprint)
    }

    fn bytes(files: ImageFiles) -> Vec<u8> {
        let (numbers, classes) = (0..files.len(), vec![0; files.len()]);
        let split = Split::new(Inputs::Files(files), Targets::Classes(classes));
        let Inputs::Bytes(bytes) = split.gather(numbers).inputs else { panic!("no bytes") };
        bytes
    }

    #[test]
    fn views_are_functions_of_seed_epoch_and_sample() {
        let folder = folder(&[("train/a", 7), ("train/b", 6)]);
        let on = |threads| {
            let options =
                LoadOptions { image_size: 8, threads: Some(threads), ..LoadOptions::default() };
            loaded(folder.path(), &options).0.files(Part::Train).unwrap().clone()
        };
        let (one, many) = (on(1), on(5));
        assert_eq!(bytes(one.clone()), bytes(many.clone()));
        let crops = |seed, epoch| bytes(one.with_random_crops(seed, epoch));
        assert_eq!(crops(3, 1), bytes(many.with_random_crops(3, 1)));
        assert_ne!(crops(3, 1), bytes(one.clone()));
        assert_ne!(crops(3, 1), crops(3, 2));
        assert_ne!(crops(3, 1), crops(4, 1));
    }

    #[test]
    fn the_first_rules_validate_on_the_last_of_each_class() {
        let folder = folder(&[("train/a", 10), ("train/b", 4), ("train/c", 5)]);
        // These rules read no files with such names.
        for ending in ["webp", "gif", "bmp"] {
            let other = folder.path().join("train/a/99").with_extension(ending);
            std::fs::copy(folder.path().join("train/a/0.png"), other).unwrap();
        }
        let options = LoadOptions { first_rules: true, ..LoadOptions::default() };
        let (arrays, fingerprint) = loaded(folder.path(), &options);
        let names = |part| {
            let files = arrays.files(part).unwrap();
            let path = |number: usize| files.files[number].path.display().to_string();
            (0..files.len()).map(path).collect::<Vec<_>>()
        };
        assert_eq!(names(Part::Valid), ["train/a/8.png", "train/a/9.png", "train/c/4.png"]);
        assert_eq!(arrays.valid.as_ref().unwrap().targets, Targets::Classes(vec![0, 0, 2]));
        assert_eq!((arrays.train.len(), names(Part::Train)[8].as_str()), (16, "train/b/0.png"));
        let none = LoadOptions { valid_split: 0.0, ..options.clone() };
        let (whole, other) = loaded(folder.path(), &none);
        assert!(whole.valid.is_none() && whole.train.len() == 19 && other != fingerprint);
        // The same names with other lengths are other data.
        let same = loaded(folder.path(), &options).1;
        assert_eq!(same, fingerprint);
        std::fs::copy(folder.path().join("train/a/9.png"), folder.path().join("train/a/0.png"))
            .unwrap();
        assert_ne!(loaded(folder.path(), &options).1, fingerprint);
    }

    #[test]
    fn the_folders_of_classes_may_be_the_data_itself() {
        let whole = folder(&[("train/a", 5), ("train/b/below", 6)]);
        let (expected, _) = loaded(whole.path(), &LoadOptions::default());
        let root = whole.path().join("train");
        std::fs::write(root.join("notes.txt"), "of the photographer").unwrap();
        let (arrays, _) = loaded(&root, &LoadOptions::default());
        let [own, other] = [&arrays, &expected].map(|arrays| arrays.files(Part::Train).unwrap());
        assert_eq!(own.classes(), ["a", "b"]);
        assert_eq!(bytes(own.clone()), bytes(other.clone()));
        assert_eq!(arrays.train.targets, expected.train.targets);
        let message = |classes: &[(&str, u32)]| {
            let folder = folder(classes);
            let path = folder.path().to_str().unwrap();
            load_with(path, Kind::Arrays, &LoadOptions::default()).unwrap_err().to_string()
        };
        assert!(message(&[("a", 2)]).contains("has one folder of images, a:"));
        assert!(message(&[("test", 2)]).contains("here; it has test, but no train"));
        assert!(message(&[("a", 2), ("b", 2), ("test", 2)]).contains("no data to train on here"));
    }

    #[test]
    fn a_test_part_alone_is_for_evaluations() {
        let folder = folder(&[("test/a", 3), ("test/b", 2)]);
        let options = LoadOptions { valid_split: 0.0, ..LoadOptions::default() };
        let source = folder.path().to_str().unwrap();
        assert!(load_with(source, Kind::Arrays, &options).is_err());
        let (arrays, _) = loaded(folder.path(), &LoadOptions { test_alone: true, ..options });
        let [train, test] = [Part::Train, Part::Test].map(|part| arrays.part(part).unwrap());
        assert_eq!((train.len(), &train.targets), (5, &test.targets));
    }

    #[test]
    fn a_file_that_goes_away_ends_what_relied_on_it() {
        let folder = folder(&[("train/a", 3)]);
        let none = LoadOptions { valid_split: 0.0, ..LoadOptions::default() };
        let (arrays, _) = loaded(folder.path(), &none);
        let files = arrays.files(Part::Train).unwrap();
        bytes(files.clone());
        assert!(files.check().is_ok());
        std::fs::remove_file(files.path(1)).unwrap();
        bytes(files.clone());
        let error = files.check().unwrap_err();
        assert!(error.to_string().contains("train/a/1.png: could no longer be read"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
