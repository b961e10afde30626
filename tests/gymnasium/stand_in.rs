//! What the bridge makes of a child that does as it should, and of each that does not.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use alrao::Error;
use alrao::rl::{Environments, Gymnasium, Outcome, Spaces};

use super::{open, refused};

/// The stand-in, which `cargo test` builds beside the tests.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(|folder| folder.parent()).unwrap();
    let name = format!("gymnasium_stand_in{}", std::env::consts::EXE_SUFFIX);
    let program: PathBuf = folder.join("examples").join(name);
    let missing =
        "build it: cargo build --example gymnasium_stand_in, with --release if the tests are";
    assert!(program.exists(), "{} is not there; {missing}", program.display());
    program
}

fn stand_in() -> Command {
    Command::new(program())
}

/// What is said when the environment of a name is stepped.
fn failed(name: &str) -> String {
    let mut environments = open(stand_in(), name, 2).unwrap();
    let mut shown = [0.0; 6];
    environments.reset(&[(0, 1), (1, 2)], &mut shown).unwrap();
    let error = environments.step(&[0, 1], &mut shown).unwrap_err();
    assert!(matches!(error, Error::Environment { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 1);
    // What has failed stays so.
    let again = environments.step(&[0, 1], &mut shown).unwrap_err().to_string();
    assert!(again.contains("its Python process ended"), "{again}");
    error.to_string()
}

#[test]
fn copies_are_reset_and_stepped_side_by_side() {
    let mut environments = open(stand_in(), "counts", 3).unwrap();
    assert_eq!(environments.spaces(), Spaces { observation: 3, actions: 4 });
    assert_eq!((environments.count(), environments.versions()), (3, "stand-in 0"));
    let mut shown = [-1.0; 9];
    environments.reset(&[(2, 1 << 40), (0, 7)], &mut shown).unwrap();
    let far = (1u64 << 40) as f32;
    assert_eq!(shown, [0.0, 7.0, 0.0, -1.0, -1.0, -1.0, 2.0, far, 0.0]);
    let outcomes = environments.step(&[3, 2, 0], &mut shown).unwrap();
    assert_eq!(shown, [0.0, 7.0, 1.0, 1.0, 0.0, 1.0, 2.0, far, 1.0]);
    let outcome = |reward, terminated| Outcome { reward, terminated, truncated: false };
    assert_eq!(outcomes, [outcome(3.0, false), outcome(2.125, true), outcome(0.25, false)]);
    for _ in 1..4 {
        environments.step(&[0; 3], &mut shown).unwrap();
    }
    environments.reset(&[(1, 0)], &mut shown).unwrap();
    let outcomes = environments.step(&[0, 0, 2], &mut shown).unwrap();
    let ends: Vec<_> = outcomes.iter().map(|end| (end.terminated, end.truncated)).collect();
    assert_eq!(ends, [(false, true), (false, false), (true, true)]);
    assert_eq!(environments.state(), None);
    let error = environments.restore(&[]).unwrap_err();
    assert!(error.to_string().starts_with("`env` gym:counts: "), "{error}");
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    let python = stand_in().get_program().to_string_lossy().into_owned();
    let install = format!("`{python} -m pip install \"gymnasium[box2d]\"`");
    for (name, message) in [
        (
            "has no Gymnasium",
            format!(
                "{python} has no Gymnasium: {install}, or set ALRAO_PYTHON to a Python that has it"
            ),
        ),
        (
            "has no Box2D",
            format!("{python} has Gymnasium without Box2D: {install}"),
        ),
        (
            "has no MuJoCo",
            format!(
                "something is not installed for {python}: MuJoCo is not installed, run `pip install mujoco`"
            ),
        ),
        (
            "Lunar-v3",
            "Gymnasium cannot make it: Environment `Lunar` doesn't exist. Did you mean: `LunarLander`?".into(),
        ),
        (
            "is continuous",
            "its actions are continuous, Box(-2.0, 2.0, (1,), float32), and Q-learning needs discrete ones: take another \
             environment, or the built-in pendulum, which has a few torques"
                .into(),
        ),
        (
            "has two wheels",
            "its actions are MultiDiscrete([2 2]), and Q-learning needs a Discrete space: take another environment".into(),
        ),
        (
            "shows cards",
            "its observations are Tuple(Discrete(32), Discrete(11)), and Q-learning needs a Box with at least one number: \
             take another environment"
                .into(),
        ),
    ] {
        let error = refused(stand_in(), name);
        assert_eq!(error.to_string(), format!("`env` gym:{name}: {message}"));
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_child_that_does_not_open_is_told_apart() {
    for (name, message) in [
        (
            "dies at once",
            "its Python process ended (exit status: 3); it wrote: first | SyntaxError: not this Python",
        ),
        (
            "prints",
            // The letters "pyga" as a length, "m" as a kind.
            "its Python process gave a damaged answer: kind 109, length 1634171248, where kind 101 was due",
        ),
        ("is something else", "its Python process gave a damaged answer: it is not our bridge"),
        (
            "is of another version",
            "its Python process gave a damaged answer: it speaks version 2 of the frames, not 1",
        ),
        (
            "shows nothing",
            "its Python process gave a damaged answer: 0 numbers in an observation, 4 actions",
        ),
    ] {
        let python = stand_in().get_program().to_string_lossy().into_owned();
        let error = refused(stand_in(), name);
        assert_eq!(
            error.to_string(),
            format!(
                "`env` gym:{name}: {python} does not open it: {message}: is that a Python 3 with Gymnasium (ALRAO_PYTHON names \
                 another), and does gymnasium.make work there?"
            )
        );
        assert_eq!(error.exit_code(), 2);
    }
    let error = refused(stand_in(), "has a reason of its own");
    assert_eq!(error.to_string(), "gym:has a reason of its own failed: out of order");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn a_step_that_never_ends_is_given_up() {
    let patience = Duration::from_secs(4);
    let mut environments = Gymnasium::open_with(vec![stand_in()], patience, "hangs", 1).unwrap();
    let mut shown = [0.0; 3];
    environments.reset(&[(0, 1)], &mut shown).unwrap();
    let error = environments.step(&[0], &mut shown).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gym:hangs failed: its Python process has not answered for 4s; it wrote: waiting for the sun"
    );
    #[cfg(target_os = "linux")]
    assert!(!super::is_running(environments.process_id()));
    let again = environments.step(&[0], &mut shown).unwrap_err().to_string();
    assert!(again.contains("its Python process ended"), "{again}");
}

#[test]
fn what_is_no_number_is_refused() {
    let failed = |name: &str| {
        let mut environments = open(stand_in(), name, 2).unwrap();
        let mut shown = [0.0; 6];
        environments.reset(&[(0, 1), (1, 2)], &mut shown).unwrap();
        environments.step(&[0, 1], &mut shown).unwrap_err().to_string()
    };
    assert_eq!(
        failed("shows no number"),
        "gym:shows no number failed: number 1 of the observation of copy 1 is NaN (both are counted from 0)"
    );
    assert_eq!(
        failed("rewards without limit"),
        "gym:rewards without limit failed: the reward of copy 0 is inf"
    );
}

#[test]
fn a_child_that_is_silent_is_not_waited_for_for_ever() {
    let patience = Duration::from_millis(700);
    let opened = Gymnasium::open_with(vec![stand_in()], patience, "is silent", 1);
    let message = opened.unwrap_err().to_string();
    // Whether it got as far as to write something is a matter of time.
    assert!(message.starts_with("`env` gym:is silent: "), "{message}");
    assert!(message.contains("its Python process has not answered for 700ms"), "{message}");
}

#[test]
fn a_child_that_ends_in_the_middle_leaves_its_last_words() {
    assert_eq!(
        failed("dies"),
        "gym:dies failed: its Python process ended (exit status: 7); it wrote: Fatal Python error: no memory | Current thread"
    );
    let ended = "its Python process ended (exit status: 0)";
    assert_eq!(failed("breaks off"), format!("gym:breaks off failed: {ended}"));
    #[cfg(unix)]
    assert!(failed("aborts").contains("its Python process ended (signal: 6 (SIGABRT)"));
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let damaged = "its Python process gave a damaged answer:";
    assert_eq!(
        failed("gives too little"),
        format!(
            "gym:gives too little failed: {damaged} kind 103, length 21, where kind 103 was due"
        )
    );
    assert_eq!(
        failed("answers something else"),
        format!(
            "gym:answers something else failed: {damaged} kind 102, length 22, where kind 103 was due"
        )
    );
    assert_eq!(
        failed("fails"),
        "gym:fails failed: ValueError: from the environment; it wrote: ValueError: from the environment"
    );
}

#[test]
fn complaints_neither_block_nor_show_by_themselves() {
    let mut environments = open(stand_in(), "complains", 1).unwrap();
    let mut shown = [0.0; 3];
    environments.reset(&[(0, 1)], &mut shown).unwrap();
    for step in 1..3 {
        environments.step(&[0], &mut shown).unwrap();
        assert_eq!(shown, [0.0, 1.0, step as f32]);
    }
}

#[test]
fn without_python_it_says_what_to_install() {
    let commands = ["no-such-python3", "no-such-python"].map(Command::new).into();
    let opened = Gymnasium::open_with(commands, Duration::from_secs(1), "LunarLander-v3", 1);
    let error = opened.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`env` gym:LunarLander-v3: there is no no-such-python3 and no no-such-python: install Python 3 with \
         `pip install \"gymnasium[box2d]\"`, or set ALRAO_PYTHON to a Python that has Gymnasium"
    );
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn the_next_name_is_tried_where_a_program_is_missing() {
    let commands = vec![Command::new("no-such-python3"), stand_in()];
    let opened = Gymnasium::open_with(commands, super::PATIENCE, "counts", 1);
    assert_eq!(opened.unwrap().versions(), "stand-in 0");
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_program_is_told() {
    let error = refused(Command::new("/"), "counts").to_string();
    let expected = "`env` gym:counts: / cannot be started (Permission denied";
    assert!(error.starts_with(expected), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_child_ends_with_its_owner_even_if_it_will_not() {
    for name in ["counts", "stays"] {
        let environments = open(stand_in(), name, 1).unwrap();
        let process = environments.process_id();
        assert!(super::is_running(process));
        drop(environments);
        assert!(!super::is_running(process), "{name}");
    }
}
