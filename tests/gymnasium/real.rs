//! Against Gymnasium itself, where it is installed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use alrao::rl::{Environments, Gymnasium};

use super::{open, refused};
use crate::place::{python_with, source};

/// Python with Gymnasium and Box2D, if there is one.
fn python() -> Option<Command> {
    python_with("gymnasium, Box2D", "ALRAO_REQUIRE_GYMNASIUM")
}

/// Python that finds the environments of these tests.
fn python_with_room() -> Option<Command> {
    let mut command = python()?;
    command.env("PYTHONPATH", source().join("tests/gymnasium"));
    Some(command)
}

/// Steps of the same two landings by Gymnasium alone: what is shown and the reward, a step a line; a line of each begins
/// with its first observation.
const LANDINGS: &str = "
import gymnasium, json
copies = [gymnasium.make('LunarLander-v3') for _ in range(2)]
shown = [copy.reset(seed=seed)[0] for copy, seed in zip(copies, [7, 1 << 40])]
print(json.dumps([[float(x) for x in one] for one in shown]))
for step in range(150):
    all = []
    for number, copy in enumerate(copies):
        observation, reward, terminated, truncated, _ = copy.step((step // 5 + number) % 4)
        all.append([[float(x) for x in observation], float(reward), bool(terminated), bool(truncated)])
        if terminated or truncated:
            copy.reset(seed=step)
    print(json.dumps(all))
";

type Row = (Vec<f32>, f64, bool, bool);

#[test]
fn landings_are_gymnasiums_to_the_bit() {
    let Some(mut python) = python() else { return };
    let mut environments = open(python_again(&python), "LunarLander-v3", 2).unwrap();
    let output = python.args(["-c", LANDINGS]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    let mut shown = [0.0; 16];
    environments.reset(&[(0, 7), (1, 1 << 40)], &mut shown).unwrap();
    let first: Vec<Vec<f32>> = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(shown.to_vec(), first.concat());
    let mut ends = 0;
    for (step, line) in lines.enumerate() {
        let rows: Vec<Row> = serde_json::from_str(line).unwrap();
        let actions = [0, 1].map(|copy| (step / 5 + copy) % 4);
        let outcomes = environments.step(&actions, &mut shown).unwrap();
        for (copy, (row, outcome)) in rows.iter().zip(&outcomes).enumerate() {
            let got = (
                shown[8 * copy..][..8].to_vec(),
                outcome.reward,
                outcome.terminated,
                outcome.truncated,
            );
            assert_eq!(&got, row, "step {step}, copy {copy}");
            if outcome.has_ended() {
                ends += 1;
                environments.reset(&[(copy, step as u64)], &mut shown).unwrap();
            }
        }
    }
    assert!(ends >= 2, "{ends} landings ended");
}

fn python_again(command: &Command) -> Command {
    Command::new(command.get_program())
}

/// The last outcome of an episode in which one action is taken all the time: number of steps, terminated, truncated.
fn ending(environments: &mut Gymnasium, action: usize) -> (usize, bool, bool) {
    let mut shown = vec![0.0; environments.spaces().observation];
    environments.reset(&[(0, 1)], &mut shown).unwrap();
    for step in 1.. {
        let outcome = environments.step(&[action], &mut shown).unwrap()[0];
        if outcome.has_ended() {
            return (step, outcome.terminated, outcome.truncated);
        }
    }
    unreachable!("it goes on for ever")
}

#[test]
fn an_end_and_a_limit_are_told_apart() {
    let Some(python) = python() else { return };
    let mut pole = open(python_again(&python), "CartPole-v1", 1).unwrap();
    let (steps, terminated, truncated) = ending(&mut pole, 1);
    assert!(steps < 30 && terminated && !truncated, "{steps}, {terminated}, {truncated}");
    let mut car = open(python, "MountainCar-v0", 1).unwrap();
    assert_eq!(ending(&mut car, 1), (200, false, true));
    let versions = car.versions();
    assert!(versions.starts_with("Gymnasium ") && versions.contains(", Python 3."), "{versions}");
}

#[test]
fn what_cannot_be_learnt_here_is_refused_with_gymnasiums_words() {
    let Some(python) = python() else { return };
    for (name, words) in [
        ("Pendulum-v1", "its actions are continuous, Box(-2.0, 2.0, (1,), float32)"),
        ("LunarLandr-v3", "Did you mean: `LunarLander`?"),
        ("LunarLander-v99", "`v3`"),
        ("LunarLander-v2", "deprecated"),
        ("a name", "Malformed environment ID"),
        ("no_such_module:Room-v0", "No module named 'no_such_module'"),
        ("FrozenLake-v1", "its observations are Discrete(16)"),
    ] {
        let error = refused(python_again(&python), name);
        assert!(error.to_string().starts_with(&format!("`env` gym:{name}: ")), "{error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

#[test]
fn without_gymnasium_it_says_what_to_install() {
    let Some(python) = python() else { return };
    for (module, words) in [("gymnasium", " has no Gymnasium: "), ("Box2D", " without Box2D: ")] {
        let folder = tempfile::tempdir().unwrap();
        let own = format!("raise ImportError(\"No module named '{module}'\", name='{module}')");
        std::fs::write(folder.path().join(format!("{module}.py")), own).unwrap();
        let mut command = python_again(&python);
        command.env("PYTHONPATH", folder.path());
        let error = refused(command, "LunarLander-v3").to_string();
        assert!(error.starts_with("`env` gym:LunarLander-v3: "), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn prints_stay_out_of_the_way_and_actions_are_counted_from_their_start() {
    let Some(python) = python_with_room() else { return };
    let mut rooms = open(python, "room:Room-v0", 2).unwrap();
    assert_eq!((rooms.spaces().observation, rooms.spaces().actions), (12, 3));
    let mut shown = [0.0; 24];
    rooms.reset(&[(1, 5)], &mut shown).unwrap();
    assert_eq!(shown[..12], [0.0; 12]);
    assert_eq!(shown[12..], std::array::from_fn::<f32, 12, _>(|number| number as f32));
    rooms.reset(&[(0, 5)], &mut shown).unwrap();
    let outcomes = rooms.step(&[0, 1], &mut shown).unwrap();
    assert_eq!(shown, std::array::from_fn(|number| [5.0, 6.0][number / 12]));
    assert_eq!([outcomes[0].reward, outcomes[1].reward], [5.0 / 3.0, 2.0]);
    let error = rooms.step(&[2, 0], &mut shown).unwrap_err().to_string();
    assert!(
        error.starts_with("gym:room:Room-v0 failed: RuntimeError: the room is broken"),
        "{error}"
    );
    assert!(error.contains("room.py\", line"), "{error}");
}

#[test]
fn other_spaces_are_refused_by_their_names() {
    for (name, words) in [("Cards", "Tuple(Discrete(2), Discrete(3))"), ("Wheels", "MultiDiscrete")]
    {
        let Some(python) = python_with_room() else { return };
        let error = refused(python, &format!("room:{name}-v0")).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_step_before_the_first_reset_fails() {
    let Some(python) = python() else { return };
    let mut pole = open(python, "CartPole-v1", 1).unwrap();
    let error = pole.step(&[0], &mut [0.0; 4]).unwrap_err().to_string();
    assert!(error.starts_with("gym:CartPole-v1 failed: ResetNeeded: "), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_at_the_terminal_does_not_end_it() {
    let Some(python) = python() else { return };
    let mut pole = open(python, "CartPole-v1", 1).unwrap();
    let process = pole.process_id();
    // A group of its own: a terminal sends its interrupt to the group in front.
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let group = status.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(2));
    assert_eq!(group, Some(&*process.to_string()));
    let interrupt = format!("kill -INT {process}");
    assert!(Command::new("sh").arg("-c").arg(interrupt).status().unwrap().success());
    let mut shown = [0.0; 4];
    pole.reset(&[(0, 1)], &mut shown).unwrap();
    pole.step(&[0], &mut shown).unwrap();
}

/// A frame of the requests.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 1).to_le_bytes();
    [&length[..], &[kind], body].concat()
}

/// The bridge with a parent that opens one copy.
fn bridge(mut python: Command, name: &str) -> (Child, ChildStdin) {
    let bridge = std::fs::read_to_string(source().join("scripts/gymnasium_bridge.py")).unwrap();
    python.arg("-c").arg(bridge).stdin(Stdio::piped());
    python.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut requests = child.stdin.take().unwrap();
    let body = [&[1, 0, 0, 0, 1, 0, 0, 0][..], name.as_bytes()].concat();
    requests.write_all(&frame(1, &body)).unwrap();
    (child, requests)
}

#[test]
fn it_ends_by_itself_when_its_parent_is_gone() {
    let Some(python) = python() else { return };
    let (mut child, requests) = bridge(python, "CartPole-v1");
    drop(requests);
    assert!(child.wait().unwrap().success());
}

/// Also where the step never lets go of Python's lock.
#[cfg(unix)]
#[test]
fn it_ends_by_itself_in_the_midst_of_a_step_too() {
    use std::os::unix::process::ExitStatusExt;
    for name in ["room:Trap-v0", "room:Grip-v0"] {
        let Some(python) = python_with_room() else { return };
        let (mut child, mut requests) = bridge(python, name);
        requests.write_all(&frame(2, &[0; 12])).unwrap();
        requests.write_all(&frame(3, &[0; 4])).unwrap();
        // It is in the step once it says so.
        let mut complaints = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(complaints.any(|line| line.unwrap() == "nobody leaves"), "{name}");
        drop(requests);
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{name}");
    }
}

/// The other half of a fork still holds the pipe.
#[cfg(unix)]
#[test]
fn one_that_dies_is_noticed_though_it_had_forked() {
    let Some(python) = python_with_room() else { return };
    let mut rooms = open(python, "room:Fork-v0", 1).unwrap();
    let mut shown = [0.0; 12];
    rooms.reset(&[(0, 1)], &mut shown).unwrap();
    let error = rooms.step(&[0], &mut shown).unwrap_err().to_string();
    let expected = "gym:room:Fork-v0 failed: its Python process ended (exit status: 7)";
    assert!(error.starts_with(expected), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_it_started_ends_with_it() {
    let Some(python) = python_with_room() else { return };
    let mut rooms = open(python, "room:Nest-v0", 1).unwrap();
    let mut shown = [0.0; 12];
    rooms.reset(&[(0, 1)], &mut shown).unwrap();
    // A reward that is an array of one number is that number.
    let process = rooms.step(&[0], &mut shown).unwrap()[0].reward as u32;
    assert!(super::is_running(process));
    let error = rooms.step(&[1], &mut shown).unwrap_err().to_string();
    assert!(error.contains("failed: ValueError: a reward has 2 numbers"), "{error}");
    drop(rooms);
    let began = std::time::Instant::now();
    while super::is_running(process) {
        assert!(began.elapsed() < super::PATIENCE, "{process} is still there");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn one_that_leaves_is_told_in_its_own_words() {
    let Some(python) = python_with_room() else { return };
    let error = refused(python, "room:Exit-v0").to_string();
    assert!(
        error.starts_with("gym:room:Exit-v0 failed: SystemExit: the room is closed"),
        "{error}"
    );
}
