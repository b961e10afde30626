//! Exercises: a task, a skeleton with gaps, hints and a solution each, in the order of a course.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::source::KernelFile;
use crate::error::{Error, Result};

/// The file of the exercises that are solved, in their folder.
const PROGRESS: &str = "progress.toml";

/// An exercise.
#[derive(Debug)]
pub struct Exercise {
    /// Its name, with its number in front.
    pub name: &'static str,
    /// Title, task, hints and question.
    text: &'static str,
    /// The file to complete.
    pub skeleton: &'static str,
    /// A file that solves it.
    pub solution: &'static str,
}

macro_rules! exercise {
    ($name:literal) => {
        Exercise {
            name: $name,
            text: include_str!(concat!("../../workshop/exercises/", $name, "/task.md")),
            skeleton: include_str!(concat!("../../workshop/exercises/", $name, "/skeleton.cu")),
            solution: include_str!(concat!("../../workshop/exercises/", $name, "/solution.cu")),
        }
    };
}

/// All exercises, in order.
pub const EXERCISES: [Exercise; 16] = [
    exercise!("01_one_thread_one_element"),
    exercise!("02_guard"),
    exercise!("03_rows_and_columns"),
    exercise!("04_coalescing"),
    exercise!("05_shared_memory"),
    exercise!("06_barrier"),
    exercise!("07_bank_conflicts"),
    exercise!("08_reduction"),
    exercise!("09_shuffles"),
    exercise!("10_determinism"),
    exercise!("11_find_the_race"),
    exercise!("12_any_grid"),
    exercise!("13_stable_softmax"),
    exercise!("14_pipeline"),
    exercise!("15_tensor_core"),
    exercise!("16_fusion"),
];

impl Exercise {
    /// The exercise with this name or number.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none.
    pub fn named(name: &str) -> Result<&'static Exercise> {
        let number: Option<usize> = name.parse().ok();
        let by_number = number.and_then(|number| EXERCISES.get(number.checked_sub(1)?));
        let by_name = EXERCISES.iter().find(|own| own.name == name.trim_end_matches(".cu"));
        by_number.or(by_name).ok_or_else(|| {
            Error::input(
                name,
                "is no exercise; `alrao workshop list` shows their numbers and names",
            )
        })
    }

    /// Its title.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    /// What is to be done.
    pub fn task(&self) -> &'static str {
        self.sections().next().unwrap_or_default().trim()
    }

    /// Its hints, the gentlest first.
    pub fn hints(&self) -> Vec<&'static str> {
        let hints = self.sections().filter(|section| section.starts_with("Hint"));
        hints.map(|section| section.split_once('\n').map_or("", |(_, text)| text.trim())).collect()
    }

    /// What it is about, for somebody whose right result comes another way.
    pub fn point(&self) -> &'static str {
        self.section("The point")
    }

    /// A question for somebody who has solved it.
    pub fn question(&self) -> &'static str {
        self.section("To think about")
    }

    fn section(&self, title: &str) -> &'static str {
        let section = self.sections().find(|section| section.starts_with(title));
        section.and_then(|section| section.split_once('\n')).map_or("", |(_, text)| text.trim())
    }

    fn sections(&self) -> impl Iterator<Item = &'static str> {
        self.text.split("\n## ")
    }

    /// Its solution as a file. Its header has what other solutions need too.
    ///
    /// # Errors
    /// If the solution's header is wrong.
    pub fn solution_file(&self) -> Result<KernelFile> {
        KernelFile::parse(Path::new(self.name), self.solution.to_owned())
    }

    /// Checks that a file has the header that the exercise asks for. Blocks and grid are part of the task where skeleton and solution have the
    /// same.
    ///
    /// # Errors
    /// [`Error::Input`] if it computes something else, for other shapes or with other launches.
    pub fn check_header(&self, file: &KernelFile) -> Result<()> {
        let solution = self.solution_file()?;
        let skeleton = KernelFile::parse(Path::new(self.name), self.skeleton.to_owned())?;
        let failed = |message: String| Err(Error::file(&file.path, message));
        if file.reference.name != solution.reference.name {
            let (own, asked) = (file.reference.name, solution.reference.name);
            return failed(format!("computes {own}; the exercise asks for {asked}"));
        }
        if file.shapes != solution.shapes {
            let asked = &solution.shapes;
            return failed(format!("has other `shapes` than the exercise, which are {asked:?}"));
        }
        let launches = |file: &KernelFile| -> Vec<_> {
            file.launches.iter().map(|own| (own.block, own.grid, own.shared)).collect()
        };
        let asked = launches(&solution);
        if launches(&skeleton) == asked && launches(file) != asked {
            let header = self.skeleton.lines().filter(|line| line.starts_with("//@"));
            let header: Vec<&str> =
                header.map(|line| line.trim_start_matches("//@").trim()).collect();
            return failed(format!(
                "launches other blocks than the exercise, whose header is part of the task: {}",
                header.join("; ")
            ));
        }
        let blocks =
            |file: &KernelFile| file.launches.iter().map(|own| own.block).collect::<Vec<_>>();
        let (own, asked) = (blocks(file), blocks(&solution));
        if own.len() == asked.len() && own != asked {
            return failed(format!("has another `block` than the exercise, which is {asked:?}"));
        }
        Ok(())
    }
}

