//! Images to predict: one file, or all files of a folder, without classes.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::folder::images_of;
use super::{CHANNELS, ImageFiles, RgbImage, decode, decode_image};
use crate::data::pad::framed;
use crate::data::{Inputs, SampleBatch, SampleForm, SampleName, Targets, read};
use crate::device::threads::{start, start_pool};
use crate::error::{Error, Result};
use crate::input::Input;

/// Batches that are read ahead of their use.
const AHEAD: usize = 2;

/// The parts of red, green and blue in a grey, in 65,536ths: those of ITU-R 601, as Pillow takes them.
const GREY: [u32; CHANNELS] = [19_595, 38_470, 7_471];

/// How an image becomes a model's input.
#[derive(Clone, Copy, Debug)]
struct View {
    height: usize,
    width: usize,
    is_grey: bool,
    is_cut_out: bool,
    is_padded: bool,
}

/// Images in files.
#[derive(Debug)]
pub(in crate::data) struct SampleFiles {
    root: PathBuf,
    /// Relative to the root.
    files: Vec<PathBuf>,
    /// The images' targets, where they are a part of a data set.
    targets: Option<Targets>,
    notes: Vec<String>,
    view: View,
    pool: ThreadPool,
}

impl SampleFiles {
    /// One image.
    ///
    /// # Errors
    /// Where the model takes no such images, or the image is broken.
    pub fn one(path: &Path, form: &SampleForm) -> Result<SampleFiles> {
        let view = View::of(form, path)?;
        view.of_bytes(&read(path)?, path)?;
        let (root, files, notes) = (PathBuf::new(), vec![path.to_owned()], Vec::new());
        let pool = start_pool("images", form.threads)?;
        Ok(SampleFiles { root, files, targets: None, notes, view, pool })
    }

    /// The images of a part of a data set.
    ///
    /// # Errors
    /// Where the model takes no such images.
    pub fn of_part(
        images: &ImageFiles,
        targets: Targets,
        form: &SampleForm,
    ) -> Result<SampleFiles> {
        let root = images.shared.root.clone();
        let files = images.files.iter().map(|file| file.path.clone()).collect();
        let view = View::of(form, &root)?;
        let pool = start_pool("images", form.threads)?;
        Ok(SampleFiles { root, files, targets: Some(targets), notes: Vec::new(), view, pool })
    }

