//! Arithmetic that keeps a device's units busy, to measure its peak throughput.

use std::hint::black_box;

use crate::device::cpu::vector::{Level, level, multiply_add, vectorised};
use crate::device::cpu::{Cpu, Float};
use crate::device::{DType, Device, Gpu};
use crate::tensor::{Tensor, float_dispatch};

/// Threads of a block.
const THREADS: usize = 256;

/// Independent chains of a thread, and steps of a round.
const CHAINS: usize = 8;
const STEPS: usize = 16;

/// The arithmetic units to keep busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Multiply-adds in f32.
    F32,
    /// Tensor cores (`mma.sync`), factors rounded to tf32.
    Tf32,
    /// Tensor cores (`mma.sync`), factors in bf16.
    Bf16,
}

impl Unit {
    /// All of them.
    pub const ALL: [Unit; 3] = [Unit::F32, Unit::Tf32, Unit::Bf16];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Unit::F32 => "f32",
            Unit::Tf32 => "tf32",
            Unit::Bf16 => "bf16",
        }
    }

    /// The inner axis of a warp's product of 16 rows and 8 columns.
    fn depth(self) -> usize {
        match self {
            Unit::F32 => 0,
            Unit::Tf32 => 8,
            Unit::Bf16 => 16,
        }
    }

    /// Operations of a thread in a round; a multiply-add counts as two.
    pub fn operations(self) -> usize {
        let step = match self {
            Unit::F32 => 2,
            _ => 2 * 16 * 8 * self.depth() / 32,
        };
        STEPS * CHAINS * step
    }

    fn kernel(self) -> &'static str {
        match self {
            Unit::F32 => "ceiling_fma_f32",
            Unit::Tf32 => "ceiling_mma_tf32",
            Unit::Bf16 => "ceiling_mma_bf16",
        }
    }

    /// The result of every thread of a tensor core's products: a lane holds four of a product's sums, and each step
    /// adds 1/2 times 1/4 for each step of the inner axis.
    fn outcome(self, rounds: usize) -> f64 {
        (CHAINS * 4 * rounds * STEPS * self.depth()) as f64 * 0.125
    }
}

/// Does `rounds` rounds of arithmetic with a thread for each element of `out`, `[threads]`, a multiple of 256, and
/// writes the results there.
pub fn keep_busy(out: &Tensor, unit: Unit, rounds: u32) {
    let threads = out.shape().elements();
    assert!(threads.is_multiple_of(THREADS), "keep_busy: {threads} threads are no blocks of 256");
    match out.device() {
        Device::Gpu(gpu) => launch(gpu, out, unit, rounds),
        Device::Cpu(cpu) if unit == Unit::F32 => {
            float_dispatch!(out.dtype(), "keep_busy", T => multiply_add_on::<T>(cpu, out, rounds));
        }
        // The CPU has no tensor cores.
        Device::Cpu(_) => out.copy_from_f64s(&vec![unit.outcome(rounds as usize); threads]),
    }
}

/// As `ceiling_fma_f32`, with an element for each thread, and a vector of elements at a time.
fn multiply_add_on<T: Float>(cpu: &Cpu, out: &Tensor, rounds: u32) {
    let steps = rounds as usize * STEPS;
    let work = out.shape().elements() * steps;
    cpu.pieces(&mut out.write::<T>(), THREADS, work, |_, out| match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => chains16(out, steps),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => chains8(out, steps),
        Level::Plain => chains4(out, steps),
    });
}

/// Defines [`CHAINS`] chains of multiply-adds in each lane. A chain is a separate array; otherwise the compiler does
/// not keep it in a register.
macro_rules! chains {
    ($name:ident, $lanes:literal, $($number:literal $chain:ident),*) => {
        vectorised! {
            fn $name[T: Float](out: &mut [T], steps: usize) {
                let (factor, summand) = (black_box(T::from_f64(0.5)), black_box(T::ONE));
                for out in out.as_chunks_mut::<$lanes>().0 {
                    $(let mut $chain = [T::from_f64($number as f64); $lanes];)*
                    for _ in 0..steps {
                        $(for x in &mut $chain {
                            *x = multiply_add::<FUSED, T>(factor, *x, summand);
                        })*
                    }
                    out.fill(T::ZERO);
                    $(out.iter_mut().zip($chain).for_each(|(out, x)| *out += x);)*
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
chains!(chains16, 16, 0 a, 1 b, 2 c, 3 d, 4 e, 5 f, 6 g, 7 h);
#[cfg(target_arch = "x86_64")]
chains!(chains8, 8, 0 a, 1 b, 2 c, 3 d, 4 e, 5 f, 6 g, 7 h);
chains!(chains4, 4, 0 a, 1 b, 2 c, 3 d, 4 e, 5 f, 6 g, 7 h);

fn launch(gpu: &Gpu, out: &Tensor, unit: Unit, rounds: u32) {
    assert!(out.dtype() == DType::F32, "keep_busy: out is {:?}, not F32", out.dtype());
    let grid = [(out.shape().elements() / THREADS) as u32, 1, 1];
    let block = [THREADS as u32, 1, 1];
    // 1/2 and 1/4; twice in a register for 16-bit elements.
    let twice = |x: f32| u32::from(half::bf16::from_f32(x).to_bits()) * 0x1_0001;
    let (left, right) = match unit {
        Unit::Bf16 => (twice(0.5), twice(0.25)),
        _ => (0.5f32.to_bits(), 0.25f32.to_bits()),
    };
    let to = out.pointer();
    match unit {
        Unit::F32 => gpu.launch(unit.kernel(), grid, block, &[&to, &0.5f32, &1.0f32, &rounds]),
        _ => gpu.launch(unit.kernel(), grid, block, &[&to, &left, &right, &rounds]),
    }
}
