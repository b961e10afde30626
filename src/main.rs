//! The command line's entry; see [`alrao::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    alrao::cli::main()
}
