//! SGD with each learning rate, Adam and Alrao on one model: the runs of Table 1 and of the learning curves.

use super::Study;
use super::findings::Findings;
use super::method::{Method, SGD_RATES};
use super::options::{Options, Size};
use super::plan::PlannedRun;
use super::record::Records;
use super::setup::{Group, Setup, setups};
use crate::error::Result;

/// The study of the same runs for every row, with the function that makes their findings.
///
/// # Errors
/// If a row, its data or its settings are wrong.
pub(super) fn study(
    options: &Options,
    usual: &[&str],
    sizes: [Size; 2],
    findings: fn(&[Setup], &[Comparison], &Records) -> Findings,
) -> Result<Study> {
    let setups = setups(options, usual, sizes)?;
    let mut runs = Vec::new();
    let comparisons: Vec<Comparison> =
        setups.iter().map(|setup| Comparison::plan(setup, &mut runs)).collect::<Result<_>>()?;
    Ok(Study::Runs {
        setups,
        runs,
        reads_metrics: false,
        findings: Box::new(move |setups, records| Ok(findings(setups, &comparisons, records))),
    })
}

/// The runs on one setup.
pub(super) struct Comparison {
    /// By learning rate; empty if the paper has no SGD on this row.
    pub sgd: Vec<(f64, Group)>,
    pub adam: Group,
    pub alrao: Group,
}

impl Comparison {
    /// Plans the runs.
    ///
    /// # Errors
    /// If the settings contradict each other.
    pub fn plan(setup: &Setup, runs: &mut Vec<PlannedRun>) -> Result<Comparison> {
        let rates = SGD_RATES.iter().filter(|_| setup.row.has_sgd());
        let sgd = rates.map(|rate| Ok((*rate, setup.plan(Method::Sgd(*rate), runs)?)));
        let sgd = sgd.collect::<Result<_>>()?;
        let adam = setup.plan(Method::AdamDefault, runs)?;
        let alrao = setup.plan(Method::AlraoDefault, runs)?;
        Ok(Comparison { sgd, adam, alrao })
    }

    /// SGD's rate with the least mean validation loss, among the rates at which every run finished.
    pub fn best_sgd(&self, records: &Records) -> Option<&(f64, Group)> {
        let loss = |(_, group): &(f64, Group)| group.estimate(records, super::Record::valid_loss);
        let known = self.sgd.iter().filter_map(|own| Some((loss(own)?.mean, own)));
        known.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, own)| own)
    }

    /// SGD's rates at which no run failed; nothing is known of the others.
    pub fn tried_sgd(&self, records: &Records) -> Vec<&(f64, Group)> {
        self.sgd.iter().filter(|(_, group)| !group.has_failed(records)).collect()
    }

    /// The groups of all methods: SGD from the smallest rate to the largest, Adam, Alrao.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.sgd.iter().map(|(_, group)| group).chain([&self.adam, &self.alrao])
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::made_up;
    use super::*;
    use crate::experiments::Ending;

    /// One run for each rate, with its validation loss, its test loss and its ending.
    fn comparison(runs: &[(f64, Option<f64>, Option<f64>, Ending)]) -> (Comparison, Records) {
        let mut records = Records::default();
        let mut group = |method: Method, valid, test, ending| {
            let name = method.name();
            records.by_name.insert(name.clone(), made_up(&[valid], test, ending));
            Group { method, names: vec![name] }
        };
        let sgd = runs.iter().map(|(rate, valid, test, ending)| {
            (*rate, group(Method::Sgd(*rate), *valid, *test, *ending))
        });
        let sgd = sgd.collect();
        let adam = group(Method::AdamDefault, Some(1.0), Some(1.0), Ending::Finished);
        let alrao = group(Method::AlraoDefault, Some(1.0), Some(1.0), Ending::Finished);
        (Comparison { sgd, adam, alrao }, records)
    }

    #[test]
    fn the_best_rate_is_chosen_by_validation() {
        let (comparison, records) = comparison(&[
            (1e-2, Some(0.5), Some(0.1), Ending::Finished),
            (1e-1, Some(0.4), Some(0.9), Ending::Finished),
            (1.0, Some(0.1), None, Ending::Diverged),
            (10.0, None, None, Ending::Failed),
        ]);
        assert_eq!(comparison.best_sgd(&records).unwrap().0, 1e-1);
        let tried: Vec<f64> = comparison.tried_sgd(&records).iter().map(|own| own.0).collect();
        assert_eq!(tried, [1e-2, 1e-1, 1.0]);
        let none = super::tests::comparison(&[(1.0, None, None, Ending::Diverged)]);
        assert!(none.0.best_sgd(&none.1).is_none());
    }
}
