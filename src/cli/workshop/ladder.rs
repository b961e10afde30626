//! `alrao workshop ladder`.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::thread;

use clap::Args;
use serde::Serialize;

use super::measurement::Measurement;
use super::pages::Pages;
use super::run::in_words;
use crate::cli::class_tables::table;
use crate::cli::estimates::gpu_model;
use crate::cli::failure::Ending;
use crate::cli::messages;
use alrao::bench::estimate::gpus::GpuModel;
use alrao::error::Error;
use alrao::workshop::page::LadderRung;
use alrao::workshop::{
    Column, Counts, LADDERS, Ladder, Measured, Resources, Versions, busy_time, resources,
    run as run_file,
};

/// Run a kernel's versions from naive to fast, and compare their counts; without a name, list them
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao workshop ladder\n  alrao workshop ladder matmul\n  alrao workshop ladder matmul --html matmul\n  alrao workshop ladder matmul --measure 1024,1024,1024\n  alrao workshop ladder update --copy .\n  \
    alrao workshop ladder ./update\n\nEach number that a version's idea is about is marked with *. busy is an estimate: the time for which the \
    work keeps a full GPU busy. Registers, shared memory and occupancy are nvcc's; without nvcc in NVCC, CUDA_HOME, PATH or /usr/local/cuda, pinned figures \
    are shown."
)]
pub(super) struct Arguments {
    /// A ladder, or a folder with versions of your own
    #[arg(value_name = "LADDER|DIR")]
    name: Option<String>,
    /// The GPU of the estimate
    #[arg(long, default_value = "h200", value_parser = gpu_model())]
    gpu: &'static GpuModel,
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
    #[command(flatten)]
    measurement: Measurement,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Some(name) = &arguments.name else { return list() };
    if let Some(folder) = &arguments.copy {
        let ladder = Ladder::named(name)?;
        return copy(ladder, &folder.join(ladder.name), quiet);
    }
    let ladder = Versions::named(name)?;
    let gpu = arguments.gpu;
    let program = env::current_exe()?;
    let pages =
        arguments.html.as_deref().map(|folder| Pages::new(folder, &ladder, arguments.force));
    let pages = pages.transpose()?;
    // There is at least one file.
    let device = arguments.measurement.device(&ladder.files[0])?;
    let mut reports = Vec::new();
    // nvcc works on the next file while the simulator has one.
    let compiled = thread::scope(|scope| {
        let compiling = scope
            .spawn(|| ladder.files.iter().map(|file| resources(file, gpu)).collect::<Vec<_>>());
        for file in &ladder.files {
            let report = run_file(file, &program)?;
            let Some(counts) = report.counts.clone() else {
                messages::result(&in_words(file, &report, None))?;
                return Ok(None);
            };
            reports.push((report, counts));
        }
        let compiled = compiling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        anyhow::Ok(Some(compiled))
    });
    let Some(compiled) = compiled? else { return Ok(Ending::Faulty) };
    let mut rungs = Vec::new();
    for ((file, (mut report, counts)), resources) in ladder.files.iter().zip(reports).zip(compiled)
    {
        // A file that nvcc or the GPU refuses has its counts all the same.
        let resources = or_noted(resources).flatten();
        if let Some(device) = device.as_ref().filter(|device| device.check().is_ok()) {
            report.measured = or_noted(arguments.measurement.of(file, device));
        }
        rungs.push(LadderRung { file: file.clone(), report, counts, resources });
    }
    let text = match arguments.json {
        true => objects(&rungs, gpu)?,
        false => shown(&ladder, &rungs, gpu),
    };
    messages::result(&text)?;
    if let Some(pages) = pages {
        pages.write(&ladder, &rungs, gpu, quiet)?;
    }
    let is_measured = rungs.iter().all(|rung| rung.report.measured.is_some());
    Ok(if device.is_none() || is_measured { Ending::Done } else { Ending::Faulty })
}

