//! PyTorch's side of a comparison: a Python process that runs `benches/peers/in_turn.py` and times a few steps on
//! request.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::device::threads;
use crate::error::Error;

/// `in_turn.py`, and the files that it imports.
const FILES: [(&str, &str); 12] = [
    ("in_turn.py", include_str!("../../benches/peers/in_turn.py")),
    ("contestants.py", include_str!("../../benches/peers/contestants.py")),
    ("pieces.py", include_str!("../../benches/peers/pieces.py")),
    ("clock.py", include_str!("../../benches/peers/clock.py")),
    ("alrao.py", include_str!("../../benches/peers/alrao.py")),
    ("data.py", include_str!("../../benches/peers/data.py")),
    ("update.py", include_str!("../../benches/peers/update.py")),
    ("authors.py", include_str!("../../benches/peers/authors.py")),
    ("averaging.py", include_str!("../../benches/peers/averaging.py")),
    ("classifiers.py", include_str!("../../benches/peers/classifiers.py")),
    ("learning_rates.py", include_str!("../../benches/peers/learning_rates.py")),
    ("models.py", include_str!("../../benches/peers/models.py")),
];

/// The shortest time limit for importing PyTorch.
const PATIENCE_AT_THE_START: Duration = Duration::from_secs(120);

/// How long the process may take to end after its input is closed.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(5);

/// The file for Python's standard error, in the same folder as the Python files.
const MESSAGES: &str = "messages.txt";

/// The settings of the process.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The Python to start.
    pub python: String,
    /// `cpu` or `cuda`.
    pub device: &'static str,
    /// `f32`, `tf32` or `bf16`.
    pub precision: String,
    /// CPU threads.
    pub threads: usize,
    /// The time limit for an answer. Compiling a step takes longest: a minute or two on a laptop.
    pub patience: Duration,
}

/// The process's greeting: its versions and its device.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Greeting {
    /// PyTorch's version.
    pub torch: String,
    /// Python's version.
    pub python: String,
    /// The GPU's name, or `cpu`.
    pub device: String,
}

/// A step or piece to time, by the names that `in_turn.py` knows.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// The architecture.
    pub model: String,
    /// The variant of a step, or of a piece of it.
    pub way: &'static str,
    /// Images in a batch, or columns of text.
    pub batch_size: usize,
    /// Factor on the number of channels or units.
    pub width: f64,
    /// Classifiers of Alrao.
    pub classifiers: usize,
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The request failed; the process is still running.
    Failed(String),
    /// The process has ended, or did not answer in time.
    Gone(String),
}

impl Trouble {
    /// The message, one line.
    pub fn message(&self) -> &str {
        match self {
            Trouble::Failed(message) | Trouble::Gone(message) => message,
        }
    }
}

type Outcome<T> = Result<T, Trouble>;

/// A Python process with PyTorch. Dropping this value ends it.
pub struct Peers {
    greeting: Greeting,
    process: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<io::Result<String>>,
    patience: Duration,
    /// Holds the Python files and Python's standard error.
    folder: TempDir,
}

impl Peers {
    /// Starts Python.
    ///
    /// # Errors
    /// One line, if the program does not exist, has no PyTorch, or does not answer.
    pub fn start(setup: &Setup) -> Result<Peers, String> {
        let (folder, messages) = unpacked()
            .map_err(|error| format!("no temporary folder for PyTorch's side: {error}"))?;
        let mut process = Command::new(&setup.python)
            .arg(folder.path().join(FILES[0].0))
            .args(["--device", setup.device, "--precision", &setup.precision])
            .args(["--threads", &setup.threads.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(held_to().iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(messages)
            // Together with the compilers that it starts.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let python = &setup.python;
                format!("{python} cannot be started: {error}; name a Python that has PyTorch")
            })?;
        running().push((process.id(), folder.path().to_owned()));
        let requests = process.stdin.take();
        let output = process.stdout.take();
        // Importing from a cold disk is slow.
        let (greeting, patience) = (Greeting::default(), setup.patience.max(PATIENCE_AT_THE_START));
        // Until its answers are read there are none; should they not be, the process is ended.
        let answers = channel().1;
        let mut peers = Peers { greeting, process, requests, answers, patience, folder };
        peers.answers = lines_of(output).map_err(|error| error.to_string())?;
        let greeting = peers.answer().map_err(|trouble| trouble.message().to_owned())?;
        peers.patience = setup.patience;
        peers.greeting = serde_json::from_value(greeting)
            .map_err(|error| format!("{} sends an invalid greeting: {error}", setup.python))?;
        Ok(peers)
    }

    /// The process's greeting.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Prepares a contestant, whose steps must have `samples` samples, and returns its number.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn prepare(&mut self, request: &Request, samples: usize) -> Outcome<u64> {
        let answer = self.exchange(&json!({ "prepare": request }))?;
        let own = answer["samples"].as_u64();
        if own != Some(samples as u64) {
            let own = own.map_or("an unknown number of".to_owned(), |own| own.to_string());
            let message = format!("its step has {own} samples, the engine's {samples}");
            return Err(Trouble::Failed(message));
        }
        answer["prepared"].as_u64().ok_or_else(|| unexpected(&answer))
    }

