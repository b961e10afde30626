//! Checks that a run fits in memory, before it starts.

mod limit;

use self::limit::Limit;
use crate::error::{Error, Result};
use crate::learn::TrainConfig;
use crate::learn::learner::rule;
use crate::models::{self, Architecture, Input, ModelConfig};
use crate::nn::Init;

/// A large part of a run's memory.
#[derive(Clone)]
pub(crate) struct Part {
    /// The flag that determines its size.
    pub subject: String,
    /// Its description in messages, such as "makes a model whose parameters take".
    pub what: String,
    /// Its size.
    pub bytes: u128,
}

/// As [`check_together`], for a model's parameters with their gradients and moments. Activations and data are not counted.
///
/// # Errors
/// [`Error::Input`] naming the flag that determines the model's size, or where the model does not take this input.
pub(crate) fn check_fits(
    model: &ModelConfig,
    input: Input,
    copies: [usize; 2],
    train: &TrainConfig,
) -> Result<()> {
    check_together(&[model_part(model, input, copies, train)?])
}

/// The memory of a model's parameters, gradients and moments. The array is the number of classifiers and of the outputs
/// of each.
///
/// # Errors
/// [`Error::Input`] where the model does not take this input.
pub(crate) fn model_part(
    model: &ModelConfig,
    input: Input,
    [classifiers, outputs]: [usize; 2],
    train: &TrainConfig,
) -> Result<Part> {
    let pre_classifier = models::build(model, input, &mut Init::shapes_only())?;
    let own = pre_classifier.parameters(0, outputs);
    let all = pre_classifier.parameters(classifiers, outputs);
    let buffers = 2 + rule(train).moments() as u128;
    let dtype = train.precision.dtype();
    let copy = if dtype == dtype.wide() { 0 } else { dtype.size() as u128 };
    let subject = match model.architecture {
        _ if model.width > 1.0 => format!("`width` {}", model.width),
        _ if classifiers > 1 && all > 2 * own => format!("`classifiers` {classifiers}"),
        Architecture::Mlp => "`hidden`".into(),
        _ => format!("`width` {}", model.width),
    };
    let what = format!(
        "makes a model of {} parameters, whose values, gradients and moments take",
        short(all)
    );
    Ok(Part { subject, what, bytes: all * (buffers * dtype.wide().size() as u128 + copy) })
}

/// The memory of a run's checkpoints, each with parameters and moments. At an epoch's end the last one, a new one, the best
/// one and its bytes are in memory at once. The initial weights count too; they are freed once they are on the device.
///
/// # Errors
/// As [`model_part`].
pub(crate) fn checkpoints_part(
    model: &ModelConfig,
    input: Input,
    [classifiers, outputs]: [usize; 2],
    train: &TrainConfig,
) -> Result<Part> {
    const CHECKPOINTS: u128 = 4;
    let own = model_part(model, input, [classifiers, outputs], train)?;
    let pre_classifier = models::build(model, input, &mut Init::shapes_only())?;
    let all = pre_classifier.parameters(classifiers, outputs);
    let arrays = CHECKPOINTS * (1 + rule(train).moments() as u128) + 1;
    let size = train.precision.dtype().wide().size() as u128;
    let what = "makes a model whose initial weights and checkpoints take".into();
    Ok(Part { subject: own.subject, what, bytes: arrays * all * size })
}

/// Refuses parts that together would take more memory than the machine has, or than this process or its control group
/// may take. If no limit is known, nothing is refused.
///
/// # Errors
/// [`Error::Input`] naming the flag of the largest part.
pub(crate) fn check_together(parts: &[Part]) -> Result<()> {
    limit::smallest().map_or(Ok(()), |limit| check_within(parts, &limit))
}

fn check_within(parts: &[Part], limit: &Limit) -> Result<()> {
    let all: u128 = parts.iter().map(|part| part.bytes).sum();
    let largest = parts.iter().max_by_key(|part| part.bytes).filter(|_| all > limit.free());
    let Some(largest) = largest else {
        return Ok(());
    };
    let Part { subject, what, bytes } = largest;
    let others = match *bytes > limit.free() {
        true => String::new(),
        false => format!(", {}B with the rest of the run", short(all)),
    };
    let message =
        format!("{what} {}B{others}; {}; give a smaller number", short(*bytes), described(limit));
    Err(Error::input(subject, message))
}

/// Refuses data that takes at least `bytes` once it is read, where there is less memory.
///
/// # Errors
/// [`Error::Input`] naming the data.
pub(crate) fn check_data(source: &str, bytes: u128) -> Result<()> {
    let limit = limit::smallest().filter(|limit| bytes > limit.free());
    limit.map_or(Ok(()), |limit| {
        let message = format!(
            "takes at least {}B once it is read; {}; use less data, or a machine with more memory",
            short(bytes),
            described(&limit)
        );
        Err(Error::input(format!("`data` {source}"), message))
    })
}

fn described(limit: &Limit) -> String {
    let used = match limit.used {
        0 => String::new(),
        used => format!(" and takes {}B already", short(used)),
    };
    format!("{} {}B {}{used}", limit.before, short(limit.bytes), limit.after)
}

/// A number in short: 20041034 is `20.04 M`.
fn short(number: u128) -> String {
    const UNITS: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    let unit = (number.max(1).ilog10() as usize / 3).min(UNITS.len() - 1);
    format!("{:.2} {}", number as f64 / 1000f64.powi(unit as i32), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_what_is_too_much_together_is_named() {
        let part =
            |subject: &str, bytes| Part { subject: subject.into(), what: "takes".into(), bytes };
        let within = |parts: &[Part], bytes| {
            let (before, after) = ("this machine has".into(), "of memory".into());
            check_within(parts, &Limit { bytes, used: 0, before, after })
        };
        let parts = [part("`hidden`", 6_000), part("`buffer` 9", 7_000), part("`batch_size`", 1)];
        within(&parts, 13_001).unwrap();
        let error = within(&parts, 13_000).unwrap_err().to_string();
        let together =
            "takes 7.00 kB, 13.00 kB with the rest of the run; this machine has 13.00 kB of memory";
        assert_eq!(error, format!("`buffer` 9: {together}; give a smaller number"));
        let error = within(&parts, 6_999).unwrap_err().to_string();
        assert!(
            error.starts_with("`buffer` 9: takes 7.00 kB; this machine has 7.00 kB"),
            "{error}"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999, 20_041_034].map(short), ["0.00 ", "999.00 ", "20.04 M"]);
        assert_eq!(short(160 * 10u128.pow(12)) + "B", "160.00 TB");
    }
}
