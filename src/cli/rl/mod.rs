//! `alrao rl`.

mod eval;
mod progress;
mod train;

use clap::{Args, Subcommand};

use super::failure::Ending;

/// Learn to act: deep Q-learning with Alrao
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  alrao rl train --env pendulum\n  \
    alrao rl train --env gym:LunarLander-v3    # pip install \"gymnasium[box2d]\"\n  \
    alrao rl eval runs/pendulum-alrao-1")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Arguments>),
    Eval(eval::Arguments),
}

pub(super) fn run(arguments: Arguments, quiet: bool) -> anyhow::Result<Ending> {
    match arguments.command {
        Command::Train(arguments) => train::run(*arguments, quiet),
        Command::Eval(arguments) => eval::run(&arguments, quiet),
    }
}