    /// The time of `steps` steps.
    ///
    /// # Errors
    /// If a step fails.
    pub fn time(&mut self, number: u64, steps: usize) -> Outcome<Duration> {
        let answer = self.exchange(&json!({ "time": number, "steps": steps }))?;
        let seconds = answer["seconds"].as_f64().map(Duration::try_from_secs_f64);
        seconds.and_then(Result::ok).ok_or_else(|| unexpected(&answer))
    }

    fn exchange(&mut self, request: &Value) -> Outcome<Value> {
        // A failed write is ignored here: the missing answer reports it, with the process's last message.
        if let Some(requests) = &mut self.requests {
            let _ = writeln!(requests, "{request}").and_then(|()| requests.flush());
        }
        self.answer()
    }

    fn answer(&mut self) -> Outcome<Value> {
        let line = match self.answers.recv_timeout(self.patience) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => return Err(self.end(&format!("its answer cannot be read: {error}"))),
            Err(RecvTimeoutError::Disconnected) => return Err(self.end("it ended")),
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                let seconds = self.patience.as_secs();
                return Err(Trouble::Gone(format!("not ready in {seconds} s")));
            }
        };
        let answer: Value = serde_json::from_str(&line)
            .map_err(|error| self.end(&format!("its answer is no JSON: {error}")))?;
        match answer["error"].as_str() {
            Some(message) => Err(Trouble::Failed(message.to_owned())),
            None => Ok(answer),
        }
    }

    /// Kills the process and everything it started. Only once: the process id may be reused later.
    fn kill(&self) {
        let mut running = running();
        if let Some(index) = running.iter().position(|(id, _)| *id == self.process.id()) {
            kill_group(running.swap_remove(index).0);
        }
    }

    /// Ends the process and returns its last message, or `why` if it has none.
    fn end(&mut self, why: &str) -> Trouble {
        // A process that has closed its output is about to exit, and its exit status tells why.
        std::thread::sleep(Duration::from_millis(200));
        let status = self.process.try_wait().ok().flatten();
        self.kill();
        let _ = self.process.wait();
        let said = std::fs::read_to_string(self.folder.path().join(MESSAGES)).unwrap_or_default();
        let last = said.lines().rfind(|line| !line.trim().is_empty()).map(str::trim);
        Trouble::Gone(match (status, last) {
            (Some(status), Some(last)) if status.code().is_none() => {
                format!("it ended by {status}; its last words: {last}")
            }
            (_, Some(last)) => last.to_owned(),
            (Some(status), None) => format!("it ended with {status}; is it a Python?"),
            (None, None) => why.to_owned(),
        })
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // Closing its input ends it.
        drop(self.requests.take());
        let is_over = || {
            matches!(
                self.answers.recv_timeout(PATIENCE_AT_THE_END),
                Err(RecvTimeoutError::Disconnected)
            )
        };
        is_over();
        // Processes that it started may still be running.
        self.kill();
        let _ = self.process.wait();
    }
}

/// The running processes and their folders.
fn running() -> std::sync::MutexGuard<'static, Vec<(u32, PathBuf)>> {
    static RUNNING: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every Python process and removes its folder, for a program that a signal is about to end.
