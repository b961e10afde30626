//! `alrao runs`.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::failure::Ending;
use super::messages;
use alrao::experiments::{RunState, RunSummary, runs};

/// List runs: model, data, method, epochs, best validation, test, state
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao runs\n  alrao runs experiments --sort valid\n  \
    alrao runs --json\n\nvalid is the validation of the best epoch, whose model is kept; test is that model's. \
    Both are accuracies, losses (regression and text) or returns (Q-learning).")]
pub(super) struct Arguments {
    /// The folder of the runs, or one run
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// Put the best first, or those with most epochs
    #[arg(long, value_enum, default_value = "name")]
    sort: Sort,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Sort {
    Name,
    Valid,
    Test,
    Epochs,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    let mut found = Vec::new();
    for run in runs(&arguments.folder)? {
        match run {
            Ok(run) => found.push(run),
            // The others can be listed.
            Err(error) => messages::note(&format!("left out: {error}")),
        }
    }
    let descending = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        // Runs without a value come last.
        (a, b) => a.is_none().cmp(&b.is_none()),
    };
    found.sort_by(|a, b| match arguments.sort {
        Sort::Name => Ordering::Equal,
        Sort::Valid => descending(a.score(false), b.score(false)),
        Sort::Test => descending(a.score(true), b.score(true)),
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

fn table(found: &[RunSummary]) -> String {
    let head = ["run", "model", "data", "method", "epochs", "best", "valid", "test", "state"];
    let rows = std::iter::once(head.map(str::to_owned)).chain(found.iter().map(row));
    let rows: Vec<[String; 9]> = rows.collect();
    let widths: [usize; 9] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let line = |row: &[String; 9]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            // Numbers are aligned on the right.
            if (4..8).contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(run: &RunSummary) -> [String; 9] {
    let none = || "-".to_owned();
    let value = |mean_return: Option<f64>, accuracy: Option<f64>, loss: Option<f64>| {
        let shown = mean_return.map(|own| format!("{own:.1}"));
        let shown = shown.or(accuracy.map(|own| format!("{:.2}%", 100.0 * own)));
        shown.or(loss.map(|own| format!("{own:.4}"))).unwrap_or_else(none)
    };
    [
        run.path.file_name().map_or_else(none, |name| name.to_string_lossy().into_owned()),
        run.model.clone().unwrap_or_else(none),
        short(&run.data),
        run.method.clone(),
        run.planned.map_or_else(|| run.epochs.to_string(), |all| format!("{}/{all}", run.epochs)),
        run.best_epoch.map_or_else(none, |epoch| epoch.to_string()),
        value(run.valid_return, run.valid_accuracy, run.valid_loss),
        value(run.test_return, run.test_accuracy, run.test_loss),
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
