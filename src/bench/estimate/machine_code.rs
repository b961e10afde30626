//! nvcc's kernels in numbers, as `tests/machine_code.txt` pins them, so that a build without nvcc knows them too.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use serde::Serialize;

/// The warp instructions of one pass through a kernel's main loop, by the unit that executes them, on the usual path:
/// that with the most products, then the most bytes. Of a kernel without a loop: from its first to its last instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// Products on tensor cores.
    pub tensor: u32,
    /// Arithmetic in f32 and narrower types.
    pub fp32: u32,
    /// Arithmetic in f64.
    pub fp64: u32,
    /// Integer arithmetic, logic and moves.
    pub integer: u32,
    /// Special functions and conversions, which have a quarter or an eighth of the lanes.
    pub special: u32,
    /// Accesses to shared memory, and shuffles.
    pub shared: u32,
    /// Accesses to global memory.
    pub global: u32,
    /// Branches, barriers and the like.
    pub control: u32,
    /// Wavefronts of shared memory, 128 bytes each, without bank conflicts.
    pub wavefronts: u32,
    /// Bytes that a thread reads from and writes to global memory.
    pub bytes: u32,
}

/// The fields in the order of the file.
const NAMES: [&str; 10] = [
    "tensor",
    "fp32",
    "fp64",
    "integer",
    "special",
    "shared",
    "global",
    "control",
    "wavefronts",
    "bytes",
];

impl Pass {
    /// Issue slots of a warp: one for each instruction.
    pub fn slots(&self) -> u32 {
        let [tensor, fp32, fp64, integer, special, shared, global, control, ..] = self.numbers();
        tensor + fp32 + fp64 + integer + special + shared + global + control
    }

    fn numbers(&self) -> [u32; NAMES.len()] {
        let Pass {
            tensor,
            fp32,
            fp64,
            integer,
            special,
            shared,
            global,
            control,
            wavefronts,
            bytes,
        } = *self;
        [tensor, fp32, fp64, integer, special, shared, global, control, wavefronts, bytes]
    }

    fn of_numbers(numbers: [u32; NAMES.len()]) -> Pass {
        let [tensor, fp32, fp64, integer, special, shared, global, control, wavefronts, bytes] =
            numbers;
        Pass { tensor, fp32, fp64, integer, special, shared, global, control, wavefronts, bytes }
    }
}

/// As in the file: `slots 608 tensor 64 fp32 96 …`.
impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slots {}", self.slots())?;
        let pairs = NAMES.iter().zip(self.numbers());
        pairs
            .filter(|(_, number)| *number > 0)
            .try_for_each(|(name, number)| write!(f, " {name} {number}"))
    }
}

/// A kernel as nvcc compiled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Registers of a thread.
    pub registers: usize,
    /// Bytes of declared shared memory.
    pub shared: usize,
    /// Its main loop.
    pub pass: Pass,
}

/// A kernel's numbers on an architecture, 80 or 90; `None` for an unknown one.
pub fn compiled(arch: u32, kernel: &str) -> Option<Compiled> {
    all().get(&(arch, kernel)).copied()
}

/// The names of all kernels on an architecture, sorted.
#[cfg(feature = "cli")]
pub fn kernels_of(arch: u32) -> Vec<&'static str> {
    let own = all().keys().filter(|(own, _)| *own == arch);
    let mut names: Vec<&str> = own.map(|(_, kernel)| *kernel).collect();
    names.sort_unstable();
    names
}

fn all() -> &'static HashMap<(u32, &'static str), Compiled> {
    static ALL: OnceLock<HashMap<(u32, &'static str), Compiled>> = OnceLock::new();
    ALL.get_or_init(|| PINNED.lines().filter_map(parse).collect())
}

const PINNED: &str = include_str!("../../../tests/machine_code.txt");

/// A line of the file: `sm_90 KERNEL registers 168 shared 0 pass slots 608 tensor 64 …`.
fn parse(line: &'static str) -> Option<((u32, &'static str), Compiled)> {
    let (resources, pass_text) = line.split_once(" pass ")?;
    let mut words = resources.split(' ');
    let arch: u32 = words.next()?.strip_prefix("sm_")?.parse().ok()?;
    let kernel = words.next()?;
    let pass = Pass::of_numbers(NAMES.map(|name| number(pass_text, name).unwrap_or(0)));
    let [registers, shared] = ["registers", "shared"].map(|name| number(resources, name));
    // From sm_90 on, nvcc counts the system's own bytes of a block.
    let system = if arch >= 90 { 1024 } else { 0 };
    let (registers, shared) = (registers? as usize, (shared? as usize).saturating_sub(system));
    assert_eq!(number(pass_text, "slots"), Some(pass.slots()), "{line}");
    Some(((arch, kernel), Compiled { registers, shared, pass }))
}

/// The number behind a name.
fn number(text: &str, name: &str) -> Option<u32> {
    let mut words = text.split(' ').skip_while(|word| *word != name);
    words.nth(1)?.parse().ok()
}
