//! `alrao runs`.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::arguments::new_file;
use super::failure::Ending;
use super::messages;
use alrao::experiments::{RunState, RunSummary, compare_runs, html, runs};

/// List runs, or compare some on one page
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  alrao runs\n  \
    alrao runs experiments --sort valid\n  alrao runs --json\n  alrao runs compare runs/a runs/b\n\nvalid is the validation of the best epoch, whose model is kept; test is that model's. \
    Both are accuracies, R2 (regression) or returns (Q-learning). \
    Where lines would be longer than 80 characters, model, data and method are left out if each run's name has them; --json has all."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The folder of the runs, or one run
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// Put the best first, accuracies before R2, losses and returns, or those with most epochs
    #[arg(long, value_enum, default_value = "name")]
    sort: Sort,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Compare(Compare),
}

/// Write a page with the settings that differ, the results and the curves of some runs
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao runs compare runs/cnn-generated-alrao-1 runs/cnn-generated-sgd-1\n  \
    alrao runs compare runs/* --output page.html --force"
)]
struct Compare {
    /// The runs' directories
    #[arg(required = true, value_name = "RUN", num_args = 2..)]
    runs: Vec<PathBuf>,
    /// The page to write, HTML in one file
    #[arg(short, long, value_name = "FILE", default_value = "comparison.html")]
    output: PathBuf,
    /// Replace the page if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Sort {
    Name,
    Valid,
    Test,
    Epochs,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    match &arguments.command {
        Some(Command::Compare(compare)) => write_comparison(compare, quiet),
        None => list(arguments),
    }
}

fn write_comparison(arguments: &Compare, quiet: bool) -> anyhow::Result<Ending> {
    let Compare { runs, output, force } = arguments;
    let file = new_file("output", output, &[], *force)?;
    let findings = compare_runs(runs)?;
    let version = env!("CARGO_PKG_VERSION");
    file.write(
        html(&findings, &format!("alrao runs compare; written by alrao {version}")).as_bytes(),
    )?;
    messages::result(&findings.markdown())?;
    if !quiet {
        messages::note(&format!("written {}", output.display()));
    }
    Ok(Ending::Done)
}

fn list(arguments: &Arguments) -> anyhow::Result<Ending> {
    let usual = Path::new("runs");
    if arguments.folder == usual && !usual.exists() {
        messages::note("no runs here yet");
        return Ok(Ending::Done);
    }
    let mut found = Vec::new();
    for run in runs(&arguments.folder)? {
        match run {
            Ok(run) => found.push(run),
            // The others can be listed.
            Err(error) => messages::note(&format!("left out: {error}")),
        }
    }
    let best_first =
        |a: &RunSummary, b: &RunSummary, by_test| match (a.result(by_test), b.result(by_test)) {
            (Some(a), Some(b)) => a.best_first(b),
            // Runs without a result come last.
            (a, b) => a.is_none().cmp(&b.is_none()),
        };
    found.sort_by(|a, b| match arguments.sort {
        Sort::Name => Ordering::Equal,
        Sort::Valid => best_first(a, b, false),
        Sort::Test => best_first(a, b, true),
        Sort::Epochs => b.epochs.cmp(&a.epochs),
    });
    if arguments.json {
        for run in &found {
            messages::result(&(serde_json::to_string(run)? + "\n"))?;
        }
    } else if found.is_empty() {
        messages::note(&format!("no runs in {}", arguments.folder.display()));
    } else {
        messages::result(&table(&found))?;
    }
    Ok(Ending::Done)
}

/// The columns of a list, in order: their heads, and whether they hold numbers, which are aligned on the right.
const COLUMNS: [(&str, bool); 9] = [
    ("run", false),
    ("model", false),
    ("data", false),
    ("method", false),
    ("epochs", true),
    ("best", true),
    ("valid", true),
    ("test", true),
    ("state", false),
];

/// The columns that a run's usual name tells, too.
const IN_NAME: std::ops::Range<usize> = 1..4;

/// The width of most terminals.
const WIDTH: usize = 80;

fn table(found: &[RunSummary]) -> String {
    let rows: Vec<[String; 9]> = found.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([COLUMNS[column].0.len()]).max().unwrap_or_default()
    };
    let widths: [usize; 9] = std::array::from_fn(width);
    let is_wide = widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > WIDTH;
    let is_told = |column: usize| {
        is_wide
            && IN_NAME.contains(&column)
            && rows.iter().all(|row| is_in_name(&row[0], &row[column]))
    };
    let shown: Vec<usize> = (0..COLUMNS.len()).filter(|column| !is_told(*column)).collect();
    let line = |row: &[String; 9]| {
        let cells = shown.iter().map(|&column| {
            let (cell, width) = (&row[column], widths[column]);
            match COLUMNS[column].1 {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head = COLUMNS.map(|(head, _)| head.to_owned());
    std::iter::once(&head).chain(&rows).map(line).collect()
}

/// Whether a run's name, such as `mlp-table-alrao-1`, has a part; an extension of the part does not count.
fn is_in_name(name: &str, part: &str) -> bool {
    let stem = Path::new(part).file_stem().map_or_else(|| part.into(), |own| own.to_string_lossy());
    format!("-{name}-").contains(&format!("-{stem}-"))
}

fn row(run: &RunSummary) -> [String; 9] {
    let none = || "-".to_owned();
    let result = |by_test| run.result(by_test).map_or_else(none, |own| own.to_string());
    [
        run.path.file_name().map_or_else(none, |name| name.to_string_lossy().into_owned()),
        run.model.clone().unwrap_or_else(none),
        short(&run.data),
        run.method.clone(),
        run.planned.map_or_else(|| run.epochs.to_string(), |all| format!("{}/{all}", run.epochs)),
        run.best_epoch.map_or_else(none, |epoch| epoch.to_string()),
        result(false),
        result(true),
        match run.state {
            RunState::Running => "running",
            RunState::Finished => "finished",
            RunState::Stopped => "stopped",
        }
        .to_owned(),
    ]
}

/// The last part of a path; other data as it is.
fn short(data: &str) -> String {
    let name = Path::new(data).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| data.to_owned())
}
