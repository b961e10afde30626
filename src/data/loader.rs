//! The data loader: a thread that gathers batches in host memory ahead of their use.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{Inputs, Split, Targets};

/// Batches that are ready, including the one being handed over.
const AHEAD: usize = 3;

/// A batch in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// The model's inputs.
    pub inputs: Inputs,
    /// What the model learns to predict.
    pub targets: Targets,
    /// Number of samples.
    pub samples: usize,
}

/// The batches of one pass over a split, in order; the last may be short. Dropping the loader ends its thread.
///
/// ```
/// use alrao::data::{Inputs, Loader, Split, Targets};
/// use std::sync::Arc;
/// let split = Split {
///     inputs: Inputs::Floats(vec![0.0, 0.1, 0.2]),
///     targets: Targets::Classes(vec![5, 6, 7]),
/// };
/// let order = Arc::new(vec![2, 0, 1]);
/// let batches: Vec<_> = Loader::new(Arc::new(split), Some(order), 2, 0).collect();
/// assert_eq!(batches[0].targets, Targets::Classes(vec![7, 5]));
/// assert_eq!(batches[1].inputs, Inputs::Floats(vec![0.1]));
/// ```
pub struct Loader {
    batches: Option<Receiver<HostBatch>>,
    thread: Option<JoinHandle<()>>,
    left: usize,
}

impl Loader {
    /// Batches of `batch_size` samples from batch `first_batch` on, counted from 0, so that a resumed epoch can start in the
    /// middle. `order` lists the sample numbers in the order of use; `None` is file order. Panics if a number is out of range
    /// or the batch size is 0.
    pub fn new(
        split: Arc<Split>,
        order: Option<Arc<Vec<u32>>>,
        batch_size: usize,
        first_batch: usize,
    ) -> Self {
        assert!(batch_size > 0, "loader: a batch has at least one sample");
        let samples = split.len();
        if let Some(order) = &order {
            let wrong = order.iter().find(|&&sample| sample as usize >= samples);
            assert!(wrong.is_none(), "loader: sample {wrong:?} of {samples}");
        }
        let length = order.as_ref().map_or(samples, |order| order.len());
        let starts = (first_batch * batch_size..length).step_by(batch_size);
        let left = starts.len();
        // The channel holds all but one: the thread holds the last itself.
        let (sender, receiver) = sync_channel(AHEAD - 1);
        let work =
            move || send_batches(&split, order.as_deref(), batch_size, length, starts, &sender);
        let thread = std::thread::Builder::new().name("loader".into()).spawn(work);
        let thread = thread.expect("the operating system gives one more thread");
        Loader { batches: Some(receiver), thread: Some(thread), left }
    }
}

fn send_batches(
    split: &Split,
    order: Option<&Vec<u32>>,
    batch_size: usize,
    length: usize,
    starts: impl Iterator<Item = usize>,
    sender: &SyncSender<HostBatch>,
) {
    for start in starts {
        let end = (start + batch_size).min(length);
        let batch = match order {
            Some(order) => split.gather(order[start..end].iter().map(|&sample| sample as usize)),
            None => split.gather(start..end),
        };
        // The loader was dropped.
        if sender.send(batch).is_err() {
            return;
        }
    }
}

impl Split {
    /// A batch of the samples with these numbers, in this order; images in files are decoded. Panics if a number is out of
    /// range.
    pub fn gather(&self, samples: impl ExactSizeIterator<Item = usize> + Clone) -> HostBatch {
        let width = self.inputs.elements() / self.len().max(1);
        let inputs = match &self.inputs {
            Inputs::Bytes(bytes) => Inputs::Bytes(rows(bytes, width, samples.clone())),
            Inputs::Floats(floats) => Inputs::Floats(rows(floats, width, samples.clone())),
            Inputs::Files(files) => Inputs::Bytes(files.gather(samples.clone())),
        };
        HostBatch { inputs, targets: self.targets_of(samples.clone()), samples: samples.len() }
    }

    /// The targets of these samples.
    pub(super) fn targets_of(&self, samples: impl ExactSizeIterator<Item = usize>) -> Targets {
        match &self.targets {
            Targets::Classes(classes) => Targets::Classes(rows(classes, 1, samples)),
            Targets::Values { values, columns } => {
                Targets::Values { values: rows(values, *columns, samples), columns: *columns }
            }
        }
    }
}

fn rows<T: Copy>(
    elements: &[T],
    width: usize,
    numbers: impl ExactSizeIterator<Item = usize>,
) -> Vec<T> {
    let mut rows = Vec::with_capacity(width * numbers.len());
    numbers.for_each(|row| rows.extend_from_slice(&elements[row * width..(row + 1) * width]));
    rows
}

impl Iterator for Loader {
    type Item = HostBatch;

    fn next(&mut self) -> Option<HostBatch> {
        let batch = self.batches.as_ref()?.recv().ok()?;
        self.left -= 1;
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        // The receiver is dropped first, so that a thread waiting to send wakes and ends.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was printed already, and this drop may run during another panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(samples: usize) -> Arc<Split> {
        let inputs = Inputs::Bytes((0..2 * samples).map(|i| i as u8).collect());
        let values = (0..samples).map(|i| i as f32).collect();
        Arc::new(Split { inputs, targets: Targets::Values { values, columns: 1 } })
    }

    #[test]
    fn every_sample_comes_once_and_the_last_batch_is_short() {
        let batches: Vec<_> = Loader::new(split(7), None, 3, 0).collect();
        let sizes: Vec<_> = batches.iter().map(|batch| batch.samples).collect();
        assert_eq!(sizes, [3, 3, 1]);
        assert_eq!(batches[1].inputs, Inputs::Bytes(vec![6, 7, 8, 9, 10, 11]));
        assert_eq!(batches[2].targets, Targets::Values { values: vec![6.0], columns: 1 });
    }

    #[test]
    fn an_epoch_can_start_later() {
        let order = Arc::new(vec![4, 3, 2, 1, 0]);
        let mut loader = Loader::new(split(5), Some(order.clone()), 2, 1);
        assert_eq!(loader.len(), 2);
        assert_eq!(loader.next().unwrap().inputs, Inputs::Bytes(vec![4, 5, 2, 3]));
        assert_eq!(loader.next().unwrap().inputs, Inputs::Bytes(vec![0, 1]));
        assert!(loader.next().is_none() && loader.next().is_none());
        assert_eq!(Loader::new(split(5), Some(order), 2, 3).len(), 0);
    }

    #[test]
    fn dropping_it_midway_ends_its_thread() {
        let split = split(1000);
        for taken in 0..5 {
            let mut loader = Loader::new(split.clone(), None, 1, 0);
            assert_eq!(loader.by_ref().take(taken).count(), taken);
        }
        // No thread holds the samples any more, so all have ended.
        assert_eq!(Arc::strong_count(&split), 1);
    }

    #[test]
    #[should_panic(expected = "loader: sample Some(9) of 5")]
    fn an_order_beyond_the_samples_panics() {
        Loader::new(split(5), Some(Arc::new(vec![0, 9])), 2, 0);
    }
}
