//! Table 1: SGD with its best learning rate, Adam with its default, and Alrao.

use serde_json::{Value, json};

use super::Study;
use super::comparison::{self, Comparison};
use super::differences::differences;
use super::findings::{Findings, Picture, Table, or_dash};
use super::method::Method;
use super::options::{Options, Size};
use super::record::{Ending, Record, Records};
use super::rows::Score;
use super::setup::{Group, LEARNT_MEANS, Setup, titles};
use super::statistics::{Estimate, series};
use crate::error::Result;
use crate::plots::{Axis, Scale, Series, Stroke, lines, number};

pub(super) const WHOLE: Size = Size { settings: 9, epochs: 300, seeds: None };
pub(super) const QUICK: Size = Size { settings: 9, epochs: 12, seeds: Some(2) };

const USUAL: &[&str] = &[
    "cifar10/mobilenetv2",
    "cifar10/mobilenetv2-width3",
    "cifar10/googlenet",
    "cifar10/googlenet-width3",
    "cifar10/vgg19",
    "cifar10/vgg19-width3",
];

pub(super) fn study(options: &Options) -> Result<Study> {
    comparison::study(options, USUAL, [WHOLE, QUICK], findings)
}

pub(super) fn findings(
    setups: &[Setup],
    comparisons: &[Comparison],
    records: &Records,
) -> Findings {
    let head =
        ["", "SGD rate", "loss", "top-1 (%)", "Adam loss", "top-1 (%)", "Alrao loss", "top-1 (%)"];
    let caption = "Test loss and accuracy of the epoch with the best validation loss, mean and standard deviation over the \
                   runs. SGD's rate is the one with the best mean validation loss. Losses are in nats, of characters in bits \
                   per character.";
    let mut findings = Findings {
        title: format!("Table 1: {}", titles(setups)),
        paper: "Table 1, performance of Alrao, of SGD with the best of seven learning rates, and of Adam with its \
                default. Alrao comes close to the best rate and no run of it fails to learn; Adam, where it works, mostly does \
                slightly better, and sometimes fails."
            .into(),
        tables: vec![Table::new(caption, &head)],
        ..Findings::default()
    };
    let mut values = serde_json::Map::new();
    for (setup, comparison) in setups.iter().zip(comparisons) {
        let (cells, value) = row(setup, comparison, records);
        findings.tables[0].push(cells);
        if setup.is_comparable() {
            findings.tables[0].push_papers(setup.row.name, papers_row(setup));
        }
        values.insert(setup.name.clone(), value);
        findings.observations.extend(observations(setup, comparison, records));
        findings.tables.push(by_method(setup, comparison, records));
        findings.pictures.push(by_rate(setup, comparison, records));
    }
    findings.differences = differences(setups, Setup::differences);
    if !setups.iter().all(Setup::is_comparable) {
        findings.differences.push(
            "Where the data or the model is not the paper's, the numbers cannot be compared with the paper's, which are left \
             out; only the order of Alrao, Adam and SGD's rates can."
                .into(),
        );
    }
    findings.values = Value::Object(values);
    findings
}

fn scores(group: &Group, records: &Records) -> [Option<Estimate>; 3] {
    [Record::valid_loss, Record::test_loss, Record::test_accuracy]
        .map(|value| group.estimate(records, value))
}

/// Loss and accuracy as texts for a table.
fn cells(setup: &Setup, group: &Group, records: &Records) -> [String; 2] {
    let [_, loss, accuracy] = scores(group, records);
    let (_, unit) = setup.loss_unit();
    [
        or_dash(loss, |loss| loss.scaled(unit).text(3)),
        or_dash(accuracy, |accuracy| accuracy.scaled(100.0).text(1)),
    ]
}

fn row(setup: &Setup, comparison: &Comparison, records: &Records) -> (Vec<String>, Value) {
    let best = comparison.best_sgd(records);
    let mut row = vec![setup.name.clone()];
    row.push(or_dash(best, |(rate, _)| number(*rate)));
    match best {
        Some((_, group)) => row.extend(cells(setup, group, records)),
        None => row.extend(["–".to_owned(), "–".to_owned()]),
    }
    for group in [&comparison.adam, &comparison.alrao] {
        row.extend(cells(setup, group, records));
    }
    let value = |group: &Group| {
        let [valid_loss, test_loss, test_accuracy] = scores(group, records);
        json!({ "test_accuracy": test_accuracy, "test_loss": test_loss, "valid_loss": valid_loss })
    };
    let by_method = comparison.groups().map(|group| (group.method.name(), value(group)));
    let value = json!({
        "best_sgd_rate": best.map(|(rate, _)| rate),
        "methods": by_method.collect::<serde_json::Map<_, _>>(),
        "unit": "nats",
    });
    (row, value)
}

