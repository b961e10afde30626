//! One row at the size it is trained at.

use std::rc::Rc;

use super::device_kind;
use super::method::Method;
use super::options::{Options, Size};
use super::plan::{PlannedRun, Work};
use super::record::{Record, Records};
use super::rows::{ROWS, Row, Source};
use super::statistics::Estimate;
use crate::data::{self, Content, Dataset, LoadOptions, Part, TokenKind};
use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::models::{self, Architecture};
use crate::nn::Init;
use crate::train::settings::{Settings, is_generated};
use crate::train::{input, kind};

/// Epochs without a better validation loss after which a run ends, in the paper.
const PATIENCE: u64 = 20;

/// A model and its data, ready to be trained in several ways.
pub(super) struct Setup {
    pub row: &'static Row,
    pub dataset: Rc<Dataset>,
    pub classes: usize,
    pub epochs: u64,
    pub seeds: u64,
    /// What all ways of training share.
    pub base: Settings,
}

/// The runs of one way of training, by name, one for each seed.
pub(super) struct Group {
    pub method: Method,
    pub names: Vec<String>,
}

impl Group {
    pub fn records<'a>(&self, records: &'a Records) -> impl Iterator<Item = &'a Record> + Clone {
        let own: Vec<&Record> = self.names.iter().map(|name| records.get(name)).collect();
        own.into_iter()
    }

    /// Mean over the runs of a value that each has.
    pub fn estimate(
        &self,
        records: &Records,
        value: impl Fn(&Record) -> Option<f64>,
    ) -> Option<Estimate> {
        Estimate::of(self.records(records).map(value))
    }

    /// Mean over the runs, by epoch; a run that ended early keeps its last value, and one that diverged ends the curve.
    pub fn curve(
        &self,
        records: &Records,
        value: impl Fn(&super::record::Epoch) -> Option<f64>,
    ) -> Vec<(f64, f64)> {
        let runs: Vec<&Record> = self.records(records).collect();
        let last = runs.iter().map(|run| run.epochs.len()).max().unwrap_or(0);
        let at = |run: &&Record, epoch: usize| match run.epochs.get(epoch) {
            Some(own) => value(own),
            None => run.test.as_ref().and(run.epochs.last()).and_then(&value),
        };
        let mean = |epoch: usize| Estimate::of(runs.iter().map(|run| at(run, epoch)));
        (0..last).map_while(|epoch| Some(((epoch + 1) as f64, mean(epoch)?.mean))).collect()
    }
}

/// The setups of the rows that were asked for.
///
/// # Errors
/// Where a row or its data is not there, or does not fit the model.
pub(super) fn setups(
    options: &Options,
    usual: &[&str],
    [whole, quick]: [Size; 2],
) -> Result<Vec<Setup>> {
    let device = device_kind(options)?;
    let names: Vec<&str> = match options.rows.is_empty() {
        false => options.rows.iter().map(String::as_str).collect(),
        true if options.quick => vec!["generated/cnn"],
        true => usual.to_vec(),
    };
    let size = if options.quick { quick } else { whole };
    let mut setups: Vec<Setup> = Vec::new();
    for name in names {
        let row = Row::find(name)?;
        if setups.iter().any(|setup| setup.row.name == row.name) {
            return Err(Error::input("--row", format!("{name} is there twice")));
        }
        setups.push(setup(row, options, size, device, setups.last())?);
    }
    Ok(setups)
}

fn setup(
    row: &'static Row,
    options: &Options,
    size: Size,
    device: DeviceKind,
    before: Option<&Setup>,
) -> Result<Setup> {
    let architecture = options.model.unwrap_or(row.architecture);
    let source = match &options.data {
        Some(data) => data.clone(),
        None if options.quick || row.source == Source::Generated => "generated".into(),
        None => {
            let wanted = row.source.wanted();
            let message = format!("row {} wants {wanted}; or give --quick", row.name);
            return Err(Error::input("--data", message));
        }
    };
    let dataset = match before {
        Some(before) if before.has_data_for(architecture) => before.dataset.clone(),
        _ => {
            let image_size = architecture.usual_side();
            let loading = LoadOptions { image_size, ..LoadOptions::default() };
            Rc::new(data::load_with(&source, kind(architecture), &loading)?)
        }
    };
    let is_of_images = matches!(
        &dataset.content,
        Content::Arrays(arrays) if matches!(arrays.sample, data::SampleShape::Image { .. })
    );
    let width = if options.quick { row.quick_width } else { row.width };
    let seeds = options.seeds.or(size.seeds).unwrap_or(row.seeds);
    if seeds == 0 {
        return Err(Error::input("--seeds", "0 is not possible; give at least 1"));
    }
    let epochs = options.epochs.unwrap_or(size.epochs);
    let base = Settings {
        model: Some(architecture),
        width: Some(options.width.unwrap_or(width)),
        // As the paper, which crops and flips what it reads.
        augment: Some(is_of_images && !is_generated(&source)),
        data: Some(source),
        batch_size: row.batch_size,
        epochs: Some(epochs),
        patience: Some(PATIENCE),
        device: Some(device),
        ..Settings::default()
    };
    let classes = match &dataset.content {
        Content::Arrays(arrays) => arrays.task.outputs(),
        Content::Text(text) => text.vocabulary.len(),
    };
    let own = Setup { row, dataset, classes, epochs, seeds, base };
    let config = own.base.resolve()?;
    models::build(&config.model, input(&own.dataset), &mut Init::shapes_only())?;
    Ok(own)
}

