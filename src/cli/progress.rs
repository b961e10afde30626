//! The progress of a run, on standard error: a bar on a terminal, a line per epoch elsewhere.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::messages::{for_people, loss, percent, r2_text};
use super::time_left::Pace;
use alrao::data::Dataset;
use alrao::device::Device;
use alrao::learn::{Counts, EvaluatedPart, Observer, StopFlag};
use alrao::plots::{RunPlots, exact};
use alrao::supervised::RunConfig;
use alrao::supervised::{EpochReport, Event, Plan, Status, Supervised};

/// Shows the progress of a run, and keeps its plots up to date.
pub(super) struct Progress {
    pub display: Display,
    pub plots: Option<RunPlots>,
    pub epochs: u64,
    pub steps_per_epoch: u64,
    pub pace: Option<Pace>,
    /// The best epoch so far of this process.
    best: Option<EpochReport>,
    /// The last epoch of this process; 0 if it has ended none.
    last_epoch: u64,
    stop: StopFlag,
}

/// The form of the progress.
#[derive(Clone)]
pub(super) enum Display {
    Nothing,
    Lines,
    Bar(ProgressBar),
}

impl Display {
    /// A bar on a terminal, hidden at first, with the second template below a number of columns; lines elsewhere.
    pub fn new(quiet: bool, template: &str, (columns, narrow): (u16, &str)) -> Self {
        match (quiet, io::stderr().is_terminal()) {
            (true, _) => Display::Nothing,
            (false, false) => Display::Lines,
            (false, true) if has_columns(columns) => Display::Bar(bar(template)),
            (false, true) => Display::Bar(bar(narrow)),
        }
    }

    /// Whether a line has this number of columns; without a terminal it has.
    pub fn has_columns(&self, columns: u16) -> bool {
        !matches!(self, Display::Bar(_)) || has_columns(columns)
    }

    /// # Errors
    /// If standard error cannot be written.
    fn line(&self, text: &str) -> io::Result<()> {
        let text = for_people(text);
        match self {
            Display::Nothing => Ok(()),
            Display::Lines => writeln!(io::stderr().lock(), "{text}"),
            Display::Bar(bar) => bar.suspend(|| writeln!(io::stderr().lock(), "{text}")),
        }
    }

    /// Shows lines; sets `stop` if their reader has gone away.
    pub fn line_or_stop(&self, text: &str, stop: &StopFlag) {
        if self.line(text).is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            stop.set();
        }
    }

    /// A function that tells the user that a signal has arrived.
    pub fn announcer(&self) -> impl FnOnce() + Send + 'static + use<> {
        self.announcer_of("stopping with a checkpoint")
    }

    /// The same with a text of its own.
    pub fn announcer_of(&self, what: &'static str) -> impl FnOnce() + Send + 'static + use<> {
        let display = self.clone();
        move || {
            // The run stops in any case.
            let _ = display.line(&format!("{what}; a second signal ends at once"));
        }
    }

    /// Shows the bar.
    pub fn appear(&self) {
        if let Display::Bar(bar) = self {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Display::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Progress {
    /// Sets `stop` if the reader of the progress goes away.
    pub fn new(quiet: bool, plots: Option<RunPlots>, stop: &StopFlag) -> Self {
        let display = Display::new(quiet, TEMPLATE, NARROW);
        Progress {
            display,
            plots,
            epochs: 0,
            steps_per_epoch: 1,
            pace: None,
            best: None,
            last_epoch: 0,
            stop: stop.clone(),
        }
    }

    /// The best epoch so far of this process.
    pub fn best(&self) -> Option<&EpochReport> {
        self.best.as_ref()
    }

    /// The last epoch of this process; 0 if it has ended none.
    pub fn last_epoch(&self) -> u64 {
        self.last_epoch
    }

    /// Shows lines.
    pub fn line(&self, text: &str) {
        self.display.line_or_stop(text, &self.stop);
    }

    /// A function that tells the user that a signal has arrived.
    pub fn announcer(&self) -> impl FnOnce() + Send + 'static + use<> {
        self.display.announcer()
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.display.finish();
    }

    /// Updates the plots.
    pub fn draw(&mut self) {
        let drawn = self.plots.as_mut().map_or(Ok(()), RunPlots::draw);
        if let Err(error) = drawn {
            self.line(&format!("warning: no plots: {error}"));
            self.plots = None;
        }
    }

    /// `epoch  3/12`.
    pub fn prefix(&self, epoch: u64) -> String {
        let digits = self.epochs.to_string().len();
        format!("epoch {epoch:>digits$}/{}", self.epochs)
    }

    /// The time left after this number of steps, with blanks before it; empty if it is not known.
    pub fn time_left(&self, steps: u64) -> String {
        self.pace.as_ref().map(|pace| pace.text(steps)).unwrap_or_default()
    }

    fn start(&mut self, plan: &Plan, step: u64) {
        let Plan { steps_per_epoch, epochs, max_steps } = *plan;
        (self.epochs, self.steps_per_epoch) = (epochs, steps_per_epoch);
        let all = steps_per_epoch.saturating_mul(epochs);
        self.pace = Some(Pace::new(step, all.min(max_steps.unwrap_or(u64::MAX))));
        if let Some(plots) = &mut self.plots {
            plots.set_steps_per_epoch(steps_per_epoch);
        }
        if let Display::Bar(bar) = &self.display {
            bar.set_length(steps_per_epoch);
            self.display.appear();
        }
    }
}

const TEMPLATE: &str = "{prefix} {bar:20.cyan/dim} {pos}/{len}  {wide_msg}";

/// Columns of a whole epoch's line.
const WHOLE_LINE: u16 = 110;

/// On narrow terminals the numbers stand alone, without the bar.
const NARROW: (u16, &str) = (96, "{prefix} {pos}/{len}  {wide_msg}");

fn has_columns(columns: u16) -> bool {
    console::Term::stderr().size().1 >= columns
}

fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.expect("the template is valid").progress_chars("━╸─"));
    bar
}

