//! `ALRAO_CPU`, which is read once in a process.

use std::path::Path;
use std::process::{Command, Output};

use crate::command_line::text;
use crate::place::program;

/// What `ALRAO_CPU` calls an instruction set, what the device calls it, and whether this processor has it.
fn levels() -> Vec<(&'static str, &'static str, bool)> {
    let mut levels = vec![("plain", "plain vectors", true)];
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl");
        levels.extend([("avx2", "AVX2", avx2), ("avx512", "AVX-512", avx2 && avx512)]);
    }
    levels
}

fn train(directory: &Path, level: &str, out: &str) -> Output {
    let arguments = "train --device cpu --model cnn --width 0.25 --samples 60 --batch-size 8 --max-steps 3 --out";
    Command::new(program())
        .current_dir(directory)
        .args(arguments.split(' ').chain([out]))
        .env("ALRAO_CPU", level)
        .output()
        .unwrap()
}

#[test]
fn a_run_keeps_to_the_instruction_set_and_can_be_repeated_to_the_bit() {
    let directory = tempfile::tempdir().unwrap();
    for (level, name, is_possible) in levels() {
        let outputs = ["a", "b"].map(|run| {
            let out = format!("{level}-{run}");
            let output = train(directory.path(), level, &out);
            let stderr = text(&output.stderr);
            if !is_possible {
                assert!(
                    output.status.code() == Some(2) && stderr.contains("ALRAO_CPU"),
                    "{stderr}"
                );
                return None;
            }
            assert_eq!(output.status.code(), Some(0), "{stderr}");
            assert!(stderr.contains(&format!("{name} as ALRAO_CPU says")), "{stderr}");
            Some(std::fs::read(directory.path().join(out).join("last.safetensors")).unwrap())
        });
        assert!(outputs[0] == outputs[1], "two runs under {level} differ");
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for level in ["sse", "AVX2", ""] {
        let output = train(directory.path(), level, "out");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with("error: ALRAO_CPU: ") && stderr.contains("plain"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    assert!(crate::command_line::is_empty(directory.path()));
}
