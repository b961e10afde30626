//! Figure 8: loss when only a fraction of the features is trained and the others are frozen.

use serde_json::{Map, Value, json};

use super::Study;
use super::differences::differences;
use super::findings::{Findings, Picture, Table, or_dash};
use super::method::Method;
use super::options::{Options, Size};
use super::record::{Ending, Record, Records};
use super::setup::{Group, Setup, setups, titles};
use super::statistics::series;
use crate::error::Result;
use crate::plots::{Axis, Scale, Series, Stroke, TRAIN, VALID, lines, number};

pub(super) const WHOLE: Size = Size { settings: 10, epochs: 100, seeds: Some(3) };
pub(super) const QUICK: Size = Size { settings: 10, epochs: 6, seeds: Some(2) };

const USUAL: &[&str] = &["cifar10/googlenet"];

/// The fractions of trained features.
const PARTS: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// SGD's learning rate on rows where no best rate is known.
const RATE: f64 = 1e-1;

type Measure = fn(&Record) -> Option<f64>;

pub(super) fn study(options: &Options) -> Result<Study> {
    let setups = setups(options, USUAL, [WHOLE, QUICK])?;
    let mut runs = Vec::new();
    let mut groups = Vec::new();
    for setup in &setups {
        let own =
            PARTS.map(|part| setup.plan(Method::SgdOnPart { rate: rate(setup), part }, &mut runs));
        groups.push(own.into_iter().collect::<Result<Vec<Group>>>()?);
    }
    Ok(Study::Runs {
        setups,
        runs,
        reads_metrics: false,
        findings: Box::new(move |setups, records| Ok(findings(setups, &groups, records))),
    })
}

fn rate(setup: &Setup) -> f64 {
    setup.row.sgd_rate.unwrap_or(RATE)
}

/// The training loss of the epoch with the best validation loss.
fn train_loss_of_best(record: &Record) -> Option<f64> {
    record.test.as_ref()?;
    record.best()?.train_loss
}

const MEASURES: [(&str, Measure); 2] =
    [("training", train_loss_of_best), ("test", Record::test_loss)];

fn findings(setups: &[Setup], groups: &[Vec<Group>], records: &Records) -> Findings {
    let mut findings = Findings {
        title: format!("A part of the features trained: {}", titles(setups)),
        paper: "Figure 8. Even where only a fraction p of the features learns and the others keep their initial values, the \
                loss is close to that of the fully trained model."
            .into(),
        ..Findings::default()
    };
    let mut values = Map::new();
    for (setup, groups) in setups.iter().zip(groups) {
        findings.pictures.push(picture(setup, groups, records));
        findings.tables.push(table(setup, groups, records));
        findings.observations.extend(observations(setup, groups, records));
        let points = PARTS.iter().zip(groups).map(|(part, group)| {
            let [train_loss, test_loss] = MEASURES.map(|(_, value)| group.estimate(records, value));
            json!({ "part": part, "test_loss": test_loss, "train_loss": train_loss })
        });
        values.insert(setup.name.clone(), points.collect());
    }
    findings.differences = differences(setups, |setup| {
        let rate = number(rate(setup));
        let own = format!("SGD's learning rate: {rate}; the paper does not give its own.");
        setup.differences().into_iter().chain([own]).collect()
    });
    findings.differences.push("The classifier is always trained.".into());
    findings.values = Value::Object(values);
    findings
}

fn picture(setup: &Setup, groups: &[Group], records: &Records) -> Picture {
    let (unit, factor) = setup.loss_unit();
    let series = MEASURES.iter().zip([TRAIN, VALID]).map(|((name, value), colour)| {
        let points = PARTS.iter().zip(groups).map(|(part, group)| {
            (*part, group.estimate(records, value).map(|loss| loss.scaled(factor)))
        });
        series(*name, points, colour, Stroke::Dotted(2))
    });
    let series: Vec<Series> = series.collect();
    let all = series.iter().flat_map(|own| {
        let tops = own.points.iter().zip(&own.deviations).map(|((_, loss), own)| loss + own);
        own.points.iter().map(|(_, loss)| *loss).chain(tops)
    });
    let y = Axis::new(format!("loss ({unit})"), Scale::losses(all));
    let x = Axis::new("part of the features that is trained, p", Scale::linear(0.0..1.0));
    Picture::new(
        format!("loss-by-part-{}", setup.file_name()),
        lines(&x, &y, "", &series),
        format!(
            "{}: loss of the epoch with the best validation loss, by the part of the features that is trained; mean and \
             standard deviation over the runs.",
            setup.title()
        ),
    )
}

fn table(setup: &Setup, groups: &[Group], records: &Records) -> Table {
    let (unit, factor) = setup.loss_unit();
    let caption =
        format!("{}: mean and standard deviation over the runs, losses in {unit}.", setup.title());
    let head = ["trained", "training loss", "test loss", "top-1 (%)", "failed", "diverged"];
    let mut table = Table::new(caption, &head);
    for (part, group) in PARTS.iter().zip(groups) {
        let losses = MEASURES.map(|(_, value)| {
            or_dash(group.estimate(records, value), |own| own.scaled(factor).text(3))
        });
        let accuracy = group.estimate(records, Record::test_accuracy);
        let accuracy = or_dash(accuracy, |own| own.scaled(100.0).text(1));
        let name = format!("{}%", number(100.0 * part));
        let counts = [Ending::Failed, Ending::Diverged].map(|ending| group.count(records, ending));
        table.push([name].into_iter().chain(losses).chain([accuracy]).chain(counts));
    }
    table
}

fn observations(setup: &Setup, groups: &[Group], records: &Records) -> Option<String> {
    let (unit, factor) = setup.loss_unit();
    let loss = |part: f64| {
        let place = PARTS.iter().position(|own| *own == part)?;
        Some(groups[place].estimate(records, Record::test_loss)?.mean * factor)
    };
    let [tenth, half, all] = [loss(0.1)?, loss(0.5)?, loss(1.0)?];
    Some(format!(
        "{}: test loss with all features trained {all:.3}, with half of them {half:.3}, with a tenth {tenth:.3} {unit}.",
        setup.name
    ))
}
