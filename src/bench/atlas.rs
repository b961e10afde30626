//! The atlas: one page on all kernels, family by family, with the compiler's figures, estimates, measurements and rooflines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::estimate::KernelRow;
use super::estimate::gpus::GpuModel;
use super::estimate::machine_code::{compiled, kernels_of};
use super::kernels::Row;
use crate::plots::page::{escape, page};
use crate::plots::roofline::{self, Point, Roofs, roofline, with_prefix};

/// A file of kernels.
pub struct Family {
    /// Its name without the ending.
    pub name: &'static str,
    text: &'static str,
}

macro_rules! families {
    ($($name:literal)+) => {
        [$(Family { name: $name, text: include_str!(concat!("../../kernels/", $name, ".cu")) }),+]
    };
}

/// The files in `kernels/`.
pub const FAMILIES: [Family; 27] = families!(
    "augment" "batch_norm" "bellman" "catch_up" "classifiers" "clip" "conv2d" "cross_entropy" "depthwise" "dropout" "elementwise"
    "embedding" "flatten" "gather" "lstm" "many_classes" "matmul" "optimizer" "peak" "pool" "prediction" "reduce" "replay"
    "soft_update" "squeeze_excite" "step_statistics" "switch"
);

/// Families without a page of their own in `docs/kernels/`, and the page that describes them.
const PAGES: [(&str, &str); 2] = [("many_classes", "classifiers"), ("prediction", "classifiers")];

const STYLE: &str = "
:root { --accent: #1f659e } @media (prefers-color-scheme: dark) { :root { --accent: #7db8ea } }
a { color: inherit } h2 { scroll-margin-top: 1rem; border-top: 1px solid var(--line); padding-top: 1.2rem }
p.note { color: var(--faint); margin: .2rem 0 } table.kernels { font-size: .85rem } table.kernels td, table.kernels th { padding: .18rem .5rem }
table td.text, table th.text { text-align: left } table.contents td.text { min-width: 16rem } td code { font-size: .92em }
table.kernels td.text { white-space: nowrap } table.kernels td.text:last-child { white-space: normal; min-width: 12rem; max-width: 24rem; overflow-wrap: anywhere }
";

/// What the page shows.
pub struct Atlas<'a> {
    /// The GPU of the estimates.
    pub gpu: &'a GpuModel,
    /// The kernels that workloads launch; with times if they were measured.
    pub rows: &'a [Row],
    /// The estimates of those whose machine code is known.
    pub estimates: &'a [KernelRow],
    /// Where the page's folder lies in the repository, such as `../`, for links to sources; `None` outside of it.
    pub repository: Option<&'a str>,
    /// Only kernels with this in their names.
    pub wanted: &'a str,
    /// The last line.
    pub made: &'a str,
}

/// A kernel in the atlas.
struct Entry<'a> {
    kernel: &'a str,
    row: Option<&'a Row>,
    estimate: Option<&'a KernelRow>,
}

impl Entry<'_> {
    /// Operations per byte, and per second by the measurement, or else by the estimate.
    fn point(&self) -> Option<Point> {
        let row = self.row?;
        let measured = row.time.map(|time| time.seconds / row.launches.max(1) as f64);
        let estimated = self.estimate.map(|own| 1e-6 * own.estimate.us);
        let (seconds, how) = match (measured, estimated) {
            (Some(seconds), _) => (seconds, "measured"),
            (None, Some(seconds)) => (seconds, "estimated"),
            (None, None) => return None,
        };
        let launches = row.launches.max(1) as f64;
        let operations_per_second = row.operations / launches / seconds;
        // An estimate has its own bytes: it counts a buffer that is read and written once.
        let bytes = match (measured, self.estimate) {
            (None, Some(own)) => own.estimate.bytes,
            _ => row.bytes / launches,
        };
        Some(Point {
            label: String::new(),
            title: format!("{}: {}op/s, {how}", self.kernel, with_prefix(operations_per_second)),
            operations_per_byte: row.operations / launches / bytes.max(1.0),
            at_best: None,
            operations_per_second,
        })
    }
}

