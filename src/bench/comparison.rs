//! Compares a model's step, and the parts of it that Alrao adds, in this engine and in PyTorch, timed in turn.

use std::cell::RefCell;

use serde::Serialize;

use super::peers::{Greeting, PeerSide, Request, Setup};
use super::pieces::{Part, Piece};
use super::step::{Contestant, Mode};
use super::turns::{Timed, Times, Turns, in_turn};
use crate::device::Device;
use crate::error::Error;
use crate::learn::Optimizer;
use crate::supervised::RunConfig;

/// PyTorch's variants of a step, each with the engine's optimiser that it is compared with.
const WAYS: [(&str, Optimizer); 5] = [
    ("sgd", Optimizer::Sgd),
    (CHANNELS_LAST, Optimizer::Sgd),
    ("sgd-compiled", Optimizer::Sgd),
    ("authors", Optimizer::Alrao),
    ("alrao", Optimizer::Alrao),
];
/// Images only: text has no channels.
const CHANNELS_LAST: &str = "sgd-channels-last";

/// PyTorch's variants of a part of a step.
const PIECES: [(Piece, &[&str]); 3] = [
    (Piece::Switch, &["switch", "switch-authors"]),
    (Piece::Head, &["head", "head-authors"]),
    // The update comes last: it destroys the weights.
    (Piece::Update, &["update-broadcast", "update-full", "update-foreach", "update-sgd"]),
];

/// The name of this engine's variant of a part.
const FUSED: &str = "fused";

/// One of the two programs compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This engine.
    Alrao,
    /// PyTorch.
    PyTorch,
}

impl Side {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Side::Alrao => "engine",
            Side::PyTorch => "PyTorch",
        }
    }
}

/// A variant of a step, and its time.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// The program.
    pub side: Side,
    /// The model.
    pub model: String,
    /// The optimiser, or PyTorch's variant of it.
    pub way: String,
    /// Eager or captured; `None` for PyTorch.
    pub mode: Option<Mode>,
    /// The precision of the step.
    pub precision: String,
    /// Factor on the model's number of channels or units.
    pub width: f64,
    /// Images, or tokens, in a step.
    pub samples: usize,
    /// Milliseconds of a step, the median over the rounds.
    pub ms: f64,
    /// In the fastest round.
    pub ms_min: f64,
    /// In the slowest round.
    pub ms_max: f64,
    /// Images, or tokens, per second.
    pub samples_per_second: f64,
    /// Kernels in a step; `None` on the CPU and for PyTorch.
    pub launches: Option<u64>,
    /// The ratio of its time to the engine's.
    #[serde(skip)]
    pub beside: Option<Ratio>,
    #[serde(skip)]
    times: Times,
}

/// A variant of a part of a step, and its time.
#[derive(Clone, Debug, Serialize)]
pub struct PieceRow {
    /// The program.
    pub side: Side,
    /// The model.
    pub model: String,
    /// The part.
    pub piece: Piece,
    /// `fused` for this engine, or PyTorch's variant.
    pub way: String,
    /// On a GPU: the engine's passes are captured in a graph, PyTorch's are launched one by one. `None` on the CPU.
    pub mode: Option<Mode>,
    /// Microseconds, the median over the rounds.
    pub us: f64,
    /// In the fastest round.
    pub us_min: f64,
    /// In the slowest round.
    pub us_max: f64,
    /// The ratio of its time to the engine's.
    #[serde(skip)]
    pub beside: Option<Ratio>,
    #[serde(skip)]
    times: Times,
}

/// The ratio of two times, taken round by round.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// The model.
    pub model: String,
    /// The two variants.
    pub name: String,
    /// The engine's variant in the denominator.
    pub of: String,
    /// The median over the rounds.
    pub ratio: f64,
    /// The smallest over the rounds.
    pub ratio_min: f64,
    /// The largest over the rounds.
    pub ratio_max: f64,
}

impl Ratio {
    fn new(model: &str, name: String, of: &str, own: &Times, other: &Times) -> Ratio {
        let ratio = own.over(other);
        Ratio {
            model: model.to_owned(),
            name,
            of: of.to_owned(),
            ratio: ratio.median(),
            ratio_min: ratio.least(),
            ratio_max: ratio.most(),
        }
    }
}

/// A variant that could not be timed.
#[derive(Clone, Debug, Serialize)]
pub struct Failed {
    /// The model.
    pub model: String,
    /// PyTorch's variant.
    pub way: String,
    /// The error, in one line.
    pub error: String,
}

/// The measurements of one model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Whole steps.
    pub steps: Vec<StepRow>,
    /// Parts of a step; empty without PyTorch.
    pub pieces: Vec<PieceRow>,
    /// Alrao over plain SGD, and PyTorch over this engine.
    pub ratios: Vec<Ratio>,
    /// Variants that could not be timed.
    pub failed: Vec<Failed>,
}

