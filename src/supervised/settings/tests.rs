use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::alrao::AveragingKind;
use crate::learn::Optimizer;
use crate::learn::settings::{DeviceSettings, Group, LearningSettings};

fn file() -> &'static Path {
    Path::new("run.toml")
}

fn resolved(text: &str) -> RunConfig {
    Settings::from_toml(text, file()).unwrap().resolve().unwrap()
}

/// The error message for a file's text.
fn refused(text: &str) -> String {
    let result = Settings::from_toml(text, file()).and_then(|settings| settings.resolve());
    let error = result.expect_err(&format!("{text} was taken"));
    assert_eq!(error.exit_code(), 2);
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn defaults_depend_on_the_model_and_the_data() {
    let cnn = resolved("");
    assert_eq!(
        (cnn.model.architecture, cnn.task.data.as_str(), cnn.train.epochs),
        (Architecture::Cnn, "generated", 12)
    );
    assert_eq!(
        (cnn.alrao.eta.clone(), cnn.alrao.classifiers, cnn.train.batch_size),
        (1e-5..=10.0, 10, 32)
    );
    assert_eq!(resolved("data = 'cifar'").train.epochs, 20);
    assert_eq!(resolved("data = 'generated:7'").train.epochs, 12);
    let lstm = resolved("model = 'char-lstm'");
    assert_eq!(
        (lstm.alrao.eta.clone(), lstm.alrao.classifiers, lstm.train.batch_size),
        (1e-3..=100.0, 6, 20)
    );
    assert_eq!((lstm.model.dropout, lstm.train.bptt), (0.2, 70));
    assert_eq!(resolved("model = 'alexnet'").model.dropout, 0.5);
    assert_eq!(resolved("model = 'alexnet'\ndropout = 0.1").model.dropout, 0.1);
    assert_eq!(resolved("optimizer = 'sgd'").train.lr, 0.01);
    assert_eq!(resolved("optimizer = 'adam'").train.lr, 1e-3);
    let sgd = resolved("optimizer = 'sgd'\nlr = 0.5").alrao;
    assert_eq!((sgd.eta, sgd.classifiers), (0.5..=0.5, 1));
}

#[test]
fn the_data_tells_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let model = |data: &Path| resolved(&format!("data = '{}'", data.display())).model.architecture;
    assert_eq!(model(&write("table.csv", "a,b\n1,2\n")), Architecture::Mlp);
    assert_eq!(model(&write("book.txt", "one, two\n")), Architecture::CharLstm);
    write("train.txt", "one, two\n");
    assert_eq!(model(folder.path()), Architecture::CharLstm);
    assert_eq!(model(Path::new("nothing")), Architecture::Cnn);
    for (array, usual) in [("inputs", Architecture::Mlp), ("images", Architecture::Cnn)] {
        let header = format!("{{\"{array}\": 0}}");
        let length = String::from_utf8((header.len() as u64).to_le_bytes().to_vec()).unwrap();
        assert_eq!(model(&write("arrays", &(length + &header))), usual);
        let npy = folder.path().join(array);
        std::fs::create_dir(&npy).unwrap();
        std::fs::write(npy.join(format!("{array}.npy")), "").unwrap();
        assert_eq!(model(&npy), usual);
        assert_eq!(model(&write("arrays.npz", &format!("PK\u{3}\u{4} {array}.npy PK"))), usual);
    }
    let table = write("table.txt", "a,b\n1,2\n").display().to_string();
    let config = resolved(&format!("data = '{table}'\ntarget = 'b'"));
    assert_eq!(config.model.architecture, Architecture::Mlp);
}