/// The page.
pub fn atlas(own: &Atlas) -> String {
    let families = entries(own);
    let all: usize = families.values().map(Vec::len).sum();
    let mut body = format!(
        "<p>{all} kernels in {} families. Registers, shared memory and instructions are nvcc's for sm_{}. An estimate is a count turned into a time for {}; \
         <b>no estimate is a measurement</b>.{}</p>\n",
        families.len(),
        own.gpu.arch,
        escape(own.gpu.title),
        match own.rows.iter().any(|row| row.time.is_some()) {
            true => " The measured times are those of this machine's GPU.",
            false => " Nothing was measured: no GPU was used.",
        }
    );
    let points: Vec<Point> = families.values().flatten().filter_map(Entry::point).collect();
    let picture = roofline(
        &format!("the roofline of {}, with {} kernels", own.gpu.title, points.len()),
        (760.0, 420.0),
        &roofs(own.gpu),
        &points,
        false,
    );
    let _ = write!(
        body,
        "<figure><div class=\"wide\">{picture}</div>\n<figcaption>Each dot is a kernel on its workload. Across: operations for each byte, the least of both. \
         Up: operations per second at the measured time, or else at the estimate. A dot far below the lines waits for something else: a launch, too few warps, integer instructions. \
         Kernels whose operations are not counted have no dot.</figcaption></figure>\n"
    );
    body += &contents(&families);
    for family in FAMILIES.iter().chain([&OTHERS]) {
        if let Some(entries) = families.get(family.name) {
            body += &chapter(own, family, entries);
        }
    }
    let style = [STYLE, roofline::STYLE].concat();
    page("The atlas of kernels", &style, &body, own.made)
}

/// The kernels of each family.
fn entries<'a>(own: &Atlas<'a>) -> BTreeMap<&'static str, Vec<Entry<'a>>> {
    let rows: BTreeMap<&str, &Row> = own.rows.iter().map(|row| (&*row.kernel, row)).collect();
    let estimates: BTreeMap<&str, &KernelRow> =
        own.estimates.iter().map(|row| (&*row.kernel, row)).collect();
    let named: BTreeSet<&str> =
        kernels_of(own.gpu.arch).into_iter().chain(rows.keys().copied()).collect();
    let mut families: BTreeMap<&'static str, Vec<Entry>> = BTreeMap::new();
    for kernel in named.into_iter().filter(|kernel| kernel.contains(own.wanted)) {
        let (row, estimate) = (rows.get(kernel).copied(), estimates.get(kernel).copied());
        families.entry(family_of(kernel)).or_default().push(Entry { kernel, row, estimate });
    }
    families
}

/// The family of a kernel: the file that defines it.
#[cfg(has_simulator)]
fn family_of(kernel: &str) -> &'static str {
    let source = crate::device::simulator::source_of(kernel);
    let known = FAMILIES.iter().find(|family| Some(family.name) == source);
    known.map_or(OTHERS.name, |family| family.name)
}

/// The family of a kernel: the longest name that its own begins with. Only the simulator knows the files.
#[cfg(not(has_simulator))]
fn family_of(kernel: &str) -> &'static str {
    let own = FAMILIES.iter().filter(|family| kernel.starts_with(family.name));
    own.max_by_key(|family| family.name.len()).map_or(OTHERS.name, |family| family.name)
}

/// Kernels whose file is not known.
const OTHERS: Family = Family { name: "others", text: "// Kernels of other files." };

/// The first sentence of a family's header.
fn about(family: &Family) -> String {
    let comment = family.text.lines().map_while(|line| line.strip_prefix("//"));
    let lines: Vec<&str> = comment.map(str::trim).take_while(|line| !line.is_empty()).collect();
    let text = lines.join(" ");
    // The stop of "et al." ends no sentence.
    let mut ends = text.match_indices(". ").map(|(end, _)| end);
    let end = ends.find(|end| !text[..*end].ends_with(" al"));
    text[..end.unwrap_or(text.trim_end_matches('.').len())].to_owned() + "."
}

fn contents(families: &BTreeMap<&str, Vec<Entry>>) -> String {
    let mut text = String::from(
        "<div class=\"wide\"><table class=\"contents\">\n<tr><th>family</th><th>kernels</th><th>longest estimate, µs</th><th class=\"text\">computes</th></tr>\n",
    );
    for family in FAMILIES.iter().chain([&OTHERS]) {
        let Some(entries) = families.get(family.name) else { continue };
        let times = entries.iter().filter_map(|own| own.estimate).map(|own| own.estimate.us);
        let longest = times.fold(0.0, f64::max);
        let longest = if longest > 0.0 { format!("{longest:.1}") } else { "–".into() };
        let _ = writeln!(
            text,
            "<tr><td><a href=\"#{name}\">{name}</a></td><td>{}</td><td>{longest}</td><td class=\"text\">{}</td></tr>",
            entries.len(),
            escape(&about(family)),
            name = family.name
        );
    }
    text + "</table></div>\n"
}