impl Comparison {
    /// Ratios of Alrao to plain SGD in this engine, and of PyTorch's variants to their counterparts here.
    fn compare_steps(&mut self) {
        let ours: Vec<(String, Option<Mode>, Times)> = self
            .steps
            .iter()
            .filter(|row| row.side == Side::Alrao)
            .map(|row| (row.way.clone(), row.mode, row.times.clone()))
            .collect();
        for row in &mut self.steps {
            let measure = match row.side {
                Side::Alrao if row.way == Optimizer::Alrao.to_string() => Optimizer::Sgd,
                Side::Alrao => continue,
                Side::PyTorch => match WAYS.iter().find(|(way, _)| *way == row.way) {
                    Some((_, optimizer)) => *optimizer,
                    None => continue,
                },
            };
            // Compare the same mode; PyTorch with the captured step, if there is one.
            let is_measure = |(way, mode, _): &&(String, Option<Mode>, Times)| {
                *way == measure.to_string() && (row.mode.is_none() || *mode == row.mode)
            };
            let Some((_, _, times)) = ours.iter().rfind(is_measure) else { continue };
            let of = format!("engine {measure}");
            let name = format!("{} {} over {of}", row.side.name(), row.way);
            row.beside = Some(Ratio::new(&row.model, name, &of, &row.times, times));
        }
        self.ratios.extend(self.steps.iter().filter_map(|row| row.beside.clone()));
    }

    /// Ratios of PyTorch's variants to this engine's.
    fn compare_pieces(&mut self) {
        let ours: Vec<(Piece, Times)> = self
            .pieces
            .iter()
            .filter(|row| row.side == Side::Alrao)
            .map(|row| (row.piece, row.times.clone()))
            .collect();
        for row in self.pieces.iter_mut().filter(|row| row.side == Side::PyTorch) {
            if let Some((piece, times)) = ours.iter().find(|(piece, _)| *piece == row.piece) {
                let of = format!("engine {}", piece.name());
                let name = format!("PyTorch {} over {of}", row.way);
                row.beside = Some(Ratio::new(&row.model, name, &of, &row.times, times));
            }
        }
        self.ratios.extend(self.pieces.iter().filter_map(|row| row.beside.clone()));
    }

    /// Appends another model's measurements.
    pub fn extend(&mut self, other: Comparison) {
        self.steps.extend(other.steps);
        self.pieces.extend(other.pieces);
        self.ratios.extend(other.ratios);
        self.failed.extend(other.failed);
    }
}

/// Times steps of one model under several optimisers, in each of the device's modes, and PyTorch's in between if a
/// Python is given. Also returns Python's greeting, or why PyTorch was left out. Panics if no optimiser is given.
///
/// # Errors
/// As [`crate::models::build`] and [`Device::check`].
pub fn compare(
    configs: &[RunConfig],
    device: &Device,
    turns: Turns,
    peers: Option<&Setup>,
) -> Result<(Comparison, Option<Result<Greeting, String>>), Error> {
    let entrants: Result<Vec<Contestant>, Error> = configs
        .iter()
        .flat_map(|config| Mode::on(device).iter().map(move |mode| (config, *mode)))
        .map(|(config, mode)| Contestant::new(config, mode, device))
        .collect();
    let entrants = entrants?;
    let samples = entrants[0].samples();
    let side = peers.map(|setup| PeerSide::start(setup, requests(configs), samples));
    let (greeting, side) = match side {
        Some(Ok(side)) => (Some(Ok(side.greeting().clone())), Some(RefCell::new(side))),
        Some(Err(message)) => (Some(Err(message)), None),
        None => (None, None),
    };
    let table = Table { configs, entrants: &entrants, side, device, turns };
    let mut comparison = Comparison::default();
    table.time_steps(&mut comparison)?;
    if table.side.is_some() {
        table.time_pieces(&mut comparison)?;
    }
    if let Some(Err(message)) = &greeting {
        let (way, error) = ("all".to_owned(), message.clone());
        comparison.failed.push(Failed { model: table.model(), way, error });
    }
    comparison.compare_steps();
    comparison.compare_pieces();
    Ok((comparison, greeting))
}

/// The requests to PyTorch: each step that has a counterpart in the engine, and the parts of an Alrao step.
fn requests(configs: &[RunConfig]) -> Vec<Request> {
    let is_alrao = |config: &&RunConfig| config.train.optimizer == Optimizer::Alrao;
    let alrao = configs.iter().find(is_alrao);
    let mut requests = Vec::new();
    let mut add = |config: &RunConfig, way| {
        requests.push(Request {
            model: config.model.architecture.to_string(),
            way,
            batch_size: config.train.batch_size,
            width: config.model.width,
            classifiers: alrao.unwrap_or(config).alrao.classifiers,
        });
    };
    for (way, optimizer) in WAYS {
        let like = configs.iter().find(|config| config.train.optimizer == optimizer);
        if let Some(config) = like
            && !(way == CHANNELS_LAST && config.model.architecture.is_lstm())
        {
            add(config, way);
        }
    }
    if let Some(config) = alrao {
        PIECES.iter().flat_map(|(_, ways)| *ways).for_each(|way| add(config, way));
    }
    requests
}

