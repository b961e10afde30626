//! `alrao bench step --profile`.

use std::fmt::Write;

use serde_json::json;

use super::trimmed;
use crate::cli::failure::Ending;
use crate::cli::messages;
use alrao::bench::peaks::Peaks;
use alrao::bench::profile::{StepProfile, profile};
use alrao::device::Device;
use alrao::supervised::RunConfig;

pub(super) fn run(
    configs: &[RunConfig],
    device: &Device,
    steps: usize,
    json: bool,
    quiet: bool,
) -> anyhow::Result<Ending> {
    if !quiet {
        messages::note(&device.description());
    }
    let peaks = Peaks::measure(device)?;
    let profiles: Result<Vec<StepProfile>, _> =
        configs.iter().map(|config| profile(config, device, peaks.as_ref(), steps)).collect();
    let profiles = profiles?;
    let text = match json {
        true => json!({ "device": device.name(), "profile": profiles }).to_string() + "\n",
        false => {
            let tables = profiles.iter().map(|own| table(own, device.name()));
            tables.collect::<Vec<_>>().join("\n")
        }
    };
    messages::result(&text)?;
    Ok(Ending::Done)
}

/// A line for the step, one for each op, and one for all.
fn table(profile: &StepProfile, device: &str) -> String {
    let StepProfile { model, optimizer, precision, width, samples, steps, step_ms, .. } = profile;
    let mut text = format!(
        "{model}, {optimizer}, width {width}, {samples} samples, {precision}: mean over {steps} steps\n"
    );
    if let Some(peaks) = profile.peaks {
        let (gflops, gigabytes) = (peaks.gflops, peaks.gigabytes_per_second);
        let _ =
            writeln!(text, "measured peaks: {gflops:.1} GFLOP/s, {gigabytes:.1} GB/s by copying");
    }
    let _ = writeln!(
        text,
        "{:<28} {:>6} {:>10} {:>7} {:>9} {:>8} {:>8}  bound",
        "op", "calls", "ms", "share", "GFLOP/s", "GB/s", "of peak"
    );
    for row in &profile.ops {
        let of_peak = row.of_peak.map_or("-".into(), |share| format!("{:.0}%", 100.0 * share));
        let _ = writeln!(
            text,
            "{:<28} {:>6} {:>10.3} {:>6.1}% {:>9.1} {:>8.1} {of_peak:>8}  {}",
            row.op,
            row.calls,
            row.ms,
            100.0 * row.share,
            row.gflops,
            row.gigabytes_per_second,
            row.bound.map_or("-", |bound| bound.name()),
        );
    }
    let (count, ops_ms, outside_ms) = (profile.ops.len(), profile.ops_ms(), profile.outside_ms);
    let _ = writeln!(
        text,
        "{count} ops take {ops_ms:.3} ms, {:.1}% of the {step_ms:.3} ms of a step without profiling; {outside_ms:.3} ms in no op",
        100.0 * ops_ms / step_ms
    );
    if device == "cuda" {
        text += "each op is waited for: a short one shows the time of its launch\n";
    }
    trimmed(&text)
}
