//! Table 1's rows on reinforcement learning, and Figure 6: returns of SGD with each learning rate, Adam and Alrao.

use serde_json::{Map, Value, json};

use super::findings::{Findings, Picture, Table, or_dash};
use super::method::{Method, SGD_RATES};
use super::options::Options;
use super::plan::{PlannedRun, Work};
use super::record::{Ending, Record, Records};
use super::setup::Group;
use super::statistics::{Estimate, series};
use super::{Study, device_kind};
use crate::error::Result;
use crate::learn::settings::{DeviceSettings, LearningSettings};
use crate::plots::{Axis, Scale, Series, Stroke, lines, number};
use crate::rl::settings::{QLearningSettings, Settings};
use crate::rl::{QConfig, QLearningConfig, open};

/// Runs of each setting in the paper.
const SEEDS: u64 = 10;
const QUICK_SEEDS: u64 = 2;

/// Steps of the environment in a quick run: on the pendulum, and in other environments.
const QUICK_STEPS: [u64; 2] = [12_000, 30_000];

/// In other environments, the first steps with random actions only, and the steps over which epsilon falls.
const QUICK_STARTS: [u64; 2] = [2_000, 15_000];

/// Returns in the paper, mean and deviation: SGD with its best rate, Adam with its default, Alrao.
struct Paper {
    environment: &'static str,
    sgd_rate: f64,
    returns: [[f64; 2]; 3],
}

const PAPER: [Paper; 2] = [
    Paper {
        environment: "pendulum",
        sgd_rate: 1e-4,
        returns: [[-372.0, 24.0], [-414.0, 64.0], [-371.0, 36.0]],
    },
    Paper {
        environment: "gym:LunarLander",
        sgd_rate: 1e-1,
        returns: [[188.0, 23.0], [155.0, 23.0], [186.0, 45.0]],
    },
];

/// The runs in one environment.
struct Comparison {
    config: QConfig,
    seeds: u64,
    sgd: Vec<(f64, Group)>,
    adam: Group,
    alrao: Group,
}

pub(super) fn study(options: &Options) -> Result<Study> {
    let mut runs = Vec::new();
    let comparison = Comparison::plan(options, &mut runs)?;
    Ok(Study::Runs {
        setups: Vec::new(),
        runs,
        reads_metrics: false,
        findings: Box::new(move |_, records| Ok(findings(&comparison, records))),
    })
}

impl Comparison {
    fn plan(options: &Options, runs: &mut Vec<PlannedRun>) -> Result<Comparison> {
        let seeds = options.seeds_or(if options.quick { QUICK_SEEDS } else { SEEDS })?;
        let is_other = options.env.as_ref().is_some_and(|env| env.starts_with("gym:"));
        let [starts, epsilon_steps] = QUICK_STARTS;
        let is_small = options.quick && is_other && options.steps.is_none();
        let own = QLearningSettings {
            env: options.env.clone(),
            steps: options.steps.or(options.quick.then_some(QUICK_STEPS[usize::from(is_other)])),
            learning_starts: is_small.then_some(starts),
            epsilon_steps: is_small.then_some(epsilon_steps),
            ..QLearningSettings::default()
        };
        let device = Some(device_kind(options)?);
        let base = Settings::new(
            own,
            LearningSettings::default(),
            DeviceSettings { device, threads: None },
        );
        let config = base.resolve()?;
        // An environment that cannot be opened is reported before anything is created.
        open(&config.task.env, 1)?;
        let mut group = |method: Method| -> Result<Group> {
            let mut names = Vec::new();
            for seed in 0..seeds {
                let name = format!("{}-{}-seed-{seed}", file_name(&config.task.env), method.name());
                let mut settings = method.settings(&base);
                settings.learning.seed = Some(seed);
                let config = settings.resolve()?;
                runs.push(PlannedRun { name: name.clone(), work: Work::QLearning(config) });
                names.push(name);
            }
            Ok(Group { method, names })
        };
        let sgd = SGD_RATES.iter().map(|rate| Ok((*rate, group(Method::Sgd(*rate))?)));
        let sgd = sgd.collect::<Result<_>>()?;
        let (adam, alrao) = (group(Method::AdamDefault)?, group(Method::AlraoDefault)?);
        Ok(Comparison { config, seeds, sgd, adam, alrao })
    }

