//! Memory of training: how far a process's peak rises above its start in five steps, with one process per model.
//! `peers/step.py` measures PyTorch in the same way: the peak, minus the resident memory before the model was built.

use std::process::{Command, ExitCode};

use alrao::Device;
use alrao::bench::step::{Inputs, MODELS, OPTIMIZERS, config};
use alrao::learn::Optimizer;
use alrao::models::Architecture;

const STEPS: usize = 5;
const HERE: &str = "--here";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(here) = arguments.iter().position(|argument| argument == HERE) {
        let [model, optimizer] = &arguments[here + 1..] else {
            eprintln!("{HERE} takes a model and an optimizer");
            return ExitCode::from(2);
        };
        let model = model.parse().expect("a known model");
        println!("{}", peak(model, optimizer.parse().expect("a known optimizer")));
        return ExitCode::SUCCESS;
    }
    if memory("VmHWM").is_none() {
        println!(
            "the peak memory of a process is read from /proc/self/status, which this system lacks"
        );
        return ExitCode::SUCCESS;
    }
    println!("{:<12} {:<10} {:>8}", "model", "optimizer", "peak MB");
    for model in MODELS {
        for optimizer in OPTIMIZERS {
            let bytes = in_own_process(model, optimizer);
            println!("{:<12} {:<10} {:>8.0}", model.name(), optimizer.name(), bytes as f64 / 1e6);
        }
    }
    ExitCode::SUCCESS
}

fn in_own_process(model: Architecture, optimizer: Optimizer) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).args([HERE, model.name(), optimizer.name()]).output();
    let output = output.expect("this program can be started again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| {
        panic!("{model} {optimizer}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// Bytes above the start.
fn peak(model: Architecture, optimizer: Optimizer) -> u64 {
    let device = Device::cpu();
    let config = config(model, optimizer).expect("the defaults are sound");
    let inputs = Inputs::new(&config, &device).expect("they fit in memory");
    let before = memory("VmRSS").expect("the parent has looked");
    let learner = inputs.learner(&config).expect("the model takes these inputs");
    for _ in 0..STEPS {
        inputs.step(&learner);
    }
    memory("VmHWM").expect("the parent has looked").saturating_sub(before)
}

/// A line of this process's status, in bytes.
fn memory(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok().map(|kilobytes: u64| kilobytes * 1024)
}
