//! The command line.

mod arguments;
mod atlas;
mod bench;
mod class_tables;
mod completions;
mod data;
mod estimates;
mod eval;
mod experiment;
mod experiment_progress;
mod export;
mod failure;
mod info;
mod kernel_times;
mod kernels;
mod messages;
mod predict;
mod progress;
mod rl;
mod running;
mod runs;
mod sample;
mod signals;
mod time_left;
mod train;
mod workshop;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use alrao::device::catch_failure;
use failure::Ending;

/// Trains neural networks without tuning a learning rate: every feature has its own.
#[derive(Parser)]
#[command(name = "alrao", version, long_version = VERSION, propagate_version = true)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Example:\n  alrao train\n\nExit codes: 0 done, 1 failed while running, 2 bad usage or input, \
    130 and 143 stopped by a signal with a checkpoint written.\n\n\
    ALRAO_CPU=plain|avx2|avx512 holds work on the cpu to an instruction set, for comparisons."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Show results and errors only
    #[arg(short, long, global = true)]
    quiet: bool,
}

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("ALRAO_COMMIT"),
    "; ",
    env!("ALRAO_KERNELS"),
    ")"
);

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Arguments>),
    Eval(eval::Arguments),
    Predict(predict::Arguments),
    Export(export::Arguments),
    Data(data::Arguments),
    Sample(sample::Arguments),
    Runs(runs::Arguments),
    Rl(rl::Arguments),
    Experiment(experiment::Arguments),
    Bench(bench::Arguments),
    Kernels(kernels::Arguments),
    Workshop(workshop::Arguments),
    Info(info::Arguments),
    Completions(completions::Arguments),
}

/// Runs the program on the process's arguments. The exit code is 0 when done, 1 after a failure while running, 2 for
/// bad usage or input, and 128 plus the signal's number after a signal.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    let quiet = arguments.quiet;
    signals::survive_file_size_limit();
    let ending = catch_failure(|| match arguments.command {
        Command::Train(arguments) => train::run(*arguments, quiet),
        Command::Eval(arguments) => eval::run(&arguments, quiet),
        Command::Predict(arguments) => predict::run(&arguments, quiet),
        Command::Export(arguments) => export::run(&arguments, quiet),
        Command::Data(arguments) => data::run(&arguments, quiet),
        Command::Sample(arguments) => sample::run(&arguments, quiet),
        Command::Runs(arguments) => runs::run(&arguments, quiet),
        Command::Rl(arguments) => rl::run(arguments, quiet),
        Command::Experiment(arguments) => experiment::run(arguments, quiet),
        Command::Bench(arguments) => bench::run(&arguments, quiet),
        Command::Kernels(arguments) => kernels::run(&arguments, quiet),
        Command::Workshop(arguments) => workshop::run(&arguments, quiet),
        Command::Info(arguments) => info::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    });
    ending.map_or_else(|error| failure::report(&error), Ending::code)
}
