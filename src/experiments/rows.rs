//! The rows of the paper's Table 1 with the paper's numbers, and small rows for two cores.

use crate::data::{Content, Dataset, Part, TokenKind};
use crate::error::{Error, Result};
use crate::models::Architecture;
use crate::models::Architecture::{
    AlexNet, CharLstm, Cnn, DenseNet121, GoogLeNet, MobileNetV2, ResNet50, Vgg19,
};

/// The data that a row is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// CIFAR-10's binary files.
    Cifar10,
    /// A folder of images by class.
    ImageNet,
    /// Penn Treebank by characters: a text that the user provides.
    PennTreebank,
    /// Generated images or text.
    Generated,
}

impl Source {
    /// The value that `--data` must have, for messages.
    pub fn wanted(self) -> &'static str {
        match self {
            Source::Cifar10 => "the folder with CIFAR-10's *.bin files",
            Source::ImageNet => "a folder with images in train/CLASS/ and valid/CLASS/",
            Source::PennTreebank => "a text, or a folder with train.txt, valid.txt and test.txt",
            Source::Generated => "generated, or data that the model takes",
        }
    }
}

/// A loss and an accuracy in percent, each with its standard deviation over the runs, 0 if the paper gives none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Test loss: nats, bits per character on Penn Treebank.
    pub loss: [f64; 2],
    /// Top-1 accuracy on the test data, in percent.
    pub accuracy: [f64; 2],
}

/// One model on one data set.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// Its name for `--row`.
    pub name: &'static str,
    /// The model.
    pub architecture: Architecture,
    /// Factor on the number of features.
    pub width: f64,
    /// The data.
    pub source: Source,
    /// Samples of a batch; `None` for the model's default.
    pub batch_size: Option<usize>,
    /// Runs of each setting in the paper.
    pub seeds: u64,
    /// The width of `--quick`.
    pub quick_width: f64,
    /// SGD's best learning rate in the paper, or for small rows in our runs; `None` if it was not searched.
    pub sgd_rate: Option<f64>,
    /// The paper's scores of SGD with that rate, Adam with its default, and Alrao.
    pub paper: [Option<Score>; 3],
}

const fn score(loss: f64, loss_deviation: f64, accuracy: f64, deviation: f64) -> Option<Score> {
    Some(Score { loss: [loss, loss_deviation], accuracy: [accuracy, deviation] })
}

const CIFAR10: Row = Row {
    name: "",
    architecture: Cnn,
    width: 1.0,
    source: Source::Cifar10,
    batch_size: Some(32),
    seeds: 10,
    quick_width: 0.125,
    sgd_rate: None,
    paper: [None; 3],
};

const IMAGENET: Row = Row { source: Source::ImageNet, batch_size: Some(256), seeds: 1, ..CIFAR10 };

const GENERATED: Row = Row { source: Source::Generated, batch_size: None, seeds: 5, ..CIFAR10 };

/// Every row, in the order of Table 1; the small rows follow.
pub static ROWS: &[Row] = &[
    Row {
        name: "cifar10/mobilenetv2",
        architecture: MobileNetV2,
        sgd_rate: Some(1e-1),
        paper: [
            score(0.37, 0.01, 90.2, 0.3),
            score(1.01, 0.95, 78.0, 11.0),
            score(0.42, 0.02, 88.1, 0.6),
        ],
        ..CIFAR10
    },
    Row {
        name: "cifar10/mobilenetv2-width3",
        architecture: MobileNetV2,
        width: 3.0,
        quick_width: 0.375,
        paper: [None, score(0.32, 0.02, 90.8, 0.4), score(0.35, 0.01, 89.0, 0.6)],
        ..CIFAR10
    },
    Row {
        name: "cifar10/googlenet",
        architecture: GoogLeNet,
        sgd_rate: Some(1e-2),
        paper: [
            score(0.45, 0.05, 89.6, 1.0),
            score(0.47, 0.04, 89.8, 0.4),
            score(0.47, 0.03, 88.9, 0.8),
        ],
        ..CIFAR10
    },
    Row {
        name: "cifar10/googlenet-width3",
        architecture: GoogLeNet,
        width: 3.0,
        quick_width: 0.375,
        paper: [None, score(0.41, 0.02, 88.6, 0.6), score(0.37, 0.01, 89.8, 0.8)],
        ..CIFAR10
    },
    Row {
        name: "cifar10/vgg19",
        architecture: Vgg19,
        sgd_rate: Some(1e-1),
        paper: [
            score(0.42, 0.02, 89.5, 0.2),
            score(0.43, 0.02, 88.9, 0.4),
            score(0.45, 0.03, 87.5, 0.4),
        ],
        ..CIFAR10
    },
    Row {
        name: "cifar10/vgg19-width3",
        architecture: Vgg19,
        width: 3.0,
        quick_width: 0.375,
        paper: [None, score(0.37, 0.01, 89.5, 0.8), score(0.381, 0.004, 88.4, 0.7)],
        ..CIFAR10
    },
    Row {
        name: "imagenet/alexnet",
        architecture: AlexNet,
        sgd_rate: Some(1e-2),
        paper: [
            score(2.15, 0.0, 53.2, 0.0),
            score(6.91, 0.0, 0.1, 0.0),
            score(2.56, 0.0, 43.2, 0.0),
        ],
        ..IMAGENET
    },
    Row {
        name: "imagenet/densenet121",
        architecture: DenseNet121,
        batch_size: Some(128),
        sgd_rate: Some(1.0),
        paper: [
            score(1.35, 0.0, 69.7, 0.0),
            score(1.39, 0.0, 67.9, 0.0),
            score(1.41, 0.0, 67.3, 0.0),
        ],
        ..IMAGENET
    },
    Row {
        name: "imagenet/resnet50",
        architecture: ResNet50,
        sgd_rate: Some(1.0),
        paper: [
            score(1.49, 0.0, 67.4, 0.0),
            score(1.39, 0.0, 67.1, 0.0),
            score(1.42, 0.0, 67.5, 0.0),
        ],
        ..IMAGENET
    },
    Row {
        name: "imagenet/resnet50-width3",
        architecture: ResNet50,
        width: 3.0,
        quick_width: 0.375,
        paper: [None, score(1.99, 0.0, 60.8, 0.0), score(1.33, 0.0, 70.9, 0.0)],
        ..IMAGENET
    },
    Row {
        name: "ptb/char-lstm",
        architecture: CharLstm,
        source: Source::PennTreebank,
        batch_size: None,
        seeds: 5,
        quick_width: 0.3,
        sgd_rate: Some(1.0),
        paper: [
            score(1.566, 0.003, 66.1, 0.1),
            score(1.587, 0.005, 65.6, 0.1),
            score(1.67, 0.01, 64.1, 0.2),
        ],
        ..CIFAR10
    },
    Row {
        name: "generated/cnn",
        architecture: Cnn,
        quick_width: 0.5,
        sgd_rate: Some(1e-1),
        ..GENERATED
    },
    Row {
        name: "generated/char-lstm",
        architecture: CharLstm,
        quick_width: 0.3,
        sgd_rate: Some(1.0),
        ..GENERATED
    },
];

