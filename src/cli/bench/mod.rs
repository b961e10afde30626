//! `alrao bench`.

mod profile;
mod q_learning;
mod step;

use clap::{Args, Subcommand};

use super::failure::Ending;
use alrao::device::Device;
use alrao::error::Error;
use alrao::learn::Precision;

/// Time training
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  alrao bench step --model vgg19\n  alrao bench q-learning")]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Step(step::Arguments),
    QLearning(q_learning::Arguments),
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    match &arguments.what {
        What::Step(arguments) => step::run(arguments, quiet),
        What::QLearning(arguments) => q_learning::run(arguments, quiet),
    }
}

/// Repetitions between two readings of the clock, and in all.
#[derive(Clone, Copy)]
struct Rounds {
    steps: usize,
    a_round: usize,
}

impl Rounds {
    /// Refuses numbers of repetitions that cannot be timed.
    fn check(steps: Option<usize>) -> Result<(), Error> {
        match steps {
            Some(0) => Err(Error::input("--steps", "0 is not possible; give at least 1")),
            _ => Ok(()),
        }
    }

    /// The number of steps that was given, or the usual one.
    fn new(steps: Option<usize>, (usual, a_round): (usize, usize)) -> Rounds {
        let steps = steps.unwrap_or(usual);
        Rounds { steps, a_round: a_round.min(steps) }
    }

    fn count(self) -> usize {
        self.steps.div_ceil(self.a_round)
    }
}

fn check_precision(precision: Option<Precision>, device: &Device) -> Result<(), Error> {
    match precision.filter(|precision| !precision.is_on(device)) {
        Some(precision) => Err(Error::input(
            "--precision",
            format!("{} does not compute in {precision} yet; leave it out", device.name()),
        )),
        None => Ok(()),
    }
}

/// A table without trailing blanks.
fn trimmed(table: &str) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
