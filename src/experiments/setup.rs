//! Setups: a row's model and data, ready to be trained.

use std::rc::Rc;

use super::method::Method;
use super::options::{Options, Size};
use super::plan::{PlannedRun, Work};
use super::record::{Ending, Epoch, Record, Records};
use super::rows::{Row, Source, is_data_of};
use super::statistics::{Estimate, series};
use super::{device_kind, quick};
use crate::alrao::Task;
use crate::data::{self, Content, Dataset, LoadOptions, Part, TokenKind};
use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::learn::memory::check_fits;
use crate::learn::settings::{DeviceSettings, LearningSettings};
use crate::models::{self, Architecture};
use crate::nn::Init;
use crate::plots::{Series, Stroke};
use crate::supervised::settings::{Settings, SupervisedSettings, is_generated};
use crate::supervised::{input, kind};

/// Epochs without a better validation loss after which a run ends, in the paper.
pub(super) const PATIENCE: u64 = 20;

/// A run has learnt if its test loss is below this fraction of [`Dataset::class_entropy`], which a model reaches that knows
/// only how frequent each class is.
const LEARNT: f64 = 0.98;

/// The same in words, for reports.
pub(super) const LEARNT_MEANS: &str =
    "a test loss 2 % below the entropy of the training data's classes";

/// A model and its data, ready to be trained by several methods.
pub(super) struct Setup {
    /// The row's name, or the model and the data if they are not the row's.
    pub name: String,
    pub row: &'static Row,
    pub dataset: Rc<Dataset>,
    pub classes: usize,
    /// A run has learnt if its test loss is below this, in nats.
    pub learnt_below: f64,
    pub epochs: u64,
    pub seeds: u64,
    /// The settings that all methods share.
    pub base: Settings,
}

/// The names of the runs of one method, one for each seed.
pub(super) struct Group {
    pub method: Method,
    pub names: Vec<String>,
}

impl Group {
    pub fn records<'a>(&self, records: &'a Records) -> impl Iterator<Item = &'a Record> + Clone {
        let own: Vec<&Record> = self.names.iter().map(|name| records.get(name)).collect();
        own.into_iter()
    }

    /// Mean and deviation of a value over the runs; `None` if a run lacks it.
    pub fn estimate(
        &self,
        records: &Records,
        value: impl Fn(&Record) -> Option<f64>,
    ) -> Option<Estimate> {
        Estimate::of(self.records(records).map(value))
    }

    /// How many runs ended in this way, as `2 of 5`.
    pub fn count(&self, records: &Records, ending: Ending) -> String {
        let count = self.records(records).filter(|run| run.ending == ending).count();
        format!("{count} of {}", self.names.len())
    }

    /// How many runs did not learn, as `2 of 5`; failed runs are not counted.
    pub fn unlearnt(&self, records: &Records, setup: &Setup) -> String {
        let known = self.records(records).filter(|run| !run.has_failed());
        let count = known.clone().filter(|run| !run.has_learnt(setup.learnt_below)).count();
        format!("{count} of {}", known.count())
    }

    /// Whether a run failed, so that nothing can be said about the group.
    pub fn has_failed(&self, records: &Records) -> bool {
        self.records(records).any(Record::has_failed)
    }

    /// Mean over the runs, by epoch. A run that stopped early keeps its last value; a run that diverged ends the curve.
    pub fn curve(
        &self,
        records: &Records,
        value: impl Fn(&Epoch) -> Option<f64>,
    ) -> Vec<(f64, f64)> {
        self.estimates(records, value).into_iter().map(|(epoch, own)| (epoch, own.mean)).collect()
    }

    /// The same with the deviations between the runs.
    pub fn estimates(
        &self,
        records: &Records,
        value: impl Fn(&Epoch) -> Option<f64>,
    ) -> Vec<(f64, Estimate)> {
        let runs: Vec<&Record> = self.records(records).collect();
        let last = runs.iter().map(|run| run.epochs.len()).max().unwrap_or(0);
        let at = |run: &&Record, epoch: usize| match run.epochs.get(epoch) {
            Some(own) => value(own),
            None => run.last().and_then(&value),
        };
        let of = |epoch: usize| Estimate::of(runs.iter().map(|run| at(run, epoch)));
        (0..last).map_while(|epoch| Some(((epoch + 1) as f64, of(epoch)?))).collect()
    }

    /// A curve of estimates, with the deviations as a band.
    pub fn line(&self, points: impl IntoIterator<Item = (f64, Estimate)>) -> Series {
        let points = points.into_iter().map(|(x, own)| (x, Some(own)));
        let stroke = Stroke::Dotted(if self.method.is_alrao() { 3 } else { 2 });
        series(self.method.label(), points, self.method.colour(), stroke).as_band()
    }
}

