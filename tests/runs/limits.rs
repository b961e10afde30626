//! Limits of the operating system: on the memory of a process, and on its threads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use super::write_vectors;
use crate::command_line::text;
use crate::place::program;

/// A user that no one else is, so that all of its processes are this test's.
const USER: u32 = 54_321;

/// Runs the program after a command of the shell that sets a limit.
fn limited(folder: &Path, limit: &str, arguments: &str) -> Output {
    let program = program();
    let script = format!("{limit}; exec '{}' {arguments}", program.display());
    Command::new("sh").current_dir(folder).args(["-c", &script]).output().unwrap()
}

#[test]
fn a_limit_on_memory_counts_as_the_machine_s() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    // A file's length counts before it is read.
    for name in ["large.safetensors", "large.txt"] {
        fs::File::create(folder.join(name)).unwrap().set_len(1 << 30).unwrap();
    }
    for (arguments, culprit) in [
        ("train --model mlp --data large.safetensors --out run", "--data large.safetensors"),
        ("train --model char-lstm --data large.txt --out run", "--data large.txt"),
        ("train --model mlp --hidden 40000,10000 --data data.safetensors --out run", "--hidden"),
        ("train --model cnn --samples 9000 --batch-size 3000 --out run", "--batch-size 3000"),
        ("train --model char-lstm --bptt 20000 --out run", "--bptt"),
        ("rl train --env pendulum --buffer 60000000 --out run", "--buffer 60000000"),
        ("rl train --env pendulum --batch-size 2000000 --out run", "--batch-size 2000000"),
        ("bench q-learning --batch-size 2000000 --device cpu", "--batch-size 2000000"),
        ("bench step --model mlp --batch-size 200000 --device cpu", "--batch-size 200000"),
        ("info --model cnn --step --batch-size 400000", "--batch-size 400000"),
    ] {
        let output = limited(folder, "ulimit -v 2000000", arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        // Before it may stand lines about the device.
        assert!(stderr.lines().last().unwrap().starts_with("error: "), "{stderr}");
        assert!(stderr.contains(culprit) && stderr.contains("2.05 GB (its limit"), "{stderr}");
        assert!(!folder.join("run").exists());
    }
}

/// Whatever fits in no memory is refused without a limit too.
#[test]
fn what_fits_in_no_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, culprit) in [
        ("info --model cnn --step --batch-size 16777216", "--batch-size 16777216"),
        ("info --model cnn --step --classes 16777216", "--classes 16777216"),
        ("info --model char-lstm --step --vocab 16777216", "--vocab 16777216"),
        ("info --model cnn --step --classifiers 16777216", "--classifiers 16777216"),
        ("bench step --model cnn --batch-size 16777216 --device cpu", "--batch-size 16777216"),
        (
            "bench step --model char-lstm --batch-size 16777216 --device cpu",
            "--batch-size 16777216",
        ),
        ("bench step --model mlp --classifiers 16777216 --device cpu", "--classifiers 16777216"),
        ("bench step --model cnn --width 1000 --device cpu", "--width 1000"),
        (
            "bench step --model cnn --batch-size 16777216 --device cpu --profile",
            "--batch-size 16777216",
        ),
        ("bench q-learning --batch-size 16777216 --device cpu", "--batch-size 16777216"),
        ("bench q-learning --classifiers 16777216 --device cpu", "--classifiers 16777216"),
        ("bench q-learning --hidden 1000000,1000000 --device cpu", "--hidden"),
        ("rl train --batch-size 16777216", "--batch-size 16777216"),
        ("rl train --buffer 1073741824 --hidden 4096", "--buffer 1073741824"),
    ] {
        let output = limited(folder.path(), "true", arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        // Before it may stand lines about the device.
        assert!(stderr.lines().last().unwrap().starts_with("error: "), "{stderr}");
        assert!(stderr.contains(culprit), "{arguments}: {stderr}");
    }
}

/// Any number of threads too few is an error in one line, or is managed without.
#[test]
fn too_few_threads_are_an_error_in_one_line() {
    // SAFETY: it only returns a number.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        println!("skipped: only root can run as a user without other processes");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    // The place of the built program may be closed to other users.
    let program = folder.join("alrao");
    fs::copy(crate::place::program(), &program).unwrap();
    write_vectors(folder, [200, 50, 50]);
    fs::copy(crate::gymnasium::stand_in::program(), folder.join("python")).unwrap();
    let run = |most: u32, number: usize, arguments: &str| {
        let mut command = Command::new("./alrao");
        let arguments = format!("{arguments} --out run-{number}-{most}");
        command.current_dir(folder).args(arguments.split_whitespace()).uid(USER).gid(USER);
        command.env("ALRAO_PYTHON", "./python");
        let limit = libc::rlimit { rlim_cur: most.into(), rlim_max: most.into() };
        // SAFETY: the call is safe between fork and exec; it only reads the number.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NPROC, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let output = command.output().unwrap();
        let (code, stderr) = (output.status.code(), text(&output.stderr));
        assert!(matches!(code, Some(0..=2)), "{most}, {arguments}: {code:?} {stderr}");
        assert!(!stderr.contains("panicked"), "{most}, {arguments}: {stderr}");
        if code != Some(0) {
            let last = stderr.lines().last().unwrap();
            assert!(last.starts_with("error: ") && last.contains("started"), "{stderr}");
        }
        if code == Some(2) {
            assert!(stderr.contains("--threads: 3 cannot be started"), "{stderr}");
        }
        code.unwrap()
    };
    for (number, (arguments, refusal, most)) in [
        ("train -q --model mlp --hidden 8 --data data.safetensors --epochs 1", 1, 6),
        ("train -q --model mlp --hidden 8 --data data.safetensors --epochs 1 --threads 3", 2, 6),
        ("train -q --model cnn --width 0.1 --samples 50 --epochs 1 --threads 3", 2, 6),
        ("rl train -q --env pendulum --steps 300 --hidden 8 --evaluation-episodes 1", 1, 5),
        ("rl train -q --env gym:counts --steps 300 --hidden 8 --evaluation-episodes 1", 1, 8),
        ("experiment frozen -q --quick --epochs 1 --seeds 1", 1, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let codes: Vec<i32> = (1..=most).map(|most| run(most, number, arguments)).collect();
        assert_eq!(codes[0], refusal, "{arguments}: {codes:?}");
    }
}