fn chapter(own: &Atlas, family: &Family, entries: &[Entry]) -> String {
    let name = family.name;
    let of_page = PAGES.iter().find(|(family, _)| *family == name).map_or(name, |(_, page)| page);
    let link = |path: String| match own.repository {
        Some(prefix) => format!("<a href=\"{prefix}{path}\">{path}</a>"),
        None => format!("<code>{path}</code>"),
    };
    let mut text = format!(
        "<h2 id=\"{name}\">{name}</h2>\n<p>{}</p>\n<p class=\"note\">{} · {}</p>\n",
        escape(&about(family)),
        link(format!("kernels/{name}.cu")),
        link(format!("docs/kernels/{of_page}.md"))
    );
    let points: Vec<Point> = entries.iter().filter_map(Entry::point).collect();
    if points.iter().any(|point| point.operations_per_second > 0.0) {
        let about = format!("the kernels of {name} on the roofline of {}", own.gpu.title);
        let picture = roofline(&about, (520.0, 250.0), &roofs(own.gpu), &points, false);
        let _ = writeln!(text, "<div class=\"wide\">{picture}</div>");
    }
    let is_measured = entries.iter().any(|own| own.row.is_some_and(|row| row.time.is_some()));
    let measured = if is_measured { "<th>measured µs</th>" } else { "" };
    let _ = writeln!(
        text,
        "<div class=\"wide\"><table class=\"kernels\">\n<tr><th>kernel</th><th>registers</th><th>shared bytes</th><th>occupancy</th><th>MB</th><th>MFLOP</th>\
         <th>estimate µs</th>{measured}<th class=\"text\">limit</th><th class=\"text\">for</th></tr>"
    );
    for entry in entries {
        text += &row(own.gpu, entry, is_measured);
    }
    text + "</table></div>\n"
}

fn row(gpu: &GpuModel, own: &Entry, is_measured: bool) -> String {
    let pinned = compiled(gpu.arch, own.kernel);
    let registers = own.row.and_then(|row| row.registers).or(pinned.map(|own| own.registers));
    let shared = own.estimate.map(|own| own.shared);
    let shared = own.row.and_then(|row| row.shared).or(shared).or(pinned.map(|own| own.shared));
    let estimated = own.estimate.map(|own| gpu.occupancy(own.registers, own.shared, own.threads));
    let occupancy = own.row.and_then(|row| row.occupancy).or(estimated);
    let none = || "–".to_owned();
    let whole = |own: Option<usize>| own.map_or_else(none, |own| own.to_string());
    // The cost is that of all launches of a pass.
    let of_launch =
        |cost: fn(&Row) -> f64| own.row.map(|row| cost(row) / row.launches.max(1) as f64 / 1e6);
    let measured = own.row.and_then(|row| Some(row.time?.seconds / row.launches.max(1) as f64));
    let measured = match is_measured {
        true => {
            format!("<td>{}</td>", measured.map_or_else(none, |own| format!("{:.2}", 1e6 * own)))
        }
        false => String::new(),
    };
    format!(
        "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{measured}<td class=\"text\">{}</td><td class=\"text\">{}</td></tr>\n",
        own.kernel,
        whole(registers),
        whole(shared),
        occupancy.map_or_else(none, |own| format!("{:.0}%", 100.0 * own)),
        of_launch(|row| row.bytes).map_or_else(none, figures),
        of_launch(|row| row.operations).filter(|own| *own > 0.0).map_or_else(none, figures),
        own.estimate.map_or_else(none, |own| format!("{:.2}", own.estimate.us)),
        own.estimate.map_or_else(none, |own| own.estimate.limit.name().to_owned()),
        own.row.map_or_else(|| "no workload".to_owned(), |row| escape(&row.workload))
    )
}

/// A number with three figures or more, of at most nine decimals.
fn figures(number: f64) -> String {
    let before_point = if number > 0.0 { number.log10().floor() as i32 + 1 } else { 3 };
    format!("{number:.0$}", (3 - before_point).clamp(0, 9) as usize)
}

/// The lines of a GPU.
fn roofs(gpu: &GpuModel) -> Roofs {
    Roofs {
        memories: vec![("device memory".into(), gpu.bytes_per_second)],
        units: gpu.operations_per_second().map(|(name, speed)| (name.into(), speed)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_begins_with_a_sentence() {
        let of = |text| about(&Family { name: "a", text });
        assert_eq!(of("// Dropout. The mask\n// is recomputed.\n//\n// more.\n"), "Dropout.");
        assert_eq!(
            of("// A network (Lillicrap et al. 2015). The\n// rest\n"),
            "A network (Lillicrap et al. 2015)."
        );
        assert_eq!(of("// One\n// sentence.\n\n"), "One sentence.");
    }

    #[test]
    fn numbers_have_three_figures() {
        let of = [0.0, 0.00012, 0.0999, 1.5, 42.0, 1234.5].map(figures);
        assert_eq!(of, ["0", "0.000120", "0.0999", "1.50", "42.0", "1234"]);
    }

    #[test]
    fn each_kernel_has_the_family_of_its_file() {
        let all = kernels_of(90);
        assert!(all.len() > 200, "{}", all.len());
        for (kernel, family) in [
            ("switch_update_f64", "switch"),
            ("matmul_64_nn_f32", "matmul"),
            ("adaptive_average_pool_bwd_x1_f32", "pool"),
        ] {
            assert_eq!(family_of(kernel), family);
        }
    }
}
