//! A data set that stays in host memory: its batches are copied to the device while it works.

use std::rc::Rc;

use super::Batches;
use super::batch::{Batch, BatchTensors, Conversion, Draw};
use super::data::{ALIGNMENT, Data, HostArray, HostRows};
use crate::device::gpu::Ring;
use crate::device::{DType, Device};
use crate::tensor::Tensor;

/// Batches in the ring: the host gathers one, another is copied, and the device works on a third.
const PLACES: usize = 3;

/// The ring in pinned memory, and the blocks on the device that captured steps read.
pub(super) struct Streamed {
    ring: Rc<Ring>,
    /// U8, long enough for any batch.
    blocks: [Tensor; PLACES],
}

impl Streamed {
    /// A ring and blocks for the batches of a data set.
    pub fn new(data: &Data, device: &Device) -> Streamed {
        let bytes = data.bytes_of_batch();
        let blocks = [(); PLACES].map(|()| Tensor::zeros(device, [bytes], DType::U8));
        Streamed { ring: Rc::new(device.ring(PLACES, bytes)), blocks }
    }

    /// Batches of rows in host memory. The iterator copies each one to the device when it reaches it.
    pub fn batches(
        &self,
        rows: Box<dyn Iterator<Item = HostRows>>,
        conversion: &Rc<Conversion>,
        augmentation: Option<Draw>,
    ) -> Batches {
        let (ring, blocks) = (Rc::clone(&self.ring), self.blocks.clone());
        let conversion = Rc::clone(conversion);
        Box::new(rows.enumerate().map(move |(number, rows)| {
            let place = number % PLACES;
            let [inputs, targets] = rows.arrays();
            let start = inputs.0.len().next_multiple_of(ALIGNMENT);
            let block = &blocks[place];
            block.receive(&ring, place, &[(0, inputs.0), (start, targets.0)]);
            let at = |start, (_, shape, dtype): HostArray| block.reinterpret(start, shape, dtype);
            let stored = BatchTensors { inputs: at(0, inputs), targets: at(start, targets) };
            Batch {
                samples: rows.samples(),
                stored,
                conversion: Rc::clone(&conversion),
                position: None,
                augmentation: augmentation.clone(),
            }
        }))
    }
}
