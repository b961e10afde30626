//! Layers: parameters, modules, and the forward context.

mod batch_norm;
mod conv2d;
mod conv_bn;
mod dropout;
mod embedding;
mod forward_context;
mod init;
mod linear;
mod lstm;
mod module;
mod parameter;
mod pool;
mod squeeze_excite;

pub use batch_norm::BatchNorm2d;
pub use conv_bn::{Activation, ConvBn, Convolution};
pub use conv2d::{Conv2d, DepthwiseConv2d, Fan};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use forward_context::{ForwardContext, Mask};
pub use init::Init;
pub use linear::Linear;
pub use lstm::Lstm;
pub(crate) use module::zero_missing_gradients;
pub use module::{Entry, Module, Sequential, Visitor, for_each_entry};
pub use parameter::{Buffer, BufferKind, Features, FileLayout, Parameter};
pub use pool::{AdaptiveAveragePool2d, AveragePool2d, Flatten, GlobalAveragePool, MaxPool2d};
pub use squeeze_excite::SqueezeExcite;
