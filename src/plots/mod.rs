//! SVG pictures of runs and experiments.

mod chart;
mod colours;
mod confusion;
mod directory;
mod heat_map;
mod history;
pub mod page;
mod returns;
pub mod roofline;
pub mod run;
mod scale;
mod tensorboard;

pub use chart::{Axis, Series, Stroke, lines, stack};
pub use colours::{INK, TEST, TRAIN, VALID, line_shade, shade};
pub use confusion::confusion;
pub use directory::RunPlots;
pub use heat_map::{Cell, heat_map};
pub use history::{Curve, Curves, EpochLine, History, StepLine, TestLine};
pub use plotters::style::{Color, RGBColor};
pub use scale::{Scale, exact, number};
