//! What a column of a table holds, seen over all lines.

use std::collections::BTreeSet;

use super::cell::{Cell, Place};

/// Beyond these, not every whole number is one of 64 bits.
const LARGEST_WHOLE: f64 = 9e15;

/// What a column holds.
pub(super) struct Profile {
    /// The most different values that are kept.
    most: usize,
    pub missing: usize,
    /// Cells with a number.
    pub numbers: usize,
    other: usize,
    /// The least and the largest number.
    pub range: Option<[f64; 2]>,
    /// The different cells, as texts, numbers among them; one more than the most if there are more.
    pub texts: BTreeSet<String>,
    /// The different whole numbers; one more than the most if there are more.
    pub whole_numbers: BTreeSet<i64>,
    /// The first cell that is neither a number nor missing.
    pub first_text: Option<(String, Place)>,
    /// The first number that is not whole.
    pub first_fraction: Option<Place>,
}

impl Profile {
    pub fn new(most: usize) -> Profile {
        Profile {
            most,
            missing: 0,
            numbers: 0,
            other: 0,
            range: None,
            texts: BTreeSet::new(),
            whole_numbers: BTreeSet::new(),
            first_text: None,
            first_fraction: None,
        }
    }

    /// All cells.
    pub fn cells(&self) -> usize {
        self.missing + self.numbers + self.other
    }

    pub fn add(&mut self, text: &str, place: Place) {
        match Cell::of(text) {
            Cell::Missing => {
                self.missing += 1;
                return;
            }
            Cell::Number(number) => {
                self.numbers += 1;
                let [low, high] = self.range.unwrap_or([number; 2]);
                self.range = Some([low.min(number), high.max(number)]);
                let is_whole = number.fract() == 0.0 && number.abs() <= LARGEST_WHOLE;
                match is_whole {
                    true if self.whole_numbers.len() <= self.most => {
                        self.whole_numbers.insert(number as i64);
                    }
                    true => {}
                    false => drop(self.first_fraction.get_or_insert(place)),
                }
            }
            Cell::Text => {
                self.other += 1;
                self.first_text.get_or_insert_with(|| (text.to_owned(), place));
            }
        }
        if self.texts.len() <= self.most && !self.texts.contains(text) {
            self.texts.insert(text.to_owned());
        }
    }
}