impl Observer<Supervised> for Progress {
    fn wants_progress(&self) -> bool {
        matches!(self.display, Display::Bar(_))
    }

    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { plan, step, .. } => self.start(plan, *step),
            Event::Progress(Status {
                epoch,
                step_in_epoch,
                loss,
                accuracy,
                posterior,
                samples_per_second,
            }) => {
                if let Display::Bar(bar) = &self.display {
                    bar.set_prefix(self.prefix(*epoch));
                    bar.set_position(*step_in_epoch);
                    let speed = self.display.has_columns(NARROW.0).then_some(*samples_per_second);
                    let state = state(*loss, *accuracy, posterior, speed);
                    let done = (epoch - 1) * self.steps_per_epoch + step_in_epoch;
                    bar.set_message(state + &self.time_left(done));
                }
            }
            Event::Step(_) => (),
            Event::Evaluating { split, .. } => {
                if let Display::Bar(bar) = &self.display {
                    bar.set_message(match split {
                        EvaluatedPart::Valid => "valid ..",
                        EvaluatedPart::Test => "test ..",
                    });
                }
            }
            Event::Epoch(report) => {
                self.last_epoch = report.epoch;
                if report.is_best {
                    self.best = Some((*report).clone());
                }
                // A bar shows it while it is true; in a file each line has it.
                let left = match self.display {
                    Display::Bar(_) => String::new(),
                    _ => self.time_left(report.epoch * self.steps_per_epoch),
                };
                let is_whole = self.display.has_columns(WHOLE_LINE);
                self.line(&(epoch_line(report, self.epochs, is_whole) + &left));
                self.draw();
            }
            Event::Test(_) => (),
            Event::Damaged { file } => self.line(&format!("warning: {file}")),
            Event::Ended { counts } => {
                self.draw();
                diverged(counts).into_iter().for_each(|text| self.line(&text));
            }
        }
    }
}

fn state(
    mean_loss: f64,
    accuracy: Option<f64>,
    posterior: &[f64],
    samples_per_second: Option<f64>,
) -> String {
    let accuracy = accuracy.map(|accuracy| format!("  {}", percent(accuracy))).unwrap_or_default();
    let speed = samples_per_second.map(|own| format!("  {}/s", thousands(own))).unwrap_or_default();
    format!("loss {}{accuracy}{speed}  {}", loss(mean_loss), bars(posterior))
}

