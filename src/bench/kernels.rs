//! Every kernel on its own: what the compiler made of it, what it has to do, and how long it takes.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ceilings::Ceilings;
use super::median;
use super::workloads::{Cost, Size, Work, Workload};
use crate::device::{CapturedGraph, DType, Device, Gpu};
use crate::error::Result;
use crate::tensor::Tensor;

/// How often the second-level cache is filled before a buffer is used again.
const CACHES: f64 = 4.0;

/// The most copies of a workload that are used in turn.
const MOST_COPIES: usize = 64;

/// Launches that are timed together, at least, so that the clock's own steps do not matter.
const LAUNCHES: usize = 20;

const REPEATS: usize = 11;

/// A kernel in a workload.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The kernel.
    pub kernel: String,
    /// What it is launched for.
    pub workload: String,
    /// Launches in one pass of the workload.
    pub launches: usize,
    /// Registers of a thread; as the rest of what the compiler says, `None` for a program without kernels for GPUs.
    pub registers: Option<usize>,
    /// Bytes of shared memory of a block.
    pub shared: Option<usize>,
    /// The part of a multiprocessor's threads that its blocks are.
    pub occupancy: Option<f64>,
    /// Bytes it has to move at least, in one pass.
    pub bytes: f64,
    /// Operations it has to do at least.
    pub operations: f64,
    /// The time on a GPU.
    pub time: Option<Time>,
}

/// How long a kernel takes beside what it would take at the ceilings.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Time {
    /// Seconds of one pass, the median.
    pub seconds: f64,
    /// Seconds that its bytes or its operations take at least on this GPU, whichever is more.
    pub floor: f64,
}

impl Time {
    /// How much of the time had to be.
    pub fn part_of_floor(&self) -> f64 {
        self.floor / self.seconds
    }
}

/// A kernel that a workload launches and knows the cost of, with threads of a block and bytes of dynamic shared memory.
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
    // What is made once is made by the first pass.
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

/// All kernels that a workload launches at a size, whether it knows their cost or not. Nothing is computed.
pub fn kernels_of(workload: &Workload, dtype: DType, size: Size) -> Vec<String> {
    let device = Device::counter();
    let work = workload.prepare(&device, dtype, size);
    drop(work());
    let Device::Gpu(gpu) = &device else { return Vec::new() };
    gpu.kernel_times().into_keys().collect()
}

/// The kernels with `wanted` in their names, each in the first workload that knows its cost, with what the compiler says
/// of it; nothing is computed.
///
/// # Errors
/// As [`Device::check`].
pub fn describe(workloads: &[Workload], dtype: DType, wanted: &str) -> Result<Vec<Row>> {
    let device = Device::counter();
    rows(workloads, &device, dtype, wanted, &mut |_| {}, &|_| Ok(None))
}

/// The same with their times on a GPU. `observe` is told each workload before it is run.
///
/// # Errors
/// As [`Device::check`].
pub fn measure(
    workloads: &[Workload],
    device: &Device,
    dtype: DType,
    wanted: &str,
    ceilings: &Ceilings,
    observe: &mut dyn FnMut(&str),
) -> Result<Vec<Row>> {
    // What is not wanted is not even put on the device.
    let described = describe(workloads, dtype, wanted)?;
    let names: BTreeSet<&str> = described.iter().map(|row| row.workload.as_str()).collect();
    let mut all = Vec::new();
    for workload in workloads.iter().filter(|own| names.contains(own.name.as_str())) {
        let own = std::slice::from_ref(workload);
        let time = |kernel: &Launched| time(workload, device, dtype, kernel, ceilings).map(Some);
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
    ceilings: &Ceilings,
) -> Result<Time> {
    let floor = ceilings.floor(&own.kernel, &own.cost, dtype);
    let replayed = ReplayedKernel::new(workload, device, dtype, &own.kernel);
    replayed.run();
    device.check()?;
    let times: Result<Vec<_>> = (0..REPEATS).map(|_| device.time(|| replayed.run())).collect();
    Ok(Time { seconds: median(times?).as_secs_f64() / replayed.passes() as f64, floor })
}

/// One kernel of a workload by itself: launched over and over in one graph, on so many copies of the workload that no byte
/// is in the cache when its turn comes again.
pub struct ReplayedKernel {
    graph: Option<CapturedGraph>,
    passes: usize,
    _copies: Vec<Captured>,
}

impl ReplayedKernel {
    /// Puts the workload on a GPU as often as it takes.
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

    /// Passes of the workload that a run is.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// Launches the kernel, for all passes.
    pub fn run(&self) {
        if let Some(graph) = &self.graph {
            graph.replay();
        }
    }
}
