//! The exercises: `alrao workshop list`, `next`, `check`, `hint` and `solution`.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;

use super::run::in_words;
use crate::cli::failure::Ending;
use crate::cli::messages;
use alrao::error::Error;
use alrao::workshop::{Column, Counts, Course, EXERCISES, Exercise, KernelFile, run as run_file};

/// The folder of the exercises.
#[derive(Args)]
struct Folder {
    /// The folder of your exercises
    #[arg(long, value_name = "DIR", default_value = "exercises")]
    folder: PathBuf,
}

/// List the exercises, and which are solved
#[derive(Args)]
#[command(after_help = "Example:\n  alrao workshop list")]
pub(super) struct List {
    #[command(flatten)]
    folder: Folder,
}

/// Show the next exercise, or the one that is named, and write the file to complete
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao workshop next\n  alrao workshop next 4")]
pub(super) struct Next {
    /// Its number or name [default: the first that is not solved]
    exercise: Option<String>,
    #[command(flatten)]
    folder: Folder,
}

/// Check the file of an exercise
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao workshop check exercises/01_one_thread_one_element.cu\n  alrao workshop check 1"
)]
pub(super) struct Check {
    /// The file, named as the exercise; or an exercise's number or name, for its file in --folder
    #[arg(value_name = "FILE.cu|EXERCISE")]
    file: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// Show a hint on an exercise
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao workshop hint 4\n  alrao workshop hint 4 --second")]
pub(super) struct Hint {
    /// Its number or name
    exercise: String,
    /// The second hint, which explains the idea
    #[arg(long)]
    second: bool,
}

/// Show the solution of an exercise
#[derive(Args)]
#[command(after_help = "Example:\n  alrao workshop solution 4")]
pub(super) struct Solution {
    /// Its number or name
    exercise: String,
}

pub(super) fn list(arguments: &List) -> anyhow::Result<Ending> {
    let course = Course::open(&arguments.folder.folder)?;
    let line = |exercise: &Exercise| {
        let mark = if course.is_solved(exercise) { "solved" } else { "" };
        format!("{mark:<6}  {:<26} {}\n", exercise.name, exercise.title())
    };
    messages::result(&EXERCISES.iter().map(line).collect::<String>())?;
    Ok(Ending::Done)
}

pub(super) fn next(arguments: &Next) -> anyhow::Result<Ending> {
    let course = Course::open(&arguments.folder.folder)?;
    let named = arguments.exercise.as_deref().map(Exercise::named).transpose()?;
    let Some(exercise) = named.or_else(|| course.next()) else {
        messages::result(
            "All exercises are solved. `alrao workshop ladder` has more kernels to read.\n",
        )?;
        return Ok(Ending::Done);
    };
    let file = course.file(exercise)?;
    messages::result(&format!(
        "{}\n\nComplete {file}, then\n  alrao workshop check {file}\nA hint: alrao workshop hint {}\n",
        exercise.task(),
        &exercise.name[..2],
        file = file.display()
    ))?;
    Ok(Ending::Done)
}

pub(super) fn check(arguments: &Check) -> anyhow::Result<Ending> {
    let (exercise, path) = exercise_at(arguments)?;
    if !path.exists() {
        let message =
            format!("is not there; `alrao workshop next {}` writes it", &exercise.name[..2]);
        return Err(Error::file(&path, message).into());
    }
    let file = KernelFile::read(&path)?;
    exercise.check_header(&file)?;
    let report = run_file(&file, &env::current_exe()?)?;
    let Some(counts) = &report.counts else {
        messages::result(&in_words(&file, &report, None))?;
        return Ok(Ending::Faulty);
    };
    let missed = missed(&exercise.solution_file()?, &file, counts);
    if !missed.is_empty() {
        messages::result(&format!(
            "The results are right, but:\n{missed}\n{}\n",
            exercise.point()
        ))?;
        return Ok(Ending::Faulty);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Course::open(folder.unwrap_or(Path::new(".")))?.solve(exercise)?;
    messages::result(&format!(
        "Solved: {}\n\nTo think about: {}\n\nOn: alrao workshop next\n",
        exercise.title(),
        exercise.question()
    ))?;
    Ok(Ending::Done)
}

/// The exercise that is checked, and its file.
fn exercise_at(Check { file, folder }: &Check) -> Result<(&'static Exercise, PathBuf), Error> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let by_name = EXERCISES.iter().find(|own| own.name == stem);
    if let Some(exercise) = by_name.filter(|_| file.extension().is_some()) {
        return Ok((exercise, file.clone()));
    }
    match Exercise::named(&file.to_string_lossy()) {
        Ok(exercise) if !file.exists() => {
            Ok((exercise, folder.folder.join(exercise.name).with_extension("cu")))
        }
        _ => {
            let message = "is not named as an exercise; `alrao workshop run` runs other files";
            Err(Error::file(file, message))
        }
    }
}

/// What a file lacks of that which the exercise is about; empty if nothing.
fn missed(solution: &KernelFile, file: &KernelFile, counts: &Counts) -> String {
    let mut text = String::new();
    for (column, bound) in &solution.needs {
        let own = column.of(counts);
        if !column.reaches(own, *bound) {
            text += &too_much(file, counts, (*column, own, *bound));
        }
    }
    if let Some(piece) = file.lacks(&solution.uses) {
        text += &format!("it does not use {}\n", piece.trim_end_matches(['(', '[']));
    }
    // An exercise that gives dynamic shared memory is about what fits in it.
    let gives_shared = solution.launches.iter().any(|launch| launch.shared > 0);
    if gives_shared && file.static_arrays() > solution.static_arrays() {
        text += "it declares an array in shared memory beside the one of the header\n";
    }
    text
}

/// A number that does not reach its bound, with the line that has most of it.
fn too_much(
    file: &KernelFile,
    counts: &Counts,
    (column, own, bound): (Column, f64, f64),
) -> String {
    let word = if column.grows() { "at least" } else { "at most" };
    let line = line_with_most(file, counts, column).map(|line| {
        let code = file.text.lines().nth(line - 1).unwrap_or_default();
        format!("{line:>5} | {code}\n")
    });
    let digits = usize::from(own.fract() != 0.0);
    let unit = if column == Column::Lanes { " %" } else { "" };
    format!(
        "{} {own:.digits$}{unit}, and {word} {bound}{unit} are asked for\n{}",
        column.name(),
        line.unwrap_or_default()
    )
}

/// The line of the file that is most to blame.
fn line_with_most(file: &KernelFile, counts: &Counts, column: Column) -> Option<usize> {
    let shared = match column {
        Column::Launches => return last_line_with(file, "[[launch]]"),
        Column::Barriers => return last_line_with(file, "__syncthreads"),
        Column::Wavefronts => Some(true),
        Column::Sectors | Column::Bytes | Column::OperationsPerByte => Some(false),
        Column::Requests | Column::Lanes => None,
    };
    let is_own = |is_shared: bool| shared.is_none_or(|shared| shared == is_shared);
    let lines = counts.lines.iter().filter(|line| is_own(line.is_shared));
    let most = lines.max_by_key(|line| match column {
        Column::Requests => line.traffic.requests,
        Column::Lanes => 32 * line.traffic.requests - line.traffic.lanes,
        _ => line.traffic.transactions.saturating_sub(line.traffic.least),
    });
    most.map(|line| line.line)
}

fn last_line_with(file: &KernelFile, text: &str) -> Option<usize> {
    let lines = file.text.lines().enumerate();
    lines.filter(|(_, line)| line.contains(text)).map(|(place, _)| place + 1).last()
}

pub(super) fn hint(arguments: &Hint) -> anyhow::Result<Ending> {
    let exercise = Exercise::named(&arguments.exercise)?;
    let hints = exercise.hints();
    let hint = hints.get(usize::from(arguments.second)).copied().unwrap_or_default();
    messages::result(&format!("{hint}\n"))?;
    Ok(Ending::Done)
}

pub(super) fn solution(arguments: &Solution) -> anyhow::Result<Ending> {
    messages::result(Exercise::named(&arguments.exercise)?.solution)?;
    Ok(Ending::Done)
}
