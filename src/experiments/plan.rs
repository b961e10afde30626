//! The plan of an experiment's runs, and the folder that holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Experiment;
use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::learn::tensor_file::replace;
use crate::rl;
use crate::rl::QConfig;
use crate::supervised::RunConfig;
use crate::supervised::settings::Settings;

const PLAN: &str = "plan.json";
const RUNS: &str = "runs";
const LOCK: &str = "lock";

/// A run of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// Its folder's name.
    pub name: String,
    /// Its task and settings.
    pub work: Work,
}

/// The task and settings of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A model that learns from data.
    Supervised(RunConfig),
    /// A network that learns to act.
    QLearning(QConfig),
}

impl Work {
    /// The device.
    pub fn device(&self) -> DeviceKind {
        match self {
            Work::Supervised(config) => config.device,
            Work::QLearning(config) => config.device,
        }
    }

    /// Its settings as TOML, one a line, without the path of the data, which may change.
    fn to_toml(&self) -> String {
        match self {
            Work::Supervised(config) => {
                Settings::from(config).retain(&|key| key != "data").to_toml()
            }
            Work::QLearning(config) => rl::settings::Settings::from(config).to_toml(),
        }
    }

    /// Whether the text of a run's configuration file holds all these settings.
    pub fn is_of(&self, config: &str) -> bool {
        let lines: BTreeSet<&str> = config.lines().collect();
        self.to_toml().lines().all(|line| lines.contains(line))
    }
}

/// The content of `plan.json`: all that an experiment's results depend on.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Plan {
    data: Vec<String>,
    experiment: String,
    /// Each run's settings as TOML.
    runs: BTreeMap<String, String>,
}

/// The folder of an experiment, locked against other processes until this value is dropped.
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates the folder, or opens the one that holds the same plan. `data` are the fingerprints of the runs' data.
    ///
    /// # Errors
    /// If the folder holds something else, cannot be written, or is in use by another process.
    pub fn open(
        path: &Path,
        experiment: Experiment,
        data: Vec<String>,
        runs: &[PlannedRun],
    ) -> Result<Folder> {
        let plan = Plan {
            data,
            experiment: experiment.name().into(),
            runs: runs.iter().map(|run| (run.name.clone(), run.work.to_toml())).collect(),
        };
        let wrong = |message: String| Error::input(format!("`out` {}", path.display()), message);
        let cannot = |error: std::io::Error| wrong(format!("cannot be written: {error}"));
        if path.exists() && !path.is_dir() {
            return Err(wrong("is a file; give a folder".into()));
        }
        check_free(path)?;
        fs::create_dir_all(path).map_err(cannot)?;
        let lock = lock(&path.join(LOCK), &wrong)?;
        // The lock is held from here on: no other process changes the folder.
        let file = path.join(PLAN);
        if file.is_file() {
            if let Some(difference) = difference(&read_plan(&file)?, &plan) {
                return Err(wrong(format!("{difference}; give another `out`, or remove it")));
            }
        } else {
            check_free(path)?;
            let text = serde_json::to_string_pretty(&plan).expect("a plan is plain data");
            replace(&file, text.as_bytes())?;
        }
        fs::create_dir_all(path.join(RUNS)).map_err(cannot)?;
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }

    /// The folder of the runs.
    pub fn runs(&self) -> PathBuf {
        self.path.join(RUNS)
    }

    /// Writes a file, replacing an old one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        replace(&self.path.join(name), text.as_bytes())
    }
}

/// Takes the lock of an experiment's folder.
fn lock(path: &Path, wrong: &dyn Fn(String) -> Error) -> Result<File> {
    let cannot = |error: std::io::Error| wrong(format!("cannot be written: {error}"));
    let opened = File::options().create(true).truncate(false).write(true).open(path);
    let lock = opened.map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => {}
        // Some file systems have no locks; there the user must not start two processes.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
        Err(TryLockError::WouldBlock) => {
            return Err(wrong(
                "another process is running this experiment; wait for it or stop it".into(),
            ));
        }
    }
    Ok(lock)
}

