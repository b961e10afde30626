//! `alrao workshop`.

mod course;
mod ladder;
mod measurement;
mod pages;
mod run;

use clap::{Args, Subcommand};

use super::failure::Ending;
use super::messages;
use alrao::error::Error;

/// Learn to write CUDA kernels, with no GPU: run kernel files in the simulator, with every access checked and counted
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao workshop ladder matmul\n  alrao workshop next\n  \
    alrao workshop check exercises/01_one_thread_one_element.cu\n  alrao workshop run transpose.cu\n\n\
    docs/workshop.md shows how to write a kernel file.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    References(run::References),
    Ladder(ladder::Arguments),
    List(course::List),
    Next(course::Next),
    Check(course::Check),
    Hint(course::Hint),
    Solution(course::Solution),
    #[command(hide = true)]
    Trial(run::Trial),
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    run_command(&arguments.command, quiet).map_err(with_lines_before)
}

/// Prints all lines of a compiler's message but the first as they are; the first one becomes the error, which has one line.
fn with_lines_before(error: anyhow::Error) -> anyhow::Error {
    let Some(Error::Input { subject, message }) = error.downcast_ref::<Error>() else {
        return error;
    };
    match message.split_once('\n') {
        None => error,
        Some((first, lines)) => {
            messages::note(lines);
            Error::input(subject, first).into()
        }
    }
}

fn run_command(command: &Command, quiet: bool) -> anyhow::Result<Ending> {
    match command {
        Command::Run(arguments) => run::run(arguments, quiet),
        Command::References(arguments) => run::references(arguments),
        Command::Ladder(arguments) => ladder::run(arguments, quiet),
        Command::List(arguments) => course::list(arguments),
        Command::Next(arguments) => course::next(arguments),
        Command::Check(arguments) => course::check(arguments),
        Command::Hint(arguments) => course::hint(arguments),
        Command::Solution(arguments) => course::solution(arguments),
        Command::Trial(arguments) => run::trial(arguments),
    }
}
