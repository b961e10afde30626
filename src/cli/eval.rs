//! `alrao eval`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{Split, new_file};
use super::class_tables::tables;
use super::failure::Ending;
use super::messages;
use alrao::data::TokenKind;
use alrao::error::Error;
use alrao::learn::OutputFile;
use alrao::learn::settings::DeviceSettings;
use alrao::plots::confusion;
use alrao::supervised::{Evaluation, evaluate, read_class_names};

/// Evaluate a run's best model, or the model in a checkpoint
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao eval runs/cnn-generated-alrao-1\n  \
    alrao eval best.safetensors --data cifar-10-batches-bin --split test --json\n  \
    alrao eval runs/fashion --class-names names.txt --confusion confusion.svg")]
pub(super) struct Arguments {
    /// A run's directory, or a checkpoint
    #[arg(value_name = "RUN|FILE")]
    source: PathBuf,
    /// Data of the kind the model was trained on [default: the run's own]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Part of the data [default: test if there is one, else valid; all samples of other data that is not in parts]
    #[arg(long, value_name = "SPLIT")]
    split: Option<Split>,
    /// File for each sample's log-probabilities, or its predicted numbers in the targets' own units
    #[arg(long, value_name = "OUT.safetensors")]
    predictions: Option<PathBuf>,
    /// File for a picture of the confusion matrix
    #[arg(long, value_name = "OUT.svg")]
    confusion: Option<PathBuf>,
    /// Names of the classes, one a line, for data whose classes have numbers only
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// Replace the files of --predictions and --confusion if they are there
    #[arg(long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceSettings,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let device = arguments.device.open()?;
    let part = arguments.split.map(Split::part);
    let (data, predictions) = (arguments.data.as_deref(), arguments.predictions.as_deref());
    let read = data.map(Path::new).filter(|data| data.is_file());
    let place = arguments.confusion.as_deref();
    let place =
        place.map(|path| place_of_picture(path, read.as_slice(), arguments.force)).transpose()?;
    if let Some(path) = predictions {
        new_file("predictions", path, read.as_slice(), arguments.force)?;
        if arguments.confusion.as_deref() == Some(path) {
            return Err(
                Error::field("predictions", "and `confusion` name one file: give two").into()
            );
        }
    }
    let names = arguments.class_names.as_deref().map(read_class_names).transpose()?;
    let mut evaluation = evaluate(&arguments.source, data, part, predictions, &device)?;
    if let Some(names) = names {
        evaluation.set_class_names(names)?;
    }
    if let Some(place) = place {
        place.write(picture(&evaluation)?.as_bytes())?;
    }
    let written = [&arguments.predictions, &arguments.confusion].into_iter().flatten();
    if !quiet {
        messages::note(&device.description());
        evaluation.notes.iter().for_each(|note| messages::note(&format!("data    {note}")));
        messages::note_of_precision(evaluation.precision);
        messages::notes_on_model(&evaluation.notes_on_model);
        written.for_each(|path| messages::note(&format!("written {}", path.display())));
    }
    let text = match arguments.json {
        true => serde_json::to_string(&evaluation)? + "\n",
        false => in_words(&evaluation),
    };
    messages::result(&text)?;
    Ok(Ending::Done)
}

/// The place of the picture of the confusion matrix.
fn place_of_picture(path: &Path, read: &[&Path], force: bool) -> Result<OutputFile, Error> {
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("svg")) {
        let subject = format!("`confusion` {}", path.display());
        return Err(Error::input(subject, "will be an SVG: give a name that ends in .svg"));
    }
    new_file("confusion", path, read, force)
}

/// The picture of the confusion matrix.
fn picture(evaluation: &Evaluation) -> Result<String, Error> {
    let refused = |message: &str| Err(Error::field("confusion", message));
    let Some(measures) = &evaluation.classes else {
        return refused("applies to the classification of images and vectors only");
    };
    let Some(matrix) = &measures.confusion else {
        return refused("has too many classes to be drawn");
    };
    let names: Vec<String> = measures.classes.iter().map(|own| own.class.clone()).collect();
    Ok(confusion(&names, matrix))
}

fn in_words(evaluation: &Evaluation) -> String {
    let Evaluation { split, samples, loss, accuracy, classes, errors, token, .. } = evaluation;
    let top5 = classes.as_ref().and_then(|classes| classes.top5_accuracy);
    let top5 = top5.map(|share| format!(", top-5 accuracy {}", messages::percent(share)));
    let perplexity = evaluation.perplexity.filter(|_| *token == Some(TokenKind::Character));
    let perplexity = perplexity.map(|own| format!(", perplexity {own:.2}"));
    let line = format!(
        "{split}  loss {}{}{}{}, {samples} {}{}\n",
        messages::loss_of(*loss, *token),
        messages::beside_loss(*accuracy, *errors),
        top5.unwrap_or_default(),
        perplexity.unwrap_or_default(),
        token.map_or("sample", TokenKind::name),
        if *samples == 1 { "" } else { "s" },
    );
    line + &classes.as_ref().map(tables).unwrap_or_default()
}
