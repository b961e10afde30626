//! `alrao workshop run`, and the list of what a kernel file can compute.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::measurement::Measurement;
use crate::cli::arguments::new_file;
use crate::cli::class_tables::table;
use crate::cli::estimates::gpu_model;
use crate::cli::failure::Ending;
use crate::cli::messages;
use alrao::Device;
use alrao::bench::estimate::gpus::GpuModel;
use alrao::error::Error;
use alrao::workshop::page::kernel_page;
use alrao::workshop::{
    Counts, Failure, KernelFile, LineCounts, REFERENCES, Report, busy_time, limit_resources,
    run as run_file, try_out,
};

/// Compile a kernel file, run it under all checks, compare it with its reference, and count its memory traffic
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao workshop run transpose.cu\n  alrao workshop run transpose.cu --html transpose.html\n  alrao workshop run transpose.cu --measure 4096,4096"
)]
pub(super) struct Arguments {
    /// CUDA C++ with a header
    #[arg(value_name = "FILE.cu")]
    file: PathBuf,
    /// Print the result as JSON, also that of a file that does not compile
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: Page,
    /// The GPU of the estimate
    #[arg(long, default_value = "h200", value_parser = gpu_model())]
    gpu: &'static GpuModel,
    #[command(flatten)]
    measurement: Measurement,
}

/// A page with pictures.
#[derive(Args)]
pub(super) struct Page {
    /// Write a page: the source with its counts, the addresses of a warp's lanes, bank conflicts, the work between barriers, the roofline
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Replace the page if it is there
    #[arg(long, requires = "html")]
    force: bool,
}

/// List what a kernel file can compute, or show the parameters of one
#[derive(Args)]
#[command(after_help = "Example:\n  alrao workshop references matmul")]
pub(super) struct References {
    /// A name in the list
    name: Option<String>,
}

/// Run a compiled kernel file in this process
#[derive(Args)]
pub(super) struct Trial {
    file: PathBuf,
    library: PathBuf,
    report: PathBuf,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Page { html, force } = &arguments.page;
    let html = html.as_ref().map(|path| (path, new_file("html", path, &[&arguments.file], *force)));
    let html = html.map(|(path, file)| file.map(|file| (path, file))).transpose()?;
    let (file, mut report, device) = match checked(arguments) {
        Ok(checked) => checked,
        Err(error) => {
            if let (Error::Input { message, .. }, true) = (&error, arguments.json) {
                let report = Report::refused(message);
                messages::result(&(serde_json::to_string(&report)? + "\n"))?;
            }
            return Err(error.into());
        }
    };
    let device = device.filter(|_| report.failure.is_none());
    let measured = device.map(|device| arguments.measurement.of(&file, &device)).transpose();
    report.measured = measured.as_ref().ok().cloned().flatten();
    let text = match arguments.json {
        // The addresses are for pictures.
        true => serde_json::to_string(&Report { sample: None, ..report.clone() })? + "\n",
        false => in_words(&file, &report, Some(arguments.gpu)),
    };
    messages::result(&text)?;
    if let Some((path, own)) = html {
        own.write(kernel_page(&file, &report, arguments.gpu, &made("run")).as_bytes())?;
        if !quiet {
            messages::note(&format!("written {}", path.display()));
        }
    }
    measured?;
    Ok(if report.failure.is_some() { Ending::Faulty } else { Ending::Done })
}

fn checked(arguments: &Arguments) -> Result<(KernelFile, Report, Option<Device>), Error> {
    let file = KernelFile::read(&arguments.file)?;
    let device = arguments.measurement.device(&file)?;
    let program = std::env::current_exe()
        .map_err(|error| Error::device("simulator", format!("this program's path: {error}")))?;
    let report = run_file(&file, &program)?;
    Ok((file, report, device))
}

/// The last line of a page.
pub(super) fn made(command: &str) -> String {
    format!("alrao workshop {command}; written by alrao {}", env!("CARGO_PKG_VERSION"))
}

pub(super) fn trial(arguments: &Trial) -> anyhow::Result<Ending> {
    limit_resources();
    let file = KernelFile::read(&arguments.file)?;
    let report = try_out(&file, &arguments.library)?;
    fs::write(&arguments.report, serde_json::to_vec(&report)?)?;
    Ok(Ending::Done)
}

