//! Times every kernel on its workloads and compares it with the GPU's peaks; on the CPU, which has no kernels, times
//! each workload as a whole. `ALRAO_BENCH_DEVICE` chooses the device, by default the best.

mod device;

use std::time::Duration;

use alrao::bench::kernels::{ReplayedKernel, kernels_of};
use alrao::bench::median;
use alrao::bench::peaks::Peaks;
use alrao::bench::workloads::{Cost, Size, Workload, all};
use alrao::{DType, Device};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

fn kernels(criterion: &mut Criterion) {
    let device = device::open();
    let peaks = Peaks::measure(&device).expect("the peaks can be measured");
    let Some(peaks) = peaks else { return whole(criterion, &device) };
    let mut rows = Vec::new();
    for (workload, dtype) in all().iter().flat_map(|own| [(own, DType::F32), (own, DType::BF16)]) {
        for kernel in kernels_of(workload, dtype, Size::Full) {
            let Some(cost) = workload.cost_of(&kernel) else { continue };
            // A workload in bf16 launches some f32 kernels too.
            if dtype == DType::BF16 && !kernel.ends_with("_bf16") {
                continue;
            }
            let times = kernel_times(criterion, &device, (workload, dtype), &kernel, &cost);
            // Empty where criterion's filter excludes it.
            if !times.is_empty() {
                let name = format!("{kernel}: {}", workload.name);
                rows.push((name, cost, dtype, median(times), kernel));
            }
        }
    }
    println!("\n{:>9} {:>9} {:>9}  kernel", "GB/s", "TFLOP/s", "of floor");
    for (name, cost, dtype, time, kernel) in rows {
        let seconds = time.as_secs_f64();
        println!(
            "{:>9.0} {:>9.2} {:>8.1}%  {name}",
            cost.total_bytes(dtype) / seconds / 1e9,
            cost.operations / seconds / 1e12,
            100.0 * peaks.floor(&kernel, &cost, dtype) / seconds,
        );
    }
    println!("{peaks:?}");
}

/// Times of one pass each.
fn kernel_times(
    criterion: &mut Criterion,
    device: &Device,
    (workload, dtype): (&Workload, DType),
    kernel: &str,
    cost: &Cost,
) -> Vec<Duration> {
    let mut times = Vec::new();
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
            let own = time.as_secs_f64() / (runs * replayed.passes() as u64) as f64;
            times.push(Duration::from_secs_f64(own));
            Duration::from_secs_f64(own * iterations as f64)
        });
    });
    group.finish();
    times
}

/// Times whole workloads, for devices without kernels.
fn whole(criterion: &mut Criterion, device: &Device) {
    let mut group = criterion.benchmark_group(device.name());
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    let own = all().into_iter().filter(|own| device.can_capture() || has_twin(own));
    for workload in own {
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
