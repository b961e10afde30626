//! Figure 3: loss by the interval that Alrao draws its learning rates from, with plain SGD where its ends are equal.

use serde_json::{Map, Value, json};

use super::Study;
use super::findings::{Findings, Picture, Table};
use super::method::Method;
use super::options::{Options, Size};
use super::record::{Record, Records};
use super::setup::{Group, LEARNT_MEANS, Setup, differences, setups, titles};
use super::statistics::{Estimate, spread};
use crate::error::Result;
use crate::plots::{Cell, heat_map, number};
use crate::supervised::settings::Settings;

/// Twenty-eight intervals, and eight rates of SGD for more epochs.
const SETTINGS: u64 = 42;

pub(super) const WHOLE: Size = Size { settings: SETTINGS, epochs: 30, seeds: Some(1) };
pub(super) const QUICK: Size = Size { settings: SETTINGS, epochs: 4, seeds: Some(1) };

const USUAL: &[&str] = &["cifar10/googlenet"];

/// The ends of the intervals.
const ENDS: [f64; 8] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];

/// Losses above so many times that of equal probabilities of all classes have one colour.
const TOP: f64 = 1.25;

/// A loss so many times that of equal probabilities is one that diverged, whether or not it is still a number.
const DIVERGED: f64 = 100.0;

/// In the paper SGD has 50 epochs where Alrao has 30.
fn sgd_epochs(epochs: u64) -> u64 {
    (epochs * 5).div_ceil(3)
}

/// The runs of one interval; plain SGD where its ends, places among [`ENDS`], are equal.
struct Place {
    low: usize,
    high: usize,
    group: Group,
}

pub(super) fn study(options: &Options) -> Result<Study> {
    let setups = setups(options, USUAL, [WHOLE, QUICK])?;
    let mut runs = Vec::new();
    let mut triangles = Vec::new();
    for setup in &setups {
        let mut places = Vec::new();
        for (low, &eta_min) in ENDS.iter().enumerate() {
            for (high, &eta_max) in ENDS.iter().enumerate().skip(low) {
                let epochs = if low == high { sgd_epochs(setup.epochs) } else { setup.epochs };
                // The losses are those after so many epochs.
                let mut own = Settings::default();
                (own.task.epochs, own.task.patience) = (Some(epochs), Some(epochs));
                let method = match low == high {
                    true => Method::Sgd(eta_min),
                    false => Method::Alrao([eta_min, eta_max]),
                };
                places.push(Place { low, high, group: setup.plan_with(method, &own, &mut runs)? });
            }
        }
        triangles.push(places);
    }
    Ok(Study::Runs {
        setups,
        runs,
        reads_metrics: false,
        findings: Box::new(move |setups, records| Ok(findings(setups, &triangles, records))),
    })
}

/// Loss on the training data in the last epoch, where the run finished.
fn train_loss(record: &Record) -> Option<f64> {
    record.last()?.train_loss
}

fn findings(setups: &[Setup], triangles: &[Vec<Place>], records: &Records) -> Findings {
    let mut findings = Findings {
        title: format!("The interval of learning rates: {}", titles(setups)),
        paper: "Figure 3. Alrao works as soon as its interval holds one learning rate that suits SGD; the loss depends much \
                less on the interval's ends than on SGD's learning rate."
            .into(),
        ..Findings::default()
    };
    let mut values = Map::new();
    for (setup, places) in setups.iter().zip(triangles) {
        for (part, value) in
            [("train", train_loss as fn(&Record) -> _), ("test", Record::test_loss)]
        {
            let own = picture(setup, places, records, part, value);
            findings.pictures.push(own);
        }
        findings.tables.push(table(setup, places, records));
        findings.observations.extend(observations(setup, places, records));
        values.insert(setup.name.clone(), json!(points(setup, places, records)));
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

/// The mean over the runs; `None` where one diverged or failed.
fn mean(
    setup: &Setup,
    place: &Place,
    records: &Records,
    value: fn(&Record) -> Option<f64>,
) -> Option<f64> {
    let mean = place.group.estimate(records, value).map(|own: Estimate| own.mean)?;
    (mean < DIVERGED * (setup.classes as f64).ln()).then_some(mean)
}

fn points(setup: &Setup, places: &[Place], records: &Records) -> Vec<Value> {
    let point = |place: &Place| {
        json!({
            "eta_max": ENDS[place.high],
            "eta_min": ENDS[place.low],
            "test_loss": mean(setup, place, records, Record::test_loss),
            "train_loss": mean(setup, place, records, train_loss),
        })
    };
    places.iter().map(point).collect()
}

fn picture(
    setup: &Setup,
    places: &[Place],
    records: &Records,
    part: &str,
    value: fn(&Record) -> Option<f64>,
) -> Picture {
    let mut cells = vec![vec![Cell::Absent; ENDS.len()]; ENDS.len()];
    for place in places {
        let mean = mean(setup, place, records, value);
        cells[place.high][place.low] = mean.map_or(Cell::Blank, Cell::Value);
    }
    let names = ENDS.map(number);
    let top = TOP * (setup.classes as f64).ln();
    let svg = heat_map(&cells, [&names, &names], ["η min", "η max"], "loss", top);
    let caption = format!(
        "{}: {part} loss in nats by the interval's ends; light is small, all above {} is equally dark. On the diagonal stands plain \
         SGD with that learning rate, above it Alrao. A dash is a run that diverged or failed, or whose loss is above {}.",
        setup.title(),
        number(top),
        number(DIVERGED * (setup.classes as f64).ln())
    );
    Picture::new(format!("{part}-loss-{}", setup.file_name()), svg, caption)
}

fn table(setup: &Setup, places: &[Place], records: &Records) -> Table {
    let caption = format!(
        "{}: test loss in nats by the interval's ends, η min across, η max down; plain SGD on the diagonal.",
        setup.title()
    );
    let names = ENDS.map(number);
    let head: Vec<&str> = ["η max"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(caption, &head);
    for high in (0..ENDS.len()).rev() {
        let cell = |low: usize| {
            let place = places.iter().find(|place| place.low == low && place.high == high);
            let Some(place) = place else { return String::new() };
            super::findings::or_dash(mean(setup, place, records, Record::test_loss), number)
        };
        table.push([names[high].clone()].into_iter().chain((0..ENDS.len()).map(cell)));
    }
    table
}

/// Alrao's intervals by whether they hold a rate at which SGD learns.
fn observations(setup: &Setup, places: &[Place], records: &Records) -> Vec<String> {
    let learns =
        |place: &Place| place.group.records(records).all(|own| own.has_learnt(setup.learnt_below));
    // Of a place with a run that failed nothing is known.
    let known = places.iter().filter(|place| !place.group.has_failed(records));
    let (sgd, alrao): (Vec<&Place>, Vec<&Place>) = known.partition(|place| place.low == place.high);
    let suited: Vec<&Place> = sgd.iter().copied().filter(|place| learns(place)).collect();
    let holds =
        |place: &Place| suited.iter().any(|own| (place.low..=place.high).contains(&own.low));
    let (with, without): (Vec<&Place>, Vec<&Place>) = alrao.iter().partition(|place| holds(place));
    let learning = |places: &[&Place]| places.iter().filter(|place| learns(place)).count();
    let losses = |places: &[&Place]| {
        let losses = places.iter().filter(|place| learns(place));
        spread(losses.filter_map(|place| mean(setup, place, records, Record::test_loss)))
    };
    let rates: Vec<String> = suited.iter().map(|place| number(ENDS[place.low])).collect();
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
