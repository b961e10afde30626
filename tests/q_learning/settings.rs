//! The settings of a run: from a file to a configuration and back.

use alrao::models::Activation;
use alrao::rl::settings::Settings;

use super::settings;

#[test]
fn a_configuration_written_and_read_is_the_same() {
    for text in [
        "",
        "env = 'gym:LunarLander-v3'\nhidden = [32, 16]\nactivation = 'relu'",
        "optimizer = 'sgd'\nlr = 0.01\nmomentum = 0.5\nsteps = 700\nerror_clip = 0.0\ntau = 0.0",
        "optimizer = 'alrao-adam'\neta_min = 1e-6\neta_max = 1e-3\nclassifiers = 3\nseed = 9",
        "optimizer = 'adam'\ndiscount = 0.9\nbuffer = 1000\nenvironments = 3\nreward_scale = 0.5",
    ] {
        let config = settings(text).resolve().unwrap();
        let written = Settings::from(&config).to_toml();
        assert_eq!(settings(&written).resolve().unwrap(), config, "{written}");
    }
}

#[test]
fn defaults_depend_on_the_environment() {
    let own = settings("").resolve().unwrap();
    let other = settings("env = 'gym:LunarLander-v3'").resolve().unwrap();
    assert_eq!((own.task.environments, other.task.environments), (1, 4));
    assert!(own.task.steps < other.task.steps);
    assert!(own.task.learning_starts < other.task.learning_starts);
    for config in [own, other] {
        assert_eq!((config.task.buffer, config.task.tau), (1_000_000, 0.9));
        assert_eq!((config.alrao.classifiers, config.alrao.eta.clone()), (10, 1e-5..=10.0));
        assert_eq!((config.model.hidden.len(), config.model.activation), (2, Activation::Tanh));
    }
}

#[test]
fn a_short_run_has_short_phases() {
    let config = settings("steps = 300").resolve().unwrap();
    assert_eq!(
        (config.task.exploration.steps, config.task.epoch_steps, config.task.epochs()),
        (150, 300, 1)
    );
    assert_eq!((config.task.updates_after(150), config.task.updates_after(151)), (0, 1));
}

#[test]
fn little_exploration_does_not_become_more() {
    let config = settings("epsilon_start = 0.01").resolve().unwrap();
    assert_eq!((config.task.exploration.start, config.task.exploration.end), (0.01, 0.01));
}

#[test]
fn what_cannot_be_is_named_with_its_file() {
    for (text, culprit) in [
        ("discount = 1.5", "key 'discount' in test.toml: 1.5"),
        ("tau = 1.0", "key 'tau'"),
        ("epsilon_end = -0.1", "key 'epsilon_end'"),
        ("reward_scale = 0.0", "key 'reward_scale'"),
        ("reward_scale = nan", "key 'reward_scale'"),
        ("error_clip = -1.0", "key 'error_clip'"),
        ("steps = 0", "key 'steps'"),
        ("buffer = 0", "key 'buffer'"),
        ("environments = 0", "key 'environments'"),
        ("evaluation_episodes = 0", "key 'evaluation_episodes'"),
        ("update_every = 0", "key 'update_every'"),
        ("steps = 500\nlearning_starts = 500", "key 'learning_starts'"),
        ("steps = 1000\nupdate_every = 501", "key 'update_every'"),
        ("environments = 51\nepoch_steps = 50", "key 'environments'"),
        ("epsilon_start = 0.2\nepsilon_end = 0.3", "key 'epsilon_end'"),
        ("batch_size = 0", "key 'batch_size'"),
        ("lr = 0.1", "key 'lr'"),
        ("eta_min = 20.0", "key 'eta_min'"),
    ] {
        let error = settings(text).resolve().unwrap_err().to_string();
        assert!(error.contains(culprit), "{text}: {error}");
    }
    for (text, culprit) in [
        ("model = 'cnn'", "line 1: there is no such key"),
        ("\nstepz = 3", "line 2: there is no such key; did you mean 'steps'?"),
        ("discount = 'a'", "key 'discount' in test.toml: line 1"),
        ("out = 'x'", "`out` on the command line"),
    ] {
        let error = Settings::from_toml(text, "test.toml".as_ref()).unwrap_err().to_string();
        assert!(error.contains(culprit), "{text}: {error}");
    }
}
