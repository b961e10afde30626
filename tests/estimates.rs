//! Estimates of times on GPUs: that they cover every kernel, follow the counts, and say what they are.

use alrao::bench::atlas::FAMILIES;
use alrao::bench::estimate::gpus::{GPUS, named};
use alrao::bench::estimate::machine_code::{compiled, kernels_of};
use alrao::bench::estimate::{Limit, estimate};
use alrao::device::{Cost, DType, LaunchWork, ProfiledLaunch};
use serde_json::Value;

use crate::command_line::{alrao, refused, text};
use crate::place::source;

fn json(arguments: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = alrao(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[cfg(has_simulator)]
#[test]
fn every_kernel_is_counted() {
    for kernel in alrao::device::simulator::kernel_names() {
        for arch in [80, 90] {
            let found = compiled(arch, kernel).unwrap_or_else(|| panic!("{kernel} on sm_{arch}"));
            assert!(found.pass.slots() > 0 && found.registers > 0, "{kernel}: {found:?}");
        }
    }
}

#[test]
fn a_step_is_the_sum_of_its_nodes() {
    for (model, precision) in [("vgg19", "tf32"), ("word-lstm", "bf16"), ("mlp", "f32")] {
        let arguments = format!("info --model {model} --step --precision {precision} --json");
        let counted = json(&arguments);
        for gpu in GPUS {
            let step = &json(&format!("{arguments} --estimate {}", gpu.name))["estimate"];
            let kernels = step["kernels"].as_array().unwrap();
            let sum: f64 = kernels.iter().map(|own| own["us"].as_f64().unwrap()).sum();
            assert!((sum / 1e3 - step["ms"].as_f64().unwrap()).abs() < 1e-9, "{step}");
            for own in kernels {
                let name = own["kernel"].as_str().unwrap();
                assert_eq!(own["launches"], counted[name], "{name}");
                assert!(name == ProfiledLaunch::ZEROS || compiled(gpu.arch, name).is_some());
            }
            assert_eq!(kernels.len(), counted.as_object().unwrap().len());
        }
    }
}

#[test]
fn an_estimate_says_that_it_is_one() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        ["info --model mlp --step --estimate h100", "kernels optimizer --estimate a100"]
    {
        let output = alrao(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        let table = text(&output.stdout);
        assert!(table.contains("estimated, not measured"), "{table}");
    }
    refused(folder.path(), &["info", "--model", "mlp", "--estimate", "h200"], "--step");
    refused(folder.path(), &["kernels", "--estimate", "v100"], "v100");
    refused(folder.path(), &["kernels", "nosuch", "--estimate", "h200"], "nosuch");
}

/// A launch of a product in f32 with `blocks` blocks of `passes` slabs each, on the H200.
fn product(blocks: usize, passes: usize) -> (f64, Limit) {
    let launch = ProfiledLaunch {
        kernel: "matmul_128_nt_f32".into(),
        blocks,
        threads: 256,
        shared: 0,
        work: LaunchWork::passes(passes),
        buffers: 1 << 20,
        call: None,
    };
    let gpu = named("h200").unwrap();
    let own = estimate(
        gpu,
        &launch,
        Some(Cost { bytes: (1 << 20) as f64, ..Cost::default() }),
        DType::F32,
    );
    (own.us - gpu.node_us, own.limit)
}

#[test]
fn an_estimate_follows_the_counts() {
    let slots = f64::from(compiled(90, "matmul_128_nt_f32").unwrap().pass.slots());
    // One block on each SM, so two warps for each scheduler: issue slots bind.
    let cycles = 100.0 * slots * 2.0 * 1.12;
    let (us, limit) = product(132, 100);
    assert!((us - cycles / 1755.0).abs() < 1e-6, "{us}");
    assert_eq!(limit, Limit::Issue);
    // Another block on one SM takes as long as a whole second round.
    assert!((product(133, 100).0 / us - 2.0).abs() < 1e-9);
    assert!((product(264, 50).0 / us - 1.0).abs() < 1e-9);
    // Memory binds a copy.
    let copy = ProfiledLaunch {
        kernel: "elementwise_copy".into(),
        blocks: 65_536,
        threads: 256,
        shared: 0,
        work: LaunchWork::bytes(860 << 20),
        buffers: 0,
        call: None,
    };
    let own = estimate(named("h200").unwrap(), &copy, None, DType::F32);
    assert_eq!(own.limit, Limit::Memory);
    assert!((own.us - 1.0 - (860 << 20) as f64 / 4.3e6).abs() < 1e-6, "{own:?}");
}

/// The cells of the rows of a table in the page, behind a heading.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = page.split_once(heading).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|own| own.trim().to_owned()).collect();
    rows.take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn the_page_of_the_cost_model_shows_todays_estimates() {
    let page = std::fs::read_to_string(source().join("docs/kernels/cost-model.md")).unwrap();
    let steps = rows(&page, "alrao info --model MODEL --step --estimate h200");
    assert_eq!(steps.len(), 8);
    for row in steps {
        let step =
            &json(&format!("info --model {} --step --estimate h200 --json", row[0]))["estimate"];
        assert_eq!(step["nodes"].to_string(), row[1], "{}", row[0]);
        let ms = step["ms"].as_f64().unwrap();
        let shown: f64 = row[2].trim_end_matches(" ms").parse().unwrap();
        assert!((ms - shown).abs() <= 0.005 * ms + 0.005, "{}: {ms} ms, not {shown}", row[0]);
    }
    let slabs = rows(&page, "Issue slots of a warp for one slab");
    let names = [
        ["conv2d", "fwd dx_bwd dw_bwd"],
        ["conv2d", "dx_rounded_bwd dw_rounded_bwd"],
        ["matmul", "nt nn tn"],
        ["matmul", "nn_rounded tn_rounded"],
    ];
    assert_eq!(slabs.len(), names.len());
    for (row, [family, forms]) in slabs.iter().zip(names) {
        for (tile, shown) in [128, 64].into_iter().zip(&row[1..]) {
            let slots = forms.split(' ').map(|form| {
                let kernel = format!("{family}_{tile}_{form}_tf32");
                compiled(90, &kernel).unwrap().pass.slots().to_string()
            });
            assert_eq!(slots.collect::<Vec<_>>().join(", "), *shown, "{family} {tile}");
        }
    }
}

#[test]
fn the_atlas_shows_every_kernel_with_its_estimate() {
    let folder = tempfile::tempdir().unwrap();
    let output = alrao(folder.path(), &["kernels", "--html", "atlas.html", "--device", "cpu"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(folder.path().join("atlas.html")).unwrap();
    for foreign in ["http:", "https:", "<script", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.len() < 600_000, "{} bytes", page.len());
    let files = std::fs::read_dir(source().join("kernels")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut families: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".cu").map(str::to_owned)).collect();
    families.sort();
    assert_eq!(families, FAMILIES.each_ref().map(|own| own.name));
    for family in &families {
        assert!(page.contains(&format!("<h2 id=\"{family}\">")), "{family}");
    }
    for kernel in kernels_of(90) {
        assert_eq!(page.matches(&format!("<td><code>{kernel}</code></td>")).count(), 1, "{kernel}");
    }
    // The estimate is that of the table.
    let rows = json("kernels --estimate h200 --json");
    for row in rows["kernels"].as_array().unwrap() {
        let kernel = row["kernel"].as_str().unwrap();
        let place = page.find(&format!("<code>{kernel}</code>")).unwrap();
        let own = &page[place..place + page[place..].find("</tr>").unwrap()];
        let us = row["estimate"]["us"].as_f64().unwrap();
        assert!(own.contains(&format!("<td>{us:.2}</td>")), "{kernel}: {own}");
    }
    refused(folder.path(), &["kernels", "--html", "atlas.html"], "is there already");
    // Inside of a repository the page links to the files.
    assert!(page.contains("<code>kernels/switch.cu</code>") && !page.contains("../kernels"));
    let own = folder.path().join("repository");
    std::fs::create_dir_all(own.join("docs/kernels")).unwrap();
    std::fs::create_dir_all(own.join("kernels")).unwrap();
    std::fs::write(own.join("kernels/target.cuh"), "").unwrap();
    let output = alrao(&own.join("docs"), &["kernels", "switch", "--html", "a.html"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(own.join("docs/a.html")).unwrap();
    assert!(page.contains("<a href=\"../kernels/switch.cu\">"), "{page}");
    assert!(page.contains("<a href=\"../docs/kernels/switch.md\">") && !page.contains("matmul"));
}