fn papers_row(setup: &Setup) -> Vec<String> {
    let with_deviation = |[value, deviation]: [f64; 2]| match deviation > 0.0 {
        true => format!("{value} ± {deviation}"),
        false => format!("{value}"),
    };
    let score = |score: Option<Score>| {
        let texts = score.map(|own| [with_deviation(own.loss), with_deviation(own.accuracy)]);
        texts.unwrap_or(["–".into(), "–".into()])
    };
    let mut row = vec![or_dash(setup.row.sgd_rate, number)];
    setup.row.paper.iter().for_each(|own| row.extend(score(*own)));
    row
}

fn by_method(setup: &Setup, comparison: &Comparison, records: &Records) -> Table {
    let (unit, factor) = setup.loss_unit();
    let caption = format!("{}: all methods. Losses in {unit}.", setup.name);
    let head =
        ["", "validation loss", "test loss", "top-1 (%)", "failed", "diverged", "not learnt"];
    let mut table = Table::new(caption, &head);
    for group in comparison.groups() {
        let [valid, ..] = scores(group, records);
        let [loss, accuracy] = cells(setup, group, records);
        table.push([
            group.method.label(),
            or_dash(valid, |valid| valid.scaled(factor).text(3)),
            loss,
            accuracy,
            group.count(records, Ending::Failed),
            group.count(records, Ending::Diverged),
            group.unlearnt(records, setup),
        ]);
    }
    table
}

fn observations(setup: &Setup, comparison: &Comparison, records: &Records) -> Vec<String> {
    let name = &setup.name;
    let (unit, factor) = setup.loss_unit();
    let loss = |group: &Group| Some(group.estimate(records, Record::test_loss)?.mean * factor);
    let mut texts = Vec::new();
    let alrao = loss(&comparison.alrao);
    if let (Some((rate, best)), Some(alrao)) = (comparison.best_sgd(records), alrao) {
        let best_loss = loss(best).unwrap_or(f64::NAN);
        let tried = comparison.tried_sgd(records);
        let worse = tried.iter().filter(|(_, own)| loss(own).is_none_or(|own| own > alrao));
        texts.push(format!(
            "{name}: Alrao's test loss is {alrao:.3} {unit}, that of SGD with its best rate ({}) {best_loss:.3}; of the {} \
             rates of SGD, {} do worse than Alrao.",
            number(*rate),
            tried.len(),
            worse.count()
        ));
    }
    if let (Some(alrao), Some(adam)) = (alrao, loss(&comparison.adam)) {
        texts.push(format!("{name}: Adam's test loss is {adam:.3} {unit}, Alrao's {alrao:.3}."));
    }
    texts.push(format!(
        "{name}: runs that did not learn (diverged, or without {LEARNT_MEANS}): Alrao {}, Adam {}.",
        comparison.alrao.unlearnt(records, setup),
        comparison.adam.unlearnt(records, setup)
    ));
    texts
}

fn by_rate(setup: &Setup, comparison: &Comparison, records: &Records) -> Picture {
    let (unit, factor) = setup.loss_unit();
    let loss = |group: &Group| Some(group.estimate(records, Record::test_loss)?.scaled(factor));
    let points = comparison.sgd.iter().map(|(rate, group)| (*rate, loss(group)));
    let sgd = series("SGD", points, Method::Sgd(1e-3).colour(), Stroke::Dotted(2));
    let level = |group: &Group, stroke: Stroke| {
        let points = loss(group).map(|loss| vec![(4e-6, loss.mean), (25.0, loss.mean)]);
        let method = group.method;
        Series::new(method.label(), points.unwrap_or_default(), method.colour(), stroke)
    };
    let series = [
        sgd,
        level(&comparison.adam, Stroke::Dashed(2)),
        level(&comparison.alrao, Stroke::Line(3)),
    ];
    let all = series.iter().flat_map(|own| own.points.iter().map(|(_, loss)| *loss));
    let y = Axis::new(format!("test loss ({unit})"), Scale::losses(all));
    let x = Axis::new("learning rate of SGD", Scale::logarithmic(4e-6..25.0));
    Picture::new(
        format!("loss-by-rate-{}", setup.file_name()),
        lines(&x, &y, "", &series),
        format!(
            "{}: test loss of SGD by its learning rate, with the standard deviation over the runs, beside Adam with its \
             default rate and Alrao. A rate at which a run diverged or failed has no point.",
            setup.title()
        ),
    )
}