    /// SGD's rate with the best mean return in the evaluations, among the rates at which every run finished.
    fn best_sgd(&self, records: &Records) -> Option<&(f64, Group)> {
        let score = |(_, group): &(f64, Group)| group.estimate(records, Record::best_return);
        let known = self.sgd.iter().filter_map(|own| Some((score(own)?.mean, own)));
        known.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, own)| own)
    }

    /// The groups of all methods: SGD from the smallest rate to the largest, Adam, Alrao.
    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.sgd.iter().map(|(_, group)| group).chain([&self.adam, &self.alrao])
    }

    fn paper(&self) -> Option<&'static Paper> {
        PAPER.iter().find(|paper| self.config.task.env.starts_with(paper.environment))
    }

    fn is_pendulum(&self) -> bool {
        self.config.task.env.starts_with("pendulum")
    }
}

fn file_name(environment: &str) -> String {
    environment.replace([':', '/'], "-")
}

fn findings(comparison: &Comparison, records: &Records) -> Findings {
    let environment = &comparison.config.task.env;
    Findings {
        title: format!("Q-learning: {environment}"),
        paper: "Table 1, last rows, and Figure 6: mean return of the epoch that did best in evaluation runs, in new runs. \
                Alrao does as well as SGD with the best of seven rates, and only two of these learn on the pendulum."
            .into(),
        observations: observations(comparison, records),
        differences: differences(comparison),
        tables: vec![comparison_table(comparison, records), by_method(comparison, records)],
        pictures: vec![curves(comparison, records), by_rate(comparison, records)],
        values: values(comparison, records),
        ..Findings::default()
    }
}

/// The group's mean return in new episodes; `None` if a run did not finish.
fn test_return(group: &Group, records: &Records) -> Option<Estimate> {
    group.estimate(records, Record::test_return)
}

fn cell(estimate: Option<Estimate>) -> String {
    or_dash(estimate, |own| own.text(0))
}

fn comparison_table(comparison: &Comparison, records: &Records) -> Table {
    let caption = "Mean return in new episodes of the network that was best in the evaluations, mean and standard deviation \
                   over the runs. SGD's rate is the one with the best evaluations.";
    let mut table = Table::new(caption, &["", "SGD rate", "SGD", "Adam", "Alrao"]);
    let best = comparison.best_sgd(records);
    let environment = &comparison.config.task.env;
    table.push([
        environment.clone(),
        or_dash(best, |(rate, _)| number(*rate)),
        cell(best.and_then(|(_, group)| test_return(group, records))),
        cell(test_return(&comparison.adam, records)),
        cell(test_return(&comparison.alrao, records)),
    ]);
    if let Some(paper) = comparison.paper() {
        let [sgd, adam, alrao] =
            paper.returns.map(|[mean, deviation]| format!("{mean} ± {deviation}"));
        table.push_papers(environment, [number(paper.sgd_rate), sgd, adam, alrao]);
    }
    table
}

fn by_method(comparison: &Comparison, records: &Records) -> Table {
    let head = ["", "best evaluation", "new episodes", "worst run", "failed", "diverged"];
    let mut table = Table::new("All methods.", &head);
    for group in comparison.groups() {
        let runs = || group.records(records);
        let worst = runs().filter_map(Record::test_return).min_by(f64::total_cmp);
        table.push([
            group.method.label(),
            cell(group.estimate(records, Record::best_return)),
            cell(test_return(group, records)),
            or_dash(worst, |worst| format!("{worst:.0}")),
            group.count(records, Ending::Failed),
            group.count(records, Ending::Diverged),
        ]);
    }
    table
}

fn observations(comparison: &Comparison, records: &Records) -> Vec<String> {
    let mut texts = Vec::new();
    let alrao = test_return(&comparison.alrao, records);
    if let (Some((rate, best)), Some(alrao)) = (comparison.best_sgd(records), alrao) {
        // Nothing is known of a rate at which a run failed.
        let tried: Vec<_> =
            comparison.sgd.iter().filter(|(_, group)| !group.has_failed(records)).collect();
        // Compared in the digits that are shown.
        let worse = tried.iter().filter(|(_, group)| {
            test_return(group, records).is_none_or(|own| own.mean.round() < alrao.mean.round())
        });
        texts.push(format!(
            "Alrao's return is {}, that of SGD with its best rate ({}) {}; of the {} rates of SGD, {} do worse than Alrao.",
            alrao.text(0),
            number(*rate),
            cell(test_return(best, records)),
            tried.len(),
            worse.count()
        ));
    }
    if let (Some(alrao), Some(adam)) = (alrao, test_return(&comparison.adam, records)) {
        texts.push(format!("Adam's return is {}, Alrao's {}.", adam.text(0), alrao.text(0)));
    }
    texts
}

