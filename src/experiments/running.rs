//! Runs a plan: several runs at a time, each resumed from its last checkpoint.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::plan::{PlannedRun, Work};
use super::record::{Ending, Record, Records};
use crate::device::threads::start_scoped;
use crate::device::{Device, DeviceKind, catch_failure};
use crate::error::{Error, Result};
use crate::learn::{self, Outcome, RunDirectory, StopFlag};
use crate::rl::{self, QLearning};
use crate::supervised::settings::Settings;
use crate::supervised::{Run, Supervised};

/// Something that happened in an experiment.
#[derive(Debug)]
pub enum Event<'a> {
    /// A note for the user: the device, files that were left out of the data, a run that starts again.
    Note {
        /// One line.
        text: &'a str,
    },
    /// A file of the data could not be decoded. Reported once for all runs.
    Damaged {
        /// The file and the fault.
        file: &'a str,
    },
    /// The runs begin or are resumed.
    Started {
        /// Number of runs.
        runs: usize,
        /// Number of runs that ended in an earlier process.
        ended: usize,
        /// Number of runs at a time.
        jobs: usize,
    },
    /// A run begins or is resumed.
    Begun {
        /// The run's name.
        name: &'a str,
        /// The part of it that an earlier process did, from 0 to 1.
        done: f64,
    },
    /// The progress of a run.
    Progress {
        /// The run's name.
        name: &'a str,
        /// Counted from 1.
        epoch: u64,
        /// The last epoch, if the run does not end earlier.
        epochs: u64,
        /// The part of the run that is done, from 0 to 1.
        done: f64,
        /// The loss or the return so far.
        metric: Metric,
    },
    /// A run has ended.
    Ended {
        /// The run's name.
        name: &'a str,
        /// Its record.
        record: &'a Record,
        /// The reason, if it failed.
        failure: Option<&'a str>,
    },
}

/// The loss or the return of a run so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Mean loss over the epoch so far.
    Loss(f64),
    /// Mean return of the latest episodes, if one has ended.
    Return(Option<f64>),
}

/// An observer of an experiment.
pub trait Observer {
    /// Called from the thread that the experiment was started on.
    fn notice(&mut self, event: &Event<'_>);

    /// Whether it uses an [`Event::Progress`] within an epoch.
    fn wants_progress(&self) -> bool {
        true
    }
}

/// Options for the runs of an experiment.
pub(super) struct RunOptions {
    /// Runs at a time.
    pub jobs: usize,
    /// Whether the findings need the runs' metrics beside their records; a run without them is run again.
    pub reads_metrics: bool,
}

/// A message from a run's thread.
enum Message {
    Note(String),
    Damaged { run: usize, file: String },
    Begun { run: usize, done: f64 },
    Progress { run: usize, epoch: u64, epochs: u64, done: f64, metric: Metric },
    Ended { run: usize, result: std::result::Result<Option<Completed>, String> },
}

/// The record of a run that ended, and the seconds of its training steps.
type Completed = (Record, f64);

/// Runs all runs that have not ended yet. `None` if it was stopped before the end.
///
/// # Errors
/// If a record cannot be read or written. A failed run is recorded and does not end the others.
pub(super) fn run_all(
    runs: &[PlannedRun],
    folder: &Path,
    options: &RunOptions,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Option<Records>> {
    let mut records = Records::read(folder, runs.iter().map(|run| run.name.as_str()))?;
    if options.reads_metrics {
        for name in records.forget_those_without_metrics()? {
            let text = format!("{name} is run again: its metrics are gone or damaged");
            observer.notice(&Event::Note { text: &text });
        }
    }
    let has_ended = |run: &PlannedRun| records.by_name.contains_key(&run.name);
    let todo: Vec<usize> = (0..runs.len()).filter(|index| !has_ended(&runs[*index])).collect();
    let jobs = options.jobs.clamp(1, todo.len().max(1));
    observer.notice(&Event::Started { runs: runs.len(), ended: runs.len() - todo.len(), jobs });
    let next = AtomicUsize::new(0);
    let wants_progress = observer.wants_progress();
    let mut stopped = false;
    let mut broken = Ok(());
    let mut damaged = Damage::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        for job in 0..jobs {
            let (sender, next, todo) = (sender.clone(), &next, &todo);
            let started = start_scoped(scope, "run", move || {
                while let Some(&run) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.is_set() {
                        break;
                    }
                    let mut watcher = Watcher::new(run, wants_progress, sender.clone());
                    let directory = folder.join(&runs[run].name);
                    let result = caught(|| {
                        catch_failure(|| run_one(&runs[run], &directory, jobs, &mut watcher, stop))
                            .map_err(|error| error.to_string())
                    });
                    // A send can only fail once the receiver is dropped.
                    let _ = sender.send(Message::Ended { run, result });
                }
            });
            if let Err(error) = started {
                // The threads that were started do all the runs, if there are any.
                broken = if job == 0 { Err(error) } else { Ok(()) };
                break;
            }
        }
        drop(sender);
        for message in receiver {
            let (run, result) = match message {
                Message::Note(text) => {
                    observer.notice(&Event::Note { text: &text });
                    continue;
                }
                Message::Damaged { run, file } => {
                    if damaged.is_new(run, &file) {
                        observer.notice(&Event::Damaged { file: &file });
                    }
                    continue;
                }
                Message::Begun { run, done } => {
                    observer.notice(&Event::Begun { name: &runs[run].name, done });
                    continue;
                }
                Message::Progress { run, epoch, epochs, done, metric } => {
                    let name = &runs[run].name;
                    observer.notice(&Event::Progress { name, epoch, epochs, done, metric });
                    continue;
                }
                Message::Ended { result: Ok(None), .. } => {
                    stopped = true;
                    continue;
                }
                Message::Ended { run, result: Ok(Some(completed)) } => (run, Ok(completed)),
                Message::Ended { run, result: Err(failure) } => (run, Err(failure)),
            };
            let name = &runs[run].name;
            match conclude(name, result, damaged.count(run), &mut records) {
                Ok(()) => {
                    let failure = records.failures.get(name).map(String::as_str);
                    let record = records.get(name);
                    observer.notice(&Event::Ended { name, record, failure });
                }
                Err(error) if broken.is_ok() => {
                    broken = Err(error);
                    stop.set();
                }
                Err(_) => {}
            }
        }
    });
    broken?;
    let is_whole = runs.iter().all(|run| records.by_name.contains_key(&run.name));
    Ok((is_whole && !stopped).then_some(records))
}

