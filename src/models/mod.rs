//! The architectures. Each is a pre-classifier: it gives features and knows nothing of the classifiers.

pub mod alexnet;
pub mod cnn;
pub mod densenet121;
pub mod googlenet;
pub mod mlp;
pub mod mobilenetv2;
pub mod resnet50;
pub mod senet18;
pub mod text_lstm;
pub mod vgg;

use crate::error::{Error, Result};
pub use crate::input::Input;
use crate::named::named;
use crate::nn::{Entry, Init, Module, for_each_entry};

named! {
    /// An architecture.
    Architecture, "model" {
        /// Fully connected layers.
        Mlp = "mlp",
        /// Three convolutional blocks and a global average pool.
        Cnn = "cnn",
        /// VGG with 11 layers (Simonyan and Zisserman 2015), with batch norm.
        Vgg11 = "vgg11",
        /// VGG with 13 layers.
        Vgg13 = "vgg13",
        /// VGG with 16 layers.
        Vgg16 = "vgg16",
        /// VGG with 19 layers.
        Vgg19 = "vgg19",
        /// MobileNetV2 (Sandler et al. 2018) for 32 by 32 images.
        MobileNetV2 = "mobilenetv2",
        /// GoogLeNet (Szegedy et al. 2015) for 32 by 32 images, with batch norm.
        GoogLeNet = "googlenet",
        /// SENet with 18 layers (Hu et al. 2018) for 32 by 32 images.
        SeNet18 = "senet18",
        /// AlexNet (Krizhevsky 2014).
        AlexNet = "alexnet",
        /// ResNet with 50 layers (He et al. 2016).
        ResNet50 = "resnet50",
        /// DenseNet with 121 layers (Huang et al. 2017).
        DenseNet121 = "densenet121",
        /// Two LSTM layers over characters.
        CharLstm = "char-lstm",
        /// Two LSTM layers over words.
        WordLstm = "word-lstm",
    }
}

impl Architecture {
    /// Whether it reads text.
    pub fn is_lstm(self) -> bool {
        matches!(self, Architecture::CharLstm | Architecture::WordLstm)
    }

    /// Whether it uses [`ModelConfig::dropout`].
    pub fn has_dropout(self) -> bool {
        self.is_lstm() || self == Architecture::AlexNet
    }

    /// Rows and columns of the images it was designed for: ImageNet's usual crop, or CIFAR-10's size.
    pub fn usual_side(self) -> usize {
        match self {
            Architecture::AlexNet | Architecture::ResNet50 | Architecture::DenseNet121 => 224,
            _ => 32,
        }
    }
}

named! {
    /// The activation after each hidden layer of an mlp.
    Activation, "activation" {
        /// The larger of 0 and the number.
        Relu = "relu",
        /// The hyperbolic tangent, whose output stays in -1 to 1 even for a feature with a large learning rate.
        Tanh = "tanh",
    }
}

/// An architecture and its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The architecture.
    pub architecture: Architecture,
    /// Factor on every number of channels or units, which are rounded.
    pub width: f64,
    /// Units of each hidden layer of an mlp.
    pub hidden: Vec<usize>,
    /// The activation after each hidden layer of an mlp.
    pub activation: Activation,
    /// Probability of dropout, for architectures that have it.
    pub dropout: f64,
}

/// A model without its last layer.
pub struct PreClassifier {
    /// Maps a batch to features `[samples, features]`.
    pub module: Box<dyn Module>,
    /// Number of features.
    pub features: usize,
}

impl PreClassifier {
    fn new<M: Module + 'static>(module: M, features: fn(&M) -> usize) -> Self {
        PreClassifier { features: features(&module), module: Box::new(module) }
    }

    /// Number of its parameters and those of `classifiers` classifiers with `outputs` outputs each.
    pub fn parameters(&self, classifiers: usize, outputs: usize) -> u128 {
        let mut own = 0;
        for_each_entry(&*self.module, &mut |_, entry| {
            if let Entry::Parameter(parameter) = entry {
                own += parameter.count();
            }
        });
        own + classifiers as u128 * outputs as u128 * (self.features as u128 + 1)
    }
}

