//! Rows of a table, selected by token.

mod launch;

use std::ops::Range;

use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::{DType, Device};
use crate::ops::begin;
use crate::shape::Shape;
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, dense, float_dispatch};
use crate::trace::{self, Operation};

/// Elements of one task.
const PIECE: usize = 1 << 14;

/// The table's row for every token: tokens `[..]` (I32) and a table `[V, D]` give `[.., D]`.
///
/// Panics if a token is outside of `0..V`; a GPU fails instead ([`Device::check`]).
///
/// ```
/// use alrao::{Device, Tensor, ops::layers::embedding::embedding};
/// let device = Device::cpu();
/// let table = Tensor::from_slice(&device, [3, 2], &[0f32, 1.0, 10.0, 11.0, 20.0, 21.0]);
/// let tokens = Tensor::from_slice(&device, [2], &[2i32, 0]);
/// assert_eq!(embedding(&tokens, &table).to_vec::<f32>(), [20.0, 21.0, 0.0, 1.0]);
/// ```
pub fn embedding(tokens: &Tensor, table: &Tensor) -> Tensor {
    let (shape, whole) = (tokens.shape(), table.shape());
    assert!(
        tokens.dtype() == DType::I32,
        "embedding: tokens are {:?}, they must be I32",
        tokens.dtype()
    );
    assert!(whole.rank() == 2, "embedding: the table has shape {whole}, not [vocabulary, columns]");
    assert!(tokens.is_contiguous(), "embedding: the tokens have gaps between rows");
    let out = table.empty_like(Shape::new(&[shape.extents(), &[whole[1]]].concat()));
    let op = begin("embedding forward", &[tokens, &out, &out], 0);
    match table.device() {
        Device::Gpu(gpu) => launch::gather(gpu, tokens, table, &out),
        Device::Cpu(cpu) => {
            float_dispatch!(table.dtype(), "embedding", T => gather::<T>(cpu, tokens, table, &out));
        }
    }
    drop(op);
    trace::note(Operation::Embedding, &[tokens, table], &[&out]);
    let tokens = tokens.clone();
    record(out, &[table], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, dy.dtype().wide()) else { return };
        let _op = begin("embedding backward", &[&tokens, dy, &slot.tensor], dy.shape().elements());
        match dy.device() {
            Device::Gpu(gpu) => launch::add_up(gpu, &tokens, dy, &slot),
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "embedding", T => {
                add_up::<T>(cpu, &tokens, dy, &slot);
            }),
        }
    })
}

fn gather<T: Float>(cpu: &Cpu, tokens: &Tensor, table: &Tensor, out: &Tensor) {
    let (vocabulary, columns, pitch) = (table.shape()[0], table.shape()[1], table.pitch());
    let (tokens, table) = (tokens.read::<i32>(), table.read::<T>());
    for token in tokens.iter() {
        assert!(
            (0..vocabulary as i64).contains(&i64::from(*token)),
            "embedding: token {token} is outside the table's {vocabulary} rows"
        );
    }
    let rows = (PIECE / columns.max(1)).max(1);
    let work = tokens.len() * columns;
    cpu.pieces(&mut out.write::<T>(), rows * columns, work, |piece, out| {
        for (out, token) in out.chunks_mut(columns).zip(&tokens[piece * rows..]) {
            let start = *token as usize * pitch;
            out.copy_from_slice(&table[start..start + columns]);
        }
    });
}

/// The tokens' positions sorted by token (stably, so that sums have a fixed order), and the start of each token's
/// positions.
struct Sorted {
    positions: Vec<usize>,
    starts: Vec<usize>,
}

impl Sorted {
    fn new(tokens: &[i32], vocabulary: usize) -> Self {
        let mut starts = vec![0; vocabulary + 1];
        tokens.iter().for_each(|token| starts[*token as usize + 1] += 1);
        for token in 0..vocabulary {
            starts[token + 1] += starts[token];
        }
        let mut next = starts.clone();
        let mut positions = vec![0; tokens.len()];
        for (position, token) in tokens.iter().enumerate() {
            positions[next[*token as usize]] = position;
            next[*token as usize] += 1;
        }
        Sorted { positions, starts }
    }

    fn of(&self, token: usize) -> &[usize] {
        let range: Range<usize> = self.starts[token]..self.starts[token + 1];
        &self.positions[range]
    }
}

vectorised! {
    fn add_row[T: Float](from: &[T], to: &mut [T]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
    }
}

/// Computes the table's gradient: row v is the sum of `dy` over the positions of token v.
fn add_up<T: Float>(cpu: &Cpu, tokens: &Tensor, dy: &Tensor, slot: &Slot) {
    let dy = &*dense::<T>(dy);
    let (vocabulary, columns) = (slot.tensor.shape()[0], slot.tensor.shape()[1]);
    let (pitch, add) = (slot.tensor.pitch(), slot.add);
    let sorted = Sorted::new(&tokens.read::<i32>(), vocabulary);
    let dy = dy.read::<T>();
    let rows = (PIECE / pitch.max(1)).max(1);
    let work = dy.len() + vocabulary * columns;
    cpu.pieces(&mut slot.tensor.write::<T>(), rows * pitch, work, |piece, sums| {
        for (index, sum) in sums.chunks_mut(pitch).enumerate() {
            let sum = &mut sum[..columns];
            if !add {
                sum.fill(T::ZERO);
            }
            for position in sorted.of(piece * rows + index) {
                add_row(&dy[position * columns..(position + 1) * columns], sum);
            }
        }
    });
}
