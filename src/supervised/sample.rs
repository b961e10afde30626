//! Text written by a trained model, character by character or word by word.

use std::path::Path;

use super::fit::vocabulary;
use crate::data::Vocabulary;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::TrainConfig;
use crate::learn::{Trained, load, locate};
use crate::random::{Philox, Purpose, Stream};
use crate::tensor::Tensor;

/// A text written by a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The prompt and its continuation.
    pub text: String,
    /// Remarks on the model's file.
    pub notes_on_model: Vec<String>,
}

/// Continues `prompt` by `length` characters or words, with the best model of a run or the model of a checkpoint. At
/// temperature 1 each is drawn from the model's probabilities; at temperature 0 it is the most likely one.
///
/// # Errors
/// Where the source is not a text model, or the prompt has a character or word that the model does not know.
pub fn sample(
    source: &Path,
    length: usize,
    temperature: f64,
    prompt: &str,
    seed: u64,
    device: &Device,
) -> Result<Sample> {
    if !(temperature.is_finite() && temperature >= 0.0) {
        return Err(Error::field(
            "temperature",
            format!("{temperature} is not a number of at least 0"),
        ));
    }
    let (file, _) = locate(source)?;
    let trained = load(&file, TrainConfig::default(), device)?;
    let Some(vocabulary) = vocabulary(&trained.record)? else {
        return Err(Error::file(
            &file,
            "is not a text model; `alrao predict` predicts samples of other data",
        ));
    };
    let mut log_probabilities = read_prompt(&trained, &vocabulary, prompt)?;
    let mut stream = Philox::new(seed, Purpose::Sampling).stream(0);
    let mut text = String::from(prompt);
    for _ in 0..length {
        let code = draw(&log_probabilities, temperature, &mut stream);
        vocabulary.append(&mut text, code);
        log_probabilities = next(&trained, code as i32)?;
    }
    Ok(Sample { text, notes_on_model: trained.notes })
}

/// The log probabilities after the prompt. An empty prompt is read as a line's end, or as the vocabulary's first token.
fn read_prompt(trained: &Trained, vocabulary: &Vocabulary, prompt: &str) -> Result<Vec<f64>> {
    let mut codes = vocabulary.encode(prompt).map_err(|unknown| {
        let kind = vocabulary.kind().name();
        let advice = vocabulary.advice_on_form(unknown);
        let message = format!("has the {kind} {unknown:?}, which the model does not know{advice}");
        Error::field("prompt", message)
    })?;
    if codes.is_empty() {
        codes.push(vocabulary.line_end().unwrap_or(0));
    }
    trained.learner.reset_carried_state();
    let mut log_probabilities = Vec::new();
    for code in codes {
        log_probabilities = next(trained, code)?;
    }
    Ok(log_probabilities)
}

fn next(trained: &Trained, code: i32) -> Result<Vec<f64>> {
    let device = trained.learner.device();
    let prediction = trained.learner.predict(&Tensor::from_slice(device, [1, 1], &[code]));
    device.check()?;
    Ok(prediction.to_f64s())
}

fn draw(log_probabilities: &[f64], temperature: f64, stream: &mut Stream) -> usize {
    let best = (0..log_probabilities.len()).fold(0, |best, code| {
        if log_probabilities[code] > log_probabilities[best] { code } else { best }
    });
    let top = log_probabilities[best];
    if temperature == 0.0 || !top.is_finite() {
        return best;
    }
    let weights: Vec<f64> =
        log_probabilities.iter().map(|log| ((log - top) / temperature).exp()).collect();
    let mut left = stream.uniform() * weights.iter().sum::<f64>();
    for (code, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return code;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_zero_takes_the_likeliest() {
        let mut stream = Philox::new(0, Purpose::Sampling).stream(0);
        assert_eq!(draw(&[-2.0, -0.1, -3.0], 0.0, &mut stream), 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut stream = Philox::new(0, Purpose::Sampling).stream(0);
        let log_probabilities = [0.7f64.ln(), 0.2f64.ln(), 0.1f64.ln()];
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[draw(&log_probabilities, 1.0, &mut stream)] += 1);
        assert!(
            (6_800..7_200).contains(&counts[0]) && (1_850..2_150).contains(&counts[1]),
            "{counts:?}"
        );
    }
}
