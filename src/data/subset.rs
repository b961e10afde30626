//! A random subset of a data set.

use std::sync::Arc;

use super::{Arrays, Content, Dataset, Part, Split, Text};
use crate::random::{Philox, Purpose};

impl Dataset {
    /// The same data with at most `most` samples in each part; see [`super::LoadOptions::samples`].
    pub(super) fn cut_to(self, most: usize) -> Dataset {
        let parts = [Part::Train, Part::Valid, Part::Test];
        if parts.iter().all(|part| self.size(*part).is_none_or(|size| size <= most)) {
            return self;
        }
        let content = match self.content {
            Content::Arrays(arrays) => Content::Arrays(cut_arrays(arrays, most)),
            Content::Text(text) => Content::Text(cut_text(text, most)),
        };
        Dataset::new(self.name, content)
    }
}

fn cut_arrays(arrays: Arrays, most: usize) -> Arrays {
    let cut =
        |split: Arc<Split>| if split.len() > most { Arc::new(drawn(&split, most)) } else { split };
    let Arrays { train, valid, test, .. } = arrays;
    Arrays { train: cut(train), valid: valid.map(cut), test: test.map(cut), ..arrays }
}

/// A random subset in file order. Evenly spaced samples might all be of one class.
fn drawn(split: &Split, most: usize) -> Split {
    let order = Philox::new(0, Purpose::Subset).stream(0).permutation(split.len());
    let mut numbers: Vec<usize> = order[..most].iter().map(|&number| number as usize).collect();
    numbers.sort_unstable();
    split.subset(&numbers)
}

fn cut_text(text: Text, most: usize) -> Text {
    let cut = |mut tokens: Vec<i32>| {
        tokens.truncate(most);
        tokens
    };
    let Text { train, valid, test, .. } = text;
    Text { train: cut(train), valid: valid.map(cut), test: test.map(cut), ..text }
}

#[cfg(test)]
mod tests {
    use crate::data::{Content, Kind, LoadOptions, Part, Targets, TokenKind, load_with};

    #[test]
    fn a_part_stands_for_the_whole() {
        let loaded = |kind, samples| {
            load_with("generated", kind, &LoadOptions { samples, ..LoadOptions::default() })
                .unwrap()
        };
        let (whole, cut) = (loaded(Kind::Arrays, None), loaded(Kind::Arrays, Some(1500)));
        let sizes = [Part::Train, Part::Valid, Part::Test].map(|part| cut.size(part).unwrap());
        assert_eq!(sizes, [1500, 1000, 1500]);
        assert_ne!(whole.fingerprint, cut.fingerprint);
        assert_eq!(cut.fingerprint, loaded(Kind::Arrays, Some(1500)).fingerprint);
        assert_eq!(whole.fingerprint, loaded(Kind::Arrays, Some(6000)).fingerprint);
        let Content::Arrays(arrays) = &cut.content else { panic!("no arrays") };
        let Targets::Classes(classes) = &arrays.train.targets else { panic!("no classes") };
        for class in 0..10 {
            let count = classes.iter().filter(|own| **own == class).count();
            assert!((100..200).contains(&count), "{count} of class {class}");
        }
        let text = loaded(Kind::Text(TokenKind::Character), Some(3000));
        assert_eq!(text.size(Part::Train), Some(3000));
    }
}
