//! What each setting must be, whatever the others are.

use super::{Checked, Settings};
use crate::error::Error;

/// More features, layers' units or samples than this are a slip of the keyboard.
const MOST_UNITS: usize = 1 << 24;

/// A side of the images that a model sees is not longer.
const MOST_PIXELS: usize = 4096;

impl Settings {
    /// Checks every value that was given on its own.
    ///
    /// # Errors
    /// [`crate::Error::Input`] naming the flag or key.
    pub fn check_values(&self) -> Checked {
        self.check_model()?;
        self.check_rates()?;
        self.check_counts()?;
        self.check_texts()
    }

    fn check_model(&self) -> Checked {
        self.check(
            "width",
            self.width,
            |x| x > 0.0 && x <= 1000.0,
            "a number above 0, at most 1000",
        )?;
        self.check("dropout", self.dropout, |x| (0.0..1.0).contains(&x), "0 (none) to below 1")?;
        let layers = self.hidden.iter().flatten().copied();
        layers.map(Some).try_for_each(|units| self.check_size("hidden", units))?;
        self.check_up_to("image_size", self.image_size, MOST_PIXELS)?;
        self.check_size("classifiers", self.classifiers)
    }

    fn check_rates(&self) -> Checked {
        let positive = "a number above 0";
        self.check("eta_min", self.eta_min, |x| x > 0.0, positive)?;
        self.check("eta_max", self.eta_max, |x| x > 0.0, positive)?;
        let not_negative = "0 or a number above 0";
        self.check("lr", self.lr, |x| x >= 0.0, not_negative)?;
        self.check("weight_decay", self.weight_decay, |x| x >= 0.0, not_negative)?;
        self.check("clip", self.clip, |x| x >= 0.0, "0 (no clip) or a number above 0")?;
        let below_one = |x| (0.0..1.0).contains(&x);
        self.check("momentum", self.momentum, below_one, "0 (none) to below 1")?;
        self.check("valid_split", self.valid_split, below_one, "0 (no validation) to below 1")?;
        self.check("theta", self.theta, |x| x > 0.0 && x <= 1.0, "a number above 0, at most 1")?;
        self.check(
            "trained_fraction",
            self.trained_fraction,
            |x| (0.0..=1.0).contains(&x),
            "0 to 1 (all)",
        )
    }

    /// Whole numbers. On its own, since a resumed run takes some of these.
    pub(crate) fn check_counts(&self) -> Checked {
        let size = |x: Option<usize>| x.map(|x| x as u64);
        self.check_count("epochs", self.epochs)?;
        self.check_count("max_steps", self.max_steps)?;
        self.check_count("patience", self.patience)?;
        self.check_count("threads", size(self.threads))?;
        self.check_count("samples", size(self.samples))?;
        self.check_size("bptt", self.bptt)?;
        self.check_size("batch_size", self.batch_size)
    }

    /// A file holds UTF-8, and a run's settings are written to one.
    fn check_texts(&self) -> Checked {
        for (key, path) in [("init", &self.init), ("rates", &self.rates)] {
            match path {
                Some(path) if path.as_os_str().is_empty() => {
                    return Err(self.error(key, "is empty; give a file, or leave it out"));
                }
                Some(path) if path.to_str().is_none() => {
                    let message = format!("'{}' is not UTF-8; rename the file", path.display());
                    return Err(self.error(key, message));
                }
                _ => (),
            }
        }
        if self.data.as_ref().is_some_and(String::is_empty) {
            return Err(self.error("data", "is empty; give a file, a folder, or generated"));
        }
        Ok(())
    }

    fn check(
        &self,
        key: &str,
        value: Option<f64>,
        is_right: impl Fn(f64) -> bool,
        wanted: &str,
    ) -> Checked {
        real(|| self.subject(key), value, is_right, wanted)
    }

    fn check_count(&self, key: &str, value: Option<u64>) -> Checked {
        count(|| self.subject(key), value)
    }

    fn check_size(&self, key: &str, value: Option<usize>) -> Checked {
        self.check_up_to(key, value, MOST_UNITS)
    }

    fn check_up_to(&self, key: &str, value: Option<usize>, most: usize) -> Checked {
        size(|| self.subject(key), value, most)
    }
}

/// Checks a number, if it was given; `subject` is how a message names it, `wanted` what to give instead.
pub(crate) fn real(
    subject: impl Fn() -> String,
    value: Option<f64>,
    is_right: impl Fn(f64) -> bool,
    wanted: &str,
) -> Checked {
    let Some(value) = value else { return Ok(()) };
    if !value.is_finite() {
        let message = format!("{value} is not a finite number; give {wanted}");
        return Err(Error::input(subject(), message));
    }
    // A negative zero compares as zero, but a rate's sign bit would be kept in every file.
    if !is_right(value) || (value == 0.0 && value.is_sign_negative()) {
        return Err(Error::input(subject(), format!("{value:?} is not possible; give {wanted}")));
    }
    Ok(())
}

/// Checks that there is at least one of what is counted.
pub(crate) fn count(subject: impl Fn() -> String, value: Option<u64>) -> Checked {
    match value {
        Some(0) => {
            let message = "0 is not possible; give a whole number of at least 1";
            Err(Error::input(subject(), message))
        }
        _ => Ok(()),
    }
}

/// Checks that a number of things is from 1 to `most`.
pub(crate) fn size(subject: impl Fn() -> String, value: Option<usize>, most: usize) -> Checked {
    match value {
        Some(value) if !(1..=most).contains(&value) => {
            let message = format!("{value} is not possible; give a whole number from 1 to {most}");
            Err(Error::input(subject(), message))
        }
        _ => Ok(()),
    }
}