/// A folder of exercises, with the file of those that are solved.
#[derive(Debug)]
pub struct Course {
    folder: PathBuf,
    progress: Progress,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    solved: BTreeSet<String>,
}

impl Course {
    /// Opens a folder, which may be absent.
    ///
    /// # Errors
    /// [`Error::Input`] if its file of solved exercises is damaged.
    pub fn open(folder: &Path) -> Result<Course> {
        let path = folder.join(PROGRESS);
        let progress = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                Error::file(&path, format!("{}; delete it to begin anew", error.message()))
            })?,
            Err(_) => Progress::default(),
        };
        Ok(Course { folder: folder.to_owned(), progress })
    }

    /// Whether an exercise is solved.
    pub fn is_solved(&self, exercise: &Exercise) -> bool {
        self.progress.solved.contains(exercise.name)
    }

    /// The first exercise that is not solved.
    pub fn next(&self) -> Option<&'static Exercise> {
        EXERCISES.iter().find(|exercise| !self.is_solved(exercise))
    }

    /// The file of an exercise; the skeleton is written if there is none.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn file(&self, exercise: &Exercise) -> Result<PathBuf> {
        let path = self.folder.join(format!("{}.cu", exercise.name));
        if !path.exists() {
            let written =
                fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, exercise.skeleton));
            written.map_err(|error| Error::write(&path, error))?;
        }
        Ok(path)
    }

    /// Notes that an exercise is solved.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn solve(&mut self, exercise: &Exercise) -> Result<()> {
        self.progress.solved.insert(exercise.name.to_owned());
        let path = self.folder.join(PROGRESS);
        let text = toml::to_string(&self.progress).expect("names can be written");
        fs::write(&path, text).map_err(|error| Error::write(&path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exercise_is_whole() {
        for (number, exercise) in EXERCISES.iter().enumerate() {
            let name = exercise.name;
            assert!(name.starts_with(&format!("{:02}_", number + 1)), "{name}");
            assert_eq!(exercise.hints().len(), 2, "{name}");
            assert!(!exercise.title().is_empty() && exercise.task().len() > 100, "{name}");
            assert!(exercise.question().ends_with('?'), "{name}");
            let solution = exercise.solution_file().unwrap();
            assert!(!solution.needs.is_empty() || !solution.uses.is_empty(), "{name}");
            assert_eq!(solution.lacks(&solution.uses), None, "{name}");
            assert!(exercise.point().len() > 60, "{name}");
            for hint in exercise.hints() {
                assert!(!hint.contains(";`"), "{name}: a hint is not code");
            }
            exercise.check_header(&solution).unwrap();
            let file = KernelFile::parse(Path::new("a.cu"), exercise.skeleton.to_owned()).unwrap();
            assert!(file.text.contains("TODO"), "{name}");
            assert!(!exercise.solution.contains("TODO"), "{name}");
        }
        assert_eq!(Exercise::named("3").unwrap().name, "03_rows_and_columns");
        assert_eq!(Exercise::named("03_rows_and_columns.cu").unwrap().name, "03_rows_and_columns");
        assert!(Exercise::named("17").is_err());
    }

    #[test]
    fn progress_is_kept_beside_the_exercises() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("own");
        let mut course = Course::open(&folder).unwrap();
        let first = course.next().unwrap();
        let path = course.file(first).unwrap();
        fs::write(&path, "my own").unwrap();
        assert_eq!(course.file(first).unwrap(), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "my own");
        course.solve(first).unwrap();
        let again = Course::open(&folder).unwrap();
        assert!(again.is_solved(first));
        assert_eq!(again.next().unwrap().name, EXERCISES[1].name);
        fs::write(folder.join("progress.toml"), "solved = 3").unwrap();
        assert!(Course::open(&folder).unwrap_err().to_string().contains("progress.toml"));
    }
}
