//! `alrao rl eval`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Ending;
use crate::cli::messages;
use alrao::argument::whole;
use alrao::learn::settings::DeviceSettings;
use alrao::rl::{Evaluation, evaluate};

/// Play episodes with a run's best network (its last network before the first epoch has ended), or with the network in a checkpoint
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao rl eval runs/pendulum-alrao-1\n  \
    alrao rl eval best.safetensors --env pendulum --episodes 100 --json")]
pub(super) struct Arguments {
    /// A run's directory, or a checkpoint
    #[arg(value_name = "RUN|FILE")]
    source: PathBuf,
    /// Environment, pendulum[:TORQUES] or gym:NAME [default: the run's own]
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// Number of episodes; each ends after 100000 steps
    #[arg(long, value_name = "N", default_value = "20", value_parser = whole::<usize>)]
    episodes: usize,
    /// Seed of the episodes' initial states
    #[arg(long, value_name = "SEED", default_value = "0", value_parser = whole::<u64>)]
    seed: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceSettings,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Arguments { source, env, episodes, seed, json, device } = arguments;
    let device = device.open()?;
    let evaluation = evaluate(source, env.as_deref(), *episodes, *seed, &device)?;
    if !quiet {
        messages::note(&device.description());
        messages::note_of_precision(evaluation.precision);
        messages::notes_on_model(&evaluation.notes_on_model);
    }
    let text = if *json { serde_json::to_string(&evaluation)? } else { in_words(&evaluation) };
    messages::result(&(text + "\n"))?;
    Ok(Ending::Done)
}

fn in_words(evaluation: &Evaluation) -> String {
    let Evaluation { env, episodes, mean_return, return_deviation, .. } = evaluation;
    let [mean, deviation] = [mean_return, return_deviation].map(|own| messages::value(*own));
    format!("{env}  return {mean} ± {deviation} over {episodes} episodes")
}
