//! A trained model that predicts, built from its checkpoint alone.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::fit::{match_arrays, remark_on_scale};
use super::model_source::{ModelSource, lacks_part};
use crate::data::{
    Content, Inputs, Kind, Normalisation, Part, SampleForm, Samples, are_folder_means, least_bytes,
};
use crate::device::Device;
use crate::error::{Error, Result, quoted};
use crate::learn::{EvaluationPrecision, TrainConfig, Trained, load, load_into, locate, memory};
use crate::models::Input;
use crate::nn::Module;
use crate::ops::input::augment::images_from_bytes;
use crate::task::Task;
use crate::tensor::Tensor;

/// The numbers of one batch of samples, about.
const BATCH_ELEMENTS: usize = 1 << 20;

/// The fewest and the most samples of a batch.
const BATCH_SIZES: [usize; 2] = [16, 1024];

/// A trained model of images or vectors. It needs neither the training data nor a configuration.
///
/// ```
/// use alrao::data::{self, Inputs, Kind};
/// use alrao::learn::{Silent, TrainConfig};
/// use alrao::nn::{Init, Linear};
/// use alrao::supervised::{Predictor, Trainer};
/// use alrao::{Alrao, AlraoConfig, Device};
/// # let folder = tempfile::tempdir().unwrap();
/// # let (table, file) = (folder.path().join("points.csv"), folder.path().join("model.safetensors"));
/// # let lines: String = (0..60).map(|i| format!("{},{},{}\n", i % 7, i % 5, if i % 7 > 3 { "right" } else { "left" })).collect();
/// # std::fs::write(&table, format!("x,y,side\n{lines}")).unwrap();
/// # let mut options = data::LoadOptions::default();
/// # options.table.target = Some("side".into());
/// let dataset = data::load_with(table.to_str().unwrap(), Kind::Arrays, &options)?;
/// let network = || Linear::new(2, 8, &mut Init::new(0));
/// let model = Alrao::classifier(network(), 2, AlraoConfig::default());
/// let config = TrainConfig { epochs: 3, batch_size: 8, ..TrainConfig::default() };
/// Trainer::new(model, dataset, config).save_to(&file).run(&Device::cpu(), &mut Silent)?;
///
/// let predictor = Predictor::load(&file, network(), &Device::cpu())?;
/// let predictions = predictor.predict(&Inputs::Floats(vec![6.0, 1.0, 0.0, 4.0]))?;
/// let (class, probability) = predictions.likeliest(0, 1)[0];
/// println!("{}: {probability}", predictor.class_name(class));
/// # assert_eq!(predictions.len(), 2);
/// # assert!(["left", "right"].contains(&&*predictor.class_name(class)));
/// # let sum: f32 = predictions.row(1).iter().sum();
/// # assert!((sum - 1.0).abs() < 1e-5);
/// # Ok::<(), alrao::Error>(())
/// ```
pub struct Predictor {
    /// The run's directory or the checkpoint.
    source: PathBuf,
    trained: Trained,
    form: SampleForm,
    inputs: Option<Normalisation>,
    targets: Option<Normalisation>,
    /// The same as `inputs` on the device, F64 `[C]` each; of images in bytes only.
    statistics: Option<[Tensor; 2]>,
    class_names: Option<Vec<String>>,
}

/// The predictions for some samples: probabilities of the classes `[n, K]`, or values in the targets' own units `[n, D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    numbers: Vec<f32>,
    columns: usize,
}

impl Predictor {
    /// A model whose network is one of alrao's own, from a run's directory (its best model) or a checkpoint.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file: it is not a whole checkpoint, is of a text model, or of a network of its author's
    /// own.
    pub fn open(source: impl AsRef<Path>, device: &Device) -> Result<Predictor> {
        let source = source.as_ref();
        let (file, _) = locate(source)?;
        Predictor::new(load(&file, TrainConfig::default(), device)?, &file, source, device)
    }

    /// A model whose network is your own, from a run's directory or from a checkpoint, such as [`super::Trainer::save_to`]
    /// writes. `pre_classifier` is the network that was trained; its weights are replaced.
    ///
    /// # Errors
    /// As [`Predictor::open`]; if the network has other parameters than the checkpoint, the message lists the differences.
    ///
    /// # Panics
    /// If the network does not take the inputs that the checkpoint describes.
    pub fn load(
        source: impl AsRef<Path>,
        pre_classifier: impl Module + 'static,
        device: &Device,
    ) -> Result<Predictor> {
        let source = source.as_ref();
        let (file, _) = locate(source)?;
        Predictor::new(load_into(Box::new(pre_classifier), &file, device)?, &file, source, device)
    }

