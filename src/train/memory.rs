//! Whether a model fits in the machine's memory, told before it is made.

use std::fs;

use crate::device::DType;
use crate::error::{Error, Result};
use crate::models::{self, Architecture, Input, ModelConfig};
use crate::nn::Init;
use crate::train::TrainConfig;
use crate::train::learner::rule;

/// Refuses a model whose parameters, with their gradients and moments, would take more than the machine's memory.
/// Where that is not known nothing is refused. Activations and data come on top and are not counted.
///
/// # Errors
/// [`Error::Input`] naming the flag that makes the model so large, or where the model does not take this input.
pub(crate) fn check_fits(
    model: &ModelConfig,
    input: Input,
    [classifiers, outputs]: [usize; 2],
    train: &TrainConfig,
) -> Result<()> {
    let pre_classifier = models::build(model, input, &mut Init::shapes_only())?;
    let own = pre_classifier.parameters(0, outputs);
    let all = pre_classifier.parameters(classifiers, outputs);
    let buffers = 2 + rule(train).moments() as u128;
    let dtype = train.precision.dtype();
    let copy = if dtype == dtype.wide() { 0 } else { dtype.size() as u128 };
    let bytes = all * (buffers * dtype.wide().size() as u128 + copy);
    match machine_memory() {
        Some(memory) if bytes > memory => {
            let subject = match model.architecture {
                _ if model.width > 1.0 => format!("--width {}", model.width),
                _ if classifiers > 1 && all > 2 * own => format!("--classifiers {classifiers}"),
                Architecture::Mlp => "--hidden".into(),
                _ => format!("--width {}", model.width),
            };
            let message = format!(
                "makes a model of {} parameters, whose values, gradients and moments take {}B; this machine has {}B of memory; \
                 give a smaller number",
                short(all),
                short(bytes),
                short(memory)
            );
            Err(Error::input(subject, message))
        }
        _ => Ok(()),
    }
}

/// Refuses a replay buffer of so many rows that would take more than the machine's memory.
///
/// # Errors
/// [`Error::Input`] naming `--buffer`.
pub(crate) fn check_buffer(rows: usize, width: usize, dtype: DType) -> Result<()> {
    let bytes = rows as u128 * width as u128 * dtype.size() as u128;
    match machine_memory() {
        Some(memory) if bytes > memory => {
            let message = format!(
                "takes {}B, and this machine has {}B of memory; give a smaller number",
                short(bytes),
                short(memory)
            );
            Err(Error::input(format!("--buffer {rows}"), message))
        }
        _ => Ok(()),
    }
}

/// `20.04 M` of 20041034.
fn short(number: u128) -> String {
    const UNITS: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    let unit = (number.max(1).ilog10() as usize / 3).min(UNITS.len() - 1);
    format!("{:.2} {}", number as f64 / 1000f64.powi(unit as i32), UNITS[unit])
}

/// The machine's memory in bytes; `None` where it does not say.
fn machine_memory() -> Option<u128> {
    total(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// The total in a text such as `/proc/meminfo`.
fn total(text: &str) -> Option<u128> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u128 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(total("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal: many kB\n"), None);
        if cfg!(target_os = "linux") {
            assert!(machine_memory().unwrap() > 1 << 20);
        }
    }

    #[test]
    fn a_buffer_beyond_the_memory_is_refused() {
        check_buffer(1_000_000, 19, DType::F32).unwrap();
        if cfg!(target_os = "linux") {
            let error = check_buffer(1 << 50, 19, DType::F32).unwrap_err().to_string();
            assert!(error.starts_with("--buffer 1125899906842624: takes"), "{error}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0, 999, 20_041_034].map(short), ["0.00 ", "999.00 ", "20.04 M"]);
        assert_eq!(short(160 * 10u128.pow(12)) + "B", "160.00 TB");
    }
}
