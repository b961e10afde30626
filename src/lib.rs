//! Trains neural networks without tuning a learning rate.
//!
//! Alrao ("All Learning Rates At Once"; Blier, Wolinski and Ollivier, *Learning with Random Learning Rates*) gives every feature of a
//! network its own learning rate, drawn once, log-uniformly over several orders of magnitude. The last layer exists in N copies, the
//! classifiers, whose rates are spread over the same range. The switch, a Bayesian model average, weighs the classifiers while they
//! learn.
//!
//! ```no_run
//! use alrao::data::{self, Kind};
//! use alrao::learn::{Silent, TrainConfig};
//! use alrao::nn::{Init, Linear};
//! use alrao::supervised::Trainer;
//! use alrao::{Alrao, AlraoConfig, Device, DeviceKind};
//!
//! let device = Device::open(DeviceKind::Auto)?;
//! let dataset = data::load("digits.safetensors", Kind::Arrays, 0.2)?;
//! let model = Alrao::classifier(Linear::new(64, 32, &mut Init::new(0)), 10, AlraoConfig::default());
//! let report = Trainer::new(model, dataset, TrainConfig::default()).run(&device, &mut Silent)?;
//! println!("best epoch: {:?}, test: {:?}", report.best, report.test);
//! # Ok::<(), alrao::Error>(())
//! ```
//!
//! # Modules
//!
//! A module uses only modules in its own row and in the rows above.
//!
//! | | |
//! | --- | --- |
//! | [`shape`], [`random`], [`error`] | shapes, counter-based random numbers, errors |
//! | [`device`] | memory, threads and kernel launches: the CPU, CUDA, the simulator |
//! | [`tensor`], [`tape`] | arrays on a device, and the record of a forward pass for the backward pass |
//! | [`ops`] | the operations, in six modules; each has its shape rule, CPU code, kernel launch and gradient in one file or folder |
//! | [`nn`], [`optim`] | layers and their parameters; flat buffers and the fused update |
//! | [`alrao`](mod@alrao), [`models`], [`data`] | the algorithm; the architectures; the data formats |
//! | [`learn`] | the learner, the run loop, checkpoints, the run directory, settings |
//! | [`supervised`], [`rl`] | the two tasks: learning from a data set, and Q-learning |
//! | [`bench`](mod@bench), [`export`] | timing; trained models as ONNX files |
//!
//! The feature `cli` adds `checks` (compares each kernel with the CPU), `plots` (pictures), `experiments` (the paper's tables and
//! figures), `workshop` (kernel files that are compiled while the program runs) and `argument` (parsing of flags).
//!
//! # Glossary
//!
//! | word | meaning |
//! | --- | --- |
//! | accumulate | add a gradient to the content of a buffer, instead of overwriting it |
//! | averaging | the rule that weighs the classifiers: the switch, or plain Bayesian averaging |
//! | batch | the samples of one step; for text, columns of tokens |
//! | best epoch | the epoch with the smallest validation loss (in Q-learning: the largest return) |
//! | captured graph | the launches of a step, captured once and replayed as one |
//! | catch-up | classifiers whose posterior weight is below e^-20 take the mean of all classifiers' parameters, weighted by the posterior |
//! | checkpoint | a run's whole state in one safetensors file |
//! | classifier | one of the N copies of the last layer; in regression and Q-learning too |
//! | cursor | the position of the next batch in the epoch's order, in device memory |
//! | data loader | the thread that gathers batches ahead of their use |
//! | device | the CPU, a GPU through CUDA, or the simulator |
//! | diverged (classifier) | its loss in this step is not finite, so this step does not update it |
//! | epoch | one pass over the training data; in Q-learning a fixed number of the environment's steps |
//! | episode | one pass through an environment, from its start to its end |
//! | epsilon | the exploration rate of Q-learning: the share of random actions |
//! | eta | a learning rate; `eta_min` and `eta_max` are the ends of the interval that rates are drawn from |
//! | feature | an output of a layer: a unit, a channel; all weights into it share its learning rate |
//! | flat buffer | one allocation that holds all parameters, or all gradients, moments or learning rates |
//! | forward context | device, precision and tape of one forward pass |
//! | frozen (feature) | its learning rate is zero, so it does not learn |
//! | fused update | one kernel that updates all parameters, each at its feature's learning rate |
//! | head | the classifiers with their loss, as one op |
//! | learner | a model on a device with its optimiser, learning rates and posterior |
//! | log posterior | the logarithms of the posterior's weights |
//! | mixture | the model's prediction: the classifiers' predictions, weighed by the posterior; predicted values are weighed by the posterior before the switch redistributes part of the weight |
//! | moment | an optimiser's state for each parameter: momentum, or Adam's two averages |
//! | op | an operation on tensors with its gradient |
//! | pitch | distance between two rows of a tensor in memory, in elements; a row is the last axis, in an image a pixel's channels |
//! | pre-classifier | the network without its last layer: it maps inputs to features |
//! | posterior | the classifiers' weights in the mixture, which sum to 1 |
//! | precision | the number format of a run: f32, tf32, bf16 or f64 |
//! | replay buffer | the stored transitions that Q-learning draws its batches from |
//! | responsibility | a classifier's share in the mixture's likelihood of one sample |
//! | return | the sum of an episode's rewards |
//! | run | training from its first step to its test, in a directory of its own |
//! | run loop | epochs, evaluations, checkpoints and the end of a run, for both tasks |
//! | schedule | a factor on all learning rates that changes from epoch to epoch |
//! | simulator | the device that runs the CUDA kernels on the CPU and finds invalid memory accesses |
//! | skipped (element) | its gradient is not finite, so the update leaves it unchanged |
//! | split | a part of a data set: training, validation, test |
//! | switch | the Bayesian average of van Erven et al. (2008), in which the best classifier may change over time |
//! | tape | the record of a forward pass, which the backward pass reads in reverse |
//! | target network | the slowly updated copy of a Q-network that the targets are computed with |
//! | theta | the switch's parameter: the prior probability, at each switch, that further switches may follow |
//! | warp | 32 threads of a GPU that execute together |

pub mod alrao;
#[cfg(feature = "cli")]
pub mod argument;
pub mod bench;
#[cfg(feature = "cli")]
pub mod checks;
pub mod data;
pub mod device;
pub mod error;
#[cfg(feature = "cli")]
pub mod experiments;
pub mod export;
mod file;
mod fingerprint;
mod input;
pub mod learn;
pub mod models;
mod named;
pub mod nn;
pub mod ops;
pub mod optim;
#[cfg(feature = "cli")]
pub mod plots;
mod protobuf;
pub mod random;
pub mod rl;
pub mod shape;
pub mod supervised;
pub mod tape;
mod task;
pub mod tensor;
mod trace;
#[cfg(feature = "cli")]
pub mod workshop;

pub use alrao::{Alrao, AlraoConfig};
pub use device::{DType, Device, DeviceKind};
pub use error::{Error, Result};
pub use shape::Shape;
pub use tape::Tape;
pub use tensor::Tensor;
