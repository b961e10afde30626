//! `alrao train`.

use std::path::Path;

use clap::Args;

use super::arguments::{PlaceArguments, open_for};
use super::failure::Ending;
use super::progress::{self, Progress};
use super::running::{already_finished, conclude, ended};
use super::{messages, signals};
use alrao::data::TokenKind;
use alrao::device::Device;
use alrao::learn::settings::{DeviceSettings, LearningSettings};
use alrao::learn::{StopFlag, TrainConfig};
use alrao::plots::RunPlots;
use alrao::supervised::settings::{Settings, SupervisedSettings};
use alrao::supervised::{Report, Run};

/// Train a model, by default with Alrao on generated images, or continue a run
#[derive(Args)]
#[command(next_line_help = false, allow_negative_numbers = true)]
#[command(after_help = "Examples:\n  alrao train\n  \
    alrao train --model vgg11 --data cifar-10-batches-bin --augment --out runs/vgg11\n  \
    alrao train --data photographs --image-size 64 --augment    # train/CLASS/*.jpg\n  \
    alrao train --model word-lstm --data DIR    # train.txt, valid.txt and test.txt\n  \
    alrao train --resume runs/vgg11 --epochs 40")]
pub(super) struct Arguments {
    #[command(flatten)]
    task: SupervisedSettings,
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
        Some(directory) => resume(&flags, &place, directory)?,
        None => start(flags, &place)?,
    };
    if run.is_finished() {
        let flags = "--epochs, --patience or --max-steps";
        return Ok(already_finished(run.directory(), flags, quiet));
    }
    train(run, &device, quiet, place.tensorboard)
}

fn start(flags: Settings, place: &PlaceArguments) -> anyhow::Result<(Run, Device)> {
    place.start(flags, Run::start)
}

fn resume(
    flags: &Settings,
    place: &PlaceArguments,
    directory: &Path,
) -> anyhow::Result<(Run, Device)> {
    place.check_resume(flags)?;
    let (config, _) = Run::config_of(directory)?;
    let device = open_for(flags, &config)?;
    Ok((Run::resume(directory, flags, None, &device)?, device))
}

fn train(mut run: Run, device: &Device, quiet: bool, tensorboard: bool) -> anyhow::Result<Ending> {
    let stop = StopFlag::default();
    let mut plots = RunPlots::new(run.directory(), &run.config().alrao);
    if tensorboard || plots.has_events() {
        plots.write_events()?;
    }
    let mut progress = Progress::new(quiet, Some(plots), &stop);
    progress.line(&progress::introduction(device, run.dataset(), run.config(), run.directory()));
    run.notes().iter().for_each(|note| progress.line(&format!("data    {note}")));
    run.notes_on_checkpoints().iter().for_each(|note| progress.line(&format!("run     {note}")));
    progress.line(&progress::signs(EPOCHS, run.config().alrao.classifiers));
    let received = signals::listen(&stop, progress.announcer())?;
    let report = run.train(&mut progress, &stop);
    progress.finish();
    let directory = run.directory().display().to_string();
    let again = format!("alrao train --resume {directory}");
    let report = report.map_err(|error| ended(error, &directory, &again))?;
    let token = run.dataset().token();
    let best = best_epoch(&report, &progress, &run.config().train, token);
    let summary = best + &summary(&report, token, &directory);
    conclude(report.outcome, &summary, &again, &received, device, quiet)
}

/// The measures of an epoch.
const EPOCHS: &str = "loss and accuracy or R2 of each part; * the lowest validation loss";

/// A line about the best epoch; empty if there is none.
fn best_epoch(
    report: &Report,
    progress: &Progress,
    config: &TrainConfig,
    token: Option<TokenKind>,
) -> String {
    let Some((epoch, loss)) = report.best else { return String::new() };
    let loss = loss.map(|loss| format!(", validation loss {}", messages::loss_of(loss, token)));
    // An epoch of an earlier process was not seen.
    let own = progress.best().filter(|own| own.epoch == epoch);
    let accuracy = own.and_then(|own| own.valid_accuracy);
    let accuracy = accuracy.map(|own| format!(", accuracy {}", messages::percent(own)));
    let r2 = own.and_then(|own| own.valid_r2).map(|own| format!(", R2 {}", messages::r2_text(own)));
    let beside = accuracy.or(r2).unwrap_or_default();
    let last = progress.last_epoch();
    let is_early = last < config.epochs && last.saturating_sub(epoch) >= config.patience;
    let patience = match is_early {
        true => {
            format!("; no better one in {} epochs, so training ended (`patience`)", config.patience)
        }
        false => String::new(),
    };
    let line = format!("best  epoch {epoch}{}{beside}{patience}\n", loss.unwrap_or_default());
    messages::for_people(&line)
}

/// The run's other results, one a line.
fn summary(report: &Report, token: Option<TokenKind>, directory: &str) -> String {
    let mut text = String::new();
    if let Some(test) = &report.test {
        text += &format!(
            "test  loss {}{}\n",
            messages::loss_of(test.loss, token),
            messages::beside_loss(test.accuracy, test.errors)
        );
    }
    text + &format!("run   {directory}\n")
}
