//! Single kernels: resources that the compiler reports, minimum cost, and time.

use std::collections::BTreeSet;

use serde::Serialize;

use super::peaks::Peaks;
use super::turns::repeated;
use super::workloads::{Cost, Size, Work, Workload};
use crate::device::{CapturedGraph, DType, Device, Gpu};
use crate::error::Result;
use crate::tensor::Tensor;

/// The buffers used in turn are together this many times the L2 cache, so that none is still cached.
const CACHES: f64 = 4.0;

/// Limit on the copies of a workload that are used in turn.
const MOST_COPIES: usize = 64;

/// The fewest launches timed together, so that the clock's resolution does not matter.
const LAUNCHES: usize = 20;

/// A kernel in a workload.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The kernel.
    pub kernel: String,
    /// The workload.
    pub workload: String,
    /// Launches in one pass of the workload.
    pub launches: usize,
    /// Registers per thread. This and the compiler's other figures are `None` in a program without kernels for GPUs.
    pub registers: Option<usize>,
    /// Bytes of shared memory per block.
    pub shared: Option<usize>,
    /// Occupancy: resident threads over the most that an SM holds, from 0 to 1.
    pub occupancy: Option<f64>,
    /// The fewest bytes it can move in one pass.
    pub bytes: f64,
    /// The fewest operations it can do in one pass.
    pub operations: f64,
    /// The time on a GPU.
    pub time: Option<Time>,
}

/// A kernel's time, and its floor: the time it would take at the peaks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Time {
    /// Seconds of one pass, the median.
    pub seconds: f64,
    /// Seconds for its bytes at peak bandwidth, or for its operations at peak throughput, whichever is more.
    pub floor: f64,
}

impl Time {
    /// The floor as a part of the time.
    pub fn part_of_floor(&self) -> f64 {
        self.floor / self.seconds
    }
}

/// A kernel that a workload launches and knows the cost of, with threads per block and bytes of dynamic shared memory.
struct Launched {
    kernel: String,
    cost: Cost,
    launches: usize,
    threads: usize,
    shared: usize,
}

/// A captured workload: its launches, and everything they touch.
struct Captured {
    graph: CapturedGraph,
    _outputs: Vec<Tensor>,
    _work: Work,
}

fn capture(workload: &Workload, device: &Device, dtype: DType, size: Size) -> Option<Captured> {
    let Device::Gpu(gpu) = device else { return None };
    let work = workload.prepare(device, dtype, size);
    // The first pass allocates and fills caches.
    drop(work());
    let mut outputs = Vec::new();
    let graph = Gpu::capture_without_reuse(gpu, || outputs = work());
    Some(Captured { graph, _outputs: outputs, _work: work })
}

/// The kernels that a workload is for, by name.
fn launched(workload: &Workload, graph: &CapturedGraph) -> Vec<Launched> {
    let launches = graph.launches();
    let own = launches.into_iter().filter_map(|(kernel, launches)| {
        let cost = workload.cost_of(kernel)?;
        let (threads, shared) = graph.block_of(kernel)?;
        Some(Launched { kernel: kernel.to_owned(), cost, launches, threads, shared })
    });
    own.collect()
}

/// All kernels that a workload launches at a size, with known cost or without. Nothing is computed.
pub fn kernels_of(workload: &Workload, dtype: DType, size: Size) -> Vec<String> {
    let device = Device::counter();
    let work = workload.prepare(&device, dtype, size);
    drop(work());
    let Device::Gpu(gpu) = &device else { return Vec::new() };
    gpu.kernel_times().into_keys().collect()
}

/// The kernels with `wanted` in their names, each in the first workload that knows its cost, with the compiler's
/// figures. Nothing is computed.
///
/// # Errors
/// As [`Device::check`].
pub fn describe(workloads: &[Workload], dtype: DType, wanted: &str) -> Result<Vec<Row>> {
    let device = Device::counter();
    rows(workloads, &device, dtype, wanted, &mut |_| {}, &|_| Ok(None))
}

