//! The page on a ladder: its versions on one roofline, in one table, and the costliest access of each.

use std::fmt::Write;
use std::path::Path;

use super::accesses::{accesses, capital, drawn};
use super::limits::{CAPTION, point, roofs};
use super::style::{about, style};
use crate::bench::estimate::gpus::GpuModel;
use crate::plots::page::{escape, page};
use crate::plots::roofline::{Point, roofline};
use crate::workshop::column::Column;
use crate::workshop::estimate::{busy_time, load_store_cycles};
use crate::workshop::ladder::Versions;
use crate::workshop::report::{Counts, LineCounts, Report};
use crate::workshop::resources::Resources;
use crate::workshop::source::KernelFile;

/// The name of a version's page.
pub fn page_name(file: &KernelFile) -> String {
    Path::new(&file.name()).with_extension("html").display().to_string()
}

/// A version of a ladder that was run.
pub struct LadderRung {
    /// The version.
    pub file: KernelFile,
    /// The simulator's report.
    pub report: Report,
    /// Its counts.
    pub counts: Counts,
    /// nvcc's figures; `None` without nvcc for a file of one's own.
    pub resources: Option<Resources>,
}

/// The page on a ladder whose versions were run. It links to their pages, [`page_name`]. `made` is its last line.
pub fn ladder_page(ladder: &Versions, rungs: &[LadderRung], gpu: &GpuModel, made: &str) -> String {
    let shape = rungs.first().map_or("", |rung| &rung.counts.shape);
    let mut body = format!(
        "<p>{}, from naive to fast: one idea a version. Counted for {}; estimated for {}.</p>\n",
        escape(&capital(&ladder.about)),
        escape(shape),
        escape(gpu.title)
    );
    let number = |(place, rung): (usize, &LadderRung)| {
        point(&rung.file.name(), &(place + 1).to_string(), &rung.counts, gpu)
    };
    let points: Vec<Point> = rungs.iter().enumerate().map(number).collect();
    let roofs = roofs(gpu, rungs.iter().map(|rung| rung.counts.factors));
    let about = format!("the roofline of {}, with {} versions", gpu.title, points.len());
    let picture = roofline(&about, (720.0, 420.0), &roofs, &points, true);
    let _ = write!(
        body,
        "<figure><div class=\"wide\">{picture}</div>\n<figcaption>A number is a version. {CAPTION}</figcaption></figure>\n"
    );
    body += "<h2>The versions in numbers</h2>\n";
    body += &table(rungs, gpu);
    body += "<h2>The costliest access of each version</h2>\n\
             <p class=\"note\">The line with most load/store cycles, as the first warp made it. A version's page has all others.</p>\n";
    for rung in rungs {
        body += &costliest(rung);
    }
    page(&format!("{}: {} versions", ladder.name, rungs.len()), &style(), &body, made)
}

fn link(file: &KernelFile) -> String {
    let name = file.name();
    format!("<a href=\"{}\">{}</a>", escape(&page_name(file)), escape(name.trim_end_matches(".cu")))
}

fn table(rungs: &[LadderRung], gpu: &GpuModel) -> String {
    let heads: String =
        Column::ALL.iter().map(|column| format!("<th>{}</th>", head(*column))).collect();
    let measured = rungs.iter().find_map(|rung| rung.report.measured.as_ref());
    let head_of_time = measured.map_or("", |_| "<th>measured µs</th>");
    let mut table = format!(
        "<div class=\"wide\"><table class=\"ladder\">\n<tr><th>version</th>{heads}<th>registers</th><th>shared</th><th>occupancy</th><th>busy ns</th>{head_of_time}<th>limit</th></tr>\n"
    );
    for LadderRung { file, report, counts, resources } in rungs {
        let cell = |column: &Column| {
            let class = if file.improves == Some(*column) { " class=\"idea\"" } else { "" };
            let own = column.of(counts);
            let digits = match column {
                Column::Requests | Column::Bytes | Column::Launches => 0,
                Column::Lanes | Column::Barriers => 1,
                Column::Sectors | Column::Wavefronts | Column::OperationsPerByte => 2,
            };
            format!("<td{class}>{own:.digits$}</td>")
        };
        let cells: String = Column::ALL.iter().map(cell).collect();
        let (time, limit) = busy_time(gpu, counts);
        let of_nvcc = match resources {
            None => "<td>–</td>".repeat(3),
            Some(own) => format!(
                "<td>{}</td><td>{}</td><td>{:.0} %</td>",
                own.registers,
                own.shared,
                100.0 * own.occupancy
            ),
        };
        let us = report.measured.as_ref().map_or("–".into(), |own| format!("{:.2}", own.us));
        let own_time = measured.map_or(String::new(), |_| format!("<td>{us}</td>"));
        let _ = writeln!(
            table,
            "<tr><td>{}</td>{cells}{of_nvcc}<td>{time:.2}</td>{own_time}<td>{}</td></tr>",
            link(file),
            limit.name()
        );
    }
    let _ = writeln!(
        table,
        "</table></div>\n<p class=\"note\">Marked: what the version's idea is about. Sectors and wavefronts: for each request of a warp to device and \
         shared memory. Bytes: whole sectors, between SMs and device memory. Lanes: percent that take part. Registers of a thread, bytes of shared \
         memory of a block, and occupancy, the share of an SM's warps that fit: {}. Busy: an estimate of the time for which the work keeps a full \
         GPU busy.{}</p>",
        Resources::source(rungs.iter().find_map(|rung| rung.resources)),
        measured.map_or(String::new(), |own| format!(" Measured on {}", escape(&own.in_words())))
    );
    table
}

fn head(column: Column) -> &'static str {
    match column {
        Column::OperationsPerByte => "ops/<wbr>byte",
        Column::Lanes => "lanes %",
        other => other.name(),
    }
}

/// The access of a version that takes most load/store cycles.
fn costliest(LadderRung { file, report, counts, .. }: &LadderRung) -> String {
    let cycles = |own: &LineCounts| load_store_cycles(own.traffic.transactions, own.is_shared);
    let mut text = format!("<h3>{}</h3>\n<p>{}</p>\n", link(file), escape(&about(&file.text)));
    let Some(sample) = &report.sample else { return text };
    let Some(line) = counts.lines.iter().max_by(|a, b| cycles(a).total_cmp(&cycles(b))) else {
        return text;
    };
    let of_lines = accesses(sample, &file.name());
    let is_own = |own: &&super::accesses::Access| {
        let first = own.requests[0];
        (first.is_shared, first.is_write) == (line.is_shared, line.is_write)
    };
    let own = of_lines.get(&line.line).into_iter().flatten().filter(is_own);
    let Some(access) = own.max_by_key(|own| own.requests[0].transactions) else { return text };
    let code = file.text.lines().nth(line.line - 1).unwrap_or_default().trim();
    let _ = write!(
        text,
        "<pre>{} {}</pre>\n{}",
        line.line,
        escape(code),
        drawn(access.launch, access.requests[0], sample)
    );
    text
}