/// The setups of the rows in `options`, or of the `usual` rows.
///
/// # Errors
/// If a row or its data does not exist, or if the data does not fit the model.
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
            return Err(Error::field("row", format!("{name} is there twice")));
        }
        let mut own = setup(row, options, size, device, setups.last())?;
        if setups.iter().any(|setup| setup.file_name() == own.file_name()) {
            own.name = format!("{} as {}", own.name, row.name);
        }
        setups.push(own);
    }
    Ok(setups)
}

/// The titles of all setups, on one line.
pub(super) fn titles(setups: &[Setup]) -> String {
    setups.iter().map(Setup::title).collect::<Vec<_>>().join("; ")
}

fn setup(
    row: &'static Row,
    options: &Options,
    size: Size,
    device: DeviceKind,
    before: Option<&Setup>,
) -> Result<Setup> {
    let architecture = options.model.unwrap_or(row.architecture);
    let source = source(row, options)?;
    let width = options.width.unwrap_or(if options.quick { row.quick_width } else { row.width });
    let samples = options.quick.then(|| quick::samples(architecture, width, size));
    let dataset = match before {
        Some(before) if before.has_data_for(architecture, samples) => before.dataset.clone(),
        _ => {
            let image_size = architecture.usual_side();
            let loading = LoadOptions { image_size, samples, ..LoadOptions::default() };
            Rc::new(data::load_with(&source, kind(architecture), &loading)?)
        }
    };
    let is_of_images = matches!(
        &dataset.content,
        Content::Arrays(arrays) if matches!(arrays.sample, data::Input::Image { .. })
    );
    let classes = classes(&dataset, &source)?;
    let seeds = options.seeds_or(size.seeds.unwrap_or(row.seeds))?;
    let epochs = options.epochs.unwrap_or(size.epochs);
    let task = SupervisedSettings {
        model: Some(architecture),
        width: Some(width),
        // The paper crops and flips its images.
        augment: Some(is_of_images && !is_generated(&source)),
        samples,
        epochs: Some(epochs),
        patience: Some(PATIENCE),
        data: Some(source),
        ..SupervisedSettings::default()
    };
    let batch_size = Some(batch_size(row, architecture, &dataset, options.quick)?);
    let learning = LearningSettings { batch_size, ..LearningSettings::default() };
    let device = DeviceSettings { device: Some(device), threads: None };
    let base = Settings::new(task, learning, device);
    let name = name(row, architecture, &dataset);
    let learnt_below = LEARNT * dataset.class_entropy().unwrap_or_default();
    let own = Setup { name, row, dataset, classes, learnt_below, epochs, seeds, base };
    let config = own.base.resolve()?;
    let input = input(&own.dataset);
    let built = models::build(&config.model, input, &mut Init::shapes_only());
    built.map_err(|error| match error {
        Error::Input { message, .. } if options.data.is_none() && options.model.is_none() => {
            let wanted = row.source.wanted();
            Error::field("data", format!("row {} needs {wanted}; its model {message}", row.name))
        }
        other => other,
    })?;
    check_fits(&config.model, input, [config.alrao.classifiers, classes], &config.train)?;
    Ok(own)
}

/// The value of `--data` for a row.
fn source(row: &Row, options: &Options) -> Result<String> {
    match &options.data {
        Some(data) if data.is_empty() => {
            Err(Error::field("data", "is empty; give a file, a folder, or generated"))
        }
        Some(data) => Ok(data.clone()),
        None if options.quick || row.source == Source::Generated => Ok("generated".into()),
        None => {
            let wanted = row.source.wanted();
            let message = format!("row {} wants {wanted}; or give `quick`", row.name);
            Err(Error::field("data", message))
        }
    }
}

