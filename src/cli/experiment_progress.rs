//! The progress of an experiment, on standard error: one bar over all runs on a terminal, a line per run elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::messages::{loss, percent};
use super::progress::Display;
use super::time_left::left;
use alrao::experiments::{Ending, Event, Metric, Observer, Record};
use alrao::learn::StopFlag;

const TEMPLATE: &str = "{prefix} {bar:20.cyan/dim} {percent:>3}%  {wide_msg}";

/// On narrow terminals the time left is shown in place of the bar.
const NARROW: (u16, &str) = (60, "{prefix} {percent:>3}%  {wide_msg}");

/// Positions of the bar.
const WHOLE: f64 = 1000.0;

/// Shows the progress of an experiment.
pub(super) struct Progress {
    display: Display,
    stop: StopFlag,
    work: Work,
    /// The current runs, with a line for each.
    current: BTreeMap<String, String>,
}

/// The work that is done, in runs.
struct Work {
    began: Instant,
    runs: usize,
    ended: usize,
    /// Runs that had ended before, and the parts of runs that were done when they were continued.
    before: f64,
    /// The part that is done of each current run.
    parts: BTreeMap<String, f64>,
    /// Runs at a time.
    jobs: usize,
}

impl Work {
    fn done(&self) -> f64 {
        self.ended as f64 + self.parts.values().sum::<f64>()
    }

    /// Time left at the speed so far; `None` at the very beginning.
    fn left(&self) -> Option<Duration> {
        let (done, elapsed) = (self.done() - self.before, self.began.elapsed().as_secs_f64());
        let is_known = done > 0.02 * self.jobs as f64 && elapsed > 1.0;
        let rest = (self.runs as f64 - self.done()).max(0.0);
        is_known.then(|| Duration::from_secs_f64(elapsed / done * rest))
    }

    /// Adds a run that begins or continues; the part that is done does not count for the speed.
    fn begin(&mut self, name: &str, done: f64) {
        let done = done.clamp(0.0, 1.0);
        self.before += done - self.parts.insert(name.to_owned(), done).unwrap_or(0.0);
    }

    fn hear(&mut self, name: &str, done: f64) {
        self.parts.insert(name.to_owned(), done.clamp(0.0, 1.0));
    }

    fn end(&mut self, name: &str) {
        self.parts.remove(name);
        self.ended += 1;
    }
}

impl Progress {
    /// Sets `stop` if the reader of the progress goes away.
    pub fn new(quiet: bool, stop: &StopFlag) -> Self {
        let (display, stop) = (Display::new(quiet, TEMPLATE, NARROW), stop.clone());
        let (began, parts) = (Instant::now(), BTreeMap::new());
        let work = Work { began, runs: 0, ended: 0, before: 0.0, parts, jobs: 1 };
        Progress { display, stop, work, current: BTreeMap::new() }
    }

    /// A function that tells the user that a signal has arrived.
    pub fn announcer(&self) -> impl FnOnce() + Send + 'static + use<> {
        self.display.announcer_of("stopping")
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.display.finish();
    }

    fn show(&self) {
        let Display::Bar(bar) = &self.display else { return };
        bar.set_prefix(format!("runs {}/{}", self.work.ended, self.work.runs));
        bar.set_position((WHOLE * self.work.done() / self.work.runs.max(1) as f64) as u64);
        let current: Vec<&str> = self.current.values().map(String::as_str).collect();
        bar.set_message(format!(
            "{}  {}",
            self.work.left().map(left).unwrap_or_default(),
            current.join(" · ")
        ));
    }
}

impl Observer for Progress {
    fn wants_progress(&self) -> bool {
        matches!(self.display, Display::Bar(_))
    }

    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Note { text } => self.display.line_or_stop(text, &self.stop),
            Event::Damaged { file } => {
                self.display.line_or_stop(&format!("warning: {file}"), &self.stop);
            }
            Event::Started { runs, ended, jobs } => {
                let began = Instant::now();
                let before = *ended as f64;
                let parts = BTreeMap::new();
                self.work = Work { began, runs: *runs, ended: *ended, before, parts, jobs: *jobs };
                if *ended > 0 {
                    let text = format!("{ended} of {runs} runs have ended before");
                    self.display.line_or_stop(&text, &self.stop);
                }
                if let (Display::Bar(bar), true) = (&self.display, *runs > *ended) {
                    bar.set_length(WHOLE as u64);
                    self.display.appear();
                }
            }
            Event::Begun { name, done } => self.work.begin(name, *done),
            Event::Progress { name, epoch, epochs, done, metric: own } => {
                self.work.hear(name, *done);
                let text = format!("{name} {epoch}/{epochs} {}", metric(*own));
                self.current.insert((*name).to_owned(), text);
            }
            Event::Ended { name, record, failure } => {
                self.work.end(name);
                self.current.remove(*name);
                let (ended, runs) = (self.work.ended, self.work.runs);
                let digits = runs.to_string().len();
                let rest = if ended < runs {
                    self.work.left().map(left).unwrap_or_default()
                } else {
                    String::new()
                };
                let outcome = outcome(record, *failure);
                let text = format!("[{ended:>digits$}/{runs}] {name}  {outcome}  {rest}");
                self.display.line_or_stop(text.trim_end(), &self.stop);
            }
        }
        self.show();
    }
}

fn metric(metric: Metric) -> String {
    match metric {
        Metric::Loss(mean) => loss(mean),
        Metric::Return(Some(own)) => format!("return {own:.0}"),
        Metric::Return(None) => String::new(),
    }
}

fn outcome(record: &Record, failure: Option<&str>) -> String {
    let epochs = match record.epochs.len() {
        1 => "1 epoch".to_owned(),
        count => format!("{count} epochs"),
    };
    match record.ending {
        Ending::Diverged => "diverged".into(),
        Ending::Failed => format!("failed: {}", failure.unwrap_or("for no known reason")),
        Ending::Finished if record.test_return().is_some() => {
            let value =
                |own: Option<f64>| own.map_or_else(|| "–".into(), |own| format!("{own:.1}"));
            let (best, test) = (value(record.best_return()), value(record.test_return()));
            format!("{epochs}  best return {best}  test {test}")
        }
        Ending::Finished => {
            let part = |name: &str, mean: Option<f64>, accuracy: Option<f64>| {
                let mean = mean.map_or_else(|| "–".into(), loss);
                let accuracy = accuracy.map(|own| format!(" {}", percent(own)));
                format!("{name} {mean}{}", accuracy.unwrap_or_default())
            };
            let best = record.best();
            let valid = best.and_then(|own| own.valid_loss);
            let valid = part("valid", valid, best.and_then(|own| own.valid_accuracy));
            let test = part("test", record.test_loss(), record.test_accuracy());
            format!("{epochs}  {valid}  {test}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_says_nothing_about_speed() {
        let parts = BTreeMap::new();
        let mut work =
            Work { began: Instant::now(), runs: 10, ended: 4, before: 4.0, parts, jobs: 2 };
        work.begin("resumed", 0.5);
        assert_eq!((work.done(), work.before), (4.5, 4.5));
        work.hear("resumed", 0.75);
        work.end("resumed");
        assert_eq!((work.done(), work.before), (5.0, 4.5));
        // Without a terminal the first line of a run is its first epoch.
        work.begin("new", 0.0);
        work.hear("new", 0.5);
        assert_eq!((work.done(), work.before), (5.5, 4.5));
        // Its own files could not be continued.
        work.begin("damaged", 0.25);
        work.begin("damaged", 0.0);
        assert_eq!((work.done(), work.before), (5.5, 4.5));
    }
}