/// The files that could not be decoded, by run.
#[derive(Default)]
struct Damage(BTreeSet<(usize, String)>);

impl Damage {
    /// Adds a file; true if no run has reported it before.
    fn is_new(&mut self, run: usize, file: &str) -> bool {
        let is_new = !self.0.iter().any(|(_, own)| own == file);
        self.0.insert((run, file.to_owned()));
        is_new
    }

    fn count(&self, run: usize) -> usize {
        self.0.iter().filter(|(own, _)| *own == run).count()
    }
}

/// A function's result, or the message of its panic: a panic in one run must not end the others.
fn caught<T>(
    work: impl FnOnce() -> std::result::Result<T, String>,
) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(format!("a defect of this program: {}", text.unwrap_or("it panicked")))
    })
}

/// Adds the record of a run that has ended.
fn conclude(
    name: &str,
    result: std::result::Result<Completed, String>,
    damaged: usize,
    records: &mut Records,
) -> Result<()> {
    let (record, seconds) = result.unwrap_or_else(|failure| {
        records.failures.insert(name.to_owned(), failure);
        // The metrics of a failed run may be damaged.
        Record::gather(&records.directory(name), Ending::Failed)
            .unwrap_or((Record { ending: Ending::Failed, epochs: Vec::new(), test: None }, 0.0))
    });
    records.add(name, record, seconds, damaged)
}

/// Starts or resumes a run; `None` if it was stopped. A run whose own files are damaged starts again.
fn run_one(
    run: &PlannedRun,
    directory: &Path,
    jobs: usize,
    watcher: &mut Watcher,
    stop: &StopFlag,
) -> Result<Option<Completed>> {
    let device = run.work.device();
    let device = Device::open_with_threads(device, threads(device, jobs))?;
    if RunDirectory::has_begun(directory) {
        // If another process is using the directory, or it cannot be written, the run's files are not damaged.
        drop(RunDirectory::open(directory)?);
        let resumed = check_settings(&run.work, directory)
            .and_then(|()| resume(&run.work, directory, &device, watcher, stop))
            .transpose()
            .map(|ending| Record::gather(directory, ending?))
            .transpose();
        match resumed {
            Err(error) if is_of_its_files(&error, directory) => {
                watcher.note(format!("{} begins anew: {error}", run.name));
            }
            other => return other,
        }
    }
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| Error::write(directory, error))?;
    }
    let ending = start(&run.work, directory, &device, watcher, stop)?;
    ending.map(|ending| Record::gather(directory, ending)).transpose()
}

/// Whether an error is about one of the run's own files, such as one that was cut short.
fn is_of_its_files(error: &Error, directory: &Path) -> bool {
    let directory = directory.display().to_string();
    matches!(error, Error::Input { subject, .. } if subject.contains(&directory))
}

/// Checks that a run's configuration holds the planned settings: a file that was cut short may still be valid TOML.
fn check_settings(work: &Work, directory: &Path) -> Result<()> {
    let (text, file) = RunDirectory::config_text(directory)?;
    match work.is_of(&text) {
        true => Ok(()),
        false => Err(Error::file(&file, "does not hold the planned settings")),
    }
}

fn resume(
    work: &Work,
    directory: &Path,
    device: &Device,
    watcher: &mut Watcher,
    stop: &StopFlag,
) -> Result<Option<Ending>> {
    ending(match work {
        Work::Supervised(config) => {
            // The folder that the experiment was started from may be another one.
            let data = Some(&*config.task.data);
            let run = Run::resume(directory, &Settings::default(), data, device);
            run.and_then(|mut run| Ok(run.train(watcher, stop)?.outcome))
        }
        Work::QLearning(_) => {
            rl::Run::resume(directory, &rl::settings::Settings::default(), device)
                .and_then(|mut run| Ok(run.train(watcher, stop)?.outcome))
        }
    })
}