/// A new model for an input: images `[N, H, W, C]`, vectors `[N, D]` or tokens (I32) `[T, B]`.
///
/// ```
/// use alrao::models::{Activation, Architecture, Input, ModelConfig, build};
/// use alrao::nn::Init;
/// let activation = Activation::Relu;
/// let config =
///     ModelConfig { architecture: Architecture::Cnn, width: 0.5, hidden: vec![], activation, dropout: 0.0 };
/// let input = Input::Image { height: 32, width: 32, channels: 3 };
/// assert_eq!(build(&config, input, &mut Init::new(0))?.features, 64);
/// # Ok::<(), alrao::Error>(())
/// ```
///
/// # Errors
/// [`Error::Input`] if the model does not take this input.
pub fn build(config: &ModelConfig, input: Input, init: &mut Init) -> Result<PreClassifier> {
    let takes = |what: &str| {
        let advice = match (input, input.note_on_axes()) {
            (Input::Vector { .. }, _) => "; `model` mlp takes vectors".into(),
            (_, Some(note)) => format!("; {note}"),
            (_, None) => String::new(),
        };
        Error::input(
            format!("`model` {}", config.architecture.name()),
            format!("takes {what}, not {input}{advice}"),
        )
    };
    let small_image = || match input {
        Input::Image { height: 32, width: 32, channels } => Ok(channels),
        _ => Err(takes("images of 32 by 32")),
    };
    let image = |least: usize| match input {
        Input::Image { height, width, channels } if height.min(width) >= least => Ok(channels),
        _ => Err(takes(&format!("images of at least {least} by {least}"))),
    };
    let width = config.width;
    let vgg = |blocks: [usize; 5], inputs: usize, init: &mut Init| {
        Ok(PreClassifier::new(vgg::Vgg::new(blocks, inputs, width, init), vgg::Vgg::features))
    };
    match config.architecture {
        Architecture::Mlp => {
            if matches!(input, Input::Tokens { .. }) {
                return Err(takes("images or vectors"));
            }
            Ok(PreClassifier::new(
                mlp::Mlp::new(input.elements(), &config.hidden, config.activation, width, init),
                mlp::Mlp::features,
            ))
        }
        Architecture::Cnn => Ok(PreClassifier::new(
            cnn::Cnn::new(image(cnn::SMALLEST_IMAGE)?, width, init),
            cnn::Cnn::features,
        )),
        Architecture::Vgg11 => vgg([1, 1, 2, 2, 2], small_image()?, init),
        Architecture::Vgg13 => vgg([2, 2, 2, 2, 2], small_image()?, init),
        Architecture::Vgg16 => vgg([2, 2, 3, 3, 3], small_image()?, init),
        Architecture::Vgg19 => vgg([2, 2, 4, 4, 4], small_image()?, init),
        Architecture::MobileNetV2 => Ok(PreClassifier::new(
            mobilenetv2::MobileNetV2::new(small_image()?, width, init),
            mobilenetv2::MobileNetV2::features,
        )),
        Architecture::GoogLeNet => Ok(PreClassifier::new(
            googlenet::GoogLeNet::new(small_image()?, width, init),
            googlenet::GoogLeNet::features,
        )),
        Architecture::SeNet18 => Ok(PreClassifier::new(
            senet18::SeNet18::new(small_image()?, width, init),
            senet18::SeNet18::features,
        )),
        Architecture::AlexNet => Ok(PreClassifier::new(
            alexnet::AlexNet::new(image(alexnet::SMALLEST_IMAGE)?, width, config.dropout, init),
            alexnet::AlexNet::features,
        )),
        Architecture::ResNet50 => Ok(PreClassifier::new(
            resnet50::ResNet50::new(image(32)?, width, init),
            resnet50::ResNet50::features,
        )),
        Architecture::DenseNet121 => Ok(PreClassifier::new(
            densenet121::DenseNet121::new(image(32)?, width, init),
            densenet121::DenseNet121::features,
        )),
        Architecture::CharLstm | Architecture::WordLstm => {
            let Input::Tokens { vocabulary } = input else { return Err(takes("text")) };
            Ok(PreClassifier::new(
                text_lstm::TextLstm::new(vocabulary, width, config.dropout, init),
                text_lstm::TextLstm::features,
            ))
        }
    }
}

/// `count` channels times `width`, rounded, half a channel up; at least one.
pub(crate) fn channels(count: usize, width: f64) -> usize {
    ((count as f64 * width + 0.5).floor() as usize).max(1)
}

#[cfg(test)]
mod tests;
