//! SGD with each learning rate, Adam and Alrao on one model: the runs of Table 1 and of the learning curves.

use super::method::{Method, SGD_RATES};
use super::plan::PlannedRun;
use super::record::Records;
use super::setup::{Group, Setup};
use crate::error::Result;

/// The runs on one setup.
pub(super) struct Comparison {
    /// By rate; none where the paper has none.
    pub sgd: Vec<(f64, Group)>,
    pub adam: Group,
    pub alrao: Group,
}

impl Comparison {
    /// Plans the runs.
    ///
    /// # Errors
    /// Where the settings contradict each other.
    pub fn plan(setup: &Setup, runs: &mut Vec<PlannedRun>) -> Result<Comparison> {
        let rates = SGD_RATES.iter().filter(|_| setup.row.has_sgd());
        let sgd = rates.map(|rate| Ok((*rate, setup.plan(Method::Sgd(*rate), runs)?)));
        let sgd = sgd.collect::<Result<_>>()?;
        let adam = setup.plan(Method::AdamDefault, runs)?;
        let alrao = setup.plan(Method::AlraoDefault, runs)?;
        Ok(Comparison { sgd, adam, alrao })
    }

    /// SGD's rate with the least mean validation loss, of those at which every run finished.
    pub fn best_sgd(&self, records: &Records) -> Option<&(f64, Group)> {
        let loss = |(_, group): &(f64, Group)| group.estimate(records, super::Record::valid_loss);
        let known = self.sgd.iter().filter_map(|own| Some((loss(own)?.mean, own)));
        known.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, own)| own)
    }

    /// All ways of training, SGD from the smallest rate to the largest, Alrao last.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.sgd.iter().map(|(_, group)| group).chain([&self.adam, &self.alrao])
    }
}
