//! `alrao kernels`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};

use super::arguments::new_file;
use super::atlas::atlas_of;
use super::estimates::{self, gpu_model};
use super::failure::Ending;
use super::messages;
use alrao::argument::choice;
use alrao::bench::estimate::gpus::{self, GpuModel};
use alrao::bench::estimate::kernels;
use alrao::bench::estimate::machine_code::kernels_of;
use alrao::bench::kernels::{Row, measure};
use alrao::bench::peaks::Peaks;
use alrao::bench::workloads::{self, Workload};
use alrao::device::{DType, Device};
use alrao::error::Error;
use alrao::learn::Precision;
use alrao::learn::settings::DeviceSettings;

/// Time every kernel on a GPU beside the least time it could take, or run the tests' cases of it in the simulator (of all kernels: some minutes)
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao kernels                                  # on a GPU: each kernel's time\n  \
    alrao kernels --device simulator optimizer     # without one: the sanitizer's reports\n  \
    alrao kernels --estimate h200                  # counted instructions and an estimated time\n  \
    alrao kernels --html atlas.html                # a page on all kernels, with rooflines"
)]
pub(super) struct Arguments {
    /// Only kernels with this in their name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Storage type of tensors; the table of f32 has the products of tf32 too [default: f32]
    #[arg(long, value_name = "PRECISION", value_parser = choice(Precision::ON_A_GPU))]
    precision: Option<Precision>,
    /// Count the instructions of each kernel and estimate its time on a GPU that is not at hand
    #[arg(long, value_name = "GPU", value_parser = gpu_model(), conflicts_with = "device")]
    estimate: Option<&'static GpuModel>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write the atlas: a page on all kernels, with the compiler's figures, estimates for the GPU of --estimate (h200 without it), and times if
    /// there is a GPU
    #[arg(long, value_name = "FILE.html", conflicts_with_all = ["json", "precision"])]
    html: Option<PathBuf>,
    /// Replace the page if it is there
    #[arg(long, requires = "html")]
    force: bool,
    #[command(flatten)]
    device: DeviceSettings,
}

impl Arguments {
    fn dtype(&self) -> DType {
        self.precision.unwrap_or(Precision::F32).dtype()
    }
}

/// A row of the table in JSON.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    row: &'a Row,
    percent_of_floor: Option<f64>,
    /// `ok`, or the first fault; `null` if nothing was checked.
    verdict: Option<&'a str>,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let dtype = arguments.dtype();
    if let Some(path) = &arguments.html {
        let wanted = arguments.name.as_deref().unwrap_or_default();
        let gpu = arguments.estimate.or(gpus::named("h200")).expect("it is known");
        refuse_unknown(wanted, dtype, &kernels_of(gpu.arch))?;
        let file = new_file("html", path, &[], arguments.force)?;
        let page = atlas_of(gpu, wanted, &arguments.device.open()?, path)?;
        file.write(page.as_bytes())?;
        if !quiet {
            messages::note(&format!("written {}", path.display()));
        }
        return Ok(Ending::Done);
    }
    if let Some(gpu) = arguments.estimate {
        return estimate(gpu, arguments);
    }
    let device = arguments.device.open()?;
    if matches!(device, Device::Cpu(_)) {
        let message = format!(
            "the cpu runs no kernels ({}); give simulator for their checks, cuda for their times",
            device.description()
        );
        return Err(Error::input("--device", message).into());
    }
    let wanted = arguments.name.as_deref().unwrap_or_default();
    #[cfg(has_simulator)]
    refuse_unknown(wanted, dtype, &alrao::device::simulator::kernel_names())?;
    let workloads = workloads::all();
    if !quiet {
        messages::note(&device.description());
    }
    let progress = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let mut observe = |workload: &str| {
        progress.set_message(workload.to_owned());
        progress.tick();
    };
    match device.name() {
        "cuda" => {
            let times = times(&device, &workloads, (dtype, wanted), &mut observe)?;
            progress.finish_and_clear();
            let text = if arguments.json { times.json()? } else { times.table() };
            messages::result(&text)?;
            Ok(Ending::Done)
        }
        _ => {
            let checked =
                checks(&workloads, arguments.device.threads, (dtype, wanted), &mut observe)?;
            progress.finish_and_clear();
            let text = if arguments.json { checked.json()? } else { checked.table() };
            messages::result(&text)?;
            if !quiet {
                messages::note(
                    "checked on the tests' cases; MB and MFLOP are those of the workloads that a GPU is timed on",
                );
            }
            let faults = checked.reports.iter().filter(|report| *report != OK).count();
            if faults > 0 {
                bail!("{faults} of {} kernels failed their checks", checked.rows.len());
            }
            Ok(Ending::Done)
        }
    }
}

/// Counts and estimates, without any device.
fn estimate(gpu: &GpuModel, arguments: &Arguments) -> anyhow::Result<Ending> {
    let (dtype, wanted) = (arguments.dtype(), arguments.name.as_deref().unwrap_or_default());
    let mut rows = kernels(gpu, &workloads::all(), dtype, wanted)?;
    refuse_unknown(wanted, dtype, &rows.iter().map(|row| &*row.kernel).collect::<Vec<_>>())?;
    rows.retain(|row| is_of(dtype, &row.kernel));
    let text = match arguments.json {
        true => estimates::kernels_json(gpu, &rows),
        false => estimates::kernels_table(gpu, &rows),
    };
    messages::result(&text)?;
    Ok(Ending::Done)
}

const OK: &str = "ok";