fn classes(dataset: &Dataset, source: &str) -> Result<usize> {
    match &dataset.content {
        Content::Text(text) => Ok(text.vocabulary.len()),
        Content::Arrays(arrays) => match arrays.task {
            Task::Classification { classes } => Ok(classes),
            Task::Regression { .. } => {
                let message = "has targets and no labels, and the paper's experiments are about classes; a regression is \
                               learnt by alrao train";
                Err(Error::input(format!("`data` {source}"), message))
            }
        },
    }
}

/// The row's batch size; with `--quick` it is no larger than the data.
fn batch_size(
    row: &Row,
    architecture: Architecture,
    dataset: &Dataset,
    is_quick: bool,
) -> Result<usize> {
    let mut usual = Settings::default();
    usual.task.model = Some(architecture);
    let usual = usual.resolve()?.train.batch_size;
    let own = row.batch_size.unwrap_or(usual);
    // A text has columns of at least two characters or words.
    let (most, what) = match &dataset.content {
        Content::Arrays(arrays) => (arrays.train.len(), "samples"),
        Content::Text(text) => {
            let parts = [Part::Train, Part::Valid, Part::Test];
            let least = parts.iter().filter_map(|part| text.part(*part)).map(<[i32]>::len).min();
            (least.unwrap_or(0) / 2, "columns")
        }
    };
    let wanted = if is_quick { own.min(usual).min(most) } else { own };
    if (1..=most).contains(&wanted) {
        return Ok(wanted);
    }
    let advice = if is_quick { "" } else { "; with `quick`, batches are as small as the data" };
    let message = format!("takes {} {what} a step, and the data has {most}{advice}", wanted.max(1));
    Err(Error::input(format!("`row` {}", row.name), message))
}

/// The row's name if model and data look like the row's; else the model's and the data's names.
fn name(row: &Row, architecture: Architecture, dataset: &Dataset) -> String {
    let is_own_data = is_data_of(row.source, dataset)
        || row.source == Source::Generated && dataset.name == "generated";
    if is_own_data && architecture == row.architecture {
        return row.name.to_owned();
    }
    let model = match row.name.split_once('/') {
        Some((_, model)) if architecture == row.architecture => model,
        _ => architecture.name(),
    };
    format!("{model} on {}", dataset.name)
}

impl Setup {
    pub fn architecture(&self) -> Architecture {
        self.base.task.model.unwrap_or(self.row.architecture)
    }

    /// Whether another architecture can use the data as it was loaded; the images of a folder have the architecture's size.
    fn has_data_for(&self, architecture: Architecture, samples: Option<usize>) -> bool {
        let own = self.architecture();
        let is_resized = self.dataset.files().is_some();
        kind(own) == kind(architecture)
            && self.base.task.samples == samples
            && (!is_resized || own.usual_side() == architecture.usual_side())
    }

    /// The name with only characters that a file's name can have.
    pub fn file_name(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
        self.name.replace(" on ", "-").chars().map(plain).collect()
    }

    /// The model and the data.
    pub fn title(&self) -> String {
        let width = self.base.task.width.unwrap_or(1.0);
        let width = if width == 1.0 { String::new() } else { format!(" at width {width}") };
        format!("{}{width} on {}", self.architecture(), self.dataset.name)
    }

    /// The unit of losses in reports, and its factor on nats: bits per character for characters, as in the paper.
    pub fn loss_unit(&self) -> (&'static str, f64) {
        match &self.dataset.content {
            Content::Text(text) if text.vocabulary.kind() == TokenKind::Character => {
                ("bits per character", std::f64::consts::LOG2_E)
            }
            _ => ("nats", 1.0),
        }
    }

    /// Adds the runs of a method to a plan, one for each seed.
    ///
    /// # Errors
    /// If the settings contradict each other.
    pub fn plan(&self, method: Method, runs: &mut Vec<PlannedRun>) -> Result<Group> {
        self.plan_with(method, &Settings::default(), runs)
    }

