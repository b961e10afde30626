//! The memory limit of this process: the smallest of the machine's, the process's and its control groups'.

use std::fs;
use std::path::{Path, PathBuf};

/// The smallest limit on memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limit {
    /// Its size.
    pub bytes: u128,
    /// What this process takes of it already.
    pub used: u128,
    /// The start of the message, such as "this machine has 16.00 GB of memory" without the size.
    pub before: String,
    /// The rest of the message.
    pub after: String,
}

/// The smallest limit; `None` if none can be read, as on systems other than Linux.
pub(super) fn smallest() -> Option<Limit> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut limits = of_process(&read("/proc/self/limits"), &read("/proc/self/status"));
    limits.extend(of_groups(&read("/proc/self/cgroup"), "/sys/fs/cgroup".as_ref()));
    limits.extend(of_machine(&read("/proc/meminfo")));
    limits.into_iter().min_by_key(Limit::free)
}

impl Limit {
    /// What is left of it.
    pub fn free(&self) -> u128 {
        self.bytes.saturating_sub(self.used)
    }
}

/// A size in a text such as `/proc/meminfo` or `/proc/self/status`.
fn size(text: &str, name: &str) -> Option<u128> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u128 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The total in a text such as `/proc/meminfo`.
fn of_machine(text: &str) -> Option<Limit> {
    let (before, after) = ("this machine has".into(), "of memory".into());
    Some(Limit { bytes: size(text, "MemTotal:")?, used: 0, before, after })
}

/// The limits in a text such as `/proc/self/limits`; `status` is a text such as `/proc/self/status`.
fn of_process(text: &str, status: &str) -> Vec<Limit> {
    let limit = |(name, flag, own): (&str, &str, &str)| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let bytes = line.split_whitespace().next()?.parse().ok()?;
        let after = format!("(its limit, `ulimit {flag}`)");
        let used = size(status, own).unwrap_or(0);
        Some(Limit { bytes, used, before: "this process may take".into(), after })
    };
    [("Max address space", "-v", "VmSize:"), ("Max data size", "-d", "VmData:")]
        .into_iter()
        .filter_map(limit)
        .collect()
}

/// The limits of the control groups in a text such as `/proc/self/cgroup`, and of all groups around them. `root` is where
/// the groups are mounted; version 1 has the groups of memory in a folder `memory`. In a container a path may be that
/// of the host, so folders that do not exist are passed over, and the root is always looked at.
fn of_groups(text: &str, root: &Path) -> Vec<Limit> {
    let mut limits = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file): (PathBuf, _) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|own| own == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let file = root.join(group).join(file);
            // Version 2 writes "max" where there is no limit, version 1 a number above any memory.
            let bytes = fs::read_to_string(&file).ok().and_then(|own| own.trim().parse().ok());
            limits.extend(bytes.map(|bytes| Limit {
                bytes,
                used: 0,
                before: "its control group may take".into(),
                after: format!("({})", file.display()),
            }));
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(limits: impl IntoIterator<Item = Limit>) -> Vec<u128> {
        limits.into_iter().map(|limit| limit.bytes).collect()
    }

    #[test]
    fn the_machine_s_total_is_read() {
        let total = |text| bytes(of_machine(text));
        assert_eq!(total("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), [24_689_764 * 1024]);
        assert!(total("MemFree: 1 kB\n").is_empty() && total("MemTotal: many kB\n").is_empty());
        if cfg!(target_os = "linux") {
            assert!(smallest().unwrap().bytes > 1 << 20);
        }
    }

    #[test]
    fn the_process_s_limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max data size             1048576              unlimited            bytes     \n\
            Max address space         unlimited            unlimited            bytes     \n";
        let limits = of_process(text, "VmSize:\t   9 kB\nVmData:\t  24 kB\n");
        assert_eq!(bytes(limits.clone()), [1 << 20]);
        assert_eq!(limits[0].free(), 1000 << 10);
        assert!(limits[0].after.contains("ulimit -d"));
    }

    #[test]
    fn a_group_is_limited_by_those_around_it() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("a/memory.max", "5000\n");
        put("a/b/memory.max", "max\n");
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/c/memory.limit_in_bytes", "7000\n");
        let groups = |text| bytes(of_groups(text, root.path()));
        assert_eq!(groups("0::/a/b\n"), [5000]);
        assert_eq!(groups("5:cpu:/x\n4:memory:/c\n"), [7000, 9_223_372_036_854_771_712]);
        // As in a container that shows only its own groups.
        put("memory.max", "3000\n");
        assert_eq!(groups("0::/host/path/of/it\n"), [3000]);
        assert!(groups("").is_empty());
    }
}
