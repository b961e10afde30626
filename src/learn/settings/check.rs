//! Checks of a setting's range, independent of the other settings.

use std::path::Path;

/// The result of a check, with a message where it fails.
type Checked = Result<(), String>;

/// The largest number of units of a layer, classifiers or samples of a batch.
const MOST_UNITS: usize = 1 << 24;

/// The largest learning rate. A number of 32 bits ends at 3.4e38, and the rates of features are such numbers.
const MOST_RATE: f64 = 1e30;

/// Any value.
pub(crate) fn any<T>(_: &T) -> Checked {
    Ok(())
}

/// A number for which `is_right` holds; `wanted` describes the range in the message.
pub(crate) fn real(
    is_right: impl Fn(f64) -> bool,
    wanted: &'static str,
) -> impl Fn(&f64) -> Checked {
    move |&value| {
        if !value.is_finite() {
            return Err(format!("{value} is not a finite number; give {wanted}"));
        }
        // -0 equals 0, but its sign would be kept in every file.
        match is_right(value) && !(value == 0.0 && value.is_sign_negative()) {
            true => Ok(()),
            false => Err(format!("{value:?} is not possible; give {wanted}")),
        }
    }
}

/// A number above 0.
pub(crate) fn positive(value: &f64) -> Checked {
    real(|x| x > 0.0, "a number above 0")(value)
}

/// A learning rate above 0.
pub(crate) fn rate(value: &f64) -> Checked {
    real(|x| x > 0.0 && x <= MOST_RATE, "a number above 0, at most 1e30")(value)
}

/// A learning rate of at least 0.
pub(crate) fn rate_or_none(value: &f64) -> Checked {
    real(|x| (0.0..=MOST_RATE).contains(&x), "0 or a number above 0, at most 1e30")(value)
}

/// A number of at least 0.
pub(crate) fn not_negative(value: &f64) -> Checked {
    real(|x| x >= 0.0, "0 or a number above 0")(value)
}

/// A number from 0 to below 1.
pub(crate) fn below_one(wanted: &'static str) -> impl Fn(&f64) -> Checked {
    real(|x| (0.0..1.0).contains(&x), wanted)
}

/// A number from 0 to 1.
pub(crate) fn share(wanted: &'static str) -> impl Fn(&f64) -> Checked {
    real(|x| (0.0..=1.0).contains(&x), wanted)
}

/// A number above 0, at most 1.
pub(crate) fn up_to_one(value: &f64) -> Checked {
    real(|x| x > 0.0 && x <= 1.0, "a number above 0, at most 1")(value)
}

/// A whole number of at least 1.
pub(crate) fn count<T: Copy + Into<u64>>(value: &T) -> Checked {
    match (*value).into() {
        0 => Err("0 is not possible; give a whole number of at least 1".into()),
        _ => Ok(()),
    }
}

/// As [`count`], for a `usize`.
pub(crate) fn items(value: &usize) -> Checked {
    count(&(*value as u64))
}

/// A whole number from 1 to `most`.
pub(crate) fn up_to(most: usize) -> impl Fn(&usize) -> Checked {
    move |value| match (1..=most).contains(value) {
        true => Ok(()),
        false => Err(format!("{value} is not possible; give a whole number from 1 to {most}")),
    }
}

/// A number of units, classifiers or samples.
pub(crate) fn size(value: &usize) -> Checked {
    up_to(MOST_UNITS)(value)
}

/// The path of a file. It must be UTF-8, since a run's settings are written to a UTF-8 file.
pub(crate) fn file(path: &Path) -> Checked {
    match path.to_str() {
        None => Err(format!("'{}' is not UTF-8; rename the file", path.display())),
        Some("") => Err("is empty; give a file, or leave it out".into()),
        Some(_) => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_path_that_is_not_utf8_is_refused() {
        let path = Path::new(OsStr::from_bytes(b"a\xff"));
        assert!(file(path).unwrap_err().contains("is not UTF-8"));
    }
}