/// As [`describe`], with times on a GPU. `observe` is called with each workload's name before it is run.
///
/// # Errors
/// As [`Device::check`].
pub fn measure(
    workloads: &[Workload],
    device: &Device,
    dtype: DType,
    wanted: &str,
    peaks: &Peaks,
    observe: &mut dyn FnMut(&str),
) -> Result<Vec<Row>> {
    // Unwanted workloads are not even copied to the device.
    let described = describe(workloads, dtype, wanted)?;
    let names: BTreeSet<&str> = described.iter().map(|row| row.workload.as_str()).collect();
    let mut all = Vec::new();
    for workload in workloads.iter().filter(|own| names.contains(own.name.as_str())) {
        let own = std::slice::from_ref(workload);
        let time = |kernel: &Launched| time(workload, device, dtype, kernel, peaks).map(Some);
        let own = rows(own, device, dtype, wanted, observe, &time)?;
        all.extend(own.into_iter().filter(|row| {
            described.iter().any(|own| (&own.kernel, &own.workload) == (&row.kernel, &row.workload))
        }));
    }
    Ok(all)
}

type TimeOf<'a> = &'a dyn Fn(&Launched) -> Result<Option<Time>>;

fn rows(
    workloads: &[Workload],
    device: &Device,
    dtype: DType,
    wanted: &str,
    observe: &mut dyn FnMut(&str),
    time: TimeOf,
) -> Result<Vec<Row>> {
    let Device::Gpu(gpu) = device else { return Ok(Vec::new()) };
    let (mut seen, mut rows) = (BTreeSet::new(), Vec::new());
    for workload in workloads {
        observe(&workload.name);
        let Some(captured) = capture(workload, device, dtype, Size::Full) else { continue };
        for own in launched(workload, &captured.graph) {
            if !own.kernel.contains(wanted) || !seen.insert(own.kernel.clone()) {
                continue;
            }
            let resources = gpu.resources(&own.kernel, own.threads, own.shared);
            rows.push(Row {
                workload: workload.name.clone(),
                launches: own.launches,
                registers: resources.map(|own| own.registers),
                shared: resources.map(|own| own.shared),
                occupancy: resources.map(|own| own.occupancy),
                bytes: own.cost.total_bytes(dtype),
                operations: own.cost.operations,
                time: time(&own)?,
                kernel: own.kernel,
            });
        }
        device.check()?;
    }
    Ok(rows)
}

fn time(
    workload: &Workload,
    device: &Device,
    dtype: DType,
    own: &Launched,
    peaks: &Peaks,
) -> Result<Time> {
    let floor = peaks.floor(&own.kernel, &own.cost, dtype);
    let replayed = ReplayedKernel::new(workload, device, dtype, &own.kernel);
    let seconds = repeated(device, || replayed.run())?;
    Ok(Time { seconds: seconds / replayed.passes() as f64, floor })
}

/// One kernel of a workload alone, launched many times in one graph, on enough copies of the workload that its bytes
/// have left the cache when a copy's turn comes again.
pub struct ReplayedKernel {
    graph: Option<CapturedGraph>,
    passes: usize,
    _copies: Vec<Captured>,
}

impl ReplayedKernel {
    /// Copies the workload to a GPU as often as needed.
    pub fn new(workload: &Workload, device: &Device, dtype: DType, kernel: &str) -> Self {
        let cache = match device {
            Device::Gpu(gpu) => gpu.limits().map_or(0, |limits| limits.cache_bytes),
            Device::Cpu(_) => 0,
        };
        let bytes = workload.cost_of(kernel).unwrap_or_default().total_bytes(dtype);
        let copies = (CACHES * cache as f64 / bytes.max(1.0)).ceil() as usize + 1;
        let copies: Vec<Captured> = (0..copies.min(MOST_COPIES))
            .filter_map(|_| capture(workload, device, dtype, Size::Full))
            .collect();
        let graphs: Vec<&CapturedGraph> = copies.iter().map(|own| &own.graph).collect();
        let in_one = graphs.first().and_then(|own| own.launches().get(kernel).copied());
        let rounds = LAUNCHES.div_ceil((in_one.unwrap_or(1) * graphs.len()).max(1));
        let passes = rounds * graphs.len();
        let graph = CapturedGraph::of_kernel(&graphs, kernel, rounds);
        ReplayedKernel { graph, passes, _copies: copies }
    }

    /// Passes of the workload in one run.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// Launches the kernel for all passes.
    pub fn run(&self) {
        if let Some(graph) = &self.graph {
            graph.replay();
        }
    }
}
