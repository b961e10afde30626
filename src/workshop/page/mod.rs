//! Pages on kernels, drawn from a run: the source with its counts, the addresses that the lanes of a warp touched, the banks of shared
//! memory, the work between barriers, the roofline.

mod accesses;
mod banks;
mod ladder;
mod limits;
mod marks;
mod source;
mod style;
#[cfg(test)]
mod tests;
mod threads;
mod timeline;

use std::fmt::Write;

use self::accesses::{accesses, of_line};
use self::limits::{point, roofs};
use self::style::{about, style};
use super::estimate::busy_time;
use super::report::{Counts, LineCounts, Report, Sample};
use super::source::KernelFile;
use crate::bench::estimate::gpus::GpuModel;
use crate::plots::page::{escape, page};
use crate::plots::roofline;
pub use ladder::{LadderRung, ladder_page, page_name};

/// The page on a kernel file that was run. `made` is its last line.
pub fn kernel_page(file: &KernelFile, report: &Report, gpu: &GpuModel, made: &str) -> String {
    let mut body = format!(
        "<p>{}</p>\n<p class=\"note\">computes {}</p>\n",
        escape(&about(&file.text)),
        escape(file.reference.formula)
    );
    body += &result(report);
    let sample = report.sample.clone().unwrap_or_default();
    let (lines, shape) = match &report.counts {
        Some(counts) => (&counts.lines, &counts.shape),
        None => (&sample.lines, &sample.shape),
    };
    body += "<h2>The source, with the traffic of each line</h2>\n";
    body += &explained(lines, shape, report.failure.is_some());
    let accesses = accesses(&sample, &file.name());
    let pictured: Vec<usize> = accesses.keys().copied().collect();
    body += &source::table(&file.text, &file.name(), lines, &pictured, report.failure.as_ref());
    if let Some(counts) = &report.counts {
        body += &facts(counts);
    }
    if !accesses.is_empty() {
        body += "<h2>Who touches which address</h2>\n<p class=\"note\">A warp is 32 threads, its lanes, which execute an instruction together. \
                 Device memory moves whole sectors of 32 bytes: the fewer a request touches, the better. Shared memory has 32 banks, \
                 which give 4 bytes each at a time: what is stacked on one bank has to wait. Each picture shows one request of a warp, as it happened in this run.</p>\n";
    }
    for (line, own) in &accesses {
        body += &of_line(file, *line, own, &sample);
    }
    body += &timelines(&sample, &file.name());
    if let Some(counts) = &report.counts {
        body += &rooflines(file, counts, gpu);
    }
    page(&file.name(), &style(), &body, made)
}

/// Whether all is right, and the failure if not.
fn result(report: &Report) -> String {
    let Some(failure) = &report.failure else {
        let shapes = escape(&report.passed.join("; "));
        return format!(
            "<p class=\"note\">All checks passed, and the results are right, for {shapes}.</p>\n"
        );
    };
    let at = match failure.shape.is_empty() {
        true => String::new(),
        false => format!("{}, {}: ", escape(&failure.shape), escape(&failure.way)),
    };
    format!(
        "<p class=\"wrong\"><b>Wrong.</b> {at}{}<br>{}</p>\n",
        escape(&failure.message),
        escape(failure.explanation())
    )
}

fn explained(lines: &[LineCounts], shape: &str, has_failed: bool) -> String {
    if lines.is_empty() {
        return "<p class=\"note\">No accesses were seen.</p>\n".into();
    }
    let until = if has_failed { ", up to the failure" } else { "" };
    format!(
        "<p class=\"note\">Counted for {}{until}. A request is one load or store of a warp. Sectors (32 bytes of device memory) and \
         wavefronts (turns of shared memory) are per request, beside the least that could move the same bytes. The bar is the line's share of \
         all load/store cycles: four sectors, or one wavefront, in a cycle. Numbers far from the best stand out; the number of a line leads to its pictures.</p>\n",
        escape(shape)
    )
}

/// The numbers of the whole file.
fn facts(counts: &Counts) -> String {
    let each = |own: Option<f64>| own.map_or_else(|| "–".to_owned(), |own| format!("{own:.2}"));
    let rows = [
        ("sectors for each request of device memory", each(counts.global.per_request())),
        ("wavefronts for each request of shared memory", each(counts.shared.per_request())),
        ("bytes between SMs and device memory, whole sectors", counts.global_bytes().to_string()),
        ("bytes of the arrays, the least", counts.array_bytes.to_string()),
        ("operations for each byte moved", format!("{:.2}", counts.operations_per_byte())),
        ("barriers of a block", format!("{:.1}", counts.barriers_of_block())),
        ("lanes that take part, of 32", each(counts.active_lanes().map(|share| 32.0 * share))),
    ];
    let rows: String = rows
        .iter()
        .map(|(name, own)| format!("<tr><td>{name}</td><td>{own}</td></tr>\n"))
        .collect();
    format!("<div class=\"wide\"><table class=\"facts\">\n{rows}</table></div>\n")
}

fn timelines(sample: &Sample, file: &str) -> String {
    let mut text = String::new();
    for launch in &sample.launches {
        let Some(picture) = timeline::picture(launch) else { continue };
        let phases: String = timeline::phases(launch, file)
            .iter()
            .map(|phase| format!("<li>{}</li>\n", escape(phase)))
            .collect();
        let cut = if launch.is_cut { " The sample was full: later work is left out." } else { "" };
        let _ = write!(
            text,
            "<figure><p class=\"note\"><b>{}</b>, grid {:?}, block {:?}</p>\n{}\n<div class=\"wide\">{picture}</div>\n<figcaption>A row is a warp of the \
             first block; upright lines are barriers, with their lines in the source. The length of a bar is its load/store cycles.{cut}</figcaption>\n<ul>{phases}</ul></figure>\n",
            escape(&launch.kernel),
            launch.grid,
            launch.block,
            timeline::key()
        );
    }
    match text.is_empty() {
        true => text,
        false => format!(
            "<h2>The work of a block between barriers</h2>\n<p class=\"note\">This is a picture of work in its order, not of time: how long a \
             phase takes on a GPU depends on latency and on the other blocks.</p>\n{text}"
        ),
    }
}

fn rooflines(file: &KernelFile, counts: &Counts, gpu: &GpuModel) -> String {
    let own = point(&file.name(), "", counts, gpu);
    let (time, bound) = busy_time(gpu, counts);
    let about = format!("the roofline of {}, with this kernel", gpu.title);
    let picture =
        roofline::roofline(&about, (680.0, 340.0), &roofs(gpu, [counts.factors]), &[own], false);
    format!(
        "<h2>The roofline</h2>\n<p class=\"note\">For {}, estimated: this work keeps a full GPU busy for <b>{time:.2} ns</b>, and <b>{}</b> is the limit \
         that binds.</p>\n<figure><div class=\"wide\">{picture}</div>\n<figcaption>{}</figcaption></figure>\n",
        escape(gpu.title),
        bound.name(),
        limits::CAPTION
    )
}
