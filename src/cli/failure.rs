//! Exit codes, and the one line of an error.

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::messages;
use alrao::error::Error;

/// The signal that ends a program which writes to a closed pipe.
const SIGPIPE: u8 = 13;

/// The end of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    /// With faults in what was checked, which have been printed.
    Faulty,
    /// By a signal of this number, with a checkpoint written.
    Signalled(u8),
    /// Because the reader of the progress went away, with a checkpoint written.
    Unwatched,
}

impl Ending {
    pub fn code(self) -> ExitCode {
        match self {
            Ending::Done => ExitCode::SUCCESS,
            Ending::Faulty => ExitCode::FAILURE,
            Ending::Signalled(signal) => ExitCode::from(128 + signal),
            Ending::Unwatched => ExitCode::from(128 + SIGPIPE),
        }
    }
}

/// Prints an error. A reader that has gone away is no error.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    messages::error(&format!("{error:#}"));
    let code =
        error.chain().find_map(|cause| cause.downcast_ref::<Error>()).map_or(1, Error::exit_code);
    ExitCode::from(code)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints help and the version; an error in the arguments as one line.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is no error.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(2)
        }
        _ => {
            let elsewhere = flag_of_another_task(error);
            messages::error(&elsewhere.unwrap_or_else(|| one_line(&error.render().to_string())));
            ExitCode::from(2)
        }
    }
}

/// The message for an unknown flag of `train` that `rl train` has, or the other way round. Clap would advise a flag of a
/// similar name.
fn flag_of_another_task(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let words: Vec<String> =
        std::env::args().skip(1).filter(|own| !own.starts_with('-')).take(2).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let other: &[&str] = match words[..] {
        ["train", ..] => &["rl", "train"],
        ["rl", "train"] => &["train"],
        _ => return None,
    };
    let mut command = &super::Arguments::command();
    for name in other {
        command = command.find_subcommand(name)?;
    }
    let name = flag.strip_prefix("--")?;
    let has_flag = command.get_arguments().any(|own| own.get_long() == Some(name));
    (has_flag && error.kind() == ErrorKind::UnknownArgument).then(|| {
        format!("unexpected argument '{flag}' found; it is a flag of alrao {}", other.join(" "))
    })
}

/// Clap's message and its tips, without the usage that `--help` shows.
fn one_line(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim);
    let useful = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let useful = useful.take_while(|line| !line.starts_with("Usage:"));
    let mut text = String::new();
    for line in useful {
        let separator = match text.chars().last() {
            None => "",
            Some(':' | ',') => " ",
            Some(_) if line.starts_with('[') => " ",
            Some(_) => "; ",
        };
        text.push_str(separator);
        text.push_str(line);
    }
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_is_one_line() {
        let rendered = "error: unexpected argument '--etamin' found\n\n  tip: a similar argument exists: '--eta-min'\n\n\
            Usage: alrao train --eta-min <RATE>\n\nFor more information, try '--help'.\n";
        let line = one_line(rendered);
        assert_eq!(
            line,
            "unexpected argument '--etamin' found; tip: a similar argument exists: '--eta-min'"
        );
    }

    #[test]
    fn a_closed_pipe_is_found_behind_its_context() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&anyhow::Error::from(closed).context("standard output")));
        assert!(!is_closed_pipe(&anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull))));
    }
}