/// Refuses a name that fits none of the kernels of a type.
fn refuse_unknown(wanted: &str, dtype: DType, kernels: &[&str]) -> Result<(), Error> {
    let mut named = kernels.iter().filter(|kernel| kernel.contains(wanted));
    let first = named.clone().next();
    if named.any(|kernel| is_of(dtype, kernel)) {
        return Ok(());
    }
    let message = match first {
        Some(name) => format!(
            "{name} and its like are the same in a run in bf16, and shown without --precision bf16"
        ),
        None => format!("no kernel has '{wanted}' in its name; leave it out to see all"),
    };
    Err(Error::input("NAME", message))
}

/// Whether a kernel is one of a type: work in bf16 launches kernels of f32 too.
fn is_of(dtype: DType, kernel: &str) -> bool {
    dtype != DType::BF16 || kernel.ends_with("_bf16")
}

/// The kernels on a GPU.
struct Times {
    peaks: Peaks,
    rows: Vec<Row>,
}

fn times(
    device: &Device,
    workloads: &[Workload],
    (dtype, wanted): (DType, &str),
    observe: &mut dyn FnMut(&str),
) -> anyhow::Result<Times> {
    observe("what this GPU can do");
    let peaks = Peaks::measure(device)?
        .ok_or_else(|| Error::device(device.name(), "it does not tell what it has".to_owned()))?;
    let mut rows = measure(workloads, device, dtype, wanted, &peaks, observe)?;
    let kernels: Vec<&str> = rows.iter().map(|row| &*row.kernel).collect();
    refuse_unknown(wanted, dtype, &kernels)?;
    rows.retain(|row| is_of(dtype, &row.kernel));
    Ok(Times { peaks, rows })
}

impl Times {
    fn json(&self) -> anyhow::Result<String> {
        let rows = self.rows.iter().map(|row| Record {
            row,
            percent_of_floor: row.time.map(|time| 100.0 * time.part_of_floor()),
            verdict: None,
        });
        let rows: Vec<_> = rows.collect();
        Ok(json!({ "ceilings": self.peaks, "kernels": rows }).to_string() + "\n")
    }

    fn table(&self) -> String {
        let mut text =
            head() + &format!(" {:>10} {:>10} {:>8}  for\n", "floor us", "time us", "of floor");
        for row in &self.rows {
            let Some(time) = row.time else { continue };
            let _ = writeln!(
                text,
                "{} {:>10.2} {:>10.2} {:>7.1}%  {}",
                start(row),
                1e6 * time.floor,
                1e6 * time.seconds,
                100.0 * time.part_of_floor(),
                row.workload
            );
        }
        let Peaks { bytes, f32, tf32, bf16 } = self.peaks;
        text + &format!(
            "peaks: {:.0} GB/s copied; {:.1} TFLOP/s in f32, {:.1} in tf32, {:.1} in bf16 (mma.sync)\n",
            bytes / 1e9,
            f32 / 1e12,
            tf32 / 1e12,
            bf16 / 1e12
        )
    }
}

/// The kernels in the simulator.
struct Checks {
    rows: Vec<Row>,
    /// The report of each row.
    reports: Vec<String>,
}

#[cfg(has_simulator)]
fn checks(
    workloads: &[Workload],
    threads: Option<usize>,
    (dtype, wanted): (DType, &str),
    observe: &mut dyn FnMut(&str),
) -> anyhow::Result<Checks> {
    let mut rows = alrao::bench::kernels::describe(workloads, dtype, wanted)?;
    rows.retain(|row| is_of(dtype, &row.kernel));
    let kernels: Vec<&str> = rows.iter().map(|row| row.kernel.as_str()).collect();
    // A case panics when it reads from a simulator that has failed; its report says so.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let all = alrao::checks::simulator::reports(&kernels, threads, observe);
    std::panic::set_hook(hook);
    let all = all?;
    let report = |row: &Row| match all.get(&row.kernel) {
        Some(fault) => fault.clone().unwrap_or_else(|| OK.to_owned()),
        None => "no case launches it".to_owned(),
    };
    Ok(Checks { reports: rows.iter().map(report).collect(), rows })
}

#[cfg(not(has_simulator))]
fn checks(
    _: &[Workload],
    _: Option<usize>,
    _: (DType, &str),
    _: &mut dyn FnMut(&str),
) -> anyhow::Result<Checks> {
    unreachable!("a program without the simulator has not opened it")
}

impl Checks {
    fn json(&self) -> anyhow::Result<String> {
        let rows = self.rows.iter().zip(&self.reports);
        let rows: Vec<_> = rows
            .map(|(row, report)| Record { row, percent_of_floor: None, verdict: Some(report) })
            .collect();
        Ok(json!({ "ceilings": Value::Null, "kernels": rows }).to_string() + "\n")
    }

    fn table(&self) -> String {
        let mut text = head() + "  report\n";
        for (row, report) in self.rows.iter().zip(&self.reports) {
            let _ = writeln!(text, "{}  {report}", start(row));
        }
        text
    }
}

fn head() -> String {
    format!(
        "{:<42} {:>9} {:>7} {:>9} {:>9} {:>9}",
        "kernel", "registers", "shared", "occupancy", "MB", "MFLOP"
    )
}

/// The compiler's figures, and the bytes and operations.
fn start(row: &Row) -> String {
    let number = |number: Option<usize>| number.map_or("-".to_owned(), |own| own.to_string());
    let occupancy = row.occupancy.map_or("-".to_owned(), |own| format!("{:.0}%", 100.0 * own));
    format!(
        "{:<42} {:>9} {:>7} {:>9} {:>9.3} {:>9.1}",
        row.kernel,
        number(row.registers),
        number(row.shared),
        occupancy,
        row.bytes / 1e6,
        row.operations / 1e6
    )
}
