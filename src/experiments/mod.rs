//! The paper's tables and figures, one file each: the runs, and the findings from them.
//!
//! An experiment is a plan of ordinary runs, and a function that makes findings from their records. It fills a folder with
//! `plan.json`, `runs/`, `results.json`, `timings.json`, `table.md`, pictures and `report.html`.

mod alrao_adam;
mod comparison;
mod differences;
mod findings;
mod frozen;
mod interval;
mod learning_curves;
mod method;
mod options;
mod plan;
mod posterior;
mod q_learning;
mod quick;
mod record;
mod report;
mod rows;
mod run_comparison;
mod run_list;
mod running;
mod setup;
mod statistics;
mod table1;
mod table2;
mod theorem;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};

pub use findings::{Findings, Line, Picture, Table};
pub use options::{Options, Size};
pub use record::{Ending, Epoch, Record, Records, Test};
pub use report::html;
pub use rows::{ROWS, Row, Score, Source};
pub use run_comparison::compare_runs;
pub use run_list::{RunResult, RunState, RunSummary, runs};
pub use running::{Event, Metric, Observer};
pub use statistics::Estimate;

use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::learn::StopFlag;
use crate::models::Architecture;
use crate::named::named;
use plan::{Folder, PlannedRun};
use running::RunOptions;
use setup::Setup;

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
        /// Loss when a part of the features is trained.
        Frozen = "frozen",
        /// Returns of Q-learning.
        QLearning = "q-learning",
        /// Convergence of a convex problem.
        Theorem = "theorem",
    }
}

/// The default sizes of an experiment that trains on rows: the full one, and that of `--quick`.
pub fn sizes(experiment: Experiment) -> Option<[Size; 2]> {
    match experiment {
        Experiment::Table1 => Some([table1::WHOLE, table1::QUICK]),
        Experiment::LearningCurves => Some([learning_curves::WHOLE, learning_curves::QUICK]),
        Experiment::Interval => Some([interval::WHOLE, interval::QUICK]),
        Experiment::Posterior => Some([posterior::WHOLE, posterior::QUICK]),
        Experiment::AlraoAdam => Some([alrao_adam::WHOLE, alrao_adam::QUICK]),
        Experiment::Frozen => Some([frozen::WHOLE, frozen::QUICK]),
        Experiment::Table2 | Experiment::QLearning | Experiment::Theorem => None,
    }
}

/// The work of an experiment.
enum Study {
    /// Runs, and the function that makes findings from their records.
    Runs {
        /// The models and data of the runs.
        setups: Vec<Setup>,
        runs: Vec<PlannedRun>,
        /// Whether the findings need the runs' metrics beside their records.
        reads_metrics: bool,
        findings: Box<Evaluate>,
    },
    /// A short computation without runs or checkpoints; it returns `None` if it was stopped.
    Immediate(Box<Immediate>),
}

type Evaluate = dyn FnOnce(&[Setup], &Records) -> Result<Findings>;
type Immediate = dyn FnOnce(&StopFlag) -> Result<Option<Findings>>;

/// How an experiment ended.
#[derive(Debug)]
pub enum Conclusion {
    /// All runs have ended.
    Finished {
        /// The findings.
        findings: Box<Findings>,
        /// The runs that failed, and the reasons; the same command tries them again.
        failures: Vec<(String, String)>,
    },
    /// It was stopped; the same options resume it.
    Stopped,
}

/// The folder for an experiment's results.
pub fn folder(experiment: Experiment, options: &Options) -> PathBuf {
    options.out.clone().unwrap_or_else(|| Path::new("runs").join(usual_name(experiment, options)))
}

/// The folder's default name. It depends on what is studied, but not on the number of epochs or runs.
fn usual_name(experiment: Experiment, options: &Options) -> String {
    let Options { quick, rows, model, data, env, .. } = options;
    let data =
        data.as_ref().map(|data| data.trim_end_matches('/').rsplit('/').next().unwrap_or(data));
    let many = format!("{}-rows", rows.len());
    let mut parts = vec!["experiment", experiment.name()];
    parts.extend(quick.then_some("quick"));
    match rows.len() {
        0..=3 => parts.extend(rows.iter().map(String::as_str)),
        // File systems limit the length of a name.
        _ => parts.push(&many),
    }
    parts.extend(model.map(Architecture::name));
    parts.extend(data);
    parts.extend(env.as_deref());
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    parts.join("-").chars().map(plain).collect()
}