    fn new(trained: Trained, file: &Path, source: &Path, device: &Device) -> Result<Predictor> {
        let record = &trained.record;
        let sample = record.input().map_err(|message| Error::file(file, message))?;
        if let Input::Tokens { .. } = sample {
            let message = "is a model of text, which predicts no samples: `alrao sample` writes a text with it, and `alrao eval` \
                           measures it on one";
            return Err(Error::file(file, message));
        }
        let [inputs, targets] = [&record.normalisation, &record.target_normalisation]
            .map(|pair| pair.as_ref().map(Normalisation::of_pair));
        record.check_columns(sample).map_err(|message| Error::file(file, message))?;
        let form = SampleForm {
            sample,
            is_bytes: record.input_type.as_deref().map(|own| own == "bytes"),
            table: record.table.clone(),
            is_cut_out: inputs.as_ref().is_some_and(|own| are_folder_means(&own.mean)),
            is_padded: record.padded,
            threads: device.host_threads(),
        };
        let statistics = match sample {
            Input::Image { channels, .. } => Some(channels),
            Input::Vector { .. } | Input::Tokens { .. } => None,
        };
        let statistics = statistics.map(|channels| {
            let own = inputs.clone().unwrap_or_else(|| Normalisation::identity(channels));
            [own.mean, own.deviation].map(|own| Tensor::from_slice(device, [own.len()], &own))
        });
        let class_names = record.classes.clone();
        let source = source.to_owned();
        Ok(Predictor { source, trained, form, inputs, targets, statistics, class_names })
    }

    /// What the model takes.
    pub fn form(&self) -> &SampleForm {
        &self.form
    }

    /// Classification or regression.
    pub fn task(&self) -> Task {
        self.trained.record.task()
    }

    /// The name of a class; its number if the model's classes have none.
    pub fn class_name(&self, class: usize) -> String {
        let name = self.class_names.as_ref().and_then(|names| names.get(class));
        name.cloned().unwrap_or_else(|| class.to_string())
    }

    /// The column that a model of a table predicts.
    pub fn target(&self) -> Option<&str> {
        self.form.table.as_ref().map(|table| &*table.target)
    }

    /// Gives the classes names, by number.
    ///
    /// # Errors
    /// [`Error::Input`] if there are not as many names as classes, if the classes have names, or if the model predicts values.
    pub fn set_class_names(&mut self, names: Vec<String>) -> Result<()> {
        check_class_names(&names, self.task(), self.class_names.as_deref())?;
        self.class_names = Some(names);
        Ok(())
    }

    /// Remarks on the model's file.
    pub fn notes(&self) -> &[String] {
        &self.trained.notes
    }

    /// The precision of training and of predictions.
    pub fn precision(&self) -> EvaluationPrecision {
        self.trained.precision
    }

    /// Samples in a batch that suits the model: for [`Samples::batches`].
    pub fn batch_size(&self) -> usize {
        let [fewest, most] = BATCH_SIZES;
        (BATCH_ELEMENTS / self.form.sample.elements().max(1)).clamp(fewest, most)
    }

    /// Reads samples with or without targets; see [`Samples::read`].
    ///
    /// # Errors
    /// As [`Samples::read`]; [`Error::Input`] if they do not fit into memory.
    pub fn read(&self, source: &str) -> Result<Samples> {
        memory::check_data(source, least_bytes(source, Kind::Arrays))?;
        Samples::read(source, &self.form)
    }

    /// Reads the samples of one part of data with their targets; the run's own data if `data` is `None`. It is divided into parts
    /// as in the training, and classes are numbered as the model's.
    ///
    /// # Errors
    /// [`Error::Input`] if the data is not known or not there, does not fit the model, or lacks the part.
    pub fn read_part(&self, data: Option<&str>, part: Part) -> Result<Samples> {
        let own = ModelSource::of(&self.source, data)?;
        let (dataset, part, mut notes) = own.load(Some(part), self.trained.learner.device())?;
        let wrong = |message: String| Error::input(format!("`data` {}", own.data), message);
        let Content::Arrays(mut arrays) = dataset.content else {
            return Err(wrong("is a text, which the model does not take".into()));
        };
        notes.extend(match_arrays(&mut arrays, &own.record).map_err(wrong)?);
        let samples = Samples::of_part(arrays, part, Path::new(&own.data), &self.form)?;
        let mut samples = samples.ok_or_else(|| lacks_part(&own.data, part))?;
        samples.notes = notes;
        Ok(samples)
    }