#[test]
fn hidden_layers_are_a_list_or_a_text() {
    for text in ["hidden = [5, 6]", "hidden = '5,6'", "hidden = ' 5, 6 '"] {
        assert_eq!(resolved(&format!("model = 'mlp'\n{text}")).model.hidden, [5, 6]);
    }
    for text in ["hidden = []", "hidden = ''"] {
        assert!(resolved(&format!("model = 'mlp'\n{text}")).model.hidden.is_empty());
    }
    for text in [
        "hidden = [0]",
        "hidden = '5,'",
        "hidden = ','",
        "hidden = [5.5]",
        "hidden = 3",
        "hidden = '-4'",
    ] {
        let message = refused(&format!("model = 'mlp'\n{text}"));
        assert!(message.contains("'hidden' in run.toml"), "{message}");
    }
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let message = refused("epochs = 3\n\neta-max = 3.0\n");
    assert_eq!(
        message,
        "key 'eta-max' in run.toml: line 3: there is no such key; did you mean 'eta_max'?"
    );
    assert!(refused("optimiser = 'sgd'").ends_with("did you mean 'optimizer'?"));
    assert!(refused("out = 'here'").contains("give `out` on the command line"));
    assert!(!refused("zzzzzzzz = 1").contains("did you mean"));
    assert!(refused("[train]\nlr = 1.0").contains("line 1"));
}

#[test]
fn a_value_of_a_wrong_type_is_named_by_file_line_and_key() {
    for (text, line, key) in [
        ("seed = 1\nepochs = 'three'", 2, "epochs"),
        ("epochs = -1", 1, "epochs"),
        ("\n\noptimizer = 'sgdd'", 3, "optimizer"),
        ("model = 'nothing'", 1, "model"),
        ("schedule = 'step:0:1'", 1, "schedule"),
        ("augment = 1", 1, "augment"),
        ("lr = true", 1, "lr"),
        ("seed = 1\nhidden = [\n1,\n'x']", 2, "hidden"),
    ] {
        let message = refused(text);
        let start = format!("key '{key}' in run.toml: line {line}: ");
        assert!(message.starts_with(&start), "{message}");
    }
    assert!(refused("epochs = 3\nlr = = 2").starts_with("run.toml: line 2: "));
    for (text, end) in [
        ("lr = true", "boolean 'true', expected a number"),
        ("classifiers = 1.5", "floating point '1.5', expected a whole number"),
        ("seed = -1", "integer '-1', expected a whole number"),
    ] {
        let message = refused(text);
        assert!(message.ends_with(end), "{message}");
    }
    assert!(refused("epochs = 3\nepochs = 4").contains("line 2"));
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    for (text, key) in [
        ("eta_min = 1.0\neta_max = 0.5", "eta_min"),
        ("eta_max = 1e-6", "eta_max"),
        ("eta_min = 100", "eta_min"),
        ("eta_min = 0.0", "eta_min"),
        ("eta_max = -1.0", "eta_max"),
        ("eta_max = inf", "eta_max"),
        ("eta_min = nan", "eta_min"),
        ("classifiers = 0", "classifiers"),
        ("theta = 0.0", "theta"),
        ("theta = 1.5", "theta"),
        ("trained_fraction = 1.1", "trained_fraction"),
        ("trained_fraction = -0.1", "trained_fraction"),
        ("valid_split = 1.0", "valid_split"),
        ("valid_split = -0.2", "valid_split"),
        ("batch_size = 0", "batch_size"),
        ("width = 0.0", "width"),
        ("width = -1", "width"),
        ("epochs = 0", "epochs"),
        ("max_steps = 0", "max_steps"),
        ("patience = 0", "patience"),
        ("threads = 0", "threads"),
        ("data = ''", "data"),
        ("init = ''", "init"),
        ("optimizer = 'sgd'\nlr = -0.1", "lr"),
        ("optimizer = 'sgd'\nlr = -0.0", "lr"),
        ("optimizer = 'sgd'\nlr = inf", "lr"),
        ("optimizer = 'sgd'\nmomentum = 1.0", "momentum"),
        ("weight_decay = -1e-4", "weight_decay"),
        ("clip = nan", "clip"),
        ("hidden = [5]", "hidden"),
        ("model = 'char-lstm'\nhidden = [5]", "hidden"),
        ("dropout = 0.1", "dropout"),
        ("bptt = 10", "bptt"),
        ("model = 'char-lstm'\ndropout = 1.0", "dropout"),
        ("model = 'resnet50'\ndropout = 0.5", "dropout"),
        ("model = 'alexnet'\nbptt = 20", "bptt"),
        ("model = 'char-lstm'\nbptt = 0", "bptt"),
        ("model = 'char-lstm'\naugment = true", "augment"),
        ("model = 'char-lstm'\norder = 'shuffled'", "order"),
        ("lr = 0.1", "lr"),
        ("optimizer = 'alrao-adam'\nlr = 0.1", "lr"),
        ("optimizer = 'adam'\nmomentum = 0.9", "momentum"),
        ("optimizer = 'sgd'\nclassifiers = 10", "classifiers"),
        ("optimizer = 'adam'\neta_min = 0.1", "eta_min"),
        ("optimizer = 'sgd'\ntheta = 0.9", "theta"),
        ("optimizer = 'sgd'\naveraging = 'switch'", "averaging"),
        ("optimizer = 'sgd'\ncatch_up = 5", "catch_up"),
        ("optimizer = 'sgd'\ntrained_fraction = 0.5", "trained_fraction"),
        ("device = 'cpu'\nprecision = 'bf16'", "precision"),
        ("device = 'cpu'\nprecision = 'tf32'", "precision"),
        ("device = 'cuda'\nprecision = 'f64'", "precision"),
    ] {
        let message = refused(text);
        assert!(message.starts_with(&format!("key '{key}' in run.toml: ")), "{text}: {message}");
    }
}

