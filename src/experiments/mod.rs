//! The paper's tables and figures, one file each: what is run, and what is shown of it.
//!
//! An experiment is a plan of ordinary runs and a function of their records. Whoever starts it gets a folder with
//! `plan.json`, `runs/`, `results.json`, `timings.json`, `table.md`, pictures and `report.html`.

mod alrao_adam;
mod comparison;
mod findings;
mod frozen;
mod interval;
mod learning_curves;
mod method;
mod options;
mod plan;
mod posterior;
mod q_learning;
mod record;
mod report;
mod rows;
mod running;
mod setup;
mod statistics;
mod table1;
mod table2;
mod theorem;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

pub use findings::{Findings, Picture, Table};
pub use options::Options;
pub use record::{Ending, Epoch, Record, Records, Test};
pub use rows::{ROWS, Row, Score, Source};
pub use running::{Event, Observer, Standing};
pub use statistics::Estimate;

use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::named::named;
use crate::train::StopFlag;
use plan::{Folder, PlannedRun};
use setup::Setup;

/// What the paper's own rows of a table are called.
const PAPERS: &str = "(paper)";

named! {
    /// A table or a figure of the paper.
    Experiment, "experiment" {
        /// SGD, Adam and Alrao on each model.
        Table1 = "table1",
        /// Parameters with and without Alrao.
        Table2 = "table2",
        /// Loss over the epochs.
        LearningCurves = "learning-curves",
        /// Loss by the interval of learning rates.
        Interval = "interval",
        /// The weights of the classifiers over the steps.
        Posterior = "posterior",
        /// Alrao on Adam.
        AlraoAdam = "alrao-adam",
        /// A part of the features trained.
        Frozen = "frozen",
        /// Returns of Q-learning.
        QLearning = "q-learning",
        /// Convergence of a convex problem.
        Theorem = "theorem",
    }
}

/// What an experiment runs, and what it makes of the records.
struct Study {
    /// The data of its runs; none for an experiment without runs.
    setups: Vec<Setup>,
    runs: Vec<PlannedRun>,
    findings: Box<Judge>,
}

type Judge = dyn FnOnce(&[Setup], &Records) -> Result<Findings>;

/// How an experiment ended.
#[derive(Debug)]
pub enum Conclusion {
    /// All runs have ended.
    Finished {
        /// What came out.
        findings: Box<Findings>,
        /// Runs that failed, and why; the same command tries them again.
        failures: Vec<(String, String)>,
    },
    /// It was asked to stop; the same options go on where it was.
    Stopped,
}

/// Where an experiment's results go.
pub fn folder(experiment: Experiment, options: &Options) -> PathBuf {
    let usual = || Path::new("runs").join(format!("experiment-{experiment}"));
    options.out.clone().unwrap_or_else(usual)
}

/// Runs an experiment, or goes on with it.
///
/// # Errors
/// Where something the user gave is at fault, the folder holds something else, or a result cannot be written. A run that
/// fails is no error.
pub fn run(
    experiment: Experiment,
    options: &Options,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Conclusion> {
    if options.jobs == Some(0) {
        return Err(Error::input("--jobs", "0 is not possible; give at least 1"));
    }
    let study = match experiment {
        Experiment::Table1 => table1::study(options)?,
        Experiment::Table2 => table2::study()?,
        Experiment::LearningCurves => learning_curves::study(options)?,
        Experiment::Interval => interval::study(options)?,
        Experiment::Posterior => posterior::study(options)?,
        Experiment::AlraoAdam => alrao_adam::study(options)?,
        Experiment::Frozen => frozen::study(options)?,
        Experiment::QLearning => q_learning::study(options)?,
        Experiment::Theorem => theorem::study(options)?,
    };
    let Study { setups, runs, findings } = study;
    let data = setups.iter().map(|setup| setup.dataset.fingerprint.clone()).collect();
    let folder = Folder::open(&folder(experiment, options), experiment, data, &runs)?;
    let jobs = options.jobs.unwrap_or_else(|| usual_jobs(options, &runs));
    let Some(records) = running::run_all(&runs, &folder.runs(), jobs, observer, stop)? else {
        return Ok(Conclusion::Stopped);
    };
    let data: Vec<Value> = setups.iter().map(describe_data).collect();
    let findings = findings(&setups, &records)?;
    write(&folder, experiment, &findings, data, &records)?;
    let failures = records.failures.into_iter().collect();
    Ok(Conclusion::Finished { findings: Box::new(findings), failures })
}

/// Small models leave most of a processor idle, one at a time.
fn usual_jobs(options: &Options, runs: &[PlannedRun]) -> usize {
    let is_on_cpu = runs.iter().all(|run| run.work.device() == DeviceKind::Cpu);
    if options.quick && is_on_cpu { running::cores() } else { 1 }
}

fn describe_data(setup: &Setup) -> Value {
    json!({
        "description": setup.dataset.description(),
        "fingerprint": setup.dataset.fingerprint,
        "row": setup.row.name,
    })
}

fn write(
    folder: &Folder,
    experiment: Experiment,
    findings: &Findings,
    data: Vec<Value>,
    records: &Records,
) -> Result<()> {
    let pretty =
        |value: &Value| serde_json::to_string_pretty(value).expect("a value is plain data") + "\n";
    let runs: Map<String, Value> =
        records.by_name.iter().map(|(name, record)| (name.clone(), json!(record))).collect();
    let results = json!({
        "data": data,
        "experiment": experiment.name(),
        "findings": findings.values,
        "runs": runs,
    });
    folder.write("results.json", &pretty(&results))?;
    let total: f64 = records.seconds.values().sum();
    let timings = json!({ "seconds": records.seconds, "total_seconds": total });
    folder.write("timings.json", &pretty(&timings))?;
    folder.write("table.md", &findings.markdown())?;
    for picture in &findings.pictures {
        folder.write(&format!("{}.svg", picture.name), &picture.svg)?;
    }
    let made = format!(
        "alrao experiment {experiment}; alrao {} (commit {}). Numbers: results.json; times: timings.json; every run: \
         runs/.",
        env!("CARGO_PKG_VERSION"),
        env!("ALRAO_COMMIT")
    );
    folder.write("report.html", &report::html(findings, &made))
}

/// The device that training experiments run on, opened once to see whether it can be.
fn device_kind(options: &Options) -> Result<DeviceKind> {
    Device::open(options.device)?.name().parse()
}
