//! The Python process: its start, requests and answers, its end, and its complaints on standard error.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::RangeInclusive;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::device::threads;
use crate::error::Error;

use super::frames::{self, Fault, Opened, ReadError, Request};

/// How long a process may take to close its environments before it is killed.
const CLOSING: Duration = Duration::from_secs(5);
/// Interval between two checks of whether something has ended.
const POLL: Duration = Duration::from_millis(5);
/// Number of slices in which `patience` is measured.
const SLICES: u32 = 60;
/// Bytes of complaints that are kept.
const KEPT: usize = 8192;
/// Lines of complaints that are shown.
const LINES: usize = 6;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No program of these names exists.
    NoPython { tried: String },
    /// The program exists, but cannot be run.
    NotStarted(io::Error),
    /// The operating system starts no more threads or processes.
    TooMany(Error),
    /// The process gave a reason.
    Fault { fault: Fault, complaints: String },
    /// The process has ended.
    Ended { status: Option<ExitStatus>, complaints: String },
    /// The answer is not valid.
    Damaged { what: String, complaints: String },
    /// No answer came in time.
    Silent { patience: Duration, complaints: String },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let complaints = match self {
            Failure::NoPython { tried } => return write!(f, "there is no {tried}"),
            Failure::NotStarted(error) => return write!(f, "Python cannot be started: {error}"),
            Failure::TooMany(error) => return error.fmt(f),
            Failure::Fault { fault, complaints } => {
                f.write_str(&fault.text)?;
                complaints
            }
            Failure::Ended { status, complaints } => {
                f.write_str("its Python process ended")?;
                status.iter().try_for_each(|status| write!(f, " ({status})"))?;
                complaints
            }
            Failure::Damaged { what, complaints } => {
                write!(f, "its Python process gave a damaged answer: {what}")?;
                complaints
            }
            Failure::Silent { patience, complaints } => {
                write!(f, "its Python process has not answered for {patience:?}")?;
                complaints
            }
        };
        match complaints.is_empty() {
            true => Ok(()),
            false => write!(f, "; it wrote: {complaints}"),
        }
    }
}

/// A request's frame, and the kind and lengths of its answer.
struct Exchange {
    frame: Vec<u8>,
    answer: u8,
    lengths: RangeInclusive<usize>,
}

/// A thread at the process's pipes. A blocking read has no timeout, but waiting for the thread has one.
#[derive(Debug)]
struct Courier {
    exchanges: Sender<Exchange>,
    answers: Receiver<Result<Vec<u8>, ReadError>>,
}

impl Courier {
    fn engage(mut requests: ChildStdin, answers: ChildStdout) -> Result<Self, Error> {
        let (exchanges, given) = mpsc::channel::<Exchange>();
        let (sender, receiver) = mpsc::channel();
        threads::start("gymnasium", move || {
            let mut answers = BufReader::new(answers);
            for Exchange { frame, answer, lengths } in given {
                let body = frames::write(&mut requests, &frame)
                    .and_then(|()| frames::read(&mut answers, answer, lengths));
                if sender.send(body).is_err() {
                    // The receiver is gone.
                    return;
                }
            }
        })?;
        Ok(Courier { exchanges, answers: receiver })
    }

    /// Waits for the answer. Time in which this process was suspended counts as one slice at most.
    fn wait(&self, patience: Duration) -> Result<Result<Vec<u8>, ReadError>, RecvTimeoutError> {
        let slice = patience / SLICES;
        for _ in 1..SLICES {
            match self.answers.recv_timeout(slice) {
                Err(RecvTimeoutError::Timeout) => (),
                answer => return answer,
            }
        }
        self.answers.recv_timeout(slice)
    }
}

/// A running process, or one that has failed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// None once it has failed.
    courier: Option<Courier>,
    /// Longest time for an answer.
    patience: Duration,
    complaints: Complaints,
}

/// Starts the first of `commands` that exists, with the text of a program, and sends the first request. Sets `python`
/// to the name of the command. No answer may take longer than `patience`.
pub(super) fn start(
    commands: Vec<Command>,
    program: &str,
    python: &mut String,
    request: &Request<'_>,
    patience: Duration,
) -> Result<(Process, Opened), Failure> {
    let mut process = spawn(commands, program, python, patience)?;
    let body = process.exchange(request, frames::opened_lengths())?;
    let opened = frames::opened(&body).map_err(|error| process.failure(error))?;
    // The environment is open, so earlier complaints are harmless.
    process.complaints.forget();
    Ok((process, opened))
}

