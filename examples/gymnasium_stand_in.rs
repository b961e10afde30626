//! Replaces Python with Gymnasium in the tests of the bridge. It speaks the same frames; the environment's name chooses its
//! behaviour, which includes faults.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Steps after which an episode of `counts` is truncated.
const LIMIT: u32 = 5;

fn main() -> ExitCode {
    serve().unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// One copy of the environment, which counts its steps.
#[derive(Clone, Copy, Default)]
struct Counter {
    seed: u64,
    steps: u32,
}

impl Counter {
    fn shown(&self, copy: usize) -> Vec<u8> {
        [copy as f32, self.seed as f32, self.steps as f32].map(f32::to_le_bytes).concat()
    }
}

fn serve() -> io::Result<ExitCode> {
    let mut copies = Vec::new();
    let mut mode = String::new();
    let mut steps = 0;
    while let Some((kind, body)) = request()? {
        let numbers: Vec<u32> = body.chunks_exact(4).map(u32_of).collect();
        match kind {
            1 => {
                copies = vec![Counter::default(); numbers[1] as usize];
                mode = String::from_utf8_lossy(&body[8..]).into_owned();
                if let Some(code) = opening(&mode)? {
                    return Ok(code);
                }
            }
            2 => {
                let mut shown = Vec::new();
                for reset in numbers.chunks_exact(3) {
                    let seed = u64::from(reset[1]) | u64::from(reset[2]) << 32;
                    copies[reset[0] as usize] = Counter { seed, steps: 0 };
                    shown.extend(copies[reset[0] as usize].shown(reset[0] as usize));
                }
                answer(102, &shown)?;
            }
            _ => {
                steps += 1;
                if mode == "dies after 300" && steps < 300 {
                    answer(103, &step(&mut copies, &numbers))?;
                    continue;
                }
                if let Some(code) = fault_of_a_step(&mode)? {
                    return Ok(code);
                }
                answer(103, &with_no_number(&mode, step(&mut copies, &numbers)))?;
            }
        }
    }
    if mode == "stays" {
        std::thread::sleep(Duration::from_secs(3600));
    }
    Ok(ExitCode::SUCCESS)
}

/// Answers an open request. Returns an exit code if the process should end.
fn opening(mode: &str) -> io::Result<Option<ExitCode>> {
    let fault = |reason: u8, text: &str| answer(100, &[&[reason], text.as_bytes()].concat());
    let opened = |magic: &str, version: u32, observation: u32, actions: u32| {
        let numbers = [version, observation, actions].map(u32::to_le_bytes).concat();
        answer(101, &[magic.as_bytes(), &numbers, b"stand-in 0"].concat())
    };
    match mode {
        "dies at once" => {
            eprintln!("first\nSyntaxError: \x1b[31mnot this Python\x1b[0m");
            return Ok(Some(ExitCode::from(3)));
        }
        "prints" => {
            println!("pygame 2 Hello from the pygame community.");
            return Ok(Some(ExitCode::SUCCESS));
        }
        "is silent" => {
            eprintln!("still importing");
            std::thread::sleep(Duration::from_secs(3600));
        }
        "is something else" => opened("somebody", 1, 3, 4)?,
        "is of another version" => opened("alraogym", 2, 3, 4)?,
        "shows nothing" => opened("alraogym", 1, 0, 4)?,
        "has no Gymnasium" => fault(1, "No module named 'gymnasium'")?,
        "has no Box2D" => fault(2, "Box2D is not installed, you can install it by swig")?,
        "has no MuJoCo" => fault(2, "MuJoCo is not installed, run `pip install mujoco`")?,
        "Lunar-v3" => fault(3, "Environment `Lunar` doesn't exist. Did you mean: `LunarLander`?")?,
        "is continuous" => fault(4, "Box(-2.0, 2.0, (1,), float32)")?,
        "has two wheels" => fault(5, "MultiDiscrete([2 2])")?,
        "shows cards" => fault(6, "Tuple(Discrete(32), Discrete(11))")?,
        "has a reason of its own" => fault(77, "out of order")?,
        _ => opened("alraogym", 1, 3, 4)?,
    }
    Ok(None)
}

/// The fault of a step. Returns an exit code if the process should end.
fn fault_of_a_step(mode: &str) -> io::Result<Option<ExitCode>> {
    match mode {
        "dies" | "dies after 300" => {
            eprintln!("Fatal Python error: no memory\n\nCurrent thread");
            return Ok(Some(ExitCode::from(7)));
        }
        "aborts" => std::process::abort(),
        "breaks off" => {
            io::stdout().write_all(&[43, 0, 0, 0, 103, 1, 2])?;
        }
        "gives too little" => answer(103, &[0; 20])?,
        "answers something else" => answer(102, &[0; 21])?,
        "fails" => {
            eprintln!("ValueError: from the environment");
            answer(100, b"\x07ValueError: from the environment")?;
        }
        "hangs" => {
            eprintln!("waiting for the sun");
            std::thread::sleep(Duration::from_secs(3600));
        }
        "complains" => {
            for line in 0..20_000 {
                eprintln!(
                    "line {line} is longer than anybody wants to read, as are all the others"
                );
            }
            return Ok(None);
        }
        _ => return Ok(None),
    }
    Ok(Some(ExitCode::SUCCESS))
}

/// The action of a copy that takes no step.
const IDLE: u32 = u32::MAX;

/// One step of all copies: the third action terminates an episode, the limit truncates it.
fn step(copies: &mut [Counter], actions: &[u32]) -> Vec<u8> {
    let (mut rewards, mut flags, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for (copy, (counter, &action)) in copies.iter_mut().zip(actions).enumerate() {
        if action == IDLE {
            rewards.extend(0f64.to_le_bytes());
            flags.push(4);
            shown.extend([0xFF; 12]);
            continue;
        }
        counter.steps += 1;
        rewards.extend((f64::from(action) + copy as f64 / 8.0).to_le_bytes());
        flags.push(u8::from(action == 2) + 2 * u8::from(counter.steps >= LIMIT));
        shown.extend(counter.shown(copy));
    }
    [rewards, flags, shown].concat()
}

/// The answer to a step, with a NaN or an infinity if the mode asks for one.
fn with_no_number(mode: &str, mut body: Vec<u8>) -> Vec<u8> {
    let end = body.len();
    match mode {
        "shows no number" => body[end - 8..end - 4].copy_from_slice(&f32::NAN.to_le_bytes()),
        "rewards without limit" => body[..8].copy_from_slice(&f64::INFINITY.to_le_bytes()),
        _ => (),
    }
    body
}

/// The kind and body of the next request; `None` at the end.
fn request() -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; 5];
    match io::stdin().read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut body = vec![0; u32_of(&header) as usize - 1];
    io::stdin().read_exact(&mut body)?;
    Ok(Some((header[4], body)))
}

fn answer(kind: u8, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 1).to_le_bytes();
    let mut output = io::stdout().lock();
    output.write_all(&[&length[..], &[kind], body].concat())?;
    output.flush()
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