fn or_noted<T>(own: Result<T, Error>) -> Option<T> {
    own.inspect_err(|refusal| messages::note(&refusal.to_string())).ok()
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
    resources: Option<Resources>,
    measured: Option<&'a Measured>,
    counts: &'a Counts,
}

fn objects(rungs: &[LadderRung], gpu: &GpuModel) -> anyhow::Result<String> {
    let mut text = String::new();
    for LadderRung { file, report, counts, resources } in rungs {
        let (busy_ns, limit) = busy_time(gpu, counts);
        let object = Object {
            version: file.name(),
            improves: file.improves.map(Column::name),
            busy_ns,
            limit: limit.name(),
            gpu: gpu.name,
            resources: *resources,
            measured: report.measured.as_ref(),
            counts,
        };
        text += &(serde_json::to_string(&object)? + "\n");
    }
    Ok(text)
}

fn shown(ladder: &Versions, rungs: &[LadderRung], gpu: &GpuModel) -> String {
    // A column that is the same in all versions says nothing.
    let differs = |column: &Column| {
        let numbers: Vec<f64> = rungs.iter().map(|own| column.of(&own.counts)).collect();
        rungs.len() == 1 || numbers.iter().any(|own| *own != numbers[0])
    };
    let columns: Vec<Column> = Column::ALL.into_iter().filter(differs).collect();
    let head = |column: &Column| match column {
        Column::OperationsPerByte => "ops/byte".to_owned(),
        Column::Lanes => "lanes %".to_owned(),
        other => other.name().to_owned(),
    };
    let measured = rungs.iter().find_map(|rung| rung.report.measured.as_ref());
    let head_of_time = measured.map(|_| "measured us");
    let ends = ["registers", "shared", "occupancy", "busy ns"].into_iter().chain(head_of_time);
    let ends = ends.chain(["limit"]).map(String::from);
    let header = ["version".to_owned()].into_iter().chain(columns.iter().map(head));
    let header: Vec<String> = header.chain(ends).collect();
    let row = |LadderRung { file, report, counts, resources }: &LadderRung| {
        let cells = columns.iter().map(|column| {
            let mark = if file.improves == Some(*column) { "*" } else { " " };
            number(*column, column.of(counts)) + mark
        });
        let (time, limit) = busy_time(gpu, counts);
        let name = file.name().trim_end_matches(".cu").to_owned();
        let of_nvcc = match resources {
            None => ["-"; 3].map(String::from),
            Some(own) => [
                own.registers.to_string(),
                own.shared.to_string(),
                format!("{:.0} %", 100.0 * own.occupancy),
            ],
        };
        let own = report.measured.as_ref().map_or("-".into(), |own| format!("{:.2}", own.us));
        let times = [format!("{time:.2}")].into_iter().chain(measured.map(|_| own));
        let cells = [name].into_iter().chain(cells).chain(of_nvcc).chain(times);
        cells.chain([limit.name().to_owned()]).collect()
    };
    let last = header.len() - 1;
    let rows = [vec![header], rungs.iter().map(row).collect()].concat();
    let shape = rungs.first().map_or("", |own| &own.counts.shape);
    let from = Resources::source(rungs.iter().find_map(|rung| rung.resources));
    let measured = measured.map_or(String::new(), |own| {
        format!("measured: on {} A launch waits for the one before.\n", own.in_words())
    });
    format!(
        "{}: {}; counted for {shape}\n{}\n* what the version's idea is about. Columns that are the same in all versions are left out.\nsectors, wavefronts: for each request of a warp to device and shared memory. bytes: between SMs and \
         device memory.\nregisters of a thread, shared bytes of a block, and occupancy, the share of an \
         SM's warps that fit: {from}.\nbusy: an estimate of the time for which a full {} is busy, and the limit that binds; launches and \
         latency\nare left out.\n{measured}",
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
