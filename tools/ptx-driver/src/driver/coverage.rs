//! Which instructions have been executed, and which calls made: a file that every process adds to at its end.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::Ordering;

use super::entry;
use super::images::{LIBRARY, Loaded};
use super::trials;
use crate::options::options;

/// What a coverage file says of a kernel.
#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    launches: u64,
    seconds: f64,
    instructions: usize,
    /// Instructions that have never been executed, by their number.
    missing: BTreeMap<usize, String>,
    /// The outcome of each trial, and its description.
    trials: BTreeMap<usize, (String, String)>,
}

/// What a coverage file says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Coverage {
    kernels: BTreeMap<String, Entry>,
    /// How often each of the driver's calls was made.
    calls: BTreeMap<String, u64>,
}

/// Writes the file when the process ends.
pub fn write_at_exit() {
    static ONCE: Once = Once::new();
    unsafe extern "C" {
        fn atexit(function: extern "C" fn()) -> c_int;
    }
    if options().coverage.is_some() {
        // SAFETY: the function stays loaded until the process ends.
        ONCE.call_once(|| unsafe {
            atexit(at_exit);
        });
    }
}

extern "C" fn at_exit() {
    let Some(path) = &options().coverage else { return };
    if let Err(error) = add_to(path, &own()) {
        eprintln!("ptx-driver: {}: {error}", path.display());
    }
}

/// What this process has done.
fn own() -> Coverage {
    let library = LIBRARY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let kernels = library.iter().flat_map(|library| &library.kernels);
    Coverage {
        kernels: kernels.map(|loaded| (loaded.kernel.name.clone(), entry(loaded))).collect(),
        calls: entry::calls().into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
    }
}

fn entry(loaded: &Loaded) -> Entry {
    let is_missing = |at: &usize| !loaded.executed[*at].load(Ordering::Relaxed);
    let missing = (0..loaded.executed.len()).filter(is_missing);
    Entry {
        launches: loaded.launches.load(Ordering::Relaxed),
        seconds: loaded.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
        instructions: loaded.executed.len(),
        missing: missing.map(|at| (at, loaded.kernel.place(at))).collect(),
        trials: trials::report(loaded).into_iter().enumerate().collect(),
    }
}

/// Merges entries into a file, which no other process changes meanwhile.
fn add_to(path: &Path, own: &Coverage) -> std::io::Result<()> {
    let lock = std::fs::File::create(path.with_extension("lock"))?;
    lock.lock()?;
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let merged = merge(parse(&known), own);
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, print(&merged))?;
    std::fs::rename(&unfinished, path)
}

fn merge(mut all: Coverage, own: &Coverage) -> Coverage {
    for (name, count) in &own.calls {
        *all.calls.entry(name.clone()).or_default() += count;
    }
    for (name, entry) in &own.kernels {
        match all.kernels.get_mut(name) {
            Some(known) if known.instructions == entry.instructions => {
                known.launches += entry.launches;
                known.seconds += entry.seconds;
                known.missing.retain(|at, _| entry.missing.contains_key(at));
                for (number, (outcome, _)) in &mut known.trials {
                    if let Some((own, _)) = entry.trials.get(number)
                        && rank(own) > rank(outcome)
                    {
                        own.clone_into(outcome);
                    }
                }
            }
            _ => {
                all.kernels.insert(name.clone(), entry.clone());
            }
        }
    }
    all
}

/// How much an outcome of a trial says.
fn rank(outcome: &str) -> usize {
    ["unexecuted", "unnoticed", "noticed"].iter().position(|own| *own == outcome).unwrap_or(0)
}

fn print(all: &Coverage) -> String {
    let kernels = &all.kernels;
    let sum = |of: fn(&Entry) -> usize| kernels.values().map(of).sum::<usize>();
    let (instructions, missing) = (sum(|own| own.instructions), sum(|own| own.missing.len()));
    let launches: u64 = kernels.values().map(|own| own.launches).sum();
    let seconds: f64 = kernels.values().map(|own| own.seconds).sum();
    let mut text = format!(
        "# {} kernels, {launches} launches, {} of {instructions} instructions executed ({:.1} %), {seconds:.1} s\n",
        kernels.len(),
        instructions - missing,
        100.0 * (instructions - missing) as f64 / instructions.max(1) as f64,
    );
    for (name, count) in &all.calls {
        let _ = writeln!(text, "call {name} {count}");
    }
    for (name, own) in kernels {
        let executed = own.instructions - own.missing.len();
        let _ = writeln!(
            text,
            "kernel {name} launches {} executed {executed} of {} seconds {:.3}",
            own.launches, own.instructions, own.seconds
        );
        for (at, place) in &own.missing {
            let _ = writeln!(text, "  {at} {place}");
        }
        for (number, (outcome, description)) in &own.trials {
            let _ = writeln!(text, "  trial {number} {outcome} {description}");
        }
    }
    text
}

fn parse(text: &str) -> Coverage {
    let mut all = Coverage::default();
    let mut name = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["call", own, count] = *words {
            all.calls.insert(own.to_owned(), count.parse().unwrap_or(0));
        } else if let [
            "kernel",
            own,
            "launches",
            launches,
            "executed",
            _,
            "of",
            count,
            "seconds",
            seconds,
        ] = *words
        {
            own.clone_into(&mut name);
            let entry = Entry {
                launches: launches.parse().unwrap_or(0),
                seconds: seconds.parse().unwrap_or(0.0),
                instructions: count.parse().unwrap_or(0),
                ..Entry::default()
            };
            all.kernels.insert(name.clone(), entry);
        } else if let Some(rest) = line.strip_prefix("  trial ")
            && let [number, outcome, description] =
                *rest.splitn(3, ' ').collect::<Vec<_>>().as_slice()
            && let (Ok(number), Some(entry)) = (number.parse(), all.kernels.get_mut(&name))
        {
            entry.trials.insert(number, (outcome.to_owned(), description.to_owned()));
        } else if let Some((at, place)) =
            line.strip_prefix("  ").and_then(|line| line.split_once(' '))
            && let (Ok(at), Some(entry)) = (at.parse(), all.kernels.get_mut(&name))
        {
            entry.missing.insert(at, place.to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(missing: &[usize]) -> Coverage {
        let outcome = if missing.contains(&4) { "noticed" } else { "unnoticed" };
        let missing = missing.iter().map(|at| (*at, format!("a.cu:{at} `ret`"))).collect();
        let trials = BTreeMap::from([(0, (outcome.to_owned(), "without bar.sync".to_owned()))]);
        let entry = Entry { launches: 1, seconds: 0.5, instructions: 9, missing, trials };
        Coverage {
            kernels: BTreeMap::from([("scale".to_owned(), entry)]),
            calls: BTreeMap::from([("cuInit".to_owned(), 1)]),
        }
    }

    #[test]
    fn an_instruction_is_missing_if_no_process_has_executed_it() {
        let first = parse(&print(&entries(&[1, 2, 3])));
        assert_eq!(first, entries(&[1, 2, 3]));
        let merged = merge(first, &entries(&[2, 3, 4]));
        assert_eq!(merged.kernels["scale"].missing.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!((merged.kernels["scale"].launches, merged.calls["cuInit"]), (2, 2));
        assert_eq!(merged.kernels["scale"].trials[&0].0, "noticed");
        assert!(print(&merged).contains("7 of 9 instructions executed (77.8 %)"));
    }
}
