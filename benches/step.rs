//! Time of a whole training step, plain SGD and Alrao; on a GPU both eager and as a captured graph.
//! `ALRAO_BENCH_DEVICE` chooses the device, by default the best. `peers/step.py` times PyTorch.

mod device;

use std::time::Duration;

use alrao::bench::step::{Contestant, MODELS, Mode, OPTIMIZERS, config, samples};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    let device = device::open();
    for model in MODELS {
        let mut group = criterion.benchmark_group(model.name());
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(8));
        for optimizer in OPTIMIZERS {
            let config = config(model, optimizer).expect("the defaults are sound");
            for mode in Mode::on(&device) {
                let name = format!("{optimizer} {}", mode.name());
                let mut prepared = None;
                // Built on demand, since a filter may exclude it.
                let contestant = || {
                    let own = Contestant::new(&config, *mode, &device).expect("the device works");
                    if let Some(launches) = own.launches() {
                        println!("{model} {name}: {launches} launches");
                    }
                    own
                };
                group.throughput(Throughput::Elements(samples(&config) as u64));
                group.bench_function(&name, |bencher| {
                    let own = prepared.get_or_insert_with(contestant);
                    bencher.iter_custom(|steps| {
                        let time = device.time(|| (0..steps).for_each(|_| drop(own.step())));
                        time.expect("the device works")
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