    /// All images of a folder and of the folders in it, sorted by their paths.
    ///
    /// # Errors
    /// Where the model takes no such images, or there are none.
    pub fn below(root: &Path, form: &SampleForm) -> Result<SampleFiles> {
        let (files, notes) = images_of(root)?;
        if files.is_empty() {
            let message = format!(
                "has no images, arrays or files of MNIST or CIFAR-10; the model takes {}",
                form.sample
            );
            return Err(Error::file(root, message));
        }
        let view = View::of(form, root)?;
        let pool = start_pool("images", form.threads)?;
        Ok(SampleFiles { root: root.to_owned(), files, targets: None, notes, view, pool })
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// The images in a range; broken ones are left out.
    fn batch(&self, range: Range<usize>) -> SampleBatch {
        let read_one = |file: &PathBuf| {
            let path = self.root.join(file);
            read(&path).and_then(|bytes| self.view.of_bytes(&bytes, &path))
        };
        let files = &self.files[range.clone()];
        let read: Vec<Result<Vec<u8>>> =
            self.pool.install(|| files.par_iter().with_max_len(1).map(read_one).collect());
        let (mut names, mut bytes, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        let mut whole = Vec::new();
        for ((number, file), own) in range.zip(files).zip(read) {
            match own {
                Ok(pixels) => {
                    whole.push(number);
                    names.push(SampleName::File(file.clone()));
                    bytes.extend(pixels);
                }
                Err(error) => broken.push(format!("{error}; it is left out")),
            }
        }
        let targets = self.targets.as_ref().map(|own| own.gather(whole.into_iter()));
        SampleBatch { names, inputs: Inputs::Bytes(bytes), targets, broken }
    }
}

impl View {
    fn of(form: &SampleForm, path: &Path) -> Result<View> {
        let refused = |message: String| Err(Error::file(path, message));
        let Input::Image { height, width, channels } = form.sample else {
            return refused(format!("has images, the model takes {}", form.sample));
        };
        if form.is_bytes == Some(false) {
            let message = "has images of bytes, but the model was trained on images of floats: give it arrays of floats";
            return refused(message.into());
        }
        let is_grey = match channels {
            1 => true,
            CHANNELS => false,
            _ => {
                return refused(format!(
                    "has images of 3 channels, the model takes {}",
                    form.sample
                ));
            }
        };
        Ok(View { height, width, is_grey, is_cut_out: form.is_cut_out, is_padded: form.is_padded })
    }

    /// The pixels `[height, width, channels]` of a file's bytes.
    fn of_bytes(&self, bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
        let image = decode_image(bytes, path)?;
        let pixels = self.of_image(image);
        let grey = |&[r, g, b]: &[u8; CHANNELS]| {
            let sum: u32 = [r, g, b].into_iter().map(u32::from).zip(GREY).map(|(a, b)| a * b).sum();
            ((sum + (1 << 15)) >> 16) as u8
        };
        Ok(if self.is_grey { pixels.as_chunks().0.iter().map(grey).collect() } else { pixels })
    }

    /// An image of the model's size is taken as it is; of others the middle is taken.
    fn of_image(&self, image: RgbImage) -> Vec<u8> {
        let View { height, width, .. } = *self;
        let extents = [image.height as usize, image.width as usize];
        if self.is_padded && extents[0] <= height && extents[1] <= width {
            let input =
                |[height, width]: [usize; 2]| Input::Image { height, width, channels: CHANNELS };
            return framed(&image.pixels, input(extents), input([height, width]), &[0; CHANNELS]);
        }
        if !self.is_cut_out && [image.width as usize, image.height as usize] == [width, height] {
            return image.pixels;
        }
        let mut out = vec![0; height * width * CHANNELS];
        match self.is_cut_out {
            true => decode::centred_view(&image, height, &mut out),
            false => decode::fitted_view(&image, [width, height], &mut out),
        }
        out
    }
}

/// The batches of images in files. A thread reads them ahead; if the operating system starts none, each is read when it is
/// needed.
pub(in crate::data) enum ImageBatches {
    Thread { receiver: Option<Receiver<SampleBatch>>, thread: Option<JoinHandle<()>> },
    Here(Reading),
}

/// The batches that are left.
#[derive(Clone)]
pub(in crate::data) struct Reading {
    files: Arc<SampleFiles>,
    size: usize,
    next: usize,
}

impl Iterator for Reading {
    type Item = SampleBatch;

    fn next(&mut self) -> Option<SampleBatch> {
        let range = self.next..(self.next + self.size).min(self.files.len());
        self.next = range.end;
        (!range.is_empty()).then(|| self.files.batch(range))
    }
}

impl ImageBatches {
    pub fn new(files: Arc<SampleFiles>, size: usize) -> ImageBatches {
        let reading = Reading { files, size, next: 0 };
        let (sender, receiver) = sync_channel(AHEAD - 1);
        let batches = reading.clone();
        let started = start("images", move || {
            for batch in batches {
                // The batches were dropped.
                if sender.send(batch).is_err() {
                    return;
                }
            }
        });
        match started {
            Ok(thread) => ImageBatches::Thread { receiver: Some(receiver), thread: Some(thread) },
            Err(_) => ImageBatches::Here(reading),
        }
    }
}

impl Iterator for ImageBatches {
    type Item = SampleBatch;

    fn next(&mut self) -> Option<SampleBatch> {
        match self {
            ImageBatches::Thread { receiver, .. } => receiver.as_ref()?.recv().ok(),
            ImageBatches::Here(reading) => reading.next(),
        }
    }
}

impl Drop for ImageBatches {
    fn drop(&mut self) {
        if let ImageBatches::Thread { receiver, thread } = self {
            // The receiver is dropped first, so that a thread waiting to send wakes and ends.
            *receiver = None;
            // A panic in the thread was printed already, and this drop may run during another panic.
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::data::Samples;

    fn form(height: usize, channels: usize, is_cut_out: bool) -> SampleForm {
        let sample = Input::Image { height, width: height, channels };
        SampleForm {
            sample,
            is_bytes: Some(true),
            table: None,
            is_cut_out,
            is_padded: false,
            threads: Some(2),
        }
    }

    fn write(path: &Path, extents: [u32; 2], pixel: [u8; 3]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(extents[0], extents[1], pixel.into()).save(path).unwrap();
    }

    #[test]
    fn all_images_below_a_folder_are_read_in_order_and_broken_ones_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..5u8 {
            let class = if number < 3 { "a" } else { "b" };
            write(&folder.path().join(format!("{class}/{number}.png")), [20, 10], [number; 3]);
        }
        std::fs::write(folder.path().join("a/1.png"), "no image").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "of the photographer").unwrap();
        let source = folder.path().to_str().unwrap();
        let samples = Samples::read(source, &form(4, 3, true)).unwrap();
        assert_eq!(samples.len(), 5);
        assert!(samples.notes.iter().any(|note| note.contains(".txt")), "{:?}", samples.notes);
        let batches: Vec<SampleBatch> = samples.batches(2).collect();
        let names = |batch: &SampleBatch| batch.names.clone();
        let file = |name: &str| SampleName::File(name.into());
        assert_eq!(
            batches.iter().map(names).collect::<Vec<_>>(),
            [vec![file("a/0.png")], vec![file("a/2.png"), file("b/3.png")], vec![file("b/4.png")]]
        );
        assert_eq!(batches[1].inputs, Inputs::Bytes([[2; 48], [3; 48]].concat()));
        assert!(batches[0].broken[0].contains("1.png: is none of JPEG"), "{:?}", batches[0].broken);
    }

    #[test]
    fn grey_images_of_the_size_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.png");
        write(&path, [4, 4], [200, 100, 50]);
        let read = |form: &SampleForm| {
            Samples::read(path.to_str().unwrap(), form).map(|own| own.batches(9).next().unwrap())
        };
        // Pillow: Image.new("RGB", (4, 4), (200, 100, 50)).convert("L") is 124.
        assert_eq!(read(&form(4, 1, false)).unwrap().inputs, Inputs::Bytes(vec![124; 16]));
        assert_eq!(read(&form(6, 1, false)).unwrap().inputs, Inputs::Bytes(vec![124; 36]));
        let floats = SampleForm { is_bytes: Some(false), ..form(4, 1, false) };
        assert!(read(&floats).unwrap_err().to_string().contains("trained on images of floats"));
    }

    #[test]
    fn dropping_the_batches_midway_ends_their_thread() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..9u8 {
            write(&folder.path().join(format!("{number}.png")), [8, 8], [number; 3]);
        }
        for taken in 0..3 {
            let form = form(4, 3, true);
            let files = Arc::new(SampleFiles::below(folder.path(), &form).unwrap());
            let mut batches = ImageBatches::new(Arc::clone(&files), 1);
            assert_eq!(batches.by_ref().take(taken).count(), taken);
            drop(batches);
            assert_eq!(Arc::strong_count(&files), 1);
        }
    }
}