    /// A remark on samples that differ much from the training data, as if they were on another scale; `None` for images in files.
    pub fn note_on_scale(&self, samples: &Samples) -> Option<String> {
        remark_on_scale(samples.inputs()?, samples.len(), self.inputs.as_ref()?)
    }

    /// Predicts samples as they were before the training standardised them: images `[n, H, W, C]` or vectors `[n, D]`.
    ///
    /// # Errors
    /// [`Error::Input`] if they are not whole samples, of another type than the training data, or not finite; otherwise the
    /// failure of the device.
    pub fn predict(&self, inputs: &Inputs) -> Result<Predictions> {
        self.check(inputs)?;
        let samples = inputs.elements() / self.form.sample.elements();
        let mut numbers = Vec::with_capacity(samples * self.task().outputs());
        for start in (0..samples).step_by(self.batch_size()) {
            let range = start..(start + self.batch_size()).min(samples);
            let prediction = self.trained.learner.predict(&self.tensor(inputs, range));
            self.trained.learner.device().check()?;
            let is_class = matches!(self.task(), Task::Classification { .. });
            let number = |own: f64| if is_class { own.exp() } else { own } as f32;
            numbers.extend(prediction.to_f64s().into_iter().map(number));
        }
        if let Some(targets) = &self.targets {
            targets.undo(&mut numbers);
        }
        Ok(Predictions { numbers, columns: self.task().outputs() })
    }

    fn check(&self, inputs: &Inputs) -> Result<()> {
        let refused = |message: String| Err(Error::input("inputs", message));
        let SampleForm { sample, is_bytes, .. } = &self.form;
        let (elements, own) = (inputs.elements(), !matches!(inputs, Inputs::Floats(_)));
        if own && matches!(sample, Input::Vector { .. })
            || is_bytes.is_some_and(|known| known != own)
        {
            let name = |is_bytes| if is_bytes { "bytes" } else { "floats" };
            return refused(format!(
                "are {}, and the model was trained on {}",
                name(own),
                name(!own)
            ));
        }
        if elements % sample.elements() != 0 {
            return refused(format!("have {elements} numbers, which are not whole {sample}"));
        }
        let Inputs::Floats(floats) = inputs else { return Ok(()) };
        match floats.iter().position(|own| !own.is_finite()) {
            Some(place) => {
                refused(format!("have {} in sample {}", floats[place], place / sample.elements()))
            }
            None => Ok(()),
        }
    }

    /// A range of the samples as the model takes them.
    fn tensor(&self, inputs: &Inputs, range: Range<usize>) -> Tensor {
        let (device, dtype) = (self.trained.learner.device(), self.trained.learner.dtype());
        let (width, shape) = (self.form.sample.elements(), self.form.sample.batch(range.len()));
        let own = range.start * width..range.end * width;
        let of_bytes = |bytes: &[u8]| {
            let [mean, deviation] = self.statistics.as_ref().expect("vectors are floats");
            let stored = Tensor::from_slice(device, &shape[..], bytes);
            images_from_bytes(&stored, None, mean, deviation, dtype, None)
        };
        match inputs {
            Inputs::Bytes(bytes) => of_bytes(&bytes[own]),
            Inputs::Files(files) => of_bytes(&files.gather(range)),
            Inputs::Floats(floats) => {
                let mut floats = floats[own].to_vec();
                if let Some(inputs) = &self.inputs {
                    inputs.apply(&mut floats);
                }
                Tensor::from_slice(device, &shape[..], &floats).cast(dtype)
            }
        }
    }
}

impl Predictions {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.numbers.len() / self.columns
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// A sample's probabilities or values. Panics if there is no such sample.
    pub fn row(&self, sample: usize) -> &[f32] {
        &self.numbers[sample * self.columns..(sample + 1) * self.columns]
    }