#[test]
fn a_message_names_where_the_value_came_from() {
    let base = Settings::from_toml("eta_min = -1.0\nmodel = 'mlp'", file()).unwrap();
    let mut flags = Settings::default();
    flags.learning.eta_min = Some(-2.0);
    let message = flags.clone().over(base.clone()).resolve().unwrap_err().to_string();
    assert!(message.starts_with("`eta_min`: -2.0"), "{message}");
    flags.learning.eta_min = None;
    let message = flags.over(base).resolve().unwrap_err().to_string();
    assert!(message.starts_with("key 'eta_min' in run.toml: -1.0"), "{message}");
}

#[test]
fn the_usual_precision_is_the_devices() {
    for (device, precision) in [("cpu", "f32"), ("simulator", "f32"), ("cuda", "tf32")] {
        let config = Settings::from_toml(&format!("device = '{device}'"), file()).unwrap();
        assert_eq!(config.resolve().unwrap().train.precision.name(), precision, "{device}");
    }
}

#[test]
fn flags_go_over_a_file() {
    let base = Settings::from_toml("epochs = 3\nseed = 4", file()).unwrap();
    let mut flags = Settings::default();
    flags.task.epochs = Some(5);
    let config = flags.over(base).resolve().unwrap();
    assert_eq!((config.train.epochs, config.train.seed), (5, 4));
}

#[test]
fn the_fingerprint_changes_nothing() {
    let text = Settings::from(&resolved("")).to_toml() + "data_fingerprint = '00ff'\n";
    assert_eq!(resolved(&text), resolved(""));
}

/// Some keys of each group.
const ALL_KEYS: &[&str] = &[
    "model",
    "width",
    "augment",
    "schedule",
    "init",
    "hidden",
    "eta_min",
    "optimizer",
    "seed",
    "device",
    "threads",
];

fn chosen<T: Clone + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

prop_compose! {
    fn schedules()(which in 0..3, epochs in 1u64.., factor in 0.0..1e30) -> Schedule {
        match which {
            0 => Schedule::Constant,
            1 => Schedule::Cosine,
            _ => Schedule::Step { epochs, factor },
        }
    }
}