/// Runs an experiment, or resumes it.
///
/// # Errors
/// If an option or the data is wrong, if the folder holds something else, or if a result cannot be written. A failed run is
/// not an error.
pub fn run(
    experiment: Experiment,
    options: &Options,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Conclusion> {
    if options.jobs == Some(0) {
        return Err(Error::field("jobs", "0 is not possible; give at least 1"));
    }
    let study = match experiment {
        Experiment::Table1 => table1::study(options)?,
        Experiment::Table2 => table2::study(),
        Experiment::LearningCurves => learning_curves::study(options)?,
        Experiment::Interval => interval::study(options)?,
        Experiment::Posterior => posterior::study(options)?,
        Experiment::AlraoAdam => alrao_adam::study(options)?,
        Experiment::Frozen => frozen::study(options)?,
        Experiment::QLearning => q_learning::study(options)?,
        Experiment::Theorem => theorem::study(options)?,
    };
    let place = folder(experiment, options);
    match study {
        Study::Immediate(work) => {
            let folder = Folder::open(&place, experiment, Vec::new(), &[])?;
            let began = Instant::now();
            let Some(findings) = work(stop)? else { return Ok(Conclusion::Stopped) };
            let seconds = began.elapsed().as_secs_f64();
            write(&folder, experiment, &findings, Vec::new(), (&Records::default(), seconds))?;
            Ok(Conclusion::Finished { findings: Box::new(findings), failures: Vec::new() })
        }
        Study::Runs { setups, runs, reads_metrics, findings } => {
            let data = setups.iter().map(|setup| setup.dataset.fingerprint.clone()).collect();
            let folder = Folder::open(&place, experiment, data, &runs)?;
            introduce(options, &setups, observer)?;
            let jobs = options.jobs.unwrap_or_else(|| usual_jobs(options, &runs));
            let run_options = RunOptions { jobs, reads_metrics };
            let runs = running::run_all(&runs, &folder.runs(), &run_options, observer, stop)?;
            let Some(records) = runs else { return Ok(Conclusion::Stopped) };
            let data: Vec<Value> = setups.iter().map(describe_data).collect();
            let mut findings = findings(&setups, &records)?;
            complete(&mut findings, options, &records)?;
            let seconds = records.seconds.values().sum();
            write(&folder, experiment, &findings, data, (&records, seconds))?;
            let failures = records.failures.into_iter().collect();
            Ok(Conclusion::Finished { findings: Box::new(findings), failures })
        }
    }
}

/// Reports the device and the notes on each data set, each note once.
fn introduce(options: &Options, setups: &[Setup], observer: &mut dyn Observer) -> Result<()> {
    let mut lines = vec![format!("device  {}", Device::open(options.device)?.description())];
    for setup in setups {
        let notes = setup.dataset.notes().into_iter().map(|note| format!("data    {note}"));
        for note in notes {
            if !lines.contains(&note) {
                lines.push(note);
            }
        }
    }
    lines.iter().for_each(|text| observer.notice(&Event::Note { text }));
    Ok(())
}

/// Adds the findings that every experiment with runs has: failures, broken images and the device.
fn complete(findings: &mut Findings, options: &Options, records: &Records) -> Result<()> {
    findings.failures =
        records.failures.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    if records.damaged > 0 {
        findings.differences.push(format!(
            "Images that were broken and replaced by an image of the mean colour: {}.",
            records.damaged
        ));
    }
    findings.differences.push(format!("The runs were on: {}.", device_kind(options)?));
    Ok(())
}

/// The default number of runs at a time. A single run of a small model leaves most cores idle.
fn usual_jobs(options: &Options, runs: &[PlannedRun]) -> usize {
    let is_on_cpu = runs.iter().all(|run| run.work.device() == DeviceKind::Cpu);
    if options.quick && is_on_cpu { running::cores() } else { 1 }
}

fn describe_data(setup: &Setup) -> Value {
    json!({
        "description": setup.dataset.description(),
        "fingerprint": setup.dataset.fingerprint,
        "name": setup.name,
        "row": setup.row.name,
    })
}

fn write(
    folder: &Folder,
    experiment: Experiment,
    findings: &Findings,
    data: Vec<Value>,
    (records, seconds): (&Records, f64),
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
    let timings = json!({ "seconds": records.seconds, "total_seconds": seconds });
    folder.write("timings.json", &pretty(&timings))?;
    folder.write("table.md", &findings.markdown())?;
    for picture in &findings.pictures {
        folder.write(&format!("{}.svg", picture.name), &picture.svg)?;
    }
    let runs = if records.by_name.is_empty() { "" } else { "; every run: runs/" };
    let made = format!(
        "alrao experiment {experiment}; written by alrao {} (commit {}). Numbers: results.json; times: timings.json{runs}.",
        env!("CARGO_PKG_VERSION"),
        env!("ALRAO_COMMIT")
    );
    folder.write("report.html", &html(findings, &made))
}

/// The device of the runs, opened once to check that it can be.
fn device_kind(options: &Options) -> Result<DeviceKind> {
    Ok(Device::open(options.device)?.kind().unwrap_or(options.device))
}

#[cfg(test)]
mod tests {
    use super::record::made_up;
    use super::*;

    #[test]
    fn each_study_has_a_folder_of_its_own() {
        let name = |options: Options| usual_name(Experiment::Table1, &options);
        let rows = vec!["cifar10/vgg19".into()];
        let data = Some("here/cifar-10-batches-bin/".into());
        assert_eq!(name(Options::default()), "experiment-table1");
        assert_eq!(name(Options { epochs: Some(3), ..Options::default() }), "experiment-table1");
        let quick = Options { quick: true, rows, ..Options::default() };
        assert_eq!(name(quick.clone()), "experiment-table1-quick-cifar10-vgg19");
        let other = Options { data, model: Some(Architecture::Cnn), ..quick };
        assert_eq!(name(other), "experiment-table1-quick-cifar10-vgg19-cnn-cifar-10-batches-bin");
        let env = Options { env: Some("gym:LunarLander-v3".into()), ..Options::default() };
        assert_eq!(
            usual_name(Experiment::QLearning, &env),
            "experiment-q-learning-gym-LunarLander-v3"
        );
    }

    /// An experiment's findings from made-up records, given by the method's name.
    fn found(
        study: fn(&Options) -> Result<Study>,
        record: impl Fn(&str) -> Record,
    ) -> (Findings, Records) {
        let options = Options {
            quick: true,
            model: Some(Architecture::Mlp),
            seeds: Some(1),
            device: DeviceKind::Cpu,
            ..Options::default()
        };
        let Study::Runs { setups, runs, findings, .. } = study(&options).unwrap() else {
            panic!("no runs")
        };
        let mut records = Records::default();
        for run in runs {
            let name = run.name.trim_start_matches("mlp-generated-").trim_end_matches("-seed-0");
            records.by_name.insert(run.name.clone(), record(name));
        }
        (findings(&setups, &records).unwrap(), records)
    }

    fn finished(loss: f64) -> Record {
        made_up(&[Some(loss)], Some(loss), Ending::Finished)
    }

    #[test]
    fn where_nothing_learns_nothing_is_said_about_intervals() {
        let (findings, _) = found(interval::study, |name| match name {
            "sgd-1e2" => finished(1.6e26),
            _ => finished(2.5),
        });
        let text = findings.markdown();
        assert!(text.contains("at no rate does SGD learn in so few steps"), "{text}");
        assert!(!text.contains("inf"), "{text}");
        // A loss of 1e26 has diverged.
        assert!(text.contains("| 2.5 | – |\n") && !text.contains("1.6e26"), "{text}");
    }

    #[test]
    fn losses_are_of_what_learns() {
        let (findings, _) = found(interval::study, |name| match name {
            "sgd-1e-1" => finished(0.5),
            "sgd-1e0" => finished(0.75),
            "alrao-1e-5-1e0" => finished(1.0),
            "alrao-1e-5-1e-1" => made_up(&[], None, Ending::Failed),
            _ => finished(2.5),
        });
        let text = findings.markdown();
        assert!(text.contains("at 2 of 8 rates: 0.1, 1."), "{text}");
        // Of 21 intervals that hold one of the two, one failed.
        assert!(
            text.contains("Alrao learns in 1 of the 20 intervals that hold such a rate"),
            "{text}"
        );
        assert!(text.contains("SGD over its rates is 0.5 to 0.75, of Alrao over"), "{text}");
        assert!(text.contains("such a rate 1 to 1."), "{text}");
    }

    /// The paper's numbers for VGG19: SGD at 0.1 0.42 ± 0.02 and 89.5 ± 0.2, Adam 0.43, Alrao 0.45.
    #[test]
    fn the_papers_numbers_stand_beside_its_own_row() {
        let setup = setup::tests::on_cifar10("cifar10/vgg19", 1.0, 60_000);
        let (mut runs, mut records) = (Vec::new(), Records::default());
        let comparison = comparison::Comparison::plan(&setup, &mut runs).unwrap();
        for run in runs {
            records.by_name.insert(run.name, finished(0.5));
        }
        let text = table1::findings(&[setup], &[comparison], &records).markdown();
        assert!(text.contains("| cifar10/vgg19 (paper) | 0.1 | 0.42 ± 0.02 |"), "{text}");
        assert!(!text.contains("cannot be compared with the paper's"), "{text}");
    }

    #[test]
    fn a_rate_at_which_a_run_failed_is_not_worse() {
        let (findings, _) = found(table1::study, |name| match name {
            "sgd-1e-1" => finished(0.25),
            "sgd-1e0" => made_up(&[], None, Ending::Failed),
            "sgd-1e1" => made_up(&[], None, Ending::Diverged),
            "alrao" => finished(0.5),
            _ => finished(1.0),
        });
        let text = findings.markdown();
        let told = "best rate (0.1) 0.250; of the 6 rates of SGD, 5 do worse than Alrao";
        assert!(text.contains(told), "{text}");
        assert!(text.contains("| SGD 1 | – | – | – | 1 of 1 | 0 of 1 | 0 of 0 |"), "{text}");
        assert!(text.contains("| SGD 10 | – | – | – | 0 of 1 | 1 of 1 | 1 of 1 |"), "{text}");
        assert!(!text.contains("(paper)"), "{text}");
    }
}
