//! Figure 3: loss by the interval of Alrao's learning rates, with plain SGD for intervals of a single rate.

use serde_json::{Map, Value, json};

use super::Study;
use super::differences::differences;
use super::findings::{Findings, Picture, Table};
use super::method::Method;
use super::options::{Options, Size};
use super::record::{Record, Records};
use super::setup::{Group, LEARNT_MEANS, Setup, setups, titles};
use super::statistics::{Estimate, spread};
use crate::error::Result;
use crate::plots::{Cell, heat_map, number};
use crate::supervised::settings::Settings;

/// Twenty-eight intervals, and eight rates of SGD, which are counted higher for their additional epochs.
const SETTINGS: u64 = 42;

pub(super) const WHOLE: Size = Size { settings: SETTINGS, epochs: 30, seeds: Some(1) };
pub(super) const QUICK: Size = Size { settings: SETTINGS, epochs: 4, seeds: Some(1) };

const USUAL: &[&str] = &["cifar10/googlenet"];

/// The ends of the intervals.
const ENDS: [f64; 8] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];

/// Losses above this many times that of equal probabilities for all classes have one colour.
const TOP: f64 = 1.25;

/// A loss above this many times that of equal probabilities counts as diverged, even if it is finite.
const DIVERGED: f64 = 100.0;

/// In the paper SGD has 50 epochs for Alrao's 30.
fn sgd_epochs(epochs: u64) -> u64 {
    (epochs * 5).div_ceil(3)
}

/// The runs of one interval, whose ends are indices into [`ENDS`]; plain SGD if they are equal.
struct Interval {
    low: usize,
    high: usize,
    group: Group,
}

pub(super) fn study(options: &Options) -> Result<Study> {
    let setups = setups(options, USUAL, [WHOLE, QUICK])?;
    let mut runs = Vec::new();
    let mut by_setup = Vec::new();
    for setup in &setups {
        let mut intervals = Vec::new();
        for (low, &eta_min) in ENDS.iter().enumerate() {
            for (high, &eta_max) in ENDS.iter().enumerate().skip(low) {
                let epochs = if low == high { sgd_epochs(setup.epochs) } else { setup.epochs };
                // No early stopping: the losses are those after exactly this many epochs.
                let mut own = Settings::default();
                (own.task.epochs, own.task.patience) = (Some(epochs), Some(epochs));
                let method = match low == high {
                    true => Method::Sgd(eta_min),
                    false => Method::Alrao([eta_min, eta_max]),
                };
                intervals.push(Interval {
                    low,
                    high,
                    group: setup.plan_with(method, &own, &mut runs)?,
                });
            }
        }
        by_setup.push(intervals);
    }
    Ok(Study::Runs {
        setups,
        runs,
        reads_metrics: false,
        findings: Box::new(move |setups, records| Ok(findings(setups, &by_setup, records))),
    })
}

/// The last epoch's training loss; `None` if the run did not finish.
fn train_loss(record: &Record) -> Option<f64> {
    record.last()?.train_loss
}

fn findings(setups: &[Setup], by_setup: &[Vec<Interval>], records: &Records) -> Findings {
    let mut findings = Findings {
        title: format!("The interval of learning rates: {}", titles(setups)),
        paper: "Figure 3. Alrao works as soon as its interval holds one learning rate that suits SGD; the loss depends much \
                less on the interval's ends than on SGD's learning rate."
            .into(),
        ..Findings::default()
    };
    let mut values = Map::new();
    for (setup, intervals) in setups.iter().zip(by_setup) {
        for (part, value) in
            [("train", train_loss as fn(&Record) -> _), ("test", Record::test_loss)]
        {
            let own = picture(setup, intervals, records, part, value);
            findings.pictures.push(own);
        }
        findings.tables.push(table(setup, intervals, records));
        findings.observations.extend(observations(setup, intervals, records));
        values.insert(setup.name.clone(), json!(points(setup, intervals, records)));
    }
    findings.differences = differences(setups, |setup| {
        let mut own = setup.differences_but_epochs();
        own.push(format!(
            "Epochs: exactly {} for Alrao and {} for SGD; the paper's 30 and 50.",
            setup.epochs,
            sgd_epochs(setup.epochs)
        ));
        own
    });
    findings.differences.push(
        "The test loss is that of the epoch with the best validation loss, the training loss the mean over the last epoch's \
         steps; the paper shows both after the last epoch."
            .into(),
    );
    findings.values = Value::Object(values);
    findings
}

/// The mean over the runs; `None` if one diverged or failed.
fn mean(
    setup: &Setup,
    interval: &Interval,
    records: &Records,
    value: fn(&Record) -> Option<f64>,
) -> Option<f64> {
    let mean = interval.group.estimate(records, value).map(|own: Estimate| own.mean)?;
    (mean < DIVERGED * (setup.classes as f64).ln()).then_some(mean)
}

