//! Figure 7: Alrao on Adam beside Adam with several learning rates.

use serde_json::{Map, Value, json};

use super::Study;
use super::differences::differences;
use super::findings::{Findings, Table, or_dash};
use super::learning_curves::{by_method, curves};
use super::method::Method;
use super::options::{Options, Size};
use super::record::{Ending, Record, Records};
use super::rows::Source;
use super::setup::{Group, Setup, setups, titles};
use super::statistics::Estimate;
use crate::error::Result;
use crate::models::Architecture;

pub(super) const WHOLE: Size = Size { settings: 8, epochs: 100, seeds: Some(10) };
pub(super) const QUICK: Size = Size { settings: 8, epochs: 8, seeds: Some(2) };

const USUAL: &[&str] = &["cifar10/googlenet", "cifar10/mobilenetv2", "cifar10/vgg19"];

const ADAM_RATES: [f64; 5] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1];

const WIDE: [f64; 2] = [1e-6, 1.0];
const NARROW: [[f64; 2]; 2] = [[1e-6, 1e-2], [1e-6, 1e-1]];

/// The intervals that a part of the figure compares.
fn intervals(setup: &Setup) -> Vec<[f64; 2]> {
    match setup.row.architecture {
        _ if setup.row.source == Source::Generated => [NARROW.as_slice(), &[WIDE]].concat(),
        Architecture::MobileNetV2 => NARROW.to_vec(),
        _ => vec![WIDE],
    }
}

pub(super) fn study(options: &Options) -> Result<Study> {
    let setups = setups(options, USUAL, [WHOLE, QUICK])?;
    let mut runs = Vec::new();
    let mut groups = Vec::new();
    for setup in &setups {
        let adam = ADAM_RATES.into_iter().map(Method::Adam);
        let alrao = intervals(setup).into_iter().map(Method::AlraoAdam);
        let own = adam.chain(alrao).map(|method| setup.plan(method, &mut runs));
        groups.push(own.collect::<Result<Vec<Group>>>()?);
    }
    Ok(Study::Runs {
        setups,
        runs,
        reads_metrics: false,
        findings: Box::new(move |setups, records| Ok(findings(setups, &groups, records))),
    })
}

fn findings(setups: &[Setup], groups: &[Vec<Group>], records: &Records) -> Findings {
    let mut findings = Findings {
        title: format!("Alrao on Adam: {}", titles(setups)),
        paper: "Figure 7. Alrao-Adam trains well, but is much less reliable than Alrao on SGD: with GoogLeNet the test loss \
                diverges, with MobileNet it is unstable or diverges, with VGG19 one run of ten oscillates widely."
            .into(),
        ..Findings::default()
    };
    let mut values = Map::new();
    for (setup, groups) in setups.iter().zip(groups) {
        findings.pictures.extend(curves(setup, || groups.iter(), records));
        findings.tables.push(table(setup, groups, records));
        findings.observations.extend(observations(setup, groups, records));
        let own = json!({
            "curves": by_method(groups.iter(), records),
            "instability": groups.iter().map(|group| {
                (group.method.name(), json!(group.estimate(records, instability)))
            }).collect::<Map<_, _>>(),
        });
        values.insert(setup.name.clone(), own);
    }
    findings.differences = differences(setups, Setup::differences);
    findings.differences.push(
        "The curves show the validation loss; the paper shows the test loss. The paper does not give its learning rates of \
         Adam; these are ours."
            .into(),
    );
    findings.values = Value::Object(values);
    findings
}

/// How far the validation loss rises again: its largest ratio to the least loss up to the same epoch. `None` if it is not
/// finite after some epoch.
fn instability(record: &Record) -> Option<f64> {
    record.last()?;
    let (mut best, mut largest) = (f64::INFINITY, 1.0);
    for epoch in &record.epochs {
        let loss = epoch.valid_loss?;
        best = best.min(loss);
        largest = f64::max(largest, loss / best);
    }
    Some(largest)
}

fn table(setup: &Setup, groups: &[Group], records: &Records) -> Table {
    let (unit, factor) = setup.loss_unit();
    let caption = format!(
        "{}: means over the runs, losses in {unit}. Unstable: the largest ratio of an epoch's validation loss to the least \
         one up to that epoch.",
        setup.title()
    );
    let head = [
        "",
        "training loss, last",
        "validation loss, best",
        "validation loss, last",
        "test loss",
        "top-1 (%)",
        "unstable",
        "failed",
        "diverged",
    ];
    let mut table = Table::new(caption, &head);
    for group in groups {
        let mean = |value: &dyn Fn(&Record) -> Option<f64>| group.estimate(records, value);
        let last = |value: fn(&super::Epoch) -> Option<f64>| {
            mean(&move |run: &Record| run.last().and_then(value))
        };
        let loss = |value: Option<Estimate>| or_dash(value, |own| own.scaled(factor).text(3));
        table.push([
            group.method.label(),
            loss(last(|epoch| epoch.train_loss)),
            loss(mean(&Record::valid_loss)),
            loss(last(|epoch| epoch.valid_loss)),
            loss(mean(&Record::test_loss)),
            or_dash(mean(&Record::test_accuracy), |own| own.scaled(100.0).text(1)),
            or_dash(mean(&instability), |own| own.text(2)),
            group.count(records, Ending::Failed),
            group.count(records, Ending::Diverged),
        ]);
    }
    table
}

fn observations(setup: &Setup, groups: &[Group], records: &Records) -> Vec<String> {
    let loss = |group: &&Group| Some(group.estimate(records, Record::test_loss)?.mean);
    let least = |is_alrao: bool| {
        let own = groups.iter().filter(|group| group.method.is_alrao() == is_alrao);
        let known = own.filter_map(|group| Some((loss(&group)?, group)));
        known.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let (_, factor) = setup.loss_unit();
    let mut texts = Vec::new();
    if let (Some((adam_loss, adam)), Some((alrao_loss, alrao))) = (least(false), least(true)) {
        texts.push(format!(
            "{}: the least test loss of Adam is {:.3} ({}), of Alrao-Adam {:.3} ({}).",
            setup.name,
            adam_loss * factor,
            adam.method.label(),
            alrao_loss * factor,
            alrao.method.label()
        ));
    }
    for group in groups.iter().filter(|group| group.method.is_alrao()) {
        let unstable = or_dash(group.estimate(records, instability), |own| own.text(2));
        texts.push(format!(
            "{}: {}: {} runs did not learn; the validation loss rises to at most {unstable} times its least value before.",
            setup.name,
            group.method.label(),
            group.unlearnt(records, setup)
        ));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::super::record::made_up;
    use super::*;

    #[test]
    fn a_loss_that_rises_and_falls_again_is_unstable() {
        let of = |losses: &[f64]| {
            let losses: Vec<Option<f64>> = losses.iter().copied().map(Some).collect();
            instability(&made_up(&losses, Some(0.5), Ending::Finished))
        };
        // The rise counts even though the last epoch is the best.
        assert_eq!(of(&[2.0, 0.5, 1.5, 0.25]), Some(3.0));
        assert_eq!(of(&[2.0, 1.0, 0.5]), Some(1.0));
        assert_eq!(of(&[0.5, 1.0]), Some(2.0));
        let gap = made_up(&[Some(1.0), None, Some(0.5)], Some(0.5), Ending::Finished);
        assert_eq!(instability(&gap), None);
        assert_eq!(instability(&made_up(&[Some(1.0)], None, Ending::Diverged)), None);
    }
}