impl Setup {
    pub fn architecture(&self) -> Architecture {
        self.base.model.unwrap_or(self.row.architecture)
    }

    /// Whether another architecture can learn from the same data; a folder's images are read in a size of its own.
    fn has_data_for(&self, architecture: Architecture) -> bool {
        let own = self.architecture();
        let is_resized = self.dataset.files().is_some();
        kind(own) == kind(architecture)
            && (!is_resized || own.usual_side() == architecture.usual_side())
    }

    /// The row's name as a part of a file's name.
    pub fn file_name(&self) -> String {
        self.row.name.replace('/', "-")
    }

    /// What is trained on what.
    pub fn title(&self) -> String {
        let width = self.base.width.unwrap_or(1.0);
        let width = if width == 1.0 { String::new() } else { format!(" at width {width}") };
        format!("{}{width} on {}", self.architecture(), self.dataset.name)
    }

    /// Whether losses and accuracies can stand beside the paper's.
    pub fn is_comparable(&self) -> bool {
        let is_its_data = match self.row.source {
            Source::Cifar10 => self.dataset.name == "cifar10",
            Source::ImageNet => self.classes == 1000,
            Source::PennTreebank => matches!(self.dataset.content, Content::Text(_)),
            Source::Generated => false,
        };
        let width = self.base.width.unwrap_or(1.0);
        let is_its_model = self.architecture() == self.row.architecture && width == self.row.width;
        is_its_data && is_its_model && !is_generated(self.base.data.as_deref().unwrap_or_default())
    }

    /// Losses of characters are in bits per character, as the paper's.
    pub fn loss_unit(&self) -> (&'static str, f64) {
        match &self.dataset.content {
            Content::Text(text) if text.vocabulary.kind() == TokenKind::Character => {
                ("bits per character", std::f64::consts::LOG2_E)
            }
            _ => ("nats", 1.0),
        }
    }

    /// Adds the runs of a way of training to a plan, one for each seed.
    ///
    /// # Errors
    /// Where the settings contradict each other.
    pub fn plan(&self, method: Method, runs: &mut Vec<PlannedRun>) -> Result<Group> {
        self.plan_with(method, &Settings::default(), runs)
    }

    /// The same with some settings of its own.
    pub fn plan_with(
        &self,
        method: Method,
        own: &Settings,
        runs: &mut Vec<PlannedRun>,
    ) -> Result<Group> {
        let mut names = Vec::new();
        for seed in 0..self.seeds {
            let name = format!("{}-{}-seed-{seed}", self.file_name(), method.name());
            let settings = method.settings(&self.base);
            let settings = Settings { seed: Some(seed), ..Settings::default() }
                .over(own.clone())
                .over(settings);
            let work = Work::Supervised(settings.resolve()?);
            runs.push(PlannedRun { name: name.clone(), work });
            names.push(name);
        }
        Ok(Group { method, names })
    }

    /// Where the run's size is not the paper's.
    pub fn differences(&self) -> Vec<String> {
        let row = self.row;
        let mut differences = vec![format!("Data: {}.", self.dataset.description())];
        if !self.dataset.has(Part::Test) {
            let stands_in =
                "The data has no test part: what is called test is the best epoch's validation.";
            differences.push(stands_in.into());
        }
        let paper = ROWS.iter().filter(|other| other.source != Source::Generated);
        if self.architecture() != row.architecture || self.base.width != Some(row.width) {
            let width = self.base.width.unwrap_or(1.0);
            let own = self.architecture();
            let names = paper.map(|row| row.architecture.name());
            let theirs = match row.source {
                Source::Generated => format!("the paper's models are {}", distinct(names)),
                _ => format!("the paper's is {} at width {}", row.architecture, row.width),
            };
            differences.push(format!("Model: {own} at width {width}; {theirs}."));
        } else if row.source == Source::Generated {
            differences.push(format!("Model: {}, which is not in the paper.", row.architecture));
        }
        let theirs = match row.source {
            Source::Generated => String::new(),
            _ => format!("; the paper's {}", row.seeds),
        };
        differences.push(format!("Runs of each setting: {}{theirs}.", self.seeds));
        differences.push(format!(
            "Epochs: at most {}, fewer where the validation loss has not improved for {PATIENCE}; the paper has no limit.",
            self.epochs
        ));
        differences
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut list: Vec<&str> = Vec::new();
    names.for_each(|name| {
        if !list.contains(&name) {
            list.push(name);
        }
    });
    list.join(", ")
}
