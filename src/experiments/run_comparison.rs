//! Runs side by side: the settings that differ, the results and the curves.

use std::path::{Path, PathBuf};

use toml::{Table as Config, Value};

use super::findings::{Findings, Picture, Table, or_dash};
use super::run_list::{RunState, RunSummary};
use crate::error::{Error, Result};
use crate::learn::RunDirectory;
use crate::plots::{
    Axis, EpochLine, History, Scale, Series, Stroke, exact, line_shade, lines, number,
};

/// The most letters of a run's name in a legend, which would otherwise leave no room for the curves.
const NAME: usize = 28;

/// A run that is compared.
struct Compared {
    name: String,
    config: Config,
    history: History,
    summary: RunSummary,
}

/// Compares runs: tables of the settings that differ and of the results, and a picture of each curve that a run has. The
/// directories are named by their last part, or in full where two have the same.
///
/// # Errors
/// [`Error::Input`] if a directory is no run, is named twice, or holds a file that is damaged.
pub fn compare_runs(directories: &[PathBuf]) -> Result<Findings> {
    let names = names(directories)?;
    let read = |(directory, name): (&PathBuf, String)| Compared::read(directory, name);
    let runs: Vec<Compared> = directories.iter().zip(names).map(read).collect::<Result<_>>()?;
    let titles: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let mut observations = remarks(&runs);
    let settings = settings(&runs);
    if settings.rows.is_empty() {
        observations.push("The runs have the same settings.".into());
    }
    Ok(Findings {
        title: format!("Runs compared: {}", titles.join(", ")),
        observations,
        tables: [settings, results(&runs)].into_iter().filter(|own| !own.rows.is_empty()).collect(),
        pictures: MEASURES.iter().filter_map(|own| own.picture(&runs)).collect(),
        ..Findings::default()
    })
}

impl Compared {
    fn read(directory: &Path, name: String) -> Result<Compared> {
        let (summary, history) = RunSummary::with_history(directory)?;
        let (text, file) = RunDirectory::config_text(directory)?;
        let config =
            text.parse().map_err(|error: toml::de::Error| Error::file(&file, error.message()))?;
        Ok(Compared { name, config, history, summary })
    }
}

/// The path without links and dots, if it is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn names(directories: &[PathBuf]) -> Result<Vec<String>> {
    let last = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let own = |(place, path): (usize, &PathBuf)| {
        let is_same = |other: &PathBuf| real(other) == real(path);
        if directories[..place].iter().any(is_same) {
            return Err(Error::input(path.display(), "is named twice"));
        }
        let is_shared = directories.iter().filter(|other| last(other) == last(path)).count() > 1;
        let short = last(path).filter(|_| !is_shared);
        Ok(short.unwrap_or_else(|| path.display().to_string()))
    };
    directories.iter().enumerate().map(own).collect()
}

/// What a reader has to know before the numbers are compared.
fn remarks(runs: &[Compared]) -> Vec<String> {
    let mut remarks = Vec::new();
    let data = |run: &Compared| {
        [run.config.get("data_fingerprint").cloned(), run.config.get("env").cloned()]
    };
    if runs.windows(2).any(|pair| data(&pair[0]) != data(&pair[1])) {
        let remark = "The runs have different data, so their losses, accuracies and returns cannot be compared.";
        remarks.push(remark.to_owned());
    }
    let shown = |text: String, run: &Compared| format!("{}: {text}", run.name);
    let unfinished = runs.iter().filter_map(|run| {
        let planned = run.summary.planned?;
        (run.summary.epochs < planned && run.summary.state != RunState::Finished)
            .then(|| shown(format!("{} of {planned} epochs are done.", run.summary.epochs), run))
    });
    remarks.extend(unfinished);
    remarks
}

/// A row for each setting that is not the same in all runs.
fn settings(runs: &[Compared]) -> Table {
    let names = runs.iter().map(|run| run.name.as_str());
    let head: Vec<&str> = ["setting"].into_iter().chain(names).collect();
    let mut table = Table::new("Settings that differ.", &head);
    let mut keys: Vec<&String> = Vec::new();
    for key in runs.iter().flat_map(|run| run.config.keys()) {
        // The samples of each class follow from the data and its split; `remarks` tells of other data.
        if !keys.contains(&key) && !key.ends_with("_classes") && key != "data_fingerprint" {
            keys.push(key);
        }
    }
    for key in keys {
        let values: Vec<Option<&Value>> = runs.iter().map(|run| run.config.get(key)).collect();
        if values.iter().any(|own| *own != values[0]) {
            let cells = values.iter().map(|own| or_dash(*own, text));
            table.push([key.clone()].into_iter().chain(cells));
        }
    }
    table
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(value) => exact(*value),
        other => other.to_string(),
    }
}

fn results(runs: &[Compared]) -> Table {
    let head = [
        "run",
        "epochs",
        "best epoch",
        "its validation loss",
        "its validation",
        "its test",
        "seconds of training, whole epochs",
    ];
    let caption = "Results; validation and test are accuracies, R2 (regression) or mean returns (Q-learning).";
    let mut table = Table::new(caption, &head);
    for run in runs {
        let seconds: f64 = run.history.epochs().iter().filter_map(|epoch| epoch.seconds).sum();
        let summary = &run.summary;
        table.push([
            run.name.clone(),
            match summary.planned.filter(|planned| *planned != summary.epochs) {
                Some(planned) => format!("{} of {planned}", summary.epochs),
                None => summary.epochs.to_string(),
            },
            or_dash(summary.best_epoch, |epoch| epoch.to_string()),
            or_dash(summary.valid_loss, number),
            or_dash(summary.result(false), |own| own.to_string()),
            or_dash(summary.result(true), |own| own.to_string()),
            number(seconds),
        ]);
    }
    table
}