fn spawn(
    commands: Vec<Command>,
    program: &str,
    python: &mut String,
    patience: Duration,
) -> Result<Process, Failure> {
    let mut tried = Vec::new();
    for mut command in commands {
        *python = command.get_program().to_string_lossy().into_owned();
        command.arg("-c").arg(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at a terminal must reach only this process, which may still need the other.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tried.push(std::mem::take(python));
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Failure::TooMany(Error::threads(
                    format!("the process {python}"),
                    error,
                )));
            }
            Err(error) => return Err(Failure::NotStarted(error)),
        };
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(requests), Some(answers), Some(complaints)) = pipes else {
            unreachable!("all three are piped");
        };
        let listening = Courier::engage(requests, answers)
            .and_then(|courier| Ok((Some(courier), Complaints::listen(complaints)?)));
        return match listening {
            Ok((courier, complaints)) => Ok(Process { child, courier, patience, complaints }),
            Err(error) => {
                // The process may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                Err(Failure::TooMany(error))
            }
        };
    }
    Err(Failure::NoPython { tried: tried.join(" and no ") })
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request and returns the body of its answer, which must have one of `lengths`.
    pub fn exchange(
        &mut self,
        request: &Request<'_>,
        lengths: RangeInclusive<usize>,
    ) -> Result<Vec<u8>, Failure> {
        let exchange = Exchange { frame: request.encode(), answer: request.answer(), lengths };
        let answer = match &self.courier {
            Some(courier) if courier.exchanges.send(exchange).is_ok() => {
                courier.wait(self.patience)
            }
            _ => Err(RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(body) => body.map_err(|error| self.failure(error)),
            Err(RecvTimeoutError::Disconnected) => Err(self.failure(ReadError::Gone)),
            Err(RecvTimeoutError::Timeout) => {
                self.courier = None;
                self.kill();
                let complaints = self.complaints.last();
                Err(Failure::Silent { patience: self.patience, complaints })
            }
        }
    }

    /// Ends the process and returns the failure.
    fn failure(&mut self, error: ReadError) -> Failure {
        self.end();
        let complaints = self.complaints.last();
        match error {
            ReadError::Fault(fault) => Failure::Fault { fault, complaints },
            ReadError::Damaged(what) => Failure::Damaged { what, complaints },
            ReadError::Gone => {
                Failure::Ended { status: self.child.try_wait().ok().flatten(), complaints }
            }
        }
    }

    /// Lets it close its environments; kills it where that takes too long.
    fn end(&mut self) {
        self.courier = None;
        let ended = || !matches!(self.child.try_wait(), Ok(None));
        if !wait(CLOSING, ended) {
            self.kill();
        }
    }

    fn kill(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until `has_come` holds; false if that takes longer than `patience`.
fn wait(patience: Duration, mut has_come: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !has_come() {
        if began.elapsed() > patience {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// The end of a process's standard error. A thread reads it all the time, so that the process never blocks.
#[derive(Debug)]
struct Complaints {
    kept: Arc<Mutex<Vec<u8>>>,
    listener: JoinHandle<()>,
}

impl Complaints {
    fn listen(mut pipe: ChildStderr) -> Result<Self, Error> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&kept);
        let listener = threads::start("complaints", move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&piece[..count]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
        })?;
        Ok(Complaints { kept, listener })
    }

    /// Forgets what has been written so far.
    fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The last lines of a process that has ended.
    fn last(&self) -> String {
        // The process's children may still hold the pipe.
        wait(CLOSING, || self.listener.is_finished());
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        last_lines(&String::from_utf8_lossy(&kept))
    }
}

/// The last lines joined into one, without colours.
fn last_lines(text: &str) -> String {
    let lines: Vec<String> =
        text.lines().map(without_colours).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}

/// A line without a terminal's control sequences and the space around it.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic());
        text.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    text.retain(|letter| !letter.is_control());
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_on_one_line() {
        assert_eq!(last_lines("\n  a\n\nb \n"), "a | b");
        assert_eq!(last_lines("x: \x1b[33mWARN: old\x1b[0m\n  \u{7}y\n"), "x: WARN: old | y");
        let many: String = (0..20).map(|number| format!("{number}\n")).collect();
        assert_eq!(last_lines(&many), "14 | 15 | 16 | 17 | 18 | 19");
    }

    #[test]
    fn without_any_python_all_names_are_told() {
        let commands = ["no-python-3", "no-python"].map(Command::new).into();
        let request = Request::Open { name: "", count: 1 };
        let failure = start(commands, "", &mut String::new(), &request, CLOSING).err().unwrap();
        assert_eq!(failure.to_string(), "there is no no-python-3 and no no-python");
    }
}