/// Refuses a folder that holds something else. It accepts the files of a process that was killed before it wrote its plan, and
/// any folder with a plan, since the plan is compared later, under the lock.
fn check_free(path: &Path) -> Result<()> {
    let subject = || format!("`out` {}", path.display());
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(|error| Error::input(subject(), format!("cannot be read: {error}")))?,
    };
    let is_own = |name: &str| match name {
        LOCK => true,
        RUNS => fs::read_dir(path.join(RUNS)).is_ok_and(|mut own| own.next().is_none()),
        name => name.strip_suffix(".tmp") == Some(PLAN),
    };
    let mut names = entries.iter().map(fs::DirEntry::file_name);
    let has_plan = path.join(PLAN).is_file();
    match has_plan || names.all(|name| name.to_str().is_some_and(is_own)) {
        true => Ok(()),
        false => {
            let message = "is not empty and holds no experiment; give another `out`";
            Err(Error::input(subject(), message))
        }
    }
}

fn read_plan(file: &Path) -> Result<Plan> {
    let text = crate::file::read_text(file).map_err(|error| error.to_string());
    let plan = text.and_then(|text| {
        serde_json::from_str(&text).map_err(|error| error.to_string().replace('`', "'"))
    });
    plan.map_err(|error| Error::file(file, format!("is not an experiment's plan: {error}")))
}

/// The first difference between two plans; `None` if they are equal.
fn difference(before: &Plan, now: &Plan) -> Option<String> {
    if before.experiment != now.experiment {
        return Some(format!("holds {}, not {}", before.experiment, now.experiment));
    }
    for (name, settings) in &now.runs {
        let Some(own) = before.runs.get(name) else { continue };
        if let Some((old, new)) = first_difference(own, settings) {
            return Some(format!("holds this experiment with {old}, not {new} (run {name})"));
        }
    }
    // The settings of runs with the same name are the same, whatever their order.
    if !before.runs.keys().eq(now.runs.keys()) {
        let (old, new) = (before.runs.len(), now.runs.len());
        return Some(match old == new {
            true => "holds this experiment with other runs".into(),
            false => format!("holds this experiment with {old} runs, not {new}"),
        });
    }
    (before.data != now.data).then(|| "holds this experiment on other data".into())
}