    /// The same with further settings.
    pub fn plan_with(
        &self,
        method: Method,
        own: &Settings,
        runs: &mut Vec<PlannedRun>,
    ) -> Result<Group> {
        let mut names = Vec::new();
        for seed in 0..self.seeds {
            let name = format!("{}-{}-seed-{seed}", self.file_name(), method.name());
            let mut settings = own.clone().over(method.settings(&self.base));
            settings.learning.seed = Some(seed);
            let work = Work::Supervised(settings.resolve()?);
            runs.push(PlannedRun { name: name.clone(), work });
            names.push(name);
        }
        Ok(Group { method, names })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::differences::differences;
    use super::super::record::made_up;
    use super::*;

    fn quick(options: Options) -> Result<Vec<Setup>> {
        let size = Size { settings: 9, epochs: 3, seeds: Some(1) };
        let cpu = DeviceKind::Cpu;
        setups(&Options { quick: true, device: cpu, ..options }, &["cifar10/vgg19"], [size; 2])
    }

    #[test]
    fn a_row_on_other_data_has_another_name_and_is_not_compared() {
        let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect();
        let setups = quick(Options {
            rows: rows(&["cifar10/vgg19", "generated/cnn"]),
            ..Options::default()
        });
        let setups = setups.unwrap();
        assert_eq!(setups[0].name, "vgg19 on generated");
        assert_eq!(
            (setups[1].name.as_str(), setups[1].file_name().as_str()),
            ("generated/cnn", "generated-cnn")
        );
        assert!(!setups[0].is_comparable() && !setups[1].is_comparable());
        let texts = differences(&setups, Setup::differences);
        assert!(
            texts.iter().all(|text| text.starts_with("vgg19 on") || text.starts_with("generated/"))
        );
        let twice = Options {
            rows: rows(&["cifar10/mobilenetv2", "cifar10/mobilenetv2-width3"]),
            model: Some(Architecture::Mlp),
            ..Options::default()
        };
        let names: Vec<String> = quick(twice).unwrap().iter().map(Setup::file_name).collect();
        assert_eq!(names, ["mlp-generated", "mlp-generated-as-cifar10-mobilenetv2-width3"]);
    }

    /// A row on a data set of CIFAR-10's sizes that holds no pixels.
    pub(in super::super) fn on_cifar10(row: &str, width: f64, images: usize) -> Setup {
        let row = Row::find(row).unwrap();
        let mut dataset = data::load("generated", data::Kind::Arrays, 0.2).unwrap();
        let part = |images: usize| {
            let targets = data::Targets::Classes((0..images as i32).map(|n| n % 10).collect());
            std::sync::Arc::new(data::Split::new(data::Inputs::Bytes(Vec::new()), targets))
        };
        if let Content::Arrays(arrays) = &mut dataset.content {
            (arrays.train, arrays.valid) = (part(images - 20_000), Some(part(10_000)));
            arrays.test = Some(part(10_000));
        }
        dataset.name = "cifar10".into();
        let mut base = Settings::default();
        (base.task.model, base.task.width) = (Some(row.architecture), Some(width));
        Setup {
            name: name(row, row.architecture, &dataset),
            row,
            dataset: Rc::new(dataset),
            classes: 10,
            learnt_below: 2.25,
            epochs: 1,
            seeds: 1,
            base,
        }
    }

    #[test]
    fn a_row_that_generated_images_are_too_small_for_asks_for_a_folder() {
        let rows = vec!["imagenet/alexnet".into()];
        let error = quick(Options { rows, ..Options::default() }).err().unwrap().to_string();
        assert!(error.starts_with("`data`: row imagenet/alexnet needs a folder"), "{error}");
    }

    #[test]
    fn runs_that_failed_say_nothing_about_learning() {
        let mut records = Records::default();
        let endings = [
            (Some(0.5), Ending::Finished),
            (Some(9.0), Ending::Finished),
            (None, Ending::Diverged),
            (None, Ending::Failed),
        ];
        let names: Vec<String> = (0..4).map(|number| number.to_string()).collect();
        for (name, (loss, ending)) in names.iter().zip(endings) {
            records.by_name.insert(name.clone(), made_up(&[loss], loss, ending));
        }
        let group = Group { method: Method::AdamDefault, names };
        let setup = quick(Options { model: Some(Architecture::Mlp), ..Options::default() });
        let mut setup = setup.unwrap().remove(0);
        // Ten classes, about as frequent.
        assert!((2.25..2.2566).contains(&setup.learnt_below), "{}", setup.learnt_below);
        assert_eq!(group.unlearnt(&records, &setup), "2 of 3");
        setup.learnt_below = 0.5;
        assert_eq!(group.unlearnt(&records, &setup), "3 of 3");
        assert_eq!(group.count(&records, Ending::Failed), "1 of 4");
        assert!(group.has_failed(&records));
    }
}
