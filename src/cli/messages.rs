//! Results go to standard output, everything else to standard error.

use std::io::{self, Write};

use anyhow::Context;

use alrao::data::TokenKind;
use alrao::learn::EvaluationPrecision;

/// Writes a result.
///
/// # Errors
/// Where it cannot be written; [`super::failure::report`] keeps silent about a closed pipe.
pub(super) fn result(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context("standard output")
}

/// Writes a line for people. A failure to write it is no reason to stop.
pub(super) fn note(text: &str) {
    // A failure would be reported on standard error too.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Notes an evaluation in another precision than that of the training.
pub(super) fn note_of_precision(EvaluationPrecision { trained, evaluated }: EvaluationPrecision) {
    if trained != evaluated {
        note(&format!("model   trained in {trained}, evaluated in {evaluated}"));
    }
}

/// Prints an error as one line.
pub(super) fn error(text: &str) {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    note(&format!("error: {line}"));
}

/// A mean loss in four decimals, or with a power of ten if it is large. -0 is shown as 0.
pub(super) fn loss(loss: f64) -> String {
    match loss.abs() < 1e6 {
        true => format!("{:.4}", loss + 0.0).replace("-0.0000", "0.0000"),
        false => format!("{loss:.3e}"),
    }
}

/// A mean loss; that of a text with its unit, and in the usual unit of such losses.
pub(super) fn loss_of(nats: f64, token: Option<TokenKind>) -> String {
    let own = loss(nats);
    match token {
        None => own,
        Some(TokenKind::Character) => {
            format!("{own} nats a character ({} bits)", loss(nats / std::f64::consts::LN_2))
        }
        Some(TokenKind::Word) => format!("{own} nats a word (perplexity {:.1})", nats.exp()),
    }
}

/// An accuracy in percent.
pub(super) fn percent(accuracy: f64) -> String {
    format!("{:.2}%", 100.0 * accuracy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_s_loss_is_told_with_its_unit() {
        let told = |token| loss_of(2.0, token);
        assert_eq!(told(None), "2.0000");
        assert_eq!(
            [-0.0, -1e-9, -1.5, 3.25e27].map(loss),
            ["0.0000", "0.0000", "-1.5000", "3.250e27"]
        );
        assert_eq!(told(Some(TokenKind::Character)), "2.0000 nats a character (2.8854 bits)");
        assert_eq!(told(Some(TokenKind::Word)), "2.0000 nats a word (perplexity 7.4)");
    }
}
