//! Figures 2 and 5: loss over the epochs for SGD with each learning rate, Adam and Alrao.

use serde_json::{Map, Value, json};

use super::Study;
use super::comparison::{self, Comparison};
use super::differences::differences;
use super::findings::{Findings, Picture, Table, or_dash};
use super::options::{Options, Size};
use super::record::{Epoch, Records};
use super::setup::{Group, Setup, titles};
use crate::error::Result;
use crate::plots::{Axis, Scale, Series, lines};

pub(super) const WHOLE: Size = Size { settings: 9, epochs: 300, seeds: None };
pub(super) const QUICK: Size = Size { settings: 9, epochs: 12, seeds: Some(1) };

const USUAL: &[&str] = &["cifar10/mobilenetv2", "cifar10/googlenet"];

/// The picture ends at this many times the loss of equal probabilities for all classes.
const TOP: f64 = 1.5;

type Value64 = fn(&Epoch) -> Option<f64>;

pub(super) fn study(options: &Options) -> Result<Study> {
    comparison::study(options, USUAL, [WHOLE, QUICK], findings)
}

fn findings(setups: &[Setup], comparisons: &[Comparison], records: &Records) -> Findings {
    let mut findings = Findings {
        title: format!("Learning curves: {}", titles(setups)),
        paper: "Figures 2 and 5, training loss and test loss over the epochs. Alrao's curves shadow those of the best \
                learning rate all along, though most of its features have unsuited rates; only a few of SGD's rates learn \
                at all."
            .into(),
        ..Findings::default()
    };
    let mut values = Map::new();
    for (setup, comparison) in setups.iter().zip(comparisons) {
        let groups: Vec<&Group> = comparison.groups().collect();
        let groups = || groups.iter().copied();
        findings.pictures.extend(curves(setup, groups, records));
        findings.tables.push(table(setup, groups(), records));
        findings.observations.extend(observation(setup, comparison, records));
        values.insert(setup.name.clone(), by_method(groups(), records));
    }
    findings.differences = differences(setups, Setup::differences);
    findings.differences.push(
        "The second curve is the validation loss after each epoch; the paper shows the test loss."
            .into(),
    );
    findings.values = Value::Object(values);
    findings
}

/// Training and validation loss over the epochs, means over the runs.
pub(super) fn curves<'a, G: Iterator<Item = &'a Group>>(
    setup: &Setup,
    groups: impl Fn() -> G,
    records: &Records,
) -> Vec<Picture> {
    let (unit, factor) = setup.loss_unit();
    let parts: [(&str, &str, Value64); 2] = [
        ("train", "training loss", |epoch| epoch.train_loss),
        ("valid", "validation loss", |epoch| epoch.valid_loss),
    ];
    let picture = |(name, label, value): (&str, &str, Value64)| {
        let series = groups().map(|group| {
            let points = group.estimates(records, |epoch| Some(value(epoch)? * factor));
            group.line(points)
        });
        let series: Vec<Series> = series.filter(|own| !own.points.is_empty()).collect();
        let points = || series.iter().flat_map(|own| own.points.iter());
        let end = points().map(|(epoch, _)| *epoch).fold(1.0, f64::max);
        let top = TOP * (setup.classes as f64).ln() * factor;
        let y = Scale::losses(points().map(|(_, loss)| loss.min(top)));
        let x = Axis::new("epoch", Scale::linear(0.0..end));
        let y = Axis::new(format!("{label} ({unit})"), y);
        let caption = format!(
            "{}: {label} over the epochs, mean over the runs, with the standard deviation as a band. A curve ends where a run diverged or failed; a curve that is not \
             visible has a larger loss.",
            setup.title()
        );
        Picture::new(
            format!("{name}-loss-{}", setup.file_name()),
            lines(&x, &y, "", &series),
            caption,
        )
    };
    parts.into_iter().map(picture).collect()
}

/// Losses of the last epoch.
pub(super) fn table<'a>(
    setup: &Setup,
    groups: impl Iterator<Item = &'a Group>,
    records: &Records,
) -> Table {
    let (unit, factor) = setup.loss_unit();
    let caption = format!("{}: means over the runs, in {unit}.", setup.title());
    let head =
        ["", "training loss, last epoch", "validation loss, last epoch", "validation loss, best"];
    let mut table = Table::new(caption, &head);
    for group in groups {
        let last = |value: Value64| group.estimate(records, |run| run.last().and_then(value));
        let values = [
            last(|epoch| epoch.train_loss),
            last(|epoch| epoch.valid_loss),
            group.estimate(records, super::Record::valid_loss),
        ];
        let text = |value| or_dash(value, |own: super::Estimate| own.scaled(factor).text(3));
        table.push([group.method.label()].into_iter().chain(values.map(text)));
    }
    table
}

/// The curves for programs.
pub(super) fn by_method<'a>(groups: impl Iterator<Item = &'a Group>, records: &Records) -> Value {
    let losses = |group: &Group, value: Value64| -> Vec<f64> {
        group.curve(records, value).into_iter().map(|(_, loss)| loss).collect()
    };
    let curves = groups.map(|group| {
        let train_loss = losses(group, |epoch| epoch.train_loss);
        let valid_loss = losses(group, |epoch| epoch.valid_loss);
        (group.method.name(), json!({ "train_loss": train_loss, "valid_loss": valid_loss }))
    });
    Value::Object(curves.collect())
}

/// For each epoch, the number of SGD's rates whose validation loss is larger than Alrao's.
fn observation(setup: &Setup, comparison: &Comparison, records: &Records) -> Option<String> {
    let valid = |group: &Group| group.curve(records, |epoch| epoch.valid_loss);
    let alrao = valid(&comparison.alrao);
    let sgd: Vec<_> = comparison.tried_sgd(records).iter().map(|(_, group)| valid(group)).collect();
    if sgd.is_empty() || alrao.is_empty() || comparison.alrao.has_failed(records) {
        return None;
    }
    let below: Vec<String> = alrao
        .iter()
        .enumerate()
        .map(|(epoch, (_, loss))| {
            let is_worse =
                |curve: &&Vec<(f64, f64)>| curve.get(epoch).is_none_or(|(_, other)| other > loss);
            sgd.iter().filter(is_worse).count().to_string()
        })
        .collect();
    Some(format!(
        "{}: the number of SGD's {} rates with a larger validation loss than Alrao, epoch by epoch: {}.",
        setup.name,
        sgd.len(),
        below.join(", ")
    ))
}
