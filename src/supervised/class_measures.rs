//! How well a model tells each class from the others.

use serde::Serialize;

/// The likeliest classes among which a sample's own is looked for.
const TOP: usize = 5;

/// With more classes there is no matrix of all pairs.
const MOST_IN_MATRIX: usize = 1000;

/// Measures of a classification.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMeasures {
    /// Share of the samples whose class is among the five likeliest; `None` for at most five classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5_accuracy: Option<f64>,
    /// The classes, by number.
    pub classes: Vec<ClassMeasure>,
    /// The number of samples of each class (row) that are predicted as each class (column); `None` for more than 1000
    /// classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<u64>>>,
}

/// Measures of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMeasure {
    /// The class's name; its number if it has none.
    pub class: String,
    /// Samples of the class.
    pub samples: u64,
    /// Samples predicted as the class.
    pub predicted: u64,
    /// Share of the samples predicted as the class that are of it; `None` if there are none.
    pub precision: Option<f64>,
    /// Share of the class's samples that are predicted as it; `None` if there are none.
    pub recall: Option<f64>,
}

/// Counts over the samples of an evaluation.
pub(super) struct ClassCounts {
    /// The classes of all samples.
    truths: Vec<i32>,
    /// Samples counted so far.
    next: usize,
    samples: Vec<u64>,
    predicted: Vec<u64>,
    correct: Vec<u64>,
    among_top: u64,
    confusion: Option<Vec<Vec<u64>>>,
}

impl ClassCounts {
    /// Counts of nothing. `truths` are the classes of all samples, in the order in which they will be added.
    pub fn new(truths: Vec<i32>, classes: usize) -> ClassCounts {
        let zeros = || vec![0; classes];
        let confusion = (classes <= MOST_IN_MATRIX).then(|| vec![zeros(); classes]);
        ClassCounts {
            truths,
            next: 0,
            samples: zeros(),
            predicted: zeros(),
            correct: zeros(),
            among_top: 0,
            confusion,
        }
    }

    /// Adds the next samples by their log probabilities `[n, K]`.
    pub fn add(&mut self, log_probabilities: &[f32]) {
        for row in log_probabilities.chunks_exact(self.samples.len()) {
            let truth = self.truths[self.next] as usize;
            self.next += 1;
            // The first among equals, as the accuracy has it.
            let predicted =
                (0..row.len()).fold(0, |best, own| if row[own] > row[best] { own } else { best });
            let is_before =
                |own: &usize| row[*own] > row[truth] || (row[*own] == row[truth] && *own < truth);
            let is_among_top =
                !row[truth].is_nan() && (0..row.len()).filter(is_before).count() < TOP;
            self.samples[truth] += 1;
            self.predicted[predicted] += 1;
            self.correct[truth] += u64::from(predicted == truth);
            self.among_top += u64::from(is_among_top);
            if let Some(confusion) = &mut self.confusion {
                confusion[truth][predicted] += 1;
            }
        }
    }

    /// The measures of the samples so far.
    pub fn measures(self, names: Option<&[String]>) -> ClassMeasures {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let name = |class: usize| names.and_then(|names| names.get(class)).cloned();
        let measure = |class: usize| ClassMeasure {
            class: name(class).unwrap_or_else(|| class.to_string()),
            samples: self.samples[class],
            predicted: self.predicted[class],
            precision: share(self.correct[class], self.predicted[class]),
            recall: share(self.correct[class], self.samples[class]),
        };
        let top5 = share(self.among_top, self.next as u64);
        ClassMeasures {
            top5_accuracy: top5.filter(|_| self.samples.len() > TOP),
            classes: (0..self.samples.len()).map(measure).collect(),
            confusion: self.confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measures_are_those_of_scikit_learn() {
        // precision_score and recall_score of [0, 0, 1, 2, 2, 2] and [0, 1, 1, 0, 2, 2] are 1/2, 1/2, 1 and 1/2, 1, 2/3.
        let truths = vec![0, 0, 1, 2, 2, 2];
        let mut counts = ClassCounts::new(truths, 4);
        for predicted in [[0, 1, 1], [0, 2, 2]] {
            let rows: Vec<f32> = predicted
                .iter()
                .flat_map(|&own| (0..4).map(move |class| if class == own { -0.1 } else { -3.0 }))
                .collect();
            counts.add(&rows);
        }
        let names = ["a", "b", "c", "d"].map(String::from);
        let measures = counts.measures(Some(&names));
        let of = |own: fn(&ClassMeasure) -> Option<f64>| -> Vec<Option<f64>> {
            measures.classes.iter().map(own).collect()
        };
        assert_eq!(of(|own| own.precision), [Some(0.5), Some(0.5), Some(1.0), None]);
        assert_eq!(of(|own| own.recall), [Some(0.5), Some(1.0), Some(2.0 / 3.0), None]);
        assert_eq!(measures.classes[2].class, "c");
        let confusion = [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0; 4]].map(Vec::from);
        assert_eq!(measures.confusion, Some(confusion.to_vec()));
        assert_eq!(measures.top5_accuracy, None);
    }

    #[test]
    fn a_sample_is_right_if_its_class_is_among_the_five_likeliest() {
        let mut counts = ClassCounts::new(vec![0, 4, 5, 5], 7);
        let falling: Vec<f32> = (0..7).map(|class| -(class as f32)).collect();
        counts.add(&falling.repeat(3));
        counts.add(&[f32::NAN; 7]);
        assert_eq!(counts.measures(None).top5_accuracy, Some(0.5));
    }
}
