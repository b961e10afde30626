//! Runs a plan: some runs at a time, each resumed where it was.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::plan::{PlannedRun, Work};
use super::record::{Ending, Record, Records};
use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::learn::{self, Outcome, RunDirectory, StopFlag};
use crate::rl::{self, QLearning};
use crate::supervised::settings::Settings;
use crate::supervised::{Run, Supervised};

/// Something that happened in an experiment.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something to be known: the device, what was left out of the data, a run that begins anew.
    Note {
        /// A line.
        text: &'a str,
    },
    /// A file of the data could not be decoded. Told once, however many runs come upon it.
    Damaged {
        /// The file, and what is wrong with it.
        file: &'a str,
    },
    /// The runs begin, or go on.
    Started {
        /// All runs.
        runs: usize,
        /// Those that an earlier process has ended.
        ended: usize,
        /// How many go on at a time.
        jobs: usize,
    },
    /// A run begins, or goes on.
    Begun {
        /// The run's name.
        name: &'a str,
        /// How much of it an earlier process has done, from 0 to 1.
        done: f64,
    },
    /// A run is somewhere.
    Progress {
        /// The run's name.
        name: &'a str,
        /// Counted from 1.
        epoch: u64,
        /// The epoch after which the run ends at the latest.
        epochs: u64,
        /// How much of the run is done, from 0 to 1.
        done: f64,
        /// How well it does.
        standing: Standing,
    },
    /// A run has ended.
    Ended {
        /// The run's name.
        name: &'a str,
        /// What it came to.
        record: &'a Record,
        /// Why it failed, if it did.
        failure: Option<&'a str>,
    },
}

/// How well a run does so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// Mean loss over the epoch so far.
    Loss(f64),
    /// Mean return of the last episodes, if any has ended.
    Return(Option<f64>),
}

/// Somebody who watches an experiment.
pub trait Observer {
    /// Called from the thread that the experiment was started on.
    fn notice(&mut self, event: &Event<'_>);

    /// Whether it does anything with an [`Event::Progress`] that is no end of an epoch.
    fn wants_progress(&self) -> bool {
        true
    }
}

/// How runs go on.
pub(super) struct Manner {
    /// Runs at a time.
    pub jobs: usize,
    /// Whether what is made of the records needs the runs' metrics too: without them a run is run again.
    pub reads_metrics: bool,
}

/// What a run's thread tells.
enum Message {
    Note(String),
    Damaged { run: usize, file: String },
    Begun { run: usize, done: f64 },
    Progress { run: usize, epoch: u64, epochs: u64, done: f64, standing: Standing },
    Ended { run: usize, result: std::result::Result<Option<Whole>, String> },
}

/// What a run that went to its end came to, and the seconds it spent on training steps.
type Whole = (Record, f64);

/// Runs everything that has not ended yet. `None` where a stop was asked for before the end.
///
/// # Errors
/// Where a record cannot be read or written. A run that fails is recorded and ends nothing.
pub(super) fn run_all(
    runs: &[PlannedRun],
    folder: &Path,
    manner: &Manner,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Option<Records>> {
    let mut records = Records::read(folder, runs.iter().map(|run| run.name.as_str()))?;
    if manner.reads_metrics {
        for name in records.forget_those_without_metrics()? {
            let text = format!("{name} is run again: its metrics are gone or damaged");
            observer.notice(&Event::Note { text: &text });
        }
    }
    let has_ended = |run: &PlannedRun| records.by_name.contains_key(&run.name);
    let todo: Vec<usize> = (0..runs.len()).filter(|index| !has_ended(&runs[*index])).collect();
    let jobs = manner.jobs.clamp(1, todo.len().max(1));
    observer.notice(&Event::Started { runs: runs.len(), ended: runs.len() - todo.len(), jobs });
    let next = AtomicUsize::new(0);
    let wants_progress = observer.wants_progress();
    let mut stopped = false;
    let mut broken = Ok(());
    let mut damaged = Damage::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        for _ in 0..jobs {
            let (sender, next, todo) = (sender.clone(), &next, &todo);
            scope.spawn(move || {
                while let Some(&run) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.is_set() {
                        break;
                    }
                    let mut watcher = Watcher::new(run, wants_progress, sender.clone());
                    let directory = folder.join(&runs[run].name);
                    let result = caught(|| {
                        run_one(&runs[run], &directory, jobs, &mut watcher, stop)
                            .map_err(|error| error.to_string())
                    });
                    // Nobody is left to be told where the receiver has gone.
                    let _ = sender.send(Message::Ended { run, result });
                }
            });
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
                Message::Progress { run, epoch, epochs, done, standing } => {
                    let name = &runs[run].name;
                    observer.notice(&Event::Progress { name, epoch, epochs, done, standing });
                    continue;
                }
                Message::Ended { result: Ok(None), .. } => {
                    stopped = true;
                    continue;
                }
                Message::Ended { run, result: Ok(Some(whole)) } => (run, Ok(whole)),
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

/// The files that could not be decoded, as the runs came upon them.
#[derive(Default)]
struct Damage(BTreeSet<(usize, String)>);

impl Damage {
    /// Notes a file; whether no run has come upon it before.
    fn is_new(&mut self, run: usize, file: &str) -> bool {
        let is_new = !self.0.iter().any(|(_, own)| own == file);
        self.0.insert((run, file.to_owned()));
        is_new
    }

    fn count(&self, run: usize) -> usize {
        self.0.iter().filter(|(own, _)| *own == run).count()
    }
}

/// What a function comes to, or what it panicked with: one run that does ends no other.
fn caught<T>(
    work: impl FnOnce() -> std::result::Result<T, String>,
) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(format!("a defect of this program: {}", text.unwrap_or("it panicked")))
    })
}

