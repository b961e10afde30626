//! Time of a whole training step, plain SGD beside Alrao. `peers/step.py` times PyTorch's.

mod workload;

use std::time::Duration;

use alrao::Device;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    let device = Device::cpu();
    for model in workload::MODELS {
        let inputs = workload::Inputs::new(model, &device);
        let mut group = criterion.benchmark_group(model);
        group.throughput(Throughput::Elements(inputs.samples() as u64));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8));
        for optimizer in workload::OPTIMIZERS {
            let learner = workload::learner(model, optimizer, &inputs, &device);
            group.bench_function(optimizer.name(), |bencher| {
                bencher.iter(|| workload::step(&learner, &inputs));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