pub fn end_all() {
    for (id, folder) in running().drain(..) {
        kill_group(id);
        // The program is ending, so a failure to remove the folder is not reported.
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn kill_group(leader: u32) {
    // SAFETY: it reads and writes no memory of this process.
    unsafe { libc::kill(-leader.cast_signed(), libc::SIGKILL) };
}

/// Contestants timed in a Python process, which is restarted if one of them crashes it.
pub struct PeerSide {
    setup: Setup,
    greeting: Greeting,
    peers: Option<Peers>,
    requests: Vec<Request>,
    /// Samples in a step.
    samples: usize,
    /// The number of each request in the current process, once it is prepared there.
    numbers: Vec<Option<u64>>,
}

impl PeerSide {
    /// Starts Python.
    ///
    /// # Errors
    /// As [`Peers::start`].
    pub fn start(
        setup: &Setup,
        requests: Vec<Request>,
        samples: usize,
    ) -> Result<PeerSide, String> {
        let peers = Peers::start(setup)?;
        let numbers = vec![None; requests.len()];
        let greeting = peers.greeting().clone();
        Ok(PeerSide {
            setup: setup.clone(),
            greeting,
            peers: Some(peers),
            requests,
            samples,
            numbers,
        })
    }

    /// The process's greeting.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// The requested variants, in order.
    pub fn ways(&self) -> Vec<&'static str> {
        self.requests.iter().map(|request| request.way).collect()
    }

    /// The time of `steps` steps of one request.
    ///
    /// # Errors
    /// One line, if it cannot be built or fails.
    pub fn time(&mut self, index: usize, steps: usize) -> Result<Duration, String> {
        let outcome = self.try_to_time(index, steps);
        if let Err(Trouble::Gone(_)) = outcome {
            self.peers = None;
            self.numbers.fill(None);
        }
        outcome.map_err(|trouble| trouble.message().to_owned())
    }

    fn try_to_time(&mut self, index: usize, steps: usize) -> Outcome<Duration> {
        let peers = match &mut self.peers {
            Some(peers) => peers,
            none => none.insert(Peers::start(&self.setup).map_err(Trouble::Gone)?),
        };
        let number = match self.numbers[index] {
            Some(number) => number,
            None => peers.prepare(&self.requests[index], self.samples)?,
        };
        self.numbers[index] = Some(number);
        peers.time(number, steps)
    }
}

/// Environment variables that limit PyTorch to the instruction set that `ALRAO_CPU` sets for this engine.
fn held_to() -> Vec<(&'static str, &'static str)> {
    let [aten, onednn, mkl] = match std::env::var("ALRAO_CPU").as_deref() {
        Ok("plain") => ["default", "SSE41", "SSE4_2"],
        Ok("avx2") => ["avx2", "AVX2", "AVX2"],
        _ => return Vec::new(),
    };
    vec![
        ("ATEN_CPU_CAPABILITY", aten),
        ("ONEDNN_MAX_CPU_ISA", onednn),
        ("MKL_ENABLE_INSTRUCTIONS", mkl),
    ]
}

/// Writes the Python files to a folder of their own, with a file for Python's standard error.
fn unpacked() -> io::Result<(TempDir, File)> {
    let folder = tempfile::Builder::new().prefix("alrao-peers-").tempdir()?;
    for (name, text) in FILES {
        std::fs::write(folder.path().join(name), text)?;
    }
    let messages = File::create(folder.path().join(MESSAGES))?;
    Ok((folder, messages))
}

/// The lines that a process writes, read on a thread so that waiting for them can time out.
fn lines_of(
    output: Option<impl io::Read + Send + 'static>,
) -> Result<Receiver<io::Result<String>>, Error> {
    let (sender, receiver) = channel();
    if let Some(output) = output {
        threads::start("peers", move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        })?;
    }
    Ok(receiver)
}

fn unexpected(answer: &Value) -> Trouble {
    Trouble::Failed(format!("an unexpected answer: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_imported_is_unpacked() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        for (file, text) in FILES {
            for line in text.lines().map(str::trim_start) {
                let mut words = line.split_whitespace();
                let Some("import" | "from") = words.next() else { continue };
                let name = format!("{}.py", words.next().unwrap_or_default().trim_end_matches(','));
                let is_beside = folder.join(&name).exists();
                assert!(!is_beside || FILES.iter().any(|(own, _)| *own == name), "{file}: {name}");
            }
        }
    }
}
