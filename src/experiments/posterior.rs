//! Figure 4: the weights of the classifiers over the first steps.

use serde_json::{Map, Value, json};

use super::Study;
use super::differences::differences;
use super::findings::{Findings, Picture, Table, or_dash};
use super::method::Method;
use super::options::{Options, Size};
use super::record::Records;
use super::setup::{Group, Setup, setups, titles};
use crate::alrao::classifier_rates;
use crate::data::Part;
use crate::error::Result;
use crate::learn::RunDirectory;
use crate::plots::{
    Axis, History, Scale, Series, StepLine, Stroke, line_shade, lines, number, run,
};
use crate::supervised::settings::Settings;

pub(super) const WHOLE: Size = Size { settings: 1, epochs: 3, seeds: Some(3) };
pub(super) const QUICK: Size = Size { settings: 1, epochs: 12, seeds: Some(2) };

const USUAL: &[&str] = &["cifar10/googlenet"];

/// Samples that the picture of the beginning shows; the paper describes the first 4,000.
const BEGINNING: f64 = 10_000.0;

/// A classifier with a smaller weight counts as silent.
const SILENT: f64 = 0.01;

pub(super) fn study(options: &Options) -> Result<Study> {
    let setups = setups(options, USUAL, [WHOLE, QUICK])?;
    let mut runs = Vec::new();
    let mut every_step = Settings::default();
    every_step.learning.log_every = Some(1);
    let groups: Vec<Group> = setups
        .iter()
        .map(|setup| setup.plan_with(Method::AlraoDefault, &every_step, &mut runs))
        .collect::<Result<_>>()?;
    Ok(Study::Runs {
        setups,
        runs,
        reads_metrics: true,
        findings: Box::new(move |setups, records| findings(setups, &groups, records)),
    })
}

/// The classifiers' weights over a run, from its metrics.
struct Weights {
    rates: Vec<f64>,
    batch: u64,
    /// Samples of an epoch; `None` for a text.
    samples: Option<u64>,
    history: History,
    steps_per_epoch: u64,
}

impl Weights {
    /// Training samples up to a step.
    fn samples(&self, line: &StepLine) -> usize {
        samples_after(line.step, self.batch, self.steps_per_epoch, self.samples) as usize
    }

    /// Training samples of the whole run.
    fn all_samples(&self) -> usize {
        self.history.steps().last().map_or(0, |line| self.samples(line))
    }
}

/// Training samples after `step` steps; an epoch's last batch may be short.
fn samples_after(step: u64, batch: u64, steps_per_epoch: u64, of_an_epoch: Option<u64>) -> u64 {
    let (epochs, steps) = (step / steps_per_epoch, step % steps_per_epoch);
    match of_an_epoch {
        Some(all) => epochs * all + steps * batch,
        None => step * batch,
    }
}

fn weights(setup: &Setup, name: &str, records: &Records) -> Result<Weights> {
    let mut history = History::default();
    history.read(&RunDirectory::metrics_file(&records.directory(name)))?;
    let config = Method::AlraoDefault.settings(&setup.base).resolve()?;
    let rates = classifier_rates(config.alrao.classifiers, &config.alrao.eta);
    let batch = config.train.batch_size as u64;
    let is_text = setup.dataset.token().is_some();
    let samples = setup.dataset.size(Part::Train).filter(|_| !is_text).map(|own| own as u64);
    let steps = history.steps().last().map_or(1, |line| line.step);
    let steps_per_epoch = match samples {
        Some(samples) => samples.div_ceil(batch),
        None => steps / history.epochs().len().max(1) as u64,
    };
    let steps_per_epoch = steps_per_epoch.max(1);
    Ok(Weights { rates, batch, samples, history, steps_per_epoch })
}

fn findings(setups: &[Setup], groups: &[Group], records: &Records) -> Result<Findings> {
    let mut findings = Findings {
        title: format!("The classifiers' weights: {}", titles(setups)),
        paper: "Figure 4. After a few steps the three classifiers with the largest rates lose all weight; for a short time \
                one with a moderately large rate leads; after about 4,000 samples one with a slightly smaller rate has a \
                weight close to 1."
            .into(),
        ..Findings::default()
    };
    let mut values = Map::new();
    for (setup, group) in setups.iter().zip(groups) {
        let mut by_seed = Vec::new();
        let named = group.names.iter().enumerate();
        // The metrics of a failed run may be damaged.
        for (seed, name) in named.filter(|(_, name)| !records.get(name).has_failed()) {
            let own = weights(setup, name, records)?;
            if by_seed.is_empty() {
                findings.pictures.extend(pictures(setup, seed, &own));
                findings.tables.push(table(setup, seed, &own));
            }
            let (text, value) = leaders(seed, &own);
            findings.observations.extend(text.map(|text| format!("{}: {text}", setup.name)));
            by_seed.push(value);
        }
        values.insert(setup.name.clone(), Value::Array(by_seed));
    }
    findings.differences = differences(setups, Setup::differences);
    findings.values = Value::Object(values);
    Ok(findings)
}

fn weight(line: &StepLine, j: usize) -> f64 {
    line.posterior.get(j).copied().flatten().unwrap_or(0.0)
}

