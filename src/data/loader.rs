//! The data loader: a thread that gathers batches in host memory ahead of their use.

use std::iter::StepBy;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::{Inputs, Split, Targets};
use crate::device::threads;

/// Batches that are ready, including the one being handed over.
const AHEAD: usize = 3;

/// The batches of one pass over a split, in order; the last may be short. Dropping the loader ends its thread. If the
/// operating system starts no thread, each batch is gathered when it is needed.
///
/// ```
/// use alrao::data::{Inputs, Loader, Split, Targets};
/// use std::sync::Arc;
/// let inputs = Inputs::Floats(vec![0.0, 0.1, 0.2]);
/// let split = Split::new(inputs, Targets::Classes(vec![5, 6, 7]));
/// let order = Arc::new(vec![2, 0, 1]);
/// let batches: Vec<_> = Loader::new(Arc::new(split), Some(order), 2, 0).collect();
/// assert_eq!(batches[0].targets, Targets::Classes(vec![7, 5]));
/// assert_eq!(batches[1].inputs, Inputs::Floats(vec![0.1]));
/// ```
pub struct Loader {
    batches: Batches,
    left: usize,
}

/// Where batches come from.
enum Batches {
    Thread { receiver: Option<Receiver<Split>>, thread: Option<JoinHandle<()>> },
    Here(Gathering),
}

/// The batches that are left, gathered one after the other.
#[derive(Clone)]
struct Gathering {
    split: Arc<Split>,
    order: Option<Arc<Vec<u32>>>,
    batch_size: usize,
    /// Samples of the pass.
    length: usize,
    /// The first sample of each batch.
    starts: StepBy<Range<usize>>,
}

impl Iterator for Gathering {
    type Item = Split;

    fn next(&mut self) -> Option<Split> {
        let start = self.starts.next()?;
        let end = (start + self.batch_size).min(self.length);
        Some(match &self.order {
            Some(order) => {
                self.split.gather(order[start..end].iter().map(|&sample| sample as usize))
            }
            None => self.split.gather(start..end),
        })
    }
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
        let gathering = Gathering { split, order, batch_size, length, starts };
        Loader { batches: Batches::ahead(gathering), left }
    }
}

impl Batches {
    /// Gathered on a thread of their own, if one can be started.
    fn ahead(gathering: Gathering) -> Batches {
        // The channel holds all but one: the thread holds the last itself.
        let (sender, receiver) = sync_channel(AHEAD - 1);
        let batches = gathering.clone();
        let started = threads::start("loader", move || {
            for batch in batches {
                // The loader was dropped.
                if sender.send(batch).is_err() {
                    return;
                }
            }
        });
        match started {
            Ok(thread) => Batches::Thread { receiver: Some(receiver), thread: Some(thread) },
            Err(_) => Batches::Here(gathering),
        }
    }
}

impl Split {
    /// A batch of the samples with these numbers, in this order; images in files are decoded. Panics if a number is out of
    /// range.
    pub fn gather(&self, samples: impl ExactSizeIterator<Item = usize> + Clone) -> Split {
        let width = self.inputs.elements() / self.len().max(1);
        let inputs = match &self.inputs {
            Inputs::Bytes(bytes) => Inputs::Bytes(rows(bytes, width, samples.clone())),
            Inputs::Floats(floats) => Inputs::Floats(rows(floats, width, samples.clone())),
            Inputs::Files(files) => Inputs::Bytes(files.gather(samples.clone())),
        };
        Split::new(inputs, self.targets.gather(samples))
    }
}

impl Targets {
    /// The targets of the samples with these numbers, in this order.
    pub(super) fn gather(&self, samples: impl ExactSizeIterator<Item = usize>) -> Targets {
        match self {
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
    type Item = Split;

    fn next(&mut self) -> Option<Split> {
        let batch = match &mut self.batches {
            Batches::Thread { receiver, .. } => receiver.as_ref()?.recv().ok()?,
            Batches::Here(gathering) => gathering.next()?,
        };
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
        if let Batches::Thread { receiver, thread } = &mut self.batches {
            // The receiver is dropped first, so that a thread waiting to send wakes and ends.
            *receiver = None;
            // A panic in the thread was printed already, and this drop may run during another panic.
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(samples: usize) -> Arc<Split> {
        let inputs = Inputs::Bytes((0..2 * samples).map(|i| i as u8).collect());
        let values = (0..samples).map(|i| i as f32).collect();
        Arc::new(Split::new(inputs, Targets::Values { values, columns: 1 }))
    }

    #[test]
    fn every_sample_comes_once_and_the_last_batch_is_short() {
        let batches: Vec<_> = Loader::new(split(7), None, 3, 0).collect();
        let sizes: Vec<_> = batches.iter().map(Split::len).collect();
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
    fn without_a_thread_the_batches_are_the_same() {
        let order = Some(Arc::new(vec![4, 3, 2, 1, 0]));
        let ahead = Loader::new(split(5), order.clone(), 2, 1);
        let gathering = Gathering {
            split: split(5),
            order,
            batch_size: 2,
            length: 5,
            starts: (2..5).step_by(2),
        };
        let here = Loader { left: 2, batches: Batches::Here(gathering) };
        assert!(here.eq(ahead));
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