fn differences(comparison: &Comparison) -> Vec<String> {
    let config = &comparison.config;
    let QConfig { task, model, train, .. } = config;
    let QLearningConfig { steps, discount, .. } = task;
    let layers: Vec<String> = model.hidden.iter().map(ToString::to_string).collect();
    let mut texts = vec![
        format!("Runs of each setting: {}; the paper's {SEEDS}.", comparison.seeds),
        format!(
            "{steps} steps of the environment, hidden layers of {} units, batches of {}, a discount of {discount}: the paper \
             gives none of these.",
            layers.join(" and "),
            train.batch_size
        ),
    ];
    texts.push(format!(
        "Hidden units are {}, errors of values are clipped to {} in the gradients, rewards are multiplied by {} before the network \
         learns from them, the actions of the first {} steps are random, and epsilon falls from {} to {} in the next {} steps: the \
         paper gives none of these.",
        model.activation,
        number(config.task.error_clip),
        number(config.task.reward_scale),
        config.task.learning_starts,
        number(config.task.exploration.start),
        number(config.task.exploration.end),
        config.task.exploration.steps,
    ));
    texts.push(format!(
        "The target network keeps {} of its weights in an update: this is how we read the paper's tau of 0.9, though Lillicrap et \
         al. write tau for the other share.",
        number(config.task.tau)
    ));
    texts.push(match comparison.is_pendulum() {
        true => "The pendulum's torque is one of a few values; the paper does not say how it made actions discrete.".into(),
        false => "The environment is Gymnasium's; the paper's is an older version in OpenAI Gym.".into(),
    });
    texts
}

/// Mean return of the evaluations over the steps, means over the runs.
fn curves(comparison: &Comparison, records: &Records) -> Picture {
    let scale = comparison.config.task.epoch_steps as f64;
    let series: Vec<Series> = comparison
        .groups()
        .map(|group| {
            let points = group.estimates(records, |epoch| epoch.mean_return);
            let runs: Vec<&Record> = group.records(records).collect();
            let step = |epoch: f64| {
                let own = runs.iter().filter_map(|run| run.epochs.get(epoch as usize - 1)?.step);
                own.max().map_or(epoch * scale, |step| step as f64)
            };
            group.line(points.into_iter().map(|(epoch, own)| (step(epoch), own)))
        })
        .filter(|own| !own.points.is_empty())
        .collect();
    let points = || series.iter().flat_map(|own| own.points.iter());
    let end = points().map(|(step, _)| *step).fold(1.0, f64::max);
    let x = Axis::new("step of the environment", Scale::linear(0.0..end));
    let y = Axis::new("mean return", Scale::returns(points().map(|(_, own)| *own)));
    Picture::new(
        "returns",
        lines(&x, &y, "", &series),
        "Mean return of the evaluations, which take no random actions; mean over the runs, with the standard deviation as a band. A \
         curve ends where a run diverged or failed.",
    )
}

fn by_rate(comparison: &Comparison, records: &Records) -> Picture {
    let points = comparison.sgd.iter().map(|(rate, group)| (*rate, test_return(group, records)));
    let sgd = series("SGD", points, Method::Sgd(1e-3).colour(), Stroke::Dotted(2));
    let level = |group: &Group, stroke: Stroke| {
        let own = test_return(group, records);
        let points = own.map(|own| vec![(4e-6, own.mean), (25.0, own.mean)]).unwrap_or_default();
        Series::new(group.method.label(), points, group.method.colour(), stroke)
    };
    let series = [
        sgd,
        level(&comparison.adam, Stroke::Dashed(2)),
        level(&comparison.alrao, Stroke::Line(3)),
    ];
    let all = series.iter().flat_map(|own| own.points.iter().map(|(_, own)| *own));
    let known = series.iter().flat_map(|own| own.points.iter().zip(&own.deviations));
    let ends = known.flat_map(|((_, mean), deviation)| [mean - deviation, mean + deviation]);
    let y = Axis::new("mean return", Scale::returns(all.chain(ends)));
    let x = Axis::new("learning rate of SGD", Scale::logarithmic(4e-6..25.0));
    Picture::new(
        "return-by-rate",
        lines(&x, &y, "", &series),
        "Mean return in new episodes of SGD by its learning rate, with the standard deviation over the runs, beside Adam \
         with its default rate and Alrao. A rate at which a run diverged or failed has no point.",
    )
}

fn values(comparison: &Comparison, records: &Records) -> Value {
    let value = |group: &Group| {
        json!({
            "best_return": group.estimate(records, Record::best_return),
            "test_return": test_return(group, records),
        })
    };
    let by_method: Map<String, Value> =
        comparison.groups().map(|group| (group.method.name(), value(group))).collect();
    json!({
        "best_sgd_rate": comparison.best_sgd(records).map(|(rate, _)| rate),
        "environment": comparison.config.task.env,
        "methods": by_method,
    })
}