fn points(setup: &Setup, intervals: &[Interval], records: &Records) -> Vec<Value> {
    let point = |interval: &Interval| {
        json!({
            "eta_max": ENDS[interval.high],
            "eta_min": ENDS[interval.low],
            "test_loss": mean(setup, interval, records, Record::test_loss),
            "train_loss": mean(setup, interval, records, train_loss),
        })
    };
    intervals.iter().map(point).collect()
}

fn picture(
    setup: &Setup,
    intervals: &[Interval],
    records: &Records,
    part: &str,
    value: fn(&Record) -> Option<f64>,
) -> Picture {
    let mut cells = vec![vec![Cell::Absent; ENDS.len()]; ENDS.len()];
    for interval in intervals {
        let mean = mean(setup, interval, records, value);
        cells[interval.high][interval.low] = mean.map_or(Cell::Blank, Cell::Value);
    }
    let names = ENDS.map(number);
    let top = TOP * (setup.classes as f64).ln();
    let svg = heat_map(&cells, [&names, &names], ["η min", "η max"], "loss", top);
    let caption = format!(
        "{}: {part} loss in nats by the interval's ends; light is small, and all losses above {} are equally dark. The diagonal \
         shows plain SGD with that learning rate, the cells above it Alrao. A dash is a run that diverged or failed, or whose \
         loss is above {}.",
        setup.title(),
        number(top),
        number(DIVERGED * (setup.classes as f64).ln())
    );
    Picture::new(format!("{part}-loss-{}", setup.file_name()), svg, caption)
}

fn table(setup: &Setup, intervals: &[Interval], records: &Records) -> Table {
    let caption = format!(
        "{}: test loss in nats by the interval's ends, η min across, η max down; plain SGD on the diagonal.",
        setup.title()
    );
    let names = ENDS.map(number);
    let head: Vec<&str> = ["η max"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(caption, &head);
    for high in (0..ENDS.len()).rev() {
        let cell = |low: usize| {
            let own = intervals.iter().find(|own| own.low == low && own.high == high);
            let Some(own) = own else { return String::new() };
            super::findings::or_dash(mean(setup, own, records, Record::test_loss), number)
        };
        table.push([names[high].clone()].into_iter().chain((0..ENDS.len()).map(cell)));
    }
    table
}

/// Compares Alrao's intervals that hold a rate at which SGD learns with those that hold none.
fn observations(setup: &Setup, intervals: &[Interval], records: &Records) -> Vec<String> {
    let bound = setup.learnt_below;
    let learns = |own: &Interval| own.group.records(records).all(|run| run.has_learnt(bound));
    // Nothing is known of an interval with a failed run.
    let known = intervals.iter().filter(|own| !own.group.has_failed(records));
    let (sgd, alrao): (Vec<_>, Vec<_>) = known.partition(|own| own.low == own.high);
    let suited: Vec<&Interval> = sgd.iter().copied().filter(|own| learns(own)).collect();
    let holds = |own: &Interval| suited.iter().any(|sgd| (own.low..=own.high).contains(&sgd.low));
    let (with, without): (Vec<&Interval>, Vec<_>) = alrao.iter().partition(|own| holds(own));
    let learning = |intervals: &[&Interval]| intervals.iter().filter(|own| learns(own)).count();
    let losses = |intervals: &[&Interval]| {
        let losses = intervals.iter().filter(|own| learns(own));
        spread(losses.filter_map(|own| mean(setup, own, records, Record::test_loss)))
    };
    let rates: Vec<String> = suited.iter().map(|own| number(ENDS[own.low])).collect();
    let rates = if rates.is_empty() { String::new() } else { format!(": {}", rates.join(", ")) };
    let name = &setup.name;
    let mut texts = vec![
        format!(
            "{name}: SGD learns ({LEARNT_MEANS}) at {} of {} rates{rates}.",
            suited.len(),
            sgd.len(),
        ),
        format!(
            "{name}: Alrao learns in {} of the {} intervals that hold such a rate, and in {} of the {} that hold none.",
            learning(&with),
            with.len(),
            learning(&without),
            without.len()
        ),
    ];
    let range = |(low, high)| format!("{} to {}", number(low), number(high));
    texts.push(match (losses(&sgd), losses(&with)) {
        (Some(sgd), Some(alrao)) => format!(
            "{name}: where they learn, the test loss of SGD over its rates is {}, of Alrao over the intervals that hold such \
             a rate {}.",
            range(sgd),
            range(alrao)
        ),
        (Some(sgd), None) => {
            format!("{name}: where it learns, the test loss of SGD over its rates is {}.", range(sgd))
        }
        (None, _) => format!("{name}: at no rate does SGD learn in so few steps; nothing can be said about intervals."),
    });
    texts
}
