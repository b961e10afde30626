//! The choice of a product's tile on a GPU, and of the number of parts of its inner axis.

use std::cell::Cell;

use super::arithmetic::Arithmetic;
use crate::ops::with_setting;

/// SMs of the GPU that tiles are chosen for: an H100 or H200.
const SM_COUNT: usize = 132;

/// The fewest steps of the inner axis in a part: fewer are not worth the sum over the parts.
const STEPS: usize = 64;

/// Bytes that all SMs together read or write in a clock, mostly from the L2 cache.
const BYTES_A_CLOCK: usize = 2048;

/// Clocks of an additional launch.
const LAUNCH: usize = 3000;

/// Clocks of a block before its first slab and after its last.
const START: usize = 1500;

/// A tile of C that one block computes, with the depth of a slab of the inner axis. `kernels/tile.cuh` and
/// `kernels/tensor_tile.cuh` contain the same tables.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Tile {
    pub name: &'static str,
    /// Rows and columns of C.
    pub m: usize,
    pub n: usize,
    /// Steps of the inner axis in a slab.
    pub k: usize,
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// Resident blocks of an SM.
    resident: usize,
    /// Clocks of an SM for a slab of one block: beside other blocks, and alone. A test compares them with the counts of
    /// `docs/kernels/cost-model.md`.
    pub clocks: usize,
    pub clocks_alone: usize,
}

/// In f32.
static F32: [Tile; 3] = [
    Tile {
        name: "128",
        m: 128,
        n: 128,
        k: 16,
        threads: 256,
        shared: 0,
        resident: 2,
        clocks: 2800,
        clocks_alone: 2800,
    },
    Tile {
        name: "64",
        m: 64,
        n: 64,
        k: 16,
        threads: 128,
        shared: 0,
        resident: 4,
        clocks: 830,
        clocks_alone: 1400,
    },
    Tile {
        name: "32",
        m: 32,
        n: 32,
        k: 32,
        threads: 64,
        shared: 0,
        resident: 8,
        clocks: 570,
        clocks_alone: 1570,
    },
];

/// Tiles of tensor cores, with slabs of 128 bytes: bf16 has twice the steps of tf32 in a slab. `clocks` are those of each
/// tile, beside other blocks and alone.
const fn on_tensor_cores(k: usize, clocks: [[usize; 2]; 3]) -> [Tile; 3] {
    [
        Tile {
            name: "128",
            m: 128,
            n: 128,
            k,
            threads: 128,
            shared: 96 << 10,
            resident: 2,
            clocks: clocks[0][0],
            clocks_alone: clocks[0][1],
        },
        Tile {
            name: "64",
            m: 64,
            n: 64,
            k,
            threads: 128,
            shared: 48 << 10,
            resident: 4,
            clocks: clocks[1][0],
            clocks_alone: clocks[1][1],
        },
        Tile {
            name: "32",
            m: 32,
            n: 32,
            k,
            threads: 64,
            shared: 24 << 10,
            resident: 8,
            clocks: clocks[2][0],
            clocks_alone: clocks[2][1],
        },
    ]
}

static TF32: [Tile; 3] = on_tensor_cores(32, [[810, 1380], [415, 700], [175, 580]]);
static BF16: [Tile; 3] = on_tensor_cores(64, [[770, 780], [385, 405], [160, 370]]);

thread_local! {
    /// The tile's name and the number of parts that [`with_cut`] forces.
    static WANTED: Cell<Option<(&'static str, usize)>> = const { Cell::new(None) };
}

/// Does `work` with a forced cut of every product on a GPU: tiles of this name, "128", "64" or "32", and `splits` parts
/// of the inner axis, at most one for each slab. For tests of every tile and for benchmarks that compare them; in a run
/// the shape decides.
pub fn with_cut<R>(tile: &'static str, splits: usize, work: impl FnOnce() -> R) -> R {
    with_setting(&WANTED, Some((tile, splits)), work)
}

/// All tiles for this arithmetic.
pub(crate) fn tiles(arithmetic: Arithmetic) -> &'static [Tile; 3] {
    match arithmetic {
        Arithmetic::F32 => &F32,
        Arithmetic::Tf32 => &TF32,
        Arithmetic::Bf16 => &BF16,
    }
}

