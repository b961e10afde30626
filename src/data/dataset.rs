//! A data set in host memory: its parts, their samples, and the shape of one sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::validation::ValidationRule;
use super::{
    ImageFiles, Inputs, Normalisation, Part, Split, Table, Targets, Task, Text, TokenKind,
};
use crate::error::quoted;
use crate::fingerprint::Fingerprint;
use crate::input::Input;

/// Independent samples: images or vectors.
#[derive(Clone, Debug)]
pub struct Arrays {
    /// The training part; never empty.
    pub train: Arc<Split>,
    /// The validation part, if there is one.
    pub valid: Option<Arc<Split>>,
    /// The test part, if there is one.
    pub test: Option<Arc<Split>>,
    /// The kind and shape of every sample: images or vectors.
    pub sample: Input,
    /// Classification or regression.
    pub task: Task,
    /// How the stored inputs become the model's: of bytes, which are standardised when they become a batch, or of floats,
    /// which have been already. `None` for floats as they are.
    pub normalisation: Option<Normalisation>,
    /// How the targets were standardised, if they were.
    pub target_normalisation: Option<Normalisation>,
    /// The columns of a table, if the data is one.
    pub table: Option<Arc<Table>>,
    /// The classes' names by number, if they have any and are not folders; see [`Arrays::class_names`].
    pub names: Option<Vec<String>>,
}

impl Arrays {
    /// The samples of one part.
    pub fn part(&self, part: Part) -> Option<&Arc<Split>> {
        match part {
            Part::Train => Some(&self.train),
            Part::Valid => self.valid.as_ref(),
            Part::Test => self.test.as_ref(),
        }
    }

    /// Puts the parts together. Without a validation part, some of the training samples become one.
    pub(super) fn assemble(
        train: Split,
        valid: Option<Split>,
        test: Option<Split>,
        sample: Input,
        task: Task,
        rule: ValidationRule,
    ) -> Arrays {
        let (train, valid) = match valid {
            Some(valid) => (train, Some(valid)),
            None => rule.divide(train),
        };
        let normalisation = match (&train.inputs, sample) {
            (Inputs::Bytes(bytes), Input::Image { channels, .. }) => {
                Some(Normalisation::of(bytes, channels))
            }
            _ => None,
        };
        let (valid, test) = (valid.map(Arc::new), test.map(Arc::new));
        let train = Arc::new(train);
        let target_normalisation = None;
        let (table, names) = (None, None);
        Arrays {
            train,
            valid,
            test,
            sample,
            task,
            normalisation,
            target_normalisation,
            table,
            names,
        }
    }

    /// Changes the samples or targets of every part.
    pub(super) fn change_splits(&mut self, mut change: impl FnMut(&mut Split)) {
        let parts = [Some(&mut self.train), self.valid.as_mut(), self.test.as_mut()];
        parts.into_iter().flatten().for_each(|split| change(Arc::make_mut(split)));
    }

    /// Standardises floats among the inputs and targets of all parts by the training part's mean and deviation: images by
    /// channel, vectors by column, targets by output.
    pub fn standardise(&mut self) {
        let columns = self.sample.extents().last().copied().unwrap_or(1);
        let inputs = match &self.train.inputs {
            Inputs::Floats(floats) => Some(Normalisation::of_floats(floats, columns)),
            Inputs::Bytes(_) | Inputs::Files(_) => None,
        };
        let targets = match &self.train.targets {
            Targets::Values { values, columns } => Some(Normalisation::of_floats(values, *columns)),
            Targets::Classes(_) => None,
        };
        self.standardise_by(inputs, targets);
    }

    /// Standardises floats by given means and deviations; bytes will be when they become a batch.
    pub(crate) fn standardise_by(
        &mut self,
        inputs: Option<Normalisation>,
        targets: Option<Normalisation>,
    ) {
        self.change_splits(|split| {
            if let (Inputs::Floats(floats), Some(normalisation)) = (&mut split.inputs, &inputs) {
                normalisation.apply(floats);
            }
            if let (Targets::Values { values, .. }, Some(normalisation)) =
                (&mut split.targets, &targets)
            {
                normalisation.apply(values);
            }
        });
        self.normalisation = inputs.or(self.normalisation.take());
        self.target_normalisation = targets;
    }

    /// Scales bytes to 0..1, without standardising them.
    pub(super) fn only_scale(&mut self) {
        if let Some(own) = &mut self.normalisation {
            *own = Normalisation::identity(own.mean.len());
        }
    }

    /// The images of a part, if they are in files.
    pub(crate) fn files(&self, part: Part) -> Option<&ImageFiles> {
        match &self.part(part)?.inputs {
            Inputs::Files(files) => Some(files),
            _ => None,
        }
    }

    /// Names of the classes, by number, if they have any.
    pub fn class_names(&self) -> Option<&[String]> {
        let of_folders = || self.files(Part::Train).map(ImageFiles::classes);
        self.names.as_deref().or_else(of_folders)
    }