/// Keeps what a run came to.
fn conclude(
    name: &str,
    result: std::result::Result<Whole, String>,
    damaged: usize,
    records: &mut Records,
) -> Result<()> {
    let (record, seconds) = result.unwrap_or_else(|failure| {
        records.failures.insert(name.to_owned(), failure);
        // What is left of a failed run may be anything.
        Record::gather(&records.directory(name), Ending::Failed)
            .unwrap_or((Record { ending: Ending::Failed, epochs: Vec::new(), test: None }, 0.0))
    });
    records.keep(name, record, seconds, damaged)
}

/// Starts a run, or goes on with it; `None` where it was stopped. One whose own files do not let it go on begins anew.
fn run_one(
    run: &PlannedRun,
    directory: &Path,
    jobs: usize,
    watcher: &mut Watcher,
    stop: &StopFlag,
) -> Result<Option<Whole>> {
    let device = run.work.device();
    let device = Device::open_with_threads(device, threads(device, jobs))?;
    if RunDirectory::has_begun(directory) {
        // Where another process is at it, or it cannot be written, its files are not at fault.
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

/// Whether a run's own file is to blame, as one that was cut short.
fn is_of_its_files(error: &Error, directory: &Path) -> bool {
    let directory = directory.display().to_string();
    matches!(error, Error::Input { subject, .. } if subject.contains(&directory))
}

/// A configuration that was cut short may still be one, of something else.
fn check_settings(work: &Work, directory: &Path) -> Result<()> {
    let (text, file) = RunDirectory::config_text(directory)?;
    match work.is_of(&text) {
        true => Ok(()),
        false => Err(Error::file(&file, "does not hold what was planned")),
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

/// How a run ended; `None` where it was stopped. To diverge is an end, and no failure.
fn ending(outcome: Result<Outcome>) -> Result<Option<Ending>> {
    match outcome {
        Ok(Outcome::Stopped) => Ok(None),
        Ok(Outcome::Finished) => Ok(Some(Ending::Finished)),
        Err(Error::Diverged { .. }) => Ok(Some(Ending::Diverged)),
        Err(error) => Err(error),
    }
}

/// The cores, shared among the runs that go on at a time.
fn threads(device: DeviceKind, jobs: usize) -> Option<usize> {
    let is_shared = jobs > 1 && device != DeviceKind::Cuda;
    is_shared.then(|| (cores() / jobs).max(1))
}

/// Cores of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Tells the experiment's thread how a run goes.
struct Watcher {
    run: usize,
    wants_progress: bool,
    sender: Sender<Message>,
    epochs: u64,
    /// Of an epoch; of the whole run in Q-learning.
    steps: u64,
}

impl Watcher {
    fn new(run: usize, wants_progress: bool, sender: Sender<Message>) -> Self {
        Watcher { run, wants_progress, sender, epochs: 1, steps: 1 }
    }

    fn send(&self, message: Message) {
        // Nobody is left to be told where the receiver has gone.
        let _ = self.sender.send(message);
    }

    fn note(&self, text: String) {
        self.send(Message::Note(text));
    }

    fn begin(&self, done: f64) {
        self.send(Message::Begun { run: self.run, done });
    }

    fn tell(&self, epoch: u64, done: f64, standing: Standing) {
        let (run, epochs) = (self.run, self.epochs);
        self.send(Message::Progress { run, epoch, epochs, done, standing });
    }

    fn tell_loss(&self, epoch: u64, part: f64, loss: f64) {
        let done = ((epoch - 1) as f64 + part) / self.epochs as f64;
        self.tell(epoch, done, Standing::Loss(loss));
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
                self.tell(status.epoch, done, Standing::Return(status.recent_return));
            }
            learn::Event::Epoch(report) => {
                let done = report.step as f64 / self.steps as f64;
                self.tell(report.epoch, done, Standing::Return(Some(report.mean_return)));
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
