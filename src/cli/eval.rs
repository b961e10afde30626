//! `alrao eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::failure::Ending;
use super::messages;
use alrao::data::{Part, TokenKind};
use alrao::learn::settings::DeviceSettings;
use alrao::supervised::{Evaluation, evaluate};

/// Evaluate a run's best model (its last model before the first epoch has ended), or the model in a checkpoint
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao eval runs/cnn-generated-alrao-1\n  \
    alrao eval best.safetensors --data cifar-10-batches-bin --split test --json")]
pub(super) struct Arguments {
    /// A run's directory, or a checkpoint
    #[arg(value_name = "RUN|FILE")]
    source: PathBuf,
    /// Data of the kind the model was trained on [default: the run's own]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Part of the data
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    split: Split,
    /// File for each sample's log-probabilities, or its predicted numbers in the targets' own units
    #[arg(long, value_name = "OUT.safetensors")]
    predictions: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceSettings,
}

#[derive(Clone, Copy, ValueEnum)]
enum Split {
    Valid,
    Test,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let device = arguments.device.open()?;
    let part = match arguments.split {
        Split::Valid => Part::Valid,
        Split::Test => Part::Test,
    };
    let (data, predictions) = (arguments.data.as_deref(), arguments.predictions.as_deref());
    let evaluation = evaluate(&arguments.source, data, part, predictions, &device)?;
    if !quiet {
        messages::note(&device.description());
        evaluation.notes.iter().for_each(|note| messages::note(&format!("data    {note}")));
        messages::note_of_precision(evaluation.precision);
        messages::notes_on_model(&evaluation.notes_on_model);
    }
    let text =
        if arguments.json { serde_json::to_string(&evaluation)? } else { in_words(&evaluation) };
    messages::result(&(text + "\n"))?;
    Ok(Ending::Done)
}

fn in_words(evaluation: &Evaluation) -> String {
    let Evaluation { split, samples, loss, accuracy, errors, token, .. } = evaluation;
    format!(
        "{split}  loss {}{}, {samples} {}s",
        messages::loss_of(*loss, *token),
        messages::beside_loss(*accuracy, *errors),
        token.map_or("sample", TokenKind::name),
    )
}
