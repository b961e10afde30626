//! The progress of a run of Q-learning, on standard error: a bar on a terminal, a line per epoch elsewhere.

use crate::cli::messages::value;
use crate::cli::progress::{Display, Progress, bars, diverged, thousands};
use crate::cli::time_left::Pace;
use alrao::device::Device;
use alrao::learn::Observer;
use alrao::plots::exact;
use alrao::rl::{EpochReport, Event, QLearning, Run, Status, describe};

/// Columns of a whole epoch's line.
const WHOLE_LINE: u16 = 110;

impl Observer<QLearning> for Progress {
    fn wants_progress(&self) -> bool {
        matches!(self.display, Display::Bar(_))
    }

    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { plan, .. } => {
                self.epochs = plan.epochs;
                if let Display::Bar(bar) = &self.display {
                    bar.set_length(plan.steps);
                    self.display.appear();
                }
            }
            Event::Progress(Status {
                epoch,
                step,
                recent_return,
                epsilon,
                posterior,
                steps_per_second,
            }) => {
                if let Display::Bar(bar) = &self.display {
                    let recent = recent_return
                        .map(|own| format!("return {}  ", value(own)))
                        .unwrap_or_default();
                    let speed = thousands(*steps_per_second);
                    let all = bar.length().unwrap_or(*step);
                    self.pace.get_or_insert_with(|| Pace::new(*step, all));
                    bar.set_prefix(self.prefix(*epoch));
                    bar.set_position(*step);
                    bar.set_message(format!(
                        "{recent}epsilon {epsilon:.2}  {speed}/s  {}{}",
                        bars(posterior),
                        self.time_left(*step)
                    ));
                }
            }
            Event::Step(_) | Event::Test(_) | Event::Damaged { .. } => (),
            Event::Evaluating { epoch, step, .. } => {
                if let Display::Bar(bar) = &self.display {
                    bar.set_prefix(self.prefix((*epoch).min(self.epochs)));
                    bar.set_position(*step);
                    bar.set_message("evaluation ..");
                }
            }
            Event::Epoch(report) => {
                let is_whole = self.display.has_columns(WHOLE_LINE);
                self.line(&epoch_line(report, self.epochs, is_whole));
                self.draw();
            }
            Event::Ended { counts } => {
                self.draw();
                diverged(counts).into_iter().for_each(|text| self.line(&text));
            }
        }
    }
}

/// An epoch as a line. A line of 80 columns leaves out steps, training return and loss; `metrics.jsonl` has them.
fn epoch_line(report: &EpochReport, epochs: u64, is_whole: bool) -> String {
    let EpochReport { epoch, step, mean_return, return_deviation, .. } = report;
    let digits = epochs.to_string().len();
    let best = if report.is_best { " *" } else { "  " };
    let steps = if is_whole { format!("{step} steps  ") } else { String::new() };
    let part = |name: &str, shown: Option<String>| match shown {
        Some(shown) if is_whole => format!("  {name} {shown}"),
        _ => String::new(),
    };
    let training = part("training", report.training_return.map(value));
    let loss = part("loss", report.loss.map(|own| format!("{own:.3}")));
    format!(
        "epoch {epoch:>digits$}/{epochs}  {steps}return {} ± {}{best}{training}{loss}  epsilon {:.2}  {}/s  {}",
        value(*mean_return),
        value(*return_deviation),
        report.epsilon,
        thousands(report.steps_per_second),
        bars(&report.posterior)
    )
}

/// The introduction of a run: device, environment, network and directory, a line each.
pub(super) fn introduction(device: &Device, run: &Run) -> String {
    let config = run.config();
    let spaces = describe(run.spaces());
    let layers = match config.model.hidden.as_slice() {
        [] => "no hidden units".to_owned(),
        layers => {
            let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
            format!("{} hidden units", layers.join(" and "))
        }
    };
    let rates = match config.train.optimizer.is_alrao() {
        true => {
            let eta = &config.alrao.eta;
            let [eta_min, eta_max] = [eta.start(), eta.end()].map(|rate| exact(*rate));
            let copies = config.alrao.classifiers;
            format!("{copies} classifiers, learning rates {eta_min} to {eta_max}")
        }
        false => format!("learning rate {}", exact(config.train.lr)),
    };
    format!(
        "device  {}\nenv     {} {spaces}\nmodel   mlp of {layers}, {}, {rates}, {}\nrun     {}",
        device.description(),
        config.task.env,
        config.train.optimizer,
        config.train.precision,
        run.directory().display()
    )
}
