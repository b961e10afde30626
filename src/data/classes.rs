//! The targets of the training samples: how many each class has, and whether there is something to learn.

use super::{Content, Dataset, Part, Targets, Task};
use crate::error::{Error, Result};

/// The most classes that a message names.
const NAMED: usize = 10;

/// The most letters of a list of counts, so that its line fits a terminal.
const LISTED: usize = 60;

impl Dataset {
    /// The number of samples of each class in a part; `None` for text, in regression, and if there is no such part.
    pub fn class_counts(&self, part: Part) -> Option<Vec<usize>> {
        let Content::Arrays(arrays) = &self.content else { return None };
        match (arrays.task, &arrays.part(part)?.targets) {
            (Task::Classification { classes }, Targets::Classes(own)) => {
                let mut counts = vec![0; classes];
                own.iter().for_each(|&class| counts[class as usize] += 1);
                Some(counts)
            }
            _ => None,
        }
    }

    /// Lines about the samples of each class in each part; none for text and in regression.
    pub fn class_notes(&self) -> Vec<String> {
        let Some(counts) = self.class_counts(Part::Train) else { return Vec::new() };
        let classes = if counts.len() == 1 { "class" } else { "classes" };
        let mut notes = vec![format!(
            "{} {classes}; training samples: {}",
            counts.len(),
            self.numbers(&counts)
        )];
        for (part, name) in [(Part::Valid, "validation"), (Part::Test, "test")] {
            let counts = self.class_counts(part);
            notes.extend(counts.map(|own| format!("{name} samples: {}", self.numbers(&own))));
        }
        notes.extend(self.note_of_unseen(&counts));
        notes
    }

    /// The counts of a few classes, or the least and the most frequent.
    fn numbers(&self, counts: &[usize]) -> String {
        let seen = || (0..counts.len()).filter(|&class| counts[class] > 0);
        // Of equal counts, the first class's.
        let least = seen().min_by_key(|&class| counts[class]);
        let most = seen().min_by_key(|&class| std::cmp::Reverse(counts[class]));
        let (Some(least), Some(most)) = (least, most) else { return "none".into() };
        let of = |class: usize| format!("{} of {}", counts[class], self.class_name(class));
        let listed = (0..counts.len()).take(NAMED + 1).map(of).collect::<Vec<_>>().join(", ");
        match counts.len() {
            ..=NAMED if listed.chars().count() <= LISTED => listed,
            _ if counts[least] == counts[most] => {
                let which = if counts.contains(&0) { " that has any" } else { "" };
                format!("{} of each class{which}", counts[least])
            }
            _ => format!("from {} to {}", of(least), of(most)),
        }
    }

    fn note_of_unseen(&self, counts: &[usize]) -> Option<String> {
        let unseen: Vec<usize> = (0..counts.len()).filter(|&class| counts[class] == 0).collect();
        let named = unseen.iter().take(NAMED).map(|&class| self.class_name(class));
        let rest = unseen.len().checked_sub(NAMED).filter(|rest| *rest > 0);
        let names: Vec<String> = named.chain(rest.map(|rest| format!("{rest} more"))).collect();
        (!unseen.is_empty()).then(|| {
            format!(
                "{} of {} classes {} no training sample, so the model cannot learn them: {}",
                unseen.len(),
                counts.len(),
                if unseen.len() == 1 { "has" } else { "have" },
                names.join(", ")
            )
        })
    }

