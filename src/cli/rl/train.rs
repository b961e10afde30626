//! `alrao rl train`.

use std::path::Path;

use clap::Args;

use super::progress::introduction;
use crate::cli::arguments::{PlaceArguments, open_for};
use crate::cli::failure::Ending;
use crate::cli::progress::{Progress, signs};
use crate::cli::running::{already_finished, conclude, ended};
use crate::cli::{messages, signals};
use alrao::device::Device;
use alrao::learn::StopFlag;
use alrao::learn::settings::{DeviceSettings, LearningSettings};
use alrao::plots::RunPlots;
use alrao::rl::settings::{QLearningSettings, Settings};
use alrao::rl::{Report, Run};

/// Learn to act in an environment by Q-learning, by default with Alrao, or continue a run
#[derive(Args)]
#[command(next_line_help = false, allow_negative_numbers = true)]
#[command(after_help = "Examples:\n  alrao rl train --env pendulum\n  \
    alrao rl train --env gym:LunarLander-v3 --seed 1    # pip install \"gymnasium[box2d]\"\n  \
    alrao rl train --resume runs/pendulum-alrao-1 --steps 40000")]
pub(super) struct Arguments {
    #[command(flatten)]
    task: QLearningSettings,
    #[command(flatten)]
    learning: LearningSettings,
    #[command(flatten)]
    device: DeviceSettings,
    #[command(flatten)]
    place: PlaceArguments,
}

pub(super) fn run(arguments: Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Arguments { task, learning, device, place } = arguments;
    let flags = Settings::new(task, learning, device);
    let (run, device) = match &place.resume {
        Some(directory) => resume(&flags, &place, directory, quiet)?,
        None => start(flags, &place, quiet)?,
    };
    if run.is_finished() {
        return Ok(already_finished(run.directory(), "--steps", quiet));
    }
    train(run, &device, quiet, place.tensorboard)
}

/// Announces an environment in Python, which takes a while to start.
fn announce(env: &str, quiet: bool) {
    if env.starts_with("gym:") && !quiet {
        messages::note(&format!("opening {env} in Python"));
    }
}

fn start(flags: Settings, place: &PlaceArguments, quiet: bool) -> anyhow::Result<(Run, Device)> {
    place.start(flags, |config, out, device| {
        announce(&config.task.env, quiet);
        Run::start(config, out, device)
    })
}

fn resume(
    flags: &Settings,
    place: &PlaceArguments,
    directory: &Path,
    quiet: bool,
) -> anyhow::Result<(Run, Device)> {
    place.check_resume(flags)?;
    let config = Run::config_of(directory)?;
    let device = open_for(flags, &config)?;
    announce(&config.task.env, quiet);
    Ok((Run::resume(directory, flags, &device)?, device))
}

fn train(mut run: Run, device: &Device, quiet: bool, tensorboard: bool) -> anyhow::Result<Ending> {
    let stop = StopFlag::default();
    let mut plots = RunPlots::of_q_learning(run.directory(), &run.config().alrao);
    if tensorboard || plots.has_events() {
        plots.write_events()?;
    }
    let mut progress = Progress::new(quiet, Some(plots), &stop);
    progress.line(&introduction(device, &run));
    if run.goes_on_from_first_version() {
        progress.line(
            "model   of version 0.1.0: from now on, action values leave out the share that the switch gives every classifier, so \
             the run differs from one that version 0.1.0 would go on with",
        );
    }
    run.notes_on_checkpoints().iter().for_each(|note| progress.line(&format!("run     {note}")));
    progress.line(&signs(
        "mean return of the evaluation; * the best so far",
        run.config().alrao.classifiers,
    ));
    let received = signals::listen(&stop, progress.announcer())?;
    let report = run.train(&mut progress, &stop);
    progress.finish();
    let directory = run.directory().display().to_string();
    let again = format!("alrao rl train --resume {directory}");
    let report = report.map_err(|error| ended(error, &directory, &again))?;
    let summary = summary(&report, &directory);
    conclude(report.outcome, &summary, &again, &received, device, quiet)
}

/// The run's results, one a line.
fn summary(report: &Report, directory: &str) -> String {
    let mut text = String::new();
    if let Some((epoch, mean_return)) = report.best {
        text += &format!("best  epoch {epoch}, return {}\n", messages::value(mean_return));
    }
    if let Some(test) = &report.test {
        text += &format!(
            "test  return {} ± {} over {} new episodes\n",
            messages::value(test.mean_return),
            messages::value(test.return_deviation),
            test.episodes
        );
    }
    text + &format!("run   {directory}\n")
}