fn pictures(setup: &Setup, seed: usize, own: &Weights) -> Vec<Picture> {
    let end = BEGINNING.min(own.all_samples().max(1) as f64);
    let samples = |line: &StepLine| own.samples(line) as f64;
    let count = own.rates.len();
    let series = own.rates.iter().enumerate().map(|(j, rate)| {
        let steps = own.history.steps().iter().take_while(|line| samples(line) <= end);
        let points = steps.map(|line| (samples(line), weight(line, j)));
        let points = [(0.0, 1.0 / count as f64)].into_iter().chain(points).collect();
        Series::new(number(*rate), points, line_shade(j, count), Stroke::Line(2))
    });
    let series: Vec<Series> = series.collect();
    let x = Axis::new("training samples", Scale::linear(0.0..end));
    let y = Axis::new("weight", Scale::linear(0.0..1.0));
    let beginning = Picture::new(
        format!("beginning-{}", setup.file_name()),
        lines(&x, &y, "learning rate", &series),
        format!(
            "{}, seed {seed}: the weight of each classifier after each step, at the beginning.",
            setup.title()
        ),
    );
    let whole = run::posterior(&own.history.curves(own.steps_per_epoch), "epoch", &own.rates);
    let whole = whole.map(|svg| {
        let caption =
            format!("{}, seed {seed}: the weights over the whole run, stacked.", setup.title());
        Picture::new(format!("whole-{}", setup.file_name()), svg, caption)
    });
    [beginning].into_iter().chain(whole).collect()
}

/// The samples after which a classifier's weight stays below [`SILENT`] to the end; `None` if it does not.
fn silent_from(own: &Weights, j: usize) -> Option<usize> {
    let steps: Vec<&StepLine> = own.history.steps().iter().collect();
    let last = steps.iter().rposition(|line| weight(line, j) >= SILENT);
    let first = last.map_or(0, |place| place + 1);
    steps.get(first).map(|line| own.samples(line))
}

fn table(setup: &Setup, seed: usize, own: &Weights) -> Table {
    let caption = format!(
        "{}, seed {seed}: each classifier. Silent: a weight below {SILENT} from there to the end.",
        setup.title()
    );
    let head = ["learning rate", "silent after samples", "largest weight", "at the end"];
    let mut table = Table::new(caption, &head);
    let steps = own.history.steps();
    for (j, rate) in own.rates.iter().enumerate() {
        let largest = steps.iter().map(|line| weight(line, j)).fold(0.0, f64::max);
        let end = steps.last().map(|line| weight(line, j));
        table.push([
            number(*rate),
            or_dash(silent_from(own, j), |samples| samples.to_string()),
            format!("{largest:.3}"),
            or_dash(end, |end| format!("{end:.3}")),
        ]);
    }
    table
}

/// The classifier with the largest weight after some numbers of samples, as a sentence and as JSON.
fn leaders(seed: usize, own: &Weights) -> (Option<String>, Value) {
    let leader = |line: &StepLine| {
        (0..own.rates.len()).max_by(|a, b| weight(line, *a).total_cmp(&weight(line, *b)))
    };
    let steps = own.history.steps();
    let at = |samples: f64| {
        let step = steps.iter().take_while(|line| own.samples(line) as f64 <= samples);
        step.last().and_then(|line| Some((leader(line)?, weight(line, leader(line)?))))
    };
    // Only points before the end of the run.
    let all = own.all_samples() as f64;
    let places = [320.0, 1000.0, 4000.0, BEGINNING].into_iter().filter(|samples| *samples <= all);
    let places = places.chain([f64::INFINITY]);
    let found: Vec<(f64, (usize, f64))> =
        places.filter_map(|samples| Some((samples, at(samples)?))).collect();
    let texts: Vec<String> = found
        .iter()
        .map(|(samples, (j, weight))| {
            let place = match samples.is_finite() {
                true => format!("after {} samples", number(*samples)),
                false => "at the end".into(),
            };
            format!("{place} {} ({weight:.2})", number(own.rates[*j]))
        })
        .collect();
    let silent: Vec<Option<usize>> = (0..own.rates.len()).map(|j| silent_from(own, j)).collect();
    let leaders: Vec<Value> = found
        .iter()
        .map(|(samples, (j, weight))| {
            let samples = samples.is_finite().then_some(*samples);
            json!({ "after_samples": samples, "rate": own.rates[*j], "weight": weight })
        })
        .collect();
    let text = (!texts.is_empty()).then(|| {
        format!(
            "seed {seed}, the rate of the classifier that leads, and its weight: {}.",
            texts.join(", ")
        )
    });
    (text, json!({ "leaders": leaders, "rates": own.rates, "silent_after_samples": silent }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven samples in batches of three: the third batch has one.
    #[test]
    fn a_short_batch_counts_its_samples() {
        let samples = |of_an_epoch| (1..=5).map(move |step| samples_after(step, 3, 3, of_an_epoch));
        assert_eq!(samples(Some(7)).collect::<Vec<_>>(), [3, 6, 7, 10, 13]);
        assert_eq!(samples(None).collect::<Vec<_>>(), [3, 6, 9, 12, 15]);
    }
}
