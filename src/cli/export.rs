//! `alrao export`.

use std::path::PathBuf;

use clap::Args;

use super::arguments::new_file;
use super::failure::Ending;
use super::messages;
use alrao::export::Onnx;

/// Write a run's best model, or the model in a checkpoint, as an ONNX file
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao export runs/flowers flowers.onnx\n  \
    alrao export runs/photographs/last.safetensors photographs.onnx --force\n\n\
    The file takes raw inputs, bytes of images as numbers from 0 to 1, and gives the probabilities of the classes or the values \
    in their own units. docs/onnx.md shows programs that use it.")]
pub(super) struct Arguments {
    /// A run's directory, or a checkpoint
    #[arg(value_name = "RUN|FILE")]
    source: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT.onnx")]
    output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Arguments { source, output, force } = arguments;
    let inputs: &[_] = if source.is_dir() { &[] } else { &[&**source] };
    let file = new_file("OUT", output, inputs, *force)?;
    let onnx = Onnx::open(source)?;
    file.write(onnx.bytes())?;
    if !quiet {
        messages::note_of_precision(onnx.precision());
        messages::notes_on_model(onnx.notes());
        let name = output.display();
        messages::note(&format!("written {name}, {:.1} MB", onnx.bytes().len() as f64 / 1e6));
        for (number, input) in onnx.inputs().iter().enumerate() {
            let meaning = if number == 0 {
                onnx.input_description()
            } else {
                "carried state, zeros at first"
            };
            messages::note(&format!("input   {input}: {meaning}"));
        }
        onnx.outputs().iter().for_each(|output| messages::note(&format!("output  {output}")));
    }
    Ok(Ending::Done)
}
