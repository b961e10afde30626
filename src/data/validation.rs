//! The validation part that is taken from the training samples of data without one.

use super::{LoadOptions, Split, Targets, tail_length};
use crate::random::{Philox, Purpose};

/// Which of the samples become the validation part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ValidationRule {
    /// A share of each class, or of all samples in regression, drawn at random.
    Drawn {
        /// The share, from 0 to below 1.
        share: f64,
        /// The seed of the draw.
        seed: u64,
    },
    /// The last share of the samples.
    Last {
        /// The share, from 0 to below 1.
        share: f64,
    },
    /// The last share of each class.
    LastOfEachClass {
        /// The share, from 0 to below 1.
        share: f64,
    },
}

impl ValidationRule {
    /// The rule of the options; `first` is the rule of version 0.1.0.
    pub fn of(options: &LoadOptions, first: ValidationRule) -> ValidationRule {
        match options.first_rules {
            true => first,
            false => ValidationRule::Drawn { share: options.valid_split, seed: options.split_seed },
        }
    }

    /// The training and the validation part of the samples, each in file order; no validation part if it would be empty.
    pub fn divide(self, mut samples: Split) -> (Split, Option<Split>) {
        let mut chosen = self.chosen(&samples.targets);
        chosen.sort_unstable();
        if chosen.is_empty() {
            return (samples, None);
        }
        let valid = samples.subset(&chosen);
        samples.remove(&chosen);
        (samples, Some(valid))
    }

    /// The numbers of the validation samples.
    fn chosen(self, targets: &Targets) -> Vec<usize> {
        match self {
            ValidationRule::Drawn { share, seed } => {
                let groups = groups(targets).into_iter().zip(0..);
                groups.flat_map(|(group, class)| drawn(group, share, seed, class)).collect()
            }
            ValidationRule::Last { share } => {
                let count = match targets {
                    Targets::Classes(classes) => classes.len(),
                    Targets::Values { values, columns } => values.len() / columns,
                };
                (count - tail_length(count, share)..count).collect()
            }
            ValidationRule::LastOfEachClass { share } => {
                let tail = |mut group: Vec<usize>| {
                    group.split_off(group.len() - tail_length(group.len(), share))
                };
                groups(targets).into_iter().flat_map(tail).collect()
            }
        }
    }
}

/// The numbers of each class's samples; in regression, all in one group.
fn groups(targets: &Targets) -> Vec<Vec<usize>> {
    match targets {
        Targets::Classes(classes) => {
            let count = classes.iter().max().map_or(0, |&class| class as usize + 1);
            let mut groups = vec![Vec::new(); count];
            classes
                .iter()
                .enumerate()
                .for_each(|(number, &class)| groups[class as usize].push(number));
            groups
        }
        Targets::Values { values, columns } => vec![(0..values.len() / columns).collect()],
    }
}

/// A share of a group, rounded, drawn at random. One sample always stays for training.
fn drawn(group: Vec<usize>, share: f64, seed: u64, class: u64) -> Vec<usize> {
    let count = (share * group.len() as f64).round() as usize;
    let order = Philox::new(seed, Purpose::Validation).stream(class).permutation(group.len());
    let most = group.len().saturating_sub(1);
    order.into_iter().take(count.min(most)).map(|place| group[place as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Inputs;

    fn split(classes: Vec<i32>) -> Split {
        let inputs = Inputs::Floats((0..classes.len()).map(|number| number as f32).collect());
        Split::new(inputs, Targets::Classes(classes))
    }

    fn drawn_from(classes: Vec<i32>, share: f64, seed: u64) -> [Vec<i32>; 2] {
        let (train, valid) = ValidationRule::Drawn { share, seed }.divide(split(classes));
        let classes = |split: &Split| match &split.targets {
            Targets::Classes(classes) => classes.clone(),
            Targets::Values { .. } => panic!("no classes"),
        };
        [classes(&train), valid.as_ref().map(classes).unwrap_or_default()]
    }

    #[test]
    fn a_share_of_each_class_is_drawn() {
        // Sorted by class, as such files often are.
        let sorted: Vec<i32> =
            [0; 50].into_iter().chain([1; 10]).chain([3; 2]).chain([4]).collect();
        let [train, valid] = drawn_from(sorted.clone(), 0.25, 0);
        let count = |part: &[i32], class| part.iter().filter(|own| **own == class).count();
        let counts = [0, 1, 2, 3, 4].map(|class| [count(&train, class), count(&valid, class)]);
        assert_eq!(counts, [[37, 13], [7, 3], [0, 0], [1, 1], [1, 0]]);
        assert!(drawn_from(sorted.clone(), 0.0, 0)[1].is_empty());
        // One sample of each class stays.
        assert_eq!(drawn_from(sorted, 0.99, 0)[0], [0, 1, 3, 4]);
    }

    #[test]
    fn the_draw_depends_on_the_seed_alone() {
        let part = |seed| {
            let (_, valid) = ValidationRule::Drawn { share: 0.2, seed }.divide(split(vec![0; 100]));
            valid.unwrap().inputs
        };
        assert_eq!(part(0), part(0));
        assert_ne!(part(0), part(1));
        assert_ne!(part(0), Inputs::Floats((80..100).map(|number| number as f32).collect()));
    }
}