prop_compose! {
    fn alrao_settings()(
        eta_min in 1e-300..1.0, eta_max in 1.0..1e30, classifiers in 1usize..100, theta in 1e-9..=1.0,
        averaging in chosen(AveragingKind::ALL), trained_fraction in 0.0..=1.0,
    ) -> LearningSettings {
        LearningSettings {
            eta_min: Some(eta_min), eta_max: Some(eta_max), classifiers: Some(classifiers), theta: Some(theta),
            averaging: Some(averaging), trained_fraction: Some(trained_fraction), ..LearningSettings::default()
        }
    }
}

prop_compose! {
    fn train_settings()(
        schedule in schedules(), epochs in 1u64.., max_steps in proptest::option::of(1u64..), patience in 1u64..,
        catch_up in 0u64.., init in proptest::option::of("[^\\x00]{1,20}"),
    ) -> SupervisedSettings {
        SupervisedSettings {
            schedule: Some(schedule), epochs: Some(epochs), max_steps, patience: Some(patience),
            catch_up: Some(catch_up), init: init.map(PathBuf::from), ..SupervisedSettings::default()
        }
    }
}

prop_compose! {
    fn learning_settings()(
        weight_decay in 0.0..1e300, clip in 0.0..1e300, batch_size in 1usize..1 << 24, seed in any::<u64>(),
        log_every in any::<u64>(),
    ) -> LearningSettings {
        LearningSettings {
            weight_decay: Some(weight_decay), clip: Some(clip), batch_size: Some(batch_size), seed: Some(seed),
            log_every: Some(log_every), ..LearningSettings::default()
        }
    }
}

prop_compose! {
    fn settings()(
        architecture in chosen(Architecture::ALL), width in 1e-6..1000.0, optimizer in chosen(Optimizer::ALL),
        hidden in proptest::collection::vec(1usize..10_000, 0..4), dropout in 0.0..1.0, bptt in 1usize..1000,
        data in "generated(:[0-9]{1,3})?|\\PC{1,30}", valid_split in 0.0..1.0, lr in 0.0..1e30, momentum in 0.0..1.0,
        augment in any::<bool>(), order in chosen(Order::ALL), threads in proptest::option::of(1usize..4096),
        alrao in alrao_settings(), train in train_settings(), learning in learning_settings(), given in any::<bool>(),
    ) -> Settings {
        let is_lstm = architecture.name().ends_with("-lstm");
        let is_alrao = optimizer.is_alrao();
        let task = SupervisedSettings {
            model: Some(architecture),
            width: Some(width),
            dropout: (is_lstm && given).then_some(dropout),
            bptt: (is_lstm && given).then_some(bptt),
            data: Some(data),
            valid_split: Some(valid_split),
            catch_up: train.catch_up.filter(|_| is_alrao),
            augment: (!is_lstm).then_some(augment),
            order: (!is_lstm).then_some(order),
            ..train
        };
        let own = LearningSettings {
            hidden: (architecture == Architecture::Mlp && given).then_some(hidden),
            optimizer: Some(optimizer),
            lr: (!is_alrao && given).then_some(lr),
            momentum: (!optimizer.is_adam() && given).then_some(momentum),
            ..learning
        };
        let learning = if is_alrao { own.over(alrao) } else { own };
        Settings::new(task, learning, DeviceSettings { device: None, threads })
    }
}

proptest! {
    #[test]
    fn a_configuration_survives_its_file(settings in settings()) {
        let config = settings.with_effect().resolve().unwrap();
        let text = Settings::from(&config).to_toml();
        let again = Settings::from_toml(&text, file()).unwrap().resolve().unwrap();
        prop_assert_eq!(&again, &config);
        prop_assert_eq!(Settings::from(&again).to_toml(), text);
    }

    #[test]
    fn no_text_is_a_panic(key in chosen(ALL_KEYS), value in "\\PC{0,20}", line in "\\PC{0,40}") {
        for text in [format!("{key} = {value}"), format!("{key} = '{value}'"), format!("{line}\n{key} = 1")] {
            if let Ok(settings) = Settings::from_toml(&text, file()) {
                let _ = settings.resolve();
            }
        }
    }
}
