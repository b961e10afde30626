//! The time of each kernel in a run in the simulator.

use alrao::device::Device;

/// Most kernels in the table.
const NAMED: usize = 12;

/// A table of the slowest kernels. Only in the simulator does a launch take the time of its kernel.
pub(super) fn table(device: &Device) -> Option<String> {
    let Device::Gpu(gpu) = device else { return None };
    if gpu.name() != "simulator" {
        return None;
    }
    let mut times: Vec<_> = gpu.kernel_times().into_iter().collect();
    times.sort_by_key(|(_, own)| std::cmp::Reverse(own.time));
    let total: f64 = times.iter().map(|(_, own)| own.time.as_secs_f64()).sum();
    let launches: u64 = times.iter().map(|(_, own)| own.launches).sum();
    let row = |name: &str, launches: u64, seconds: f64| {
        let share = if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
        format!("{name:<36} {launches:>9} {seconds:>9.3} {share:>6.1}%\n")
    };
    let mut text = format!(
        "{:<36} {:>9} {:>9} {:>7}\n",
        "kernel, evaluation included", "launches", "seconds", "share"
    );
    for (name, own) in times.iter().take(NAMED) {
        text += &row(name, own.launches, own.time.as_secs_f64());
    }
    if times.len() > NAMED {
        let others = &times[NAMED..];
        let seconds = others.iter().map(|(_, own)| own.time.as_secs_f64()).sum();
        let launches = others.iter().map(|(_, own)| own.launches).sum();
        text += &row("all others", launches, seconds);
    }
    Some(text + row("all kernels", launches, total).trim_end())
}
