//! The learning rates: one for each feature, drawn once, and one for each classifier, spaced evenly in the logarithm.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::error::{Error, Result};
use crate::optim::{FlatEntry, FlatParameters};
use crate::random::{Philox, Purpose, Stream};

/// `count` learning rates with `log eta ~ U(log eta_min, log eta_max)` (equation 2).
///
/// They are rounded to f32, so that files and runs of every precision hold the same numbers. If the ends are equal, every
/// rate is exactly that number.
pub fn feature_rates(count: usize, eta: &RangeInclusive<f64>, stream: &mut Stream) -> Vec<f64> {
    let (low, high) = (*eta.start(), *eta.end());
    let draw = |stream: &mut Stream| {
        let log = stream.uniform_in(low.ln(), high.ln());
        f64::from(log.exp().clamp(low, high) as f32)
    };
    (0..count).map(|_| if low == high { low } else { draw(stream) }).collect()
}

/// The classifiers' learning rates, evenly spaced in the logarithm, with both ends exact (section 4). A single classifier
/// has the geometric mean. If the ends are equal, every rate is exactly that number.
///
/// ```
/// use alrao::alrao::classifier_rates;
/// assert_eq!(classifier_rates(10, &(1e-5..=10.0))[9], 10.0);
/// assert_eq!(classifier_rates(1, &(0.01..=0.01)), [0.01]);
/// ```
pub fn classifier_rates(classifiers: usize, eta: &RangeInclusive<f64>) -> Vec<f64> {
    let (low, high) = (*eta.start(), *eta.end());
    let last = classifiers.saturating_sub(1);
    let one = |j: usize| match j {
        _ if low == high => low,
        _ if last == 0 => (0.5 * (low.ln() + high.ln())).exp(),
        0 => low,
        _ if j == last => high,
        _ => (low.ln() + j as f64 / last as f64 * (high / low).ln()).exp(),
    };
    (0..classifiers).map(one).collect()
}

/// Draws a learning rate for every feature of the pre-classifier. Parameters of one group, such as a layer's weight and
/// bias, share the draw. All but a random `trained_fraction` of the features are frozen: their rate is 0 (Appendix G).
pub(crate) fn draw(
    flat: &FlatParameters,
    eta: &RangeInclusive<f64>,
    trained_fraction: f64,
    seed: u64,
) {
    for entry in flat.entries().iter().filter(|entry| !entry.in_head) {
        let group = u64::from(entry.features.group);
        let mut rates = feature_rates(
            entry.features.count,
            eta,
            &mut Philox::new(seed, Purpose::Rates).stream(group),
        );
        let mut frozen = Philox::new(seed, Purpose::Frozen).stream(group);
        for rate in &mut rates {
            let is_trained = frozen.uniform() < trained_fraction;
            *rate = if is_trained { *rate } else { 0.0 };
        }
        flat.rates_of(entry).copy_from_f64s(&rates);
    }
}

/// Sets the classifiers' learning rates.
pub(crate) fn set_classifier_rates(flat: &FlatParameters, rates: &[f64]) {
    for entry in flat.entries().iter().filter(|entry| entry.in_head) {
        flat.rates_of(entry).copy_from_f64s(rates);
    }
}

/// The number of a parameter's rates in a file: one for each feature, four in a recurrent layer, which lists its units once
/// for each gate.
pub(crate) fn file_length(entry: &FlatEntry) -> usize {
    entry.features.count * gates(entry)
}

/// Four for a parameter of a recurrent layer, which has each unit in four gates; else one.
fn gates(entry: &FlatEntry) -> usize {
    let (shape, features) = (entry.shape, entry.features);
    let is_gated = shape.rank() <= 2
        && shape[0] == 4 * features.count
        && shape.elements() == shape[0] * features.inner;
    if is_gated { 4 } else { 1 }
}

/// Sets the pre-classifier's rates from a file's vectors.
///
/// # Errors
/// One error for all faults: missing and unknown names, wrong lengths, rates that are negative or not finite, and recurrent
/// layers whose gates differ in their rates.
pub(crate) fn set_from_file(
    flat: &FlatParameters,
    vectors: &BTreeMap<String, Vec<f64>>,
    file: &str,
) -> Result<()> {
    let entries: Vec<_> = flat.entries().iter().filter(|entry| !entry.in_head).collect();
    let mut faults: Vec<String> = vectors
        .keys()
        .filter(|name| !entries.iter().any(|entry| entry.name == **name))
        .map(|name| format!("{name}: no parameter of the pre-classifier"))
        .collect();
    for entry in &entries {
        match vectors.get(&entry.name) {
            None => faults.push(format!("{}: missing", entry.name)),
            Some(vector) => faults.extend(fault(entry, vector)),
        }
    }
    if !faults.is_empty() {
        return Err(Error::input(
            file,
            format!("the learning rates do not fit the model: {}", faults.join("; ")),
        ));
    }
    for entry in entries {
        flat.rates_of(entry).copy_from_f64s(&vectors[&entry.name][..entry.features.count]);
    }
    Ok(())
}

fn fault(entry: &FlatEntry, vector: &[f64]) -> Option<String> {
    let (name, wanted) = (&entry.name, file_length(entry));
    if vector.len() != wanted {
        return Some(format!("{name}: {} rates instead of {wanted}", vector.len()));
    }
    if let Some(rate) = vector.iter().find(|rate| !rate.is_finite() || **rate < 0.0) {
        return Some(format!("{name}: {rate} is not a learning rate"));
    }
    let differs =
        vector.chunks(entry.features.count).any(|gate| gate != &vector[..entry.features.count]);
    differs.then(|| format!("{name}: the four gates of a unit must share its rate"))
}
