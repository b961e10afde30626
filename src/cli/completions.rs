//! `alrao completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Ending;
use super::messages;

/// Write a shell's completions to standard output
#[derive(Args)]
#[command(
    after_help = "Example:\n  alrao completions bash > ~/.local/share/bash-completion/completions/alrao"
)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "alrao", &mut text);
    messages::result(&String::from_utf8_lossy(&text))?;
    Ok(Ending::Done)
}