pub(super) fn references(arguments: &References) -> anyhow::Result<Ending> {
    let Some(name) = &arguments.name else {
        let rows: Vec<Vec<String>> = REFERENCES
            .iter()
            .map(|own| vec![own.name.to_owned(), own.formula.to_owned()])
            .collect();
        messages::result(table(&rows, &[0, 1]).trim_start())?;
        return Ok(Ending::Done);
    };
    let Some(reference) = alrao::workshop::reference(name) else {
        return Err(
            Error::input(name, "is no reference; `alrao workshop references` lists them").into()
        );
    };
    let rows: Vec<Vec<String>> = reference
        .parameters
        .iter()
        .map(|(name, meaning)| vec![(*name).to_owned(), (*meaning).to_owned()])
        .collect();
    let shapes: Vec<String> =
        reference.shapes.iter().map(|shape| reference.describe(shape)).collect();
    messages::result(&format!(
        "{name}: {}\n\nparameters, of which a kernel declares those that it needs:{}\ntiles cover {}\nshapes, unless the file gives others:\n  {}\n",
        reference.formula,
        table(&rows, &[0, 1]),
        reference.covers,
        shapes.join("\n  ")
    ))?;
    Ok(Ending::Done)
}

/// A report, with the estimate for a GPU.
pub(super) fn in_words(file: &KernelFile, report: &Report, gpu: Option<&GpuModel>) -> String {
    let mut text = format!("{} computes {}\n", file.path.display(), file.reference.formula);
    for shape in &report.passed {
        text += &format!("right    {shape}\n");
    }
    if let Some(failure) = &report.failure {
        text += &of_failure(file, failure);
    }
    if let Some(counts) = &report.counts {
        text += &of_counts(file, counts);
        text += &gpu.map_or(String::new(), |gpu| of_estimate(counts, gpu));
    }
    if let Some(own) = &report.measured {
        text += &format!(
            "measured: us of the launches                  {:.2} on {}\n",
            own.us,
            own.in_words()
        );
    }
    text
}

fn of_estimate(counts: &Counts, gpu: &GpuModel) -> String {
    let (time, limit) = busy_time(gpu, counts);
    format!(
        "busy: ns of a full {}, an estimate{:pad$}{time:.2} ({})\n",
        gpu.title,
        "",
        limit.name(),
        pad = 19usize.saturating_sub(gpu.title.len()).max(1)
    )
}

/// A failure, the lines that it names, and what it means.
fn of_failure(file: &KernelFile, failure: &Failure) -> String {
    let mut text = match failure.shape.is_empty() {
        true => format!("wrong    {}\n", failure.message),
        false => format!(
            "wrong    {}\n\n{}\n(seen in the run with {})\n",
            failure.shape, failure.message, failure.way
        ),
    };
    let lines: Vec<&str> = file.text.lines().collect();
    for line in failure.lines(&file.name()) {
        if let Some(own) = lines.get(line - 1) {
            text += &format!("{line:>5} | {own}\n");
        }
    }
    text + &format!("\n{}\n", failure.explanation())
}

/// The traffic of each line, and of all.
fn of_counts(file: &KernelFile, counts: &Counts) -> String {
    let header = ["line", "memory", "access", "requests", "each", "at best", "lanes"]
        .map(String::from)
        .to_vec();
    let source: Vec<&str> = file.text.lines().collect();
    let row = |own: &LineCounts| {
        let requests = own.traffic.requests.max(1) as f64;
        vec![
            own.line.to_string(),
            if own.is_shared { "shared" } else { "global" }.into(),
            if own.is_write { "write" } else { "read" }.into(),
            own.traffic.requests.to_string(),
            format!("{:.1}", own.traffic.transactions as f64 / requests),
            format!("{:.1}", own.traffic.least as f64 / requests),
            format!("{:.1}", own.traffic.lanes as f64 / requests),
        ]
    };
    let rows = [vec![header], counts.lines.iter().map(row).collect()].concat();
    let mut text = format!(
        "\nmemory traffic for {}: requests of warps, and for each the 32-byte sectors of device memory\nor the wavefronts of shared memory, \
         at best, and the lanes that took part\n",
        counts.shape
    );
    let shown = table(&rows, &[1, 2]);
    for (number, line) in shown.lines().skip(1).enumerate() {
        let code = number.checked_sub(1).and_then(|row| source.get(counts.lines[row].line - 1));
        text += &format!("{line:<56}  {}\n", code.map_or("", |code| code.trim()));
    }
    let each = |own: Option<f64>| own.map_or_else(|| "-".into(), |own| format!("{own:.2}"));
    text + &format!(
        "\nsectors for each request of device memory      {}\nwavefronts for each request of shared memory  {}\n\
         bytes between SMs and device memory           {} (arrays: {})\noperations for each byte                      {:.2}\n\
         barriers of a block                           {:.1}\nlanes that take part                          {}\n",
        each(counts.global.per_request()),
        each(counts.shared.per_request()),
        counts.global_bytes(),
        counts.array_bytes,
        counts.operations_per_byte(),
        counts.barriers_of_block(),
        counts.active_lanes().map_or_else(|| "-".into(), messages::percent),
    )
}
