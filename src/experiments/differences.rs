//! What differs from the paper: data, model and sizes of a setup.

use super::rows::{ROWS, Source, is_data_of};
use super::setup::{PATIENCE, Setup};
use crate::data::Part;

/// The differences from the paper, row by row; each begins with its row's name if there are several rows.
pub(super) fn differences(setups: &[Setup], of: impl Fn(&Setup) -> Vec<String>) -> Vec<String> {
    let named = |setup: &Setup, text: String| match setups.len() {
        1 => text,
        _ => format!("{}: {text}", setup.name),
    };
    setups.iter().flat_map(|setup| of(setup).into_iter().map(|text| named(setup, text))).collect()
}

impl Setup {
    /// Whether losses and accuracies can be compared with the paper's: the row's model at its full width, on data that looks
    /// like the row's.
    pub fn is_comparable(&self) -> bool {
        let is_its_model = self.architecture() == self.row.architecture
            && self.base.task.width.unwrap_or(1.0) == self.row.width;
        is_its_model && is_data_of(self.row.source, &self.dataset)
    }

    /// The differences from the paper in data, model and size, a sentence each.
    pub fn differences(&self) -> Vec<String> {
        let mut differences = self.differences_but_epochs();
        differences.push(format!(
            "Epochs: at most {}, fewer where the validation loss has not improved for {PATIENCE}; the paper has no limit.",
            self.epochs
        ));
        differences
    }

    /// The same without the number of epochs.
    pub fn differences_but_epochs(&self) -> Vec<String> {
        let mut differences = self.differences_of_data();
        differences.extend(self.difference_of_model());
        let theirs = match self.row.source {
            Source::Generated => String::new(),
            _ => format!("; the paper's {}", self.row.seeds),
        };
        differences.push(format!("Runs of each setting: {}{theirs}.", self.seeds));
        differences
    }

    fn differences_of_data(&self) -> Vec<String> {
        let mut differences = vec![format!("Data: {}.", self.dataset.description())];
        let sizes = [Part::Train, Part::Valid, Part::Test].map(|part| self.dataset.size(part));
        if let Some(most) = self.base.task.samples.filter(|most| sizes.contains(&Some(*most))) {
            let what =
                if self.dataset.token().is_some() { "tokens from its start" } else { "samples" };
            differences.push(format!(
                "Of each part of the data at most {most} {what} are used, to keep --quick short."
            ));
        }
        differences.extend(self.dataset.left_out().map(|text| format!("Of the data, {text}.")));
        if !self.dataset.has(Part::Test) {
            let stands_in = "The data has no test part: the test results are the best epoch's on the validation data.";
            differences.push(stands_in.into());
        }
        let what = match self.row.source {
            Source::ImageNet => "its thousand classes and the number of its images",
            Source::PennTreebank => "its fifty characters and its length",
            _ => return differences,
        };
        if is_data_of(self.row.source, &self.dataset) {
            differences.push(format!(
                "Recognised as the paper's data by {what}; nothing else was compared."
            ));
        }
        differences
    }

    fn difference_of_model(&self) -> Option<String> {
        let (row, own) = (self.row, self.architecture());
        let width = self.base.task.width.unwrap_or(1.0);
        if own != row.architecture || width != row.width {
            let paper = ROWS.iter().filter(|other| other.source != Source::Generated);
            let theirs = match row.source {
                Source::Generated => {
                    let names = paper.map(|row| row.architecture.name());
                    format!("the paper's models are {}", distinct(names))
                }
                _ => format!("the paper's is {} at width {}", row.architecture, row.width),
            };
            return Some(format!("Model: {own} at width {width}; {theirs}."));
        }
        let is_ours = row.source == Source::Generated;
        is_ours.then(|| format!("Model: {own}, which is not in the paper."))
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

#[cfg(test)]
mod tests {
    use super::super::setup::tests::on_cifar10;

    #[test]
    fn the_papers_model_on_as_much_data_is_compared() {
        let whole = on_cifar10("cifar10/vgg19", 1.0, 60_000);
        assert_eq!(whole.name, "cifar10/vgg19");
        assert!(whole.is_comparable());
        assert!(on_cifar10("cifar10/vgg19-width3", 3.0, 60_000).is_comparable());
        assert!(!on_cifar10("cifar10/vgg19", 0.5, 60_000).is_comparable());
        let part = on_cifar10("cifar10/vgg19", 1.0, 50_000);
        assert_eq!((part.is_comparable(), part.name.as_str()), (false, "vgg19 on cifar10"));
    }
}