    /// Checks that there is something to learn: where all samples have the same target, a model is right without
    /// learning.
    ///
    /// # Errors
    /// [`Error::Input`] if there is one training sample, if all training samples are of one class, or have the same numbers as targets, or if all
    /// tokens of a text are the same.
    pub(crate) fn check_targets(&self) -> Result<()> {
        let arrays = match &self.content {
            Content::Arrays(arrays) => arrays,
            Content::Text(text) if !is_constant(&text.train, 1) => return Ok(()),
            Content::Text(text) => {
                let kind = text.vocabulary.kind().name();
                let message =
                    format!("all {}s of the training text are the same: nothing to learn", kind);
                return Err(Error::input(format!("`data` {}", self.name), message));
            }
        };
        let message = match &arrays.train.targets {
            _ if arrays.train.len() == 1 => {
                "leaves one training sample: to learn, a model needs at least two".into()
            }
            Targets::Classes(classes) if is_constant(classes, 1) => format!(
                "all {} training samples are of {}; to learn, a model needs samples of at least two classes",
                classes.len(),
                self.class_name(classes[0] as usize)
            ),
            Targets::Values { values, columns } if is_constant(values, *columns) => format!(
                "all {} training samples have the same targets, so there is nothing to learn",
                values.len() / columns
            ),
            _ => return Ok(()),
        };
        Err(Error::input(format!("`data` {}", self.name), message))
    }

    /// A class in messages.
    fn class_name(&self, class: usize) -> String {
        let names = match &self.content {
            Content::Arrays(arrays) => arrays.class_names(),
            Content::Text(_) => None,
        };
        match names {
            Some(names) if names[class].parse::<i64>().is_ok() => format!("class {}", names[class]),
            Some(names) => format!("'{}'", names[class]),
            None => format!("class {class}"),
        }
    }
}

/// Whether all rows are equal.
fn is_constant<T: PartialEq>(rows: &[T], columns: usize) -> bool {
    let mut rows = rows.chunks_exact(columns.max(1));
    rows.next().is_some_and(|first| rows.all(|row| row == first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::validation::ValidationRule;
    use crate::data::{Arrays, Input, Inputs, Split};

    fn dataset(labels: &[i32], classes: usize) -> Dataset {
        let inputs = Inputs::Floats(vec![0.5; labels.len()]);
        let train = Split::new(inputs, Targets::Classes(labels.to_vec()));
        let task = Task::Classification { classes };
        let sample = Input::Vector { size: 1 };
        let arrays =
            Arrays::assemble(train, None, None, sample, task, ValidationRule::Last { share: 0.0 });
        Dataset::new("some", Content::Arrays(arrays))
    }

    #[test]
    fn up_to_ten_classes_are_all_counted() {
        assert_eq!(
            dataset(&[2, 0, 2], 4).class_notes(),
            [
                "4 classes; training samples: 1 of class 0, 0 of class 1, 2 of class 2, 0 of class 3",
                "2 of 4 classes have no training sample, so the model cannot learn them: class 1, class 3",
            ]
        );
        assert_eq!(
            dataset(&[1, 0, 1], 2).class_notes(),
            ["2 classes; training samples: 1 of class 0, 2 of class 1"]
        );
    }

    #[test]
    fn of_many_classes_the_least_and_the_most_frequent_are_told() {
        let notes = dataset(&[0, 1000, 1000, 0, 1000], 1001).class_notes();
        let expected = "1001 classes; training samples: from 2 of class 0 to 3 of class 1000";
        assert_eq!(notes[0], expected);
        assert!(notes[1].starts_with("999 of 1001 classes have no training sample"));
        assert!(notes[1].ends_with("class 9, class 10, 989 more"), "{}", notes[1]);
        let labels: Vec<i32> = (0..11).collect();
        assert_eq!(
            dataset(&labels, 11).class_notes(),
            ["11 classes; training samples: 1 of each class"]
        );
    }

    #[test]
    fn one_class_is_nothing_to_learn() {
        for (labels, classes) in [([0, 0, 0], 1), ([3, 3, 3], 4)] {
            let error = dataset(&labels, classes).check_targets().unwrap_err().to_string();
            let expected = format!("all 3 training samples are of class {}", labels[0]);
            assert!(error.starts_with(&format!("`data` some: {expected}")), "{error}");
        }
        assert!(dataset(&[0, 0, 1], 2).check_targets().is_ok());
        let error = dataset(&[1], 2).check_targets().unwrap_err().to_string();
        assert!(error.contains("leaves one training sample"), "{error}");
    }
}
