//! How long a kernel would keep a GPU busy, by counts of its memory traffic.

use super::factors::Factors;
use super::report::Counts;
use crate::bench::estimate::gpus::GpuModel;

/// Sectors that an SM's L1 cache delivers in a cycle: 128 bytes.
const SECTORS: f64 = 4.0;

/// The limit that binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The bytes of the arrays.
    Memory,
    /// The loads and stores of the SMs: sectors and wavefronts.
    LoadStore,
    /// Multiplications and additions.
    Arithmetic,
}

impl Bound {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::LoadStore => "load/store",
            Bound::Arithmetic => "arithmetic",
        }
    }
}

/// Bytes per second between all SMs and their L1 caches.
pub(super) fn load_store_bytes(gpu: &GpuModel) -> f64 {
    32.0 * SECTORS * cycles(gpu)
}

/// Operations per second of all SMs on such factors: a fused multiply-add is two.
pub(super) fn operations(gpu: &GpuModel, factors: Factors) -> f64 {
    let [f32, tf32, bf16] = gpu.operations_per_second().map(|(_, own)| own);
    match factors {
        Factors::Whole => f32,
        Factors::Tf32 => tf32,
        Factors::Bf16 => bf16,
    }
}

/// Load/store cycles of an SM for these sectors of device memory, or wavefronts of shared memory.
pub(super) fn load_store_cycles(transactions: u64, is_shared: bool) -> f64 {
    transactions as f64 / if is_shared { 1.0 } else { SECTORS }
}

/// Cycles per second of all SMs together.
fn cycles(gpu: &GpuModel) -> f64 {
    gpu.sm_count as f64 * gpu.hertz
}

/// The nanoseconds that a full GPU needs for this work beside more of the same, and the limit that binds. Launches, the latency of
/// a single block and instructions other than those counted are left out, so it is a lower bound.
pub fn busy_time(gpu: &GpuModel, counts: &Counts) -> (f64, Bound) {
    let cycles = cycles(gpu);
    let moved = load_store_cycles(counts.global.transactions, false)
        + load_store_cycles(counts.shared.transactions, true);
    let times = [
        (counts.array_bytes as f64 / gpu.bytes_per_second, Bound::Memory),
        (moved / cycles, Bound::LoadStore),
        (counts.operations / operations(gpu, counts.factors), Bound::Arithmetic),
    ];
    let longest = times.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    longest.map_or((0.0, Bound::Memory), |(seconds, bound)| (1e9 * seconds, bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::estimate::gpus::named;
    use crate::workshop::report::Traffic;

    #[test]
    fn the_longest_time_binds() {
        let gpu = named("h200").unwrap();
        let mut counts = Counts { array_bytes: 4_300_000, ..Counts::default() };
        let (time, bound) = busy_time(gpu, &counts);
        assert_eq!(bound, Bound::Memory);
        assert!((time - 1000.0).abs() < 1.0, "{time}");
        counts.global = Traffic { transactions: 4 * 132 * 2_000_000, ..Traffic::default() };
        assert_eq!(busy_time(gpu, &counts).1, Bound::LoadStore);
    }

    /// NVIDIA gives an H200 67 TFLOP/s in f32 at 1.98 GHz, an A100 19.5 at 1.41 GHz.
    #[test]
    fn an_a100_has_half_the_lanes_of_f32() {
        for (name, teraflops, gigahertz) in [("h200", 67.0, 1.98), ("a100", 19.5, 1.41)] {
            let gpu = named(name).unwrap();
            let own = operations(gpu, Factors::Whole) * 1e9 * gigahertz / gpu.hertz;
            assert!((own / (1e12 * teraflops) - 1.0).abs() < 0.01, "{name}: {own}");
        }
    }

    /// NVIDIA gives an H200 989 TFLOP/s in bf16 and half of it in tf32, at 1.83 GHz.
    #[test]
    fn tensor_cores_have_their_own_rate() {
        let gpu = named("h200").unwrap();
        let time = |factors| {
            let counts = Counts { operations: 1e9, factors, ..Counts::default() };
            busy_time(gpu, &counts).0
        };
        for (factors, teraflops) in [(Factors::Bf16, 989.0), (Factors::Tf32, 494.5)] {
            let expected = 1e9 / teraflops / 1e3 * (1.83e9 / gpu.hertz);
            assert!((time(factors) / expected - 1.0).abs() < 0.01, "{}", time(factors));
        }
        assert!((time(Factors::Whole) / time(Factors::Tf32) - 8.0).abs() < 1e-6);
    }
}
