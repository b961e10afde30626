//! Runs a plan: some runs at a time, each resumed where it was.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::plan::{PlannedRun, Work};
use super::record::{Ending, Record, Records};
use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::rl;
use crate::train::{self, Outcome, Overrides, Run, RunDirectory, StopFlag};

/// Something that happened in an experiment.
#[derive(Debug)]
pub enum Event<'a> {
    /// The runs begin, or go on.
    Started {
        /// All runs.
        runs: usize,
        /// Those that an earlier process has ended.
        ended: usize,
        /// How many go on at a time.
        jobs: usize,
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

/// What a run's thread tells.
enum Message {
    Progress { run: usize, epoch: u64, epochs: u64, done: f64, standing: Standing },
    Ended { run: usize, result: Result<Outcome> },
}

/// Runs everything that has not ended yet, `jobs` runs at a time. `None` where a stop was asked for before the end.
///
/// # Errors
/// Where a record cannot be read or written. A run that fails is recorded and ends nothing.
pub(super) fn run_all(
    runs: &[PlannedRun],
    folder: &Path,
    jobs: usize,
    observer: &mut dyn Observer,
    stop: &StopFlag,
) -> Result<Option<Records>> {
    let mut records = Records::read(folder, runs.iter().map(|run| run.name.as_str()))?;
    let has_ended = |run: &PlannedRun| records.by_name.contains_key(&run.name);
    let todo: Vec<usize> = (0..runs.len()).filter(|index| !has_ended(&runs[*index])).collect();
    let jobs = jobs.clamp(1, todo.len().max(1));
    observer.notice(&Event::Started { runs: runs.len(), ended: runs.len() - todo.len(), jobs });
    let next = AtomicUsize::new(0);
    let wants_progress = observer.wants_progress();
    let mut stopped = false;
    let mut broken = Ok(());
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
                    let result = run_one(&runs[run], &directory, jobs, &mut watcher, stop);
                    // Nobody is left to be told where the receiver has gone.
                    let _ = sender.send(Message::Ended { run, result });
                }
            });
        }
        drop(sender);
        for message in receiver {
            let ended = match message {
                Message::Progress { run, epoch, epochs, done, standing } => {
                    let name = &runs[run].name;
                    observer.notice(&Event::Progress { name, epoch, epochs, done, standing });
                    continue;
                }
                Message::Ended { result: Ok(Outcome::Stopped), .. } => {
                    stopped = true;
                    continue;
                }
                Message::Ended { run, result } => conclude(&runs[run].name, result, &mut records),
            };
            match ended {
                Ok(name) => {
                    let failure = records.failures.get(&name).map(String::as_str);
                    let record = records.get(&name);
                    observer.notice(&Event::Ended { name: &name, record, failure });
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

/// Keeps what a run came to.
fn conclude(name: &str, result: Result<Outcome>, records: &mut Records) -> Result<String> {
    let ending = match result {
        Ok(_) => Ending::Finished,
        Err(Error::Diverged { .. }) => Ending::Diverged,
        Err(error) => {
            records.failures.insert(name.to_owned(), error.to_string());
            Ending::Failed
        }
    };
    let gathered = Record::gather(&records.directory(name), ending);
    let (record, seconds) = match (gathered, ending) {
        // What is left of a failed run may be anything.
        (Err(_), Ending::Failed) => (Record { ending, epochs: Vec::new(), test: None }, 0.0),
        (gathered, _) => gathered?,
    };
    records.keep(name, record, seconds)?;
    Ok(name.to_owned())
}

/// Starts a run, or goes on with it.
fn run_one(
    run: &PlannedRun,
    directory: &Path,
    jobs: usize,
    watcher: &mut Watcher,
    stop: &StopFlag,
) -> Result<Outcome> {
    let device = run.work.device();
    let device = Device::open_with_threads(device, threads(device, jobs))?;
    let has_begun = RunDirectory::has_begun(directory);
    if !has_begun && directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| Error::write(directory, error))?;
    }
    let outcome = match &run.work {
        Work::Supervised(config) => {
            let mut own = match has_begun {
                true => Run::resume(directory, &Overrides::default(), &device)?,
                false => Run::start(config.clone(), Some(directory), &device)?,
            };
            own.train(watcher, stop)?.outcome
        }
        Work::QLearning(config) => {
            let mut own = match has_begun {
                true => rl::Run::resume(directory, &rl::Overrides::default(), &device)?,
                false => rl::Run::start(config.clone(), Some(directory), &device)?,
            };
            own.train(watcher, stop)?.outcome
        }
    };
    Ok(outcome)
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

    fn tell(&self, epoch: u64, done: f64, standing: Standing) {
        let (run, epochs) = (self.run, self.epochs);
        // Nobody is left to be told where the receiver has gone.
        let _ = self.sender.send(Message::Progress { run, epoch, epochs, done, standing });
    }

    fn tell_loss(&self, epoch: u64, part: f64, loss: f64) {
        let done = ((epoch - 1) as f64 + part) / self.epochs as f64;
        self.tell(epoch, done, Standing::Loss(loss));
    }
}

impl train::Observer for Watcher {
    fn wants_progress(&self) -> bool {
        self.wants_progress
    }

    fn notice(&mut self, event: &train::Event<'_>) {
        match event {
            train::Event::Started { steps_per_epoch, epochs, .. } => {
                self.epochs = (*epochs).max(1);
                self.steps = (*steps_per_epoch).max(1);
            }
            train::Event::Progress { epoch, step_in_epoch, loss, .. } => {
                self.tell_loss(*epoch, *step_in_epoch as f64 / self.steps as f64, *loss);
            }
            train::Event::Epoch(report) => self.tell_loss(report.epoch, 1.0, report.train_loss),
            _ => (),
        }
    }
}

impl rl::Observer for Watcher {
    fn wants_progress(&self) -> bool {
        self.wants_progress
    }

    fn notice(&mut self, event: &rl::Event<'_>) {
        match event {
            rl::Event::Started { steps, epochs, .. } => {
                (self.steps, self.epochs) = ((*steps).max(1), (*epochs).max(1));
            }
            rl::Event::Progress { epoch, step, recent_return, .. } => {
                let done = *step as f64 / self.steps as f64;
                self.tell(*epoch, done, Standing::Return(*recent_return));
            }
            rl::Event::Epoch(report) => {
                let done = report.step as f64 / self.steps as f64;
                self.tell(report.epoch, done, Standing::Return(Some(report.mean_return)));
            }
            _ => (),
        }
    }
}
