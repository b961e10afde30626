//! Results go to standard output, everything else to standard error.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::LazyLock;

use anyhow::Context;
use clap::CommandFactory;

use alrao::data::TokenKind;
use alrao::learn::EvaluationPrecision;
use alrao::supervised::RegressionErrors;

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
    let _ = writeln!(io::stderr().lock(), "{}", for_people(text));
}

/// The library's message with flags in place of settings. Control characters, which the name of a file may have, are
/// escaped.
pub(super) fn for_people(message: &str) -> String {
    let mut shown = String::new();
    for c in with_flags(message).chars() {
        match c.is_control() && !['\n', '\t'].contains(&c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// The long flags of all commands.
static FLAGS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let (mut flags, mut commands) = (BTreeSet::new(), vec![super::Arguments::command()]);
    while let Some(command) = commands.pop() {
        flags.extend(command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)));
        commands.extend(command.get_subcommands().cloned());
    }
    flags
});

/// A message with a flag for each setting, which stands in backticks there.
fn with_flags(message: &str) -> String {
    let parts: Vec<&str> = message.split('`').collect();
    let flag = |part: &str| FLAGS.get(&part.replace('_', "-")).map(|flag| format!("--{flag}"));
    let shown = parts.iter().enumerate().map(|(number, part)| match number % 2 {
        0 => (*part).to_owned(),
        // Without a closing backtick it is no quotation.
        _ if number + 1 == parts.len() => format!("`{part}"),
        _ => flag(part).unwrap_or_else(|| format!("`{part}`")),
    });
    shown.collect()
}

/// Notes an evaluation in another precision than that of the training.
pub(super) fn note_of_precision(EvaluationPrecision { trained, evaluated }: EvaluationPrecision) {
    if trained != evaluated {
        note(&format!("model   trained in {trained}, evaluated in {evaluated}"));
    }
}

/// Notes remarks on a model's file.
pub(super) fn notes_on_model(notes: &[String]) {
    notes.iter().for_each(|text| note(&format!("model   {text}")));
}

/// Prints an error as one line.
pub(super) fn error(text: &str) {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    note(&format!("error: {line}"));
}

/// A mean return with one decimal, or with a power of ten if it is large.
pub(super) fn value(value: f64) -> String {
    match value.abs() < 1e6 {
        true => format!("{value:.1}"),
        false => format!("{value:.3e}"),
    }
}

/// A mean loss in four decimals, or with a power of ten if it is large. -0 is shown as 0.
pub(super) fn loss(loss: f64) -> String {
    match loss.abs() < 1e6 {
        true => format!("{:.4}", loss + 0.0).replace("-0.0000", "0.0000"),
        false => format!("{loss:.3e}"),
    }
}

/// R2, which has no value if an output's targets all have the same value, or if errors are too large.
pub(super) fn r2_text(r2: f64) -> String {
    if r2.is_finite() { format!("{r2:.3}") } else { "undefined".into() }
}

/// The results that stand beside a loss: the accuracy in classification, the errors in regression.
pub(super) fn beside_loss(accuracy: Option<f64>, errors: Option<RegressionErrors>) -> String {
    let accuracy = accuracy.map(|accuracy| format!(", accuracy {}", percent(accuracy)));
    let errors = errors.map(|RegressionErrors { mse, mae, r2 }| {
        let why = match r2.is_finite() {
            true => "",
            false => " (an output's targets are all equal, or the errors are too large)",
        };
        format!(
            ", mean squared error {}, mean absolute error {}, R2 {}{why}",
            number(mse),
            number(mae),
            r2_text(r2)
        )
    });
    accuracy.or(errors).unwrap_or_default()
}

/// Four digits of a number of any size.
fn number(x: f64) -> String {
    let digits = (3.0 - x.abs().log10().floor()).clamp(0.0, 3.0);
    match (1e-3..1e6).contains(&x.abs()) || x == 0.0 {
        true => format!("{x:.*}", digits as usize + usize::from(x.abs() < 1.0)),
        false => format!("{x:.3e}"),
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

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(for_people("a\u{1b}[31m.png\n\tis `data`"), "a\\u{1b}[31m.png\n\tis --data");
        assert_eq!([-1234.56, 1e300].map(value), ["-1234.6", "1.000e300"]);
    }

    #[test]
    fn a_setting_becomes_its_flag() {
        for (message, shown) in [
            ("`eta_min`: -1.0 is not possible", "--eta-min: -1.0 is not possible"),
            ("use `lr`, or `optimizer` sgd", "use --lr, or --optimizer sgd"),
            ("`pip install x` or `env`", "`pip install x` or --env"),
            ("a ` alone and `env", "a ` alone and `env"),
            ("element 3 of `tile` is not written", "element 3 of `tile` is not written"),
            ("key 'lr' in run.toml: no", "key 'lr' in run.toml: no"),
        ] {
            assert_eq!(with_flags(message), shown);
        }
    }
}