/// A measure of each epoch, and its picture.
struct Measure {
    /// The picture's name.
    name: &'static str,
    /// The axis' label: the measure and its unit.
    label: &'static str,
    /// Whether it is over the environment's steps, as in `return.svg`, in place of the epochs.
    is_over_steps: bool,
    of: fn(&EpochLine) -> Option<f64>,
    scale: fn(Vec<f64>) -> Scale,
}

const MEASURES: [Measure; 4] = [
    Measure {
        name: "valid-loss",
        label: "validation loss (nats)",
        is_over_steps: false,
        of: |epoch| epoch.valid_loss,
        scale: |values| Scale::losses(values.into_iter()),
    },
    Measure {
        name: "valid-accuracy",
        label: "validation accuracy",
        is_over_steps: false,
        of: |epoch| epoch.valid_accuracy,
        scale: |values| Scale::percent(values.into_iter()),
    },
    Measure {
        name: "train-loss",
        label: "training loss (nats)",
        is_over_steps: false,
        of: |epoch| epoch.train_loss,
        scale: |values| Scale::losses(values.into_iter()),
    },
    Measure {
        name: "return",
        label: "mean return",
        is_over_steps: true,
        of: |epoch| epoch.mean_return,
        scale: |values| Scale::returns(values.into_iter()),
    },
];

impl Measure {
    /// The curves of the runs; `None` if no run has the measure.
    fn picture(&self, runs: &[Compared]) -> Option<Picture> {
        let point = |epoch: &EpochLine| {
            let x = if self.is_over_steps { epoch.step? } else { epoch.epoch };
            Some((x as f64, (self.of)(epoch)?))
        };
        let curves = runs.iter().enumerate().map(|(place, run)| {
            let points = run.history.epochs().iter().filter_map(point).collect();
            let colour = line_shade(place, runs.len());
            // Of many colours, neighbours are alike.
            let is_dashed = runs.len() > 6 && place % 2 == 1;
            let stroke = if is_dashed { Stroke::Dashed(2) } else { Stroke::Dotted(2) };
            Series::new(shortened(&run.name), points, colour, stroke)
        });
        let mut curves: Vec<Series> = curves.filter(|own| !own.points.is_empty()).collect();
        let has_equal = dash_equal_curves(&mut curves);
        let points = || curves.iter().flat_map(|own| own.points.iter());
        let end = points().map(|(x, _)| *x).reduce(f64::max)?;
        let unit = if self.is_over_steps { "step of the environment" } else { "epoch" };
        let x = Axis::new(unit, Scale::linear(0.0..end));
        let y = Axis::new(self.label, (self.scale)(points().map(|(_, y)| *y).collect()));
        let (measure, _) = self.label.split_once(" (").unwrap_or((self.label, ""));
        let equal =
            if has_equal { " A dashed curve equals another one wherever both exist." } else { "" };
        let caption = format!("The {measure} of each run.{equal}");
        Some(Picture::new(self.name, lines(&x, &y, "", &curves), caption))
    }
}

/// Dashes the curves that would hide an earlier one. Returns whether there are any.
fn dash_equal_curves(curves: &mut [Series]) -> bool {
    let mut has_equal = false;
    for place in 1..curves.len() {
        let (earlier, later) = curves.split_at_mut(place);
        if earlier.iter().any(|own| is_equal(&own.points, &later[0].points)) {
            later[0].stroke = Stroke::Dashed(2);
            has_equal = true;
        }
    }
    has_equal
}

/// Whether two curves agree wherever both have a point, and there is such a place.
fn is_equal(a: &[(f64, f64)], b: &[(f64, f64)]) -> bool {
    let mut shared = a.iter().flat_map(|(x, y)| {
        b.iter().filter(move |(other, _)| other == x).map(move |(_, other)| other == y)
    });
    shared.next() == Some(true) && shared.all(|agrees| agrees)
}

/// The name, or its end where it is too long for a legend.
fn shortened(name: &str) -> String {
    let letters = name.chars().count();
    if letters <= NAME {
        return name.to_owned();
    }
    "…".chars().chain(name.chars().skip(letters - NAME + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_that_would_hide_another_is_dashed() {
        let series = |values: &[f64]| {
            let points = values.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
            Series::new("", points, line_shade(0, 1), Stroke::Dotted(2))
        };
        let mut curves = [&[1.0, 2.0][..], &[1.0, 3.0], &[1.0, 2.0, 5.0], &[], &[4.0]].map(series);
        assert!(dash_equal_curves(&mut curves));
        let dashed = curves.each_ref().map(|own| own.stroke == Stroke::Dashed(2));
        assert_eq!(dashed, [false, false, true, false, false]);
        assert!(!dash_equal_curves(&mut curves[..2]));
    }

    #[test]
    fn runs_of_one_name_are_told_apart() {
        let paths = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(PathBuf::from).collect() };
        assert_eq!(names(&paths(&["a/one", "a/two", "b/one"])).unwrap(), ["a/one", "two", "b/one"]);
        assert!(names(&paths(&["a", "a"])).unwrap_err().to_string().contains("twice"));
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ab".repeat(20)).chars().count(), NAME);
    }
}