/// An epoch as a line. A line of 80 columns leaves out seconds and speed; the bar shows the speed.
fn epoch_line(report: &EpochReport, epochs: u64, is_whole: bool) -> String {
    let part = |name: &str, mean_loss: f64, accuracy: Option<f64>| {
        let accuracy = accuracy.map(|accuracy| format!(" {:>7}", percent(accuracy)));
        let r2 =
            report.valid_r2.filter(|_| name == "valid").map(|r2| format!(" R2 {}", r2_text(r2)));
        format!("  {name} {}{}", loss(mean_loss), accuracy.or(r2).unwrap_or_default())
    };
    let digits = epochs.to_string().len();
    let EpochReport { epoch, seconds, samples_per_second, .. } = report;
    let train = part("train", report.train_loss, report.train_accuracy);
    let valid =
        report.valid_loss.map(|valid_loss| part("valid", valid_loss, report.valid_accuracy));
    let valid =
        valid.map(|text| text + if report.is_best { " *" } else { "  " }).unwrap_or_default();
    let time = match is_whole {
        true => format!("  {seconds:.1} s  {}/s", thousands(*samples_per_second)),
        false => String::new(),
    };
    format!("epoch {epoch:>digits$}/{epochs}{train}{valid}{time}  {}", bars(&report.posterior))
}

/// The posterior as one bar for each classifier, from the smallest learning rate to the largest; empty for one classifier.
pub(super) fn bars(posterior: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if posterior.len() < 2 {
        return String::new();
    }
    posterior.iter().map(|weight| LEVELS[(weight.clamp(0.0, 1.0) * 7.0).round() as usize]).collect()
}

pub(super) fn thousands(number: f64) -> String {
    match number {
        _ if number >= 1e6 => format!("{:.2}M", number / 1e6),
        _ if number >= 1e4 => format!("{:.1}k", number / 1e3),
        _ => format!("{number:.0}"),
    }
}

/// A line about divergence; `None` if nothing diverged.
pub(super) fn diverged(counts: &Counts) -> Option<String> {
    let samples = counts.samples_without_finite_classifier;
    let parts = [
        (counts.diverged_classifiers, "steps of classifiers"),
        (counts.skipped_elements, "updates of weights"),
        (samples, "samples that no classifier had a finite likelihood for"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0.0);
    let text = parts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ");
    let meaning = match samples > 0.0 {
        true => {
            "skipped since they diverged; where no classifier has a finite likelihood, look at the data and the learning rates"
        }
        false => "skipped since they diverged, as is expected of large learning rates",
    };
    (!text.is_empty()).then(|| format!("{meaning}: {text}"))
}

/// The introduction of a run: device, data, model and directory, a line each.
pub(super) fn introduction(
    device: &Device,
    dataset: &Dataset,
    config: &RunConfig,
    directory: &Path,
) -> String {
    let device = device.description();
    let data = dataset.description();
    let model = describe_model(config);
    format!("device  {device}\ndata    {data}\nmodel   {model}\nrun     {}", directory.display())
}

/// Lines that explain the epochs' lines, which have these measures.
pub(super) fn signs(measures: &str, classifiers: usize) -> String {
    let bars = match classifiers {
        0 | 1 => "",
        _ => "\n        ▁▄█ the classifiers' weights, the smallest learning rate first",
    };
    format!("epochs  {measures}{bars}")
}

fn describe_model(config: &RunConfig) -> String {
    let RunConfig { model, alrao, train, .. } = config;
    let rates = match train.optimizer.is_alrao() {
        true => {
            let [eta_min, eta_max] = [alrao.eta.start(), alrao.eta.end()].map(|rate| exact(*rate));
            format!("{} classifiers, learning rates {eta_min} to {eta_max}", alrao.classifiers)
        }
        false => format!("learning rate {}", exact(train.lr)),
    };
    format!("{}, {}, {rates}, {}", model.architecture, train.optimizer, train.precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_posterior_is_a_row_of_bars() {
        assert_eq!(bars(&[0.0, 0.1, 0.5, 1.0]), "▁▂▅█");
        assert_eq!(bars(&[1.0]), "");
    }

    #[test]
    fn nothing_is_said_where_nothing_diverged() {
        assert_eq!(diverged(&Counts::default()), None);
        let counts = Counts { skipped_elements: 3.0, ..Counts::default() };
        assert!(diverged(&counts).unwrap().ends_with("3 updates of weights"));
    }
}