/// The side that failed. A failure of this engine ends the comparison; a failure of PyTorch becomes a row of it.
enum Fault {
    Ours(Error),
    Theirs(String),
}

/// The rows of the timed variants, made by `row`, and those of PyTorch's failures.
fn sorted<K, R>(
    model: &str,
    keys: Vec<(K, String)>,
    outcomes: Vec<Result<Times, Fault>>,
    row: impl Fn(K, String, Times) -> R,
) -> Result<(Vec<R>, Vec<Failed>), Error> {
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for ((key, way), outcome) in keys.into_iter().zip(outcomes) {
        match outcome {
            Ok(times) => rows.push(row(key, way, times)),
            Err(Fault::Ours(error)) => return Err(error),
            Err(Fault::Theirs(error)) => {
                failed.push(Failed { model: model.to_owned(), way, error })
            }
        }
    }
    Ok((rows, failed))
}

/// One model on both sides.
struct Table<'a> {
    configs: &'a [RunConfig],
    entrants: &'a [Contestant],
    side: Option<RefCell<PeerSide>>,
    device: &'a Device,
    turns: Turns,
}

impl Table<'_> {
    fn model(&self) -> String {
        self.configs[0].model.architecture.to_string()
    }

    /// PyTorch's requests that satisfy `wanted`, each with its variant's name.
    fn theirs<'b>(
        &'b self,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (String, Timed<'b, Fault>)> {
        let side = self.side.iter();
        side.flat_map(|side| {
            side.borrow().ways().into_iter().enumerate().map(move |own| (side, own))
        })
        .filter(move |(_, (_, way))| wanted(way))
        .map(|(side, (index, way))| {
            let timed: Timed<'b, Fault> =
                Box::new(move |steps| side.borrow_mut().time(index, steps).map_err(Fault::Theirs));
            (way.to_owned(), timed)
        })
    }

    fn time_steps(&self, comparison: &mut Comparison) -> Result<(), Error> {
        let mut keys = Vec::new();
        let mut timed: Vec<Timed<Fault>> = Vec::new();
        for own in self.entrants {
            keys.push((Some(own), own.optimizer().to_string()));
            let time = move |steps| self.device.time(|| (0..steps).for_each(|_| drop(own.step())));
            timed.push(Box::new(move |steps| time(steps).map_err(Fault::Ours)));
        }
        for (way, own) in self.theirs(|way| WAYS.iter().any(|(own, _)| *own == way)) {
            keys.push((None, way));
            timed.push(own);
        }
        let config = &self.configs[0];
        let samples = self.entrants[0].samples();
        let row = |own: Option<&Contestant>, way, times: Times| StepRow {
            side: if own.is_some() { Side::Alrao } else { Side::PyTorch },
            model: self.model(),
            way,
            mode: own.map(Contestant::mode),
            precision: config.train.precision.to_string(),
            width: config.model.width,
            samples,
            ms: 1e3 * times.median(),
            ms_min: 1e3 * times.least(),
            ms_max: 1e3 * times.most(),
            samples_per_second: samples as f64 / times.median(),
            launches: own.and_then(Contestant::launches),
            beside: None,
            times,
        };
        let outcomes = in_turn(timed, self.turns);
        let (rows, failed) = sorted(&self.model(), keys, outcomes, row)?;
        comparison.steps.extend(rows);
        comparison.failed.extend(failed);
        Ok(())
    }

    fn time_pieces(&self, comparison: &mut Comparison) -> Result<(), Error> {
        let is_alrao = |own: &&Contestant| own.optimizer() == Optimizer::Alrao;
        let Some(alrao) = self.entrants.iter().rfind(is_alrao) else { return Ok(()) };
        for (piece, ways) in PIECES {
            let part = Part::new(alrao, piece, self.device);
            let mut keys = vec![(Side::Alrao, FUSED.to_owned())];
            let ours: Timed<Fault> =
                Box::new(|passes| part.time(self.device, passes).map_err(Fault::Ours));
            let mut timed = vec![ours];
            for (way, own) in self.theirs(|way| ways.contains(&way)) {
                keys.push((Side::PyTorch, way));
                timed.push(own);
            }
            let has_modes = matches!(self.device, Device::Gpu(_));
            let mode = |side| match side {
                Side::Alrao => Mode::Captured,
                Side::PyTorch => Mode::Eager,
            };
            let row = |side, way, times: Times| PieceRow {
                mode: has_modes.then(|| mode(side)),
                side,
                model: self.model(),
                piece,
                way,
                us: 1e6 * times.median(),
                us_min: 1e6 * times.least(),
                us_max: 1e6 * times.most(),
                beside: None,
                times,
            };
            let outcomes = in_turn(timed, self.turns);
            let (rows, failed) = sorted(&self.model(), keys, outcomes, row)?;
            comparison.pieces.extend(rows);
            comparison.failed.extend(failed);
        }
        Ok(())
    }
}