fn start(
    work: &Work,
    directory: &Path,
    device: &Device,
    watcher: &mut Watcher,
    stop: &StopFlag,
) -> Result<Option<Ending>> {
    ending(match work {
        Work::Supervised(config) => Run::start(config.clone(), Some(directory), device)
            .and_then(|mut run| Ok(run.train(watcher, stop)?.outcome)),
        Work::QLearning(config) => rl::Run::start(config.clone(), Some(directory), device)
            .and_then(|mut run| Ok(run.train(watcher, stop)?.outcome)),
    })
}

/// How a run ended; `None` if it was stopped. A run that diverged has ended; it has not failed.
fn ending(outcome: Result<Outcome>) -> Result<Option<Ending>> {
    match outcome {
        Ok(Outcome::Stopped) => Ok(None),
        Ok(Outcome::Finished) => Ok(Some(Ending::Finished)),
        Err(Error::Diverged { .. } | Error::NoBestEpoch { .. }) => Ok(Some(Ending::Diverged)),
        Err(error) => Err(error),
    }
}

/// Threads of each run: the cores are shared among the runs at a time.
fn threads(device: DeviceKind, jobs: usize) -> Option<usize> {
    let is_shared = jobs > 1 && !matches!(device, DeviceKind::Cuda(_));
    is_shared.then(|| (cores() / jobs).max(1))
}

/// The number of cores of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Observes a run and sends its events to the experiment's thread.
struct Watcher {
    run: usize,
    wants_progress: bool,
    sender: Sender<Message>,
    epochs: u64,
    /// Steps of an epoch; in Q-learning, of the whole run.
    steps: u64,
}

impl Watcher {
    fn new(run: usize, wants_progress: bool, sender: Sender<Message>) -> Self {
        Watcher { run, wants_progress, sender, epochs: 1, steps: 1 }
    }

    fn send(&self, message: Message) {
        // A send can only fail once the receiver is dropped.
        let _ = self.sender.send(message);
    }

    fn note(&self, text: String) {
        self.send(Message::Note(text));
    }

    fn begin(&self, done: f64) {
        self.send(Message::Begun { run: self.run, done });
    }

    fn tell(&self, epoch: u64, done: f64, metric: Metric) {
        let (run, epochs) = (self.run, self.epochs);
        self.send(Message::Progress { run, epoch, epochs, done, metric });
    }

    fn tell_loss(&self, epoch: u64, part: f64, loss: f64) {
        let done = ((epoch - 1) as f64 + part) / self.epochs as f64;
        self.tell(epoch, done, Metric::Loss(loss));
    }
}

impl learn::Observer<Supervised> for Watcher {
    fn wants_progress(&self) -> bool {
        self.wants_progress
    }

    fn notice(&mut self, event: &learn::Event<'_, Supervised>) {
        match event {
            learn::Event::Started { plan, step, .. } => {
                self.epochs = plan.epochs.max(1);
                self.steps = plan.steps_per_epoch.max(1);
                self.begin(*step as f64 / (self.epochs * self.steps) as f64);
            }
            learn::Event::Progress(status) => {
                let part = status.step_in_epoch as f64 / self.steps as f64;
                self.tell_loss(status.epoch, part, status.loss);
            }
            learn::Event::Damaged { file } => {
                self.send(Message::Damaged { run: self.run, file: (*file).to_owned() });
            }
            learn::Event::Epoch(report) => self.tell_loss(report.epoch, 1.0, report.train_loss),
            _ => (),
        }
    }
}

impl learn::Observer<QLearning> for Watcher {
    fn wants_progress(&self) -> bool {
        self.wants_progress
    }

    fn notice(&mut self, event: &learn::Event<'_, QLearning>) {
        match event {
            learn::Event::Started { plan, step, .. } => {
                (self.steps, self.epochs) = (plan.steps.max(1), plan.epochs.max(1));
                self.begin(*step as f64 / self.steps as f64);
            }
            learn::Event::Progress(status) => {
                let done = status.step as f64 / self.steps as f64;
                self.tell(status.epoch, done, Metric::Return(status.recent_return));
            }
            learn::Event::Epoch(report) => {
                let done = report.step as f64 / self.steps as f64;
                self.tell(report.epoch, done, Metric::Return(Some(report.mean_return)));
            }
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure() {
        assert_eq!(caught(|| Ok(3)), Ok(3));
        let failure = caught::<()>(|| panic!("of shape {}", 7)).unwrap_err();
        assert_eq!(failure, "a defect of this program: of shape 7");
    }

    #[test]
    fn a_damaged_file_is_told_once_and_counted_for_each_run() {
        let mut damage = Damage::default();
        let news =
            [(0, "a"), (1, "a"), (1, "b"), (1, "b")].map(|(run, file)| damage.is_new(run, file));
        assert_eq!(news, [true, false, true, false]);
        assert_eq!([0, 1, 2].map(|run| damage.count(run)), [1, 2, 0]);
    }
}
