//! `alrao sample`.

use alrao::argument::{real, whole};
use alrao::learn::settings::DeviceSettings;
use std::path::PathBuf;

use clap::Args;

use super::failure::Ending;
use super::messages;

/// Sample a text from a trained model of text
#[derive(Args)]
#[command(allow_negative_numbers = true)]
#[command(
    after_help = "Example:\n  alrao sample runs/char-lstm-input-alrao-1 --length 1000 --prompt 'ROMEO:'"
)]
pub(super) struct Arguments {
    /// A run's directory, or a checkpoint
    #[arg(value_name = "RUN|FILE")]
    run: PathBuf,
    /// Characters to write after the prompt, or words
    #[arg(long, value_name = "N", default_value = "500", value_parser = whole::<usize>)]
    length: usize,
    /// 1 draws from the model's probabilities, less than 1 prefers the likelier tokens, 0 takes the likeliest
    #[arg(long, value_name = "T", default_value = "1", value_parser = real)]
    temperature: f64,
    /// Beginning of the text
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prompt: String,
    /// Seed of the draws
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = whole::<u64>)]
    seed: u64,
    #[command(flatten)]
    device: DeviceSettings,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let device = arguments.device.open()?;
    let Arguments { run, length, temperature, prompt, seed, .. } = arguments;
    let sample = alrao::supervised::sample(run, *length, *temperature, prompt, *seed, &device)?;
    if !quiet {
        messages::notes_on_model(&sample.notes_on_model);
    }
    let mut text = sample.text;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    messages::result(&text)?;
    Ok(Ending::Done)
}
