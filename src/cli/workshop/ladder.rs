//! `alrao workshop ladder`.

use std::env;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::pages::Pages;
use super::run::in_words;
use crate::cli::class_tables::table;
use crate::cli::failure::Ending;
use crate::cli::messages;
use alrao::bench::estimate::gpus::{self, GpuModel};
use alrao::error::Error;
use alrao::workshop::{Column, Counts, KernelFile, LADDERS, Ladder, busy_time, run as run_file};

/// Run a kernel's versions from naive to fast, and compare their counts; without a name, list them
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao workshop ladder\n  alrao workshop ladder matmul\n  alrao workshop ladder matmul --html matmul\n  alrao workshop ladder update --copy .\n\n\
    Each number that a version's idea is about is marked with *. busy is an estimate: the time for which the work keeps a full GPU busy."
)]
pub(super) struct Arguments {
    /// A ladder
    name: Option<String>,
    /// The GPU of the estimate
    #[arg(long, default_value = "h200", value_parser = ["h200", "h100", "a100"])]
    gpu: String,
    /// Write the versions into a folder, to read and change them
    #[arg(long, value_name = "DIR", requires = "name")]
    copy: Option<PathBuf>,
    /// Print an object for each version
    #[arg(long)]
    json: bool,
    /// Write pages into a folder: index.html with the versions on one roofline, and a page for each version
    #[arg(long, value_name = "DIR", requires = "name", conflicts_with = "copy")]
    html: Option<PathBuf>,
    /// Replace pages that are there
    #[arg(long, requires = "html")]
    force: bool,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Some(name) = &arguments.name else { return list() };
    let ladder = Ladder::named(name)?;
    if let Some(folder) = &arguments.copy {
        return copy(ladder, &folder.join(ladder.name), quiet);
    }
    let gpu = gpus::named(&arguments.gpu).ok_or_else(|| Error::field("gpu", "is not known"))?;
    let program = env::current_exe()?;
    let (mut rungs, mut reports) = (Vec::new(), Vec::new());
    let pages = arguments.html.as_deref().map(|folder| Pages::new(folder, ladder, arguments.force));
    let pages = pages.transpose()?;
    for file in ladder.files()? {
        let report = run_file(&file, &program)?;
        let Some(counts) = report.counts.clone() else {
            messages::result(&in_words(&file, &report))?;
            return Ok(Ending::Faulty);
        };
        reports.push((file.clone(), report));
        rungs.push((file, counts));
    }
    let text = match arguments.json {
        true => objects(&rungs, gpu)?,
        false => shown(ladder, &rungs, gpu),
    };
    messages::result(&text)?;
    if let Some(pages) = pages {
        pages.write(ladder, &reports, gpu, quiet)?;
    }
    Ok(Ending::Done)
}

fn list() -> anyhow::Result<Ending> {
    let row = |ladder: &Ladder| {
        vec![ladder.name.to_owned(), ladder.rungs.len().to_string(), ladder.about.to_owned()]
    };
    let header = ["ladder", "versions", "computes"].map(String::from).to_vec();
    let rows = [vec![header], LADDERS.iter().map(row).collect()].concat();
    messages::result(table(&rows, &[0, 2]).trim_start())?;
    Ok(Ending::Done)
}

fn copy(ladder: &Ladder, folder: &PathBuf, quiet: bool) -> anyhow::Result<Ending> {
    fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    for (name, text) in ladder.rungs {
        let path = folder.join(name);
        if path.exists() {
            return Err(Error::file(&path, "is there already").into());
        }
        fs::write(&path, text).map_err(|error| Error::write(&path, error))?;
        if !quiet {
            messages::note(&format!("written {}", path.display()));
        }
    }
    Ok(Ending::Done)
}

/// A version's numbers.
#[derive(Serialize)]
struct Object<'a> {
    version: String,
    improves: Option<&'static str>,
    busy_ns: f64,
    limit: &'static str,
    gpu: &'static str,
    counts: &'a Counts,
}

fn objects(rungs: &[(KernelFile, Counts)], gpu: &GpuModel) -> anyhow::Result<String> {
    let mut text = String::new();
    for (file, counts) in rungs {
        let (busy_ns, limit) = busy_time(gpu, counts);
        let object = Object {
            version: file.name(),
            improves: file.improves.map(Column::name),
            busy_ns,
            limit: limit.name(),
            gpu: gpu.name,
            counts,
        };
        text += &(serde_json::to_string(&object)? + "\n");
    }
    Ok(text)
}

fn shown(ladder: &Ladder, rungs: &[(KernelFile, Counts)], gpu: &GpuModel) -> String {
    // A column that is the same in all versions says nothing.
    let differs = |column: &Column| {
        let numbers: Vec<f64> = rungs.iter().map(|(_, counts)| column.of(counts)).collect();
        numbers.iter().any(|own| *own != numbers[0])
    };
    let columns: Vec<Column> = Column::ALL.into_iter().filter(differs).collect();
    let head = |column: &Column| match column {
        Column::OperationsPerByte => "ops/byte".to_owned(),
        Column::Lanes => "lanes %".to_owned(),
        other => other.name().to_owned(),
    };
    let header = ["version".to_owned()].into_iter().chain(columns.iter().map(head));
    let header: Vec<String> = header.chain(["busy ns", "limit"].map(String::from)).collect();
    let row = |(file, counts): &(KernelFile, Counts)| {
        let cells = columns.iter().map(|column| {
            let mark = if file.improves == Some(*column) { "*" } else { " " };
            number(*column, column.of(counts)) + mark
        });
        let (time, limit) = busy_time(gpu, counts);
        let name = file.name().trim_end_matches(".cu").to_owned();
        let ends = [format!("{time:.2}"), limit.name().to_owned()];
        [name].into_iter().chain(cells).chain(ends).collect()
    };
    let last = columns.len() + 2;
    let rows = [vec![header], rungs.iter().map(row).collect()].concat();
    let shape = rungs.first().map_or("", |(_, counts)| &counts.shape);
    format!(
        "{}: {}; counted for {shape}\n{}\n* what the version's idea is about. sectors, wavefronts: for each request of a warp to device and \
         shared memory.\nbytes: between SMs and device memory. busy: an estimate of the time for which a full {} is\nbusy, and the limit that \
         binds; launches and latency are left out.\n",
        ladder.name,
        ladder.about,
        table(&rows, &[0, last]),
        gpu.title
    )
}

fn number(column: Column, own: f64) -> String {
    match column {
        Column::Requests | Column::Bytes | Column::Launches => format!("{own:.0}"),
        Column::Lanes | Column::Barriers => format!("{own:.1}"),
        Column::Sectors | Column::Wavefronts | Column::OperationsPerByte => format!("{own:.2}"),
    }
}