impl Row {
    /// The row of this name.
    ///
    /// # Errors
    /// An error that lists every name, if there is no such row.
    pub fn find(name: &str) -> Result<&'static Row> {
        ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            Error::field("row", format!("'{name}' is none of {}", names.join(", ")))
        })
    }

    /// Whether SGD's learning rate was searched for this row.
    pub fn has_sgd(&self) -> bool {
        self.sgd_rate.is_some()
    }
}

/// Characters of Penn Treebank, all parts together. Copies differ a little.
const PENN_TREEBANK: std::ops::Range<usize> = 5_000_000..6_500_000;

/// Training images of ImageNet, somewhat fewer if some are broken or used for validation.
const IMAGENET_IMAGES: std::ops::Range<usize> = 1_000_000..1_300_000;

/// Whether a data set looks like the paper's, by its name and sizes.
pub(super) fn is_data_of(source: Source, dataset: &Dataset) -> bool {
    let size = |part: Part| dataset.size(part).unwrap_or(0);
    let (learnt, tested) = (size(Part::Train) + size(Part::Valid), size(Part::Test));
    match (source, &dataset.content) {
        (Source::Cifar10, _) => dataset.name == "cifar10" && (learnt, tested) == (50_000, 10_000),
        (Source::ImageNet, Content::Arrays(arrays)) => {
            dataset.files().is_some()
                && arrays.task.outputs() == 1000
                && IMAGENET_IMAGES.contains(&size(Part::Train))
        }
        (Source::PennTreebank, Content::Text(text)) => {
            text.vocabulary.kind() == TokenKind::Character
                && text.vocabulary.len() == 50
                && PENN_TREEBANK.contains(&(learnt + tested))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, LoadOptions};

    #[test]
    fn every_row_has_a_name_of_its_own_and_its_place() {
        for row in ROWS {
            assert_eq!(Row::find(row.name).unwrap(), row);
            let is_of_paper = row.source != Source::Generated;
            assert_eq!(row.paper[2].is_some(), is_of_paper, "{}", row.name);
            assert!(row.paper[0].is_none() || row.has_sgd(), "{}", row.name);
        }
        assert!(Row::find("cifar10").unwrap_err().to_string().contains("cifar10/vgg19"));
    }

    fn text(characters: usize, distinct: usize) -> Dataset {
        let mut dataset = data::load_with(
            "generated",
            data::Kind::Text(TokenKind::Character),
            &LoadOptions::default(),
        )
        .unwrap();
        let alphabet: String =
            (0..distinct as u32).filter_map(|c| char::from_u32(0x4E00 + c)).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.txt");
        std::fs::write(&path, alphabet).unwrap();
        let kind = data::Kind::Text(TokenKind::Character);
        let own = data::load(path.to_str().unwrap(), kind, 0.0).unwrap();
        dataset.content = own.content;
        if let Content::Text(text) = &mut dataset.content {
            text.train = vec![0; characters];
        }
        dataset.name = "ptb".into();
        dataset
    }

    #[test]
    fn the_papers_data_is_recognised_by_its_sizes() {
        let is = |source, dataset: &Dataset| is_data_of(source, dataset);
        assert!(is(Source::PennTreebank, &text(5_900_000, 50)));
        assert!(!is(Source::PennTreebank, &text(5_900_000, 64)));
        assert!(!is(Source::PennTreebank, &text(1_100_000, 50)));
        let mut images = data::load("generated", data::Kind::Arrays, 0.2).unwrap();
        images.name = "cifar10".into();
        // Ten classes, but 9,000 images.
        assert!(!is(Source::Cifar10, &images) && !is(Source::Generated, &images));
    }
}
