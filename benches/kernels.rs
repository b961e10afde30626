//! Times every kernel on its workloads; on the CPU, which has no kernels, times each workload as a whole. `alrao kernels`
//! compares the times with the GPU's peaks. `ALRAO_BENCH_DEVICE` chooses the device, by default the best.

mod device;

use std::time::Duration;

use alrao::bench::kernels::{ReplayedKernel, kernels_of};
use alrao::bench::workloads::{Cost, Size, Workload, all};
use alrao::{DType, Device};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

fn kernels(criterion: &mut Criterion) {
    let device = device::open();
    if !device.can_capture() {
        return whole(criterion, &device);
    }
    for (workload, dtype) in all().iter().flat_map(|own| [(own, DType::F32), (own, DType::BF16)]) {
        for kernel in kernels_of(workload, dtype, Size::Full) {
            let Some(cost) = workload.cost_of(&kernel) else { continue };
            // A workload in bf16 launches some f32 kernels too.
            if dtype == DType::F32 || kernel.ends_with("_bf16") {
                time_kernel(criterion, &device, (workload, dtype), &kernel, &cost);
            }
        }
    }
}

fn time_kernel(
    criterion: &mut Criterion,
    device: &Device,
    (workload, dtype): (&Workload, DType),
    kernel: &str,
    cost: &Cost,
) {
    let mut prepared = None;
    let mut group = criterion.benchmark_group(kernel);
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
    group.throughput(match cost.operations > 20.0 * cost.total_bytes(dtype) {
        true => Throughput::Elements(cost.operations as u64),
        false => Throughput::Bytes(cost.total_bytes(dtype) as u64),
    });
    group.bench_function(&workload.name, |bencher| {
        let replayed: &ReplayedKernel =
            prepared.get_or_insert_with(|| ReplayedKernel::new(workload, device, dtype, kernel));
        bencher.iter_custom(|iterations| {
            let runs = iterations.div_ceil(replayed.passes() as u64);
            let time = device.time(|| (0..runs).for_each(|_| replayed.run()));
            let time = time.expect("the device works");
            time.mul_f64(iterations as f64 / (runs * replayed.passes() as u64) as f64)
        });
    });
    group.finish();
}

/// Times whole workloads, for devices without kernels.
fn whole(criterion: &mut Criterion, device: &Device) {
    let mut group = criterion.benchmark_group(device.name());
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    for workload in all().into_iter().filter(has_twin) {
        let mut work = None;
        group.bench_function(&workload.name, |bencher| {
            let work = work.get_or_insert_with(|| workload.prepare(device, DType::F32, Size::Full));
            bencher.iter(&*work);
        });
    }
    group.finish();
}

/// Whether the CPU can run this workload: not those of `peak.cu`.
fn has_twin(workload: &Workload) -> bool {
    !workload.patterns().any(|kernel| kernel.starts_with("peak"))
}

criterion_group!(benches, kernels);
criterion_main!(benches);