/// The first setting, in the order of the keys, that differs between two runs: its old and its new value.
fn first_difference(old: &str, new: &str) -> Option<(String, String)> {
    let settings = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.split_once(" = "));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let (old, new) = (settings(old), settings(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let key = keys.into_iter().find(|key| old.get(*key) != new.get(*key))?;
    let told = |settings: &BTreeMap<String, String>| match settings.get(key) {
        Some(value) => format!("{key} = {value}"),
        None => format!("no {key}"),
    };
    Some((told(&old), told(&new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_only_one_has_is_named() {
        let told = |old, new| first_difference(old, new).map(|(old, new)| format!("{old}; {new}"));
        let told = |old, new| told(old, new).unwrap_or_default();
        assert_eq!(told("a = 1\nsamples = 5\nz = 2", "a = 1\nz = 2"), "samples = 5; no samples");
        assert_eq!(told("a = 1\nz = 2", "a = 1\nb = 0\nz = 2"), "no b; b = 0");
        assert_eq!(told("a = 1\nz = 2", "a = 1\nz = 3"), "z = 2; z = 3");
        assert_eq!(told("a = 1", "a = 1"), "");
        assert_eq!(told("a = 1\nb = 2", "b = 2\na = 1"), "");
    }

    fn run(epochs: u64) -> PlannedRun {
        let mut settings = Settings::default();
        settings.task.epochs = Some(epochs);
        PlannedRun { name: "one".into(), work: Work::Supervised(settings.resolve().unwrap()) }
    }

    #[test]
    fn another_plan_is_refused_by_its_first_difference() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        let open = |experiment, data: &str, runs: &[PlannedRun]| {
            Folder::open(&out, experiment, vec![data.into()], runs).map(|folder| folder.runs())
        };
        let wrong = |result: Result<PathBuf>| result.unwrap_err().to_string();
        open(Experiment::Table1, "a", &[run(3)]).unwrap();
        open(Experiment::Table1, "a", &[run(3)]).unwrap();
        let epochs = wrong(open(Experiment::Table1, "a", &[run(4)]));
        assert!(epochs.contains("epochs = 3, not epochs = 4") && epochs.contains("`out`"));
        assert!(wrong(open(Experiment::Table1, "b", &[run(3)])).contains("other data"));
        let other = wrong(open(Experiment::Frozen, "a", &[run(3)]));
        assert!(other.contains("table1, not frozen"), "{other}");
        let fewer = wrong(open(Experiment::Table1, "a", &[]));
        assert!(fewer.contains("1 runs, not 0"), "{fewer}");
    }

    /// An earlier version wrote the settings in another order.
    #[test]
    fn the_order_of_the_settings_is_no_difference() {
        let place = tempfile::tempdir().unwrap();
        let open = || Folder::open(place.path(), Experiment::Table1, vec![], &[run(3)]).map(drop);
        open().unwrap();
        let file = place.path().join(PLAN);
        let mut plan = read_plan(&file).unwrap();
        for settings in plan.runs.values_mut() {
            *settings = settings.lines().rev().map(|line| format!("{line}\n")).collect();
        }
        fs::write(&file, serde_json::to_string(&plan).unwrap()).unwrap();
        open().unwrap();
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("mine"), "").unwrap();
        let opened = |path: &Path| Folder::open(path, Experiment::Table2, vec![], &[]).map(drop);
        assert!(opened(place.path()).unwrap_err().to_string().contains("not empty"));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        let file = opened(&place.path().join("mine")).unwrap_err().to_string();
        assert!(file.contains("is a file"), "{file}");
        // Runs without a plan are not an experiment's.
        fs::remove_file(place.path().join("mine")).unwrap();
        fs::create_dir_all(place.path().join("runs/one")).unwrap();
        assert!(opened(place.path()).unwrap_err().to_string().contains("not empty"));
    }

    #[test]
    fn a_process_that_is_killed_at_the_start_leaves_nothing_in_the_way() {
        for left in [&["runs"][..], &["lock"], &["lock", "plan.json.tmp"], &["lock", "runs"]] {
            let place = tempfile::tempdir().unwrap();
            for name in left {
                let path = place.path().join(name);
                if *name == "runs" { fs::create_dir(path) } else { fs::write(path, "") }.unwrap();
            }
            let opened = Folder::open(place.path(), Experiment::Table2, vec![], &[]);
            assert!(opened.is_ok(), "{left:?}: {:?}", opened.err());
            assert!(place.path().join("plan.json").is_file() && place.path().join("runs").is_dir());
        }
    }

    #[test]
    fn where_the_data_lies_is_no_difference() {
        let place = tempfile::tempdir().unwrap();
        let on = |data: &str| {
            let mut settings = Settings::default();
            settings.task.data = Some(data.into());
            PlannedRun { name: "one".into(), work: Work::Supervised(settings.resolve().unwrap()) }
        };
        let open = |data: &str, fingerprint: &str| {
            let runs = [on(data)];
            Folder::open(place.path(), Experiment::Table1, vec![fingerprint.into()], &runs)
                .map(drop)
        };
        open("here/data", "a").unwrap();
        open("../here/data", "a").unwrap();
        assert!(open("here/data", "b").unwrap_err().to_string().contains("other data"));
        let mut config = Settings::default();
        (config.task.data, config.task.epochs) = (Some("x".into()), Some(3));
        let text = Settings::from(&config.resolve().unwrap()).to_toml();
        assert!(run(3).work.is_of(&text) && !run(4).work.is_of(&text));
        assert!(!run(3).work.is_of(&text[..text.len() / 2]));
    }

    #[test]
    fn two_processes_do_not_share_a_folder() {
        let place = tempfile::tempdir().unwrap();
        let open = || Folder::open(place.path(), Experiment::Table2, vec![], &[]);
        let first = open().unwrap();
        assert!(open().err().unwrap().to_string().contains("another process"));
        drop(first);
        open().unwrap();
    }
}
