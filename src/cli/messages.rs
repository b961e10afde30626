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

/// Writes a line for people; whether it can be read is no reason to stop.
pub(super) fn note(text: &str) {
    // Standard error is where a failure would have to be reported.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says so where a model is not evaluated in what it was trained in.
pub(super) fn note_of_precision(EvaluationPrecision { trained, evaluated }: EvaluationPrecision) {
    if trained != evaluated {
        note(&format!("model   trained in {trained}, evaluated in {evaluated}"));
    }
}

/// Says in one line what went wrong.
pub(super) fn error(text: &str) {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    note(&format!("error: {line}"));
}

/// A mean loss, in four decimals; a power of ten where it is too large for them. No loss is -0.
pub(super) fn loss(loss: f64) -> String {
    match loss.abs() < 1e6 {
        true => format!("{:.4}", loss + 0.0).replace("-0.0000", "0.0000"),
        false => format!("{loss:.3e}"),
    }
}

/// A mean loss with its unit, where it is a text's, and in the unit that such losses are usually told in.
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