    /// A sample's likeliest classes, at most `count`, with their probabilities; the first of them is the likeliest. Panics if
    /// there is no such sample.
    pub fn likeliest(&self, sample: usize, count: usize) -> Vec<(usize, f32)> {
        let mut all: Vec<(usize, f32)> = self.row(sample).iter().copied().enumerate().collect();
        // Among equals, the class with the smaller number comes first; NaN comes last.
        let rank = |own: f32| if own.is_nan() { f32::NEG_INFINITY } else { own };
        all.sort_by(|a, b| rank(b.1).total_cmp(&rank(a.1)));
        all.truncate(count);
        all
    }
}

/// Reads the names of classes from a file, one a line.
///
/// # Errors
/// [`Error::Input`] naming the setting `class_names`, where the file cannot be read or a line has no name.
pub fn read_class_names(path: &Path) -> Result<Vec<String>> {
    let at = |message: String| Error::input(format!("`class_names` {}", path.display()), message);
    let text =
        fs::read_to_string(path).map_err(|error| at(format!("could not be read: {error}")))?;
    // Empty lines at the end do not count.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    if let Some(line) = names.iter().position(String::is_empty) {
        return Err(at(format!("line {} has no name; each class has a line", line + 1)));
    }
    let is_repeated = |line: &usize| names[..*line].contains(&names[*line]);
    match (0..names.len()).find(is_repeated) {
        Some(line) => Err(at(format!("line {} has the name '{}' again", line + 1, names[line]))),
        None => Ok(names),
    }
}

/// Checks that names go with a task.
///
/// # Errors
/// As [`Predictor::set_class_names`].
pub(super) fn check_class_names(
    names: &[String],
    task: Task,
    known: Option<&[String]>,
) -> Result<()> {
    let is_number = |name: &String| name.parse::<i64>().is_ok();
    if let Some(known) = known.filter(|known| !known.iter().all(is_number)) {
        let own = quoted(known.iter().take(3));
        let more = if known.len() > 3 { ", .." } else { "" };
        let message = format!("does not apply: the model's classes have names: {own}{more}");
        return Err(Error::field("class_names", message));
    }
    match task {
        Task::Classification { classes } if classes == names.len() => Ok(()),
        Task::Classification { classes } => {
            let message = format!("has {} names, the model {classes} classes", names.len());
            Err(Error::field("class_names", message))
        }
        Task::Regression { .. } => {
            Err(Error::field("class_names", "does not apply: the model predicts values"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_classes_come_first() {
        let numbers = vec![0.2, 0.5, 0.2, 0.1, f32::NAN, 0.1, 0.3, 0.0];
        let predictions = Predictions { numbers, columns: 4 };
        assert_eq!(predictions.len(), 2);
        assert_eq!(predictions.likeliest(0, 3), [(1, 0.5), (0, 0.2), (2, 0.2)]);
        let classes: Vec<usize> = predictions.likeliest(1, 9).iter().map(|own| own.0).collect();
        assert_eq!(classes, [2, 1, 3, 0]);
    }

    #[test]
    fn there_is_a_name_for_each_class() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.txt");
        std::fs::write(&path, "T-shirt/top\r\nTrouser\n\n").unwrap();
        let names = read_class_names(&path).unwrap();
        assert_eq!(names, ["T-shirt/top", "Trouser"]);
        assert!(check_class_names(&names, Task::Classification { classes: 2 }, None).is_ok());
        for task in [Task::Classification { classes: 3 }, Task::Regression { outputs: 2 }] {
            let error = check_class_names(&names, task, None).unwrap_err().to_string();
            assert!(error.starts_with("`class_names`: "), "{error}");
        }
        let two = Task::Classification { classes: 2 };
        let known = ["7", "9"].map(String::from);
        assert!(check_class_names(&names, two, Some(&known)).is_ok());
        let known = ["7", "no number"].map(String::from);
        let error = check_class_names(&names, two, Some(&known)).unwrap_err().to_string();
        assert!(error.contains("have names: '7', 'no number'"), "{error}");
        std::fs::write(&path, "a\n\nb\n").unwrap();
        assert!(read_class_names(&path).unwrap_err().to_string().contains("line 2 has no name"));
        let missing = read_class_names(&folder.path().join("no")).unwrap_err().to_string();
        assert!(missing.starts_with("`class_names` "), "{missing}");
    }
}