    /// Renumbers classes that have names by a model's list of classes.
    ///
    /// # Errors
    /// A message that names a class missing from the model's list.
    pub(crate) fn renumber_classes(&mut self, known: &[String]) -> std::result::Result<(), String> {
        let Some(names) = self.class_names() else { return Ok(()) };
        let mut numbers = Vec::new();
        for class in names {
            let number = known.iter().position(|name| name == class);
            let number = number.ok_or_else(|| {
                format!("has the class '{class}', the model knows {}", quoted(known))
            })?;
            numbers.push(number as i32);
        }
        self.change_splits(|split| {
            if let Targets::Classes(classes) = &mut split.targets {
                classes.iter_mut().for_each(|class| *class = numbers[*class as usize]);
            }
        });
        self.task = Task::Classification { classes: known.len() };
        self.names = self.names.take().map(|_| known.to_vec());
        Ok(())
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::default();
        let extents = self.sample.extents().into_iter().chain([0, 0]).take(3);
        fingerprint.numbers(extents.map(|extent| extent as u64));
        for part in [Part::Train, Part::Valid, Part::Test] {
            match self.part(part) {
                Some(split) => split.add_to(&mut fingerprint),
                None => fingerprint.numbers([u64::MAX]),
            }
        }
        fingerprint.hex()
    }
}

/// The kind of data that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Images or vectors.
    Arrays,
    /// A stream of characters or words.
    Text(TokenKind),
}

/// The entropy of the numbers' frequencies, in nats.
fn entropy(numbers: &[i32]) -> f64 {
    let mut counts = BTreeMap::new();
    for number in numbers {
        *counts.entry(number).or_insert(0usize) += 1;
    }
    let part = |count: &usize| *count as f64 / numbers.len() as f64;
    counts.values().map(part).map(|part| -part * part.ln()).sum()
}

/// The samples of a data set.
#[derive(Clone, Debug)]
pub enum Content {
    /// Images or vectors.
    Arrays(Arrays),
    /// A stream of characters or words.
    Text(Text),
}

/// A data set in host memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// A name for messages and folders: `generated`, `cifar10`, or the file's name without its extension.
    pub name: String,
    /// A hash of the content and of its split into parts, in hex; it does not depend on the machine. For images in files it
    /// hashes their names and lengths, since reading them all would take as long as an epoch.
    pub fingerprint: String,
    /// The samples.
    pub content: Content,
}

impl Dataset {
    pub(super) fn new(name: impl Into<String>, content: Content) -> Dataset {
        let fingerprint = match &content {
            Content::Arrays(arrays) => arrays.fingerprint(),
            Content::Text(text) => text.fingerprint(),
        };
        Dataset { name: name.into(), fingerprint, content }
    }

    /// Whether a text is a stream of characters or of words; `None` for arrays.
    pub fn token(&self) -> Option<TokenKind> {
        match &self.content {
            Content::Text(text) => Some(text.vocabulary.kind()),
            Content::Arrays(_) => None,
        }
    }

    /// Number of samples in a part; for a text, of characters or words.
    pub fn size(&self, part: Part) -> Option<usize> {
        match &self.content {
            Content::Arrays(arrays) => arrays.part(part).map(|split| split.len()),
            Content::Text(text) => text.part(part).map(<[i32]>::len),
        }
    }

    /// The entropy of the training classes, or of a text's characters or words, in nats: the loss of a model that knows
    /// only how frequent each is. `None` for regression.
    pub fn class_entropy(&self) -> Option<f64> {
        match &self.content {
            Content::Text(text) => Some(entropy(&text.train)),
            Content::Arrays(arrays) => match &arrays.train.targets {
                Targets::Classes(classes) => Some(entropy(classes)),
                Targets::Values { .. } => None,
            },
        }
    }

    /// The training images, if they are in files.
    pub(crate) fn files(&self) -> Option<&ImageFiles> {
        match &self.content {
            Content::Arrays(arrays) => arrays.files(Part::Train),
            Content::Text(_) => None,
        }
    }

    /// Whether the data set has this part.
    pub fn has(&self, part: Part) -> bool {
        match &self.content {
            Content::Arrays(arrays) => arrays.part(part).is_some(),
            Content::Text(text) => text.part(part).is_some(),
        }
    }

    /// One line for messages: the sizes of the parts and the kind of samples.
    pub fn description(&self) -> String {
        let parts = [Part::Train, Part::Valid, Part::Test].into_iter();
        let sizes: Vec<String> = parts
            .filter_map(|part| Some(format!("{} {}", self.size(part)?, part.name())))
            .collect();
        let what = match &self.content {
            Content::Arrays(arrays) => arrays.sample.to_string(),
            Content::Text(text) => {
                let kind = text.vocabulary.kind().name();
                let rate =
                    text.entropy_rate.map(|rate| format!(", entropy rate {rate:.4} nats a {kind}"));
                let distinct = text.vocabulary.len();
                format!("{kind}s, {distinct} distinct{}", rate.unwrap_or_default())
            }
        };
        format!("{}: {} {what}", self.name, sizes.join(", "))
    }
}