/// The cut of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    pub tile: &'static Tile,
    /// Parts of the inner axis, each summed by separate blocks.
    pub splits: usize,
    /// Slabs of one part; the last part may have fewer.
    pub slabs: usize,
}

impl Cut {
    /// The fastest cut by a model of the GPU, a function of the shape only; the first of equals.
    pub fn of(arithmetic: Arithmetic, batch: usize, sizes: [usize; 3]) -> Cut {
        let tiles = tiles(arithmetic);
        if let Some((name, splits)) = WANTED.get() {
            let tile = tiles.iter().find(|tile| tile.name == name);
            let tile = tile.unwrap_or_else(|| panic!("there is no tile {name}"));
            return Cut::into(tile, splits, sizes[2]);
        }
        let cuts = tiles.iter().flat_map(|tile| cuts(tile, sizes[2]));
        cuts.min_by_key(|cut| cut.clocks(batch, sizes)).expect("every tile has a cut")
    }

    /// A cut into at most `splits` parts, none of them empty.
    fn into(tile: &'static Tile, splits: usize, k: usize) -> Cut {
        let all = k.div_ceil(tile.k);
        let slabs = all.div_ceil(splits).max(1);
        Cut { tile, splits: all.div_ceil(slabs).max(1), slabs }
    }

    /// Estimated clocks of the launch, and of the one that sums the parts.
    fn clocks(&self, batch: usize, [m, n, _]: [usize; 3]) -> usize {
        let Tile { resident, clocks, clocks_alone, .. } = *self.tile;
        let blocks = batch * m.div_ceil(self.tile.m) * n.div_ceil(self.tile.n) * self.splits;
        let busy = blocks.div_ceil(SM_COUNT) * clocks;
        let waiting = blocks.div_ceil(SM_COUNT * resident) * clocks_alone;
        let sum = match self.splits {
            1 => 0,
            splits => LAUNCH + batch * m * n * 4 * (2 * splits + 1) / BYTES_A_CLOCK,
        };
        START + busy.max(waiting) * self.slabs + sum
    }
}

/// All ways to cut an inner axis of `k` for a tile.
fn cuts(tile: &'static Tile, k: usize) -> impl Iterator<Item = Cut> {
    let cuts = (1..=(k / STEPS).clamp(1, SM_COUNT))
        .map(move |splits| (splits, Cut::into(tile, splits, k)));
    // A number of parts with the same slabs as another one is the same cut.
    cuts.filter_map(|(splits, cut)| (splits == cut.splits).then_some(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tile's name, whether the product is whole, and sizes.
    type Row<'a> = (&'a str, bool, &'a [[usize; 3]]);

    fn assert_meet(arithmetic: Arithmetic, rows: &[Row]) {
        for &(tile, is_whole, shapes) in rows {
            for &sizes in shapes {
                let Cut { tile: chosen, splits, slabs } = Cut::of(arithmetic, 1, sizes);
                assert!(
                    chosen.name == tile && (splits == 1) == is_whole,
                    "{sizes:?}: {}, {splits} parts of {slabs} slabs",
                    chosen.name
                );
            }
        }
    }

    /// The shapes of src/checks/matmul.rs with a free choice of tiles.
    #[test]
    fn shapes_under_test_meet_every_tile() {
        assert_meet(
            Arithmetic::F32,
            &[
                ("32", true, &[[31, 5279, 160], [32, 5280, 161], [33, 5281, 159]]),
                ("32", false, &[[31, 33, 1000], [32, 64, 1024]]),
                ("64", true, &[[63, 65 * 132, 79], [64, 64 * 137, 80], [129, 4289, 81]]),
                ("64", false, &[[319, 321, 1000], [320, 320, 1024]]),
                ("128", true, &[[127, 128 * 132 - 1, 63], [128, 128 * 132, 64]]),
                ("128", false, &[[640, 640, 465], [1024, 513, 432], [768, 383, 895]]),
            ],
        );
    }

    #[test]
    fn a_wanted_cut_has_no_empty_part() {
        for (k, splits, parts) in [(160, 3, 3), (160, 4, 3), (1, 3, 1), (0, 2, 1)] {
            let cut = with_cut("128", splits, || Cut::of(Arithmetic::Tf32, 1, [128, 128, k]));
            assert_eq!((cut.tile.name, cut.splits), ("128", parts), "{k} in {splits} parts");
        }
    }
}
