//! `alrao experiment`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::experiment_progress::Progress;
use super::failure::Ending;
use super::{messages, signals};
use alrao::argument::{Argument, choice, real, whole};
use alrao::device::DeviceKind;
use alrao::experiments::{self, Conclusion, Experiment, Options, Size};
use alrao::learn::StopFlag;
use alrao::models::Architecture;

/// Run one of the paper's tables or figures, or continue it
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao experiment table1 --quick\n  alrao experiment table1 --row cifar10/vgg19 --data \
    cifar-10-batches-bin\n\nThe same command goes on where it was stopped or killed. Results: results.json, table.md, \
    pictures and report.html in --out."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    experiment: Which,
}

#[derive(Subcommand)]
enum Which {
    /// SGD with its best rate, Adam and Alrao on each model (Table 1)
    #[command(after_help = with_sizes(Experiment::Table1, "\
        alrao experiment table1 --quick\n  \
        alrao experiment table1 --row cifar10/vgg19 --data cifar-10-batches-bin\n\n\
        Rows: the models of the paper's Table 1, as cifar10/vgg19, cifar10/vgg19-width3, imagenet/alexnet, ptb/char-lstm, and \
        generated/cnn, generated/char-lstm; a wrong name lists them all."))]
    Table1(RowArguments),
    /// Parameters without and with Alrao (Table 2)
    #[command(
        after_help = "It only counts, at once: there are no epochs, seeds or jobs.\n\nExample:\n  alrao experiment table2"
    )]
    Table2(CountArguments),
    /// Loss over the epochs for SGD at each rate, Adam and Alrao (Figures 2 and 5)
    #[command(after_help = with_sizes(Experiment::LearningCurves, "\
        alrao experiment learning-curves --quick\n  \
        alrao experiment learning-curves --row cifar10/mobilenetv2 --data cifar-10-batches-bin --seeds 1"))]
    LearningCurves(RowArguments),
    /// Loss by the interval of learning rates, plain SGD on its diagonal (Figure 3)
    #[command(after_help = with_sizes(Experiment::Interval, "\
        alrao experiment interval --quick\n\nSGD takes five thirds of Alrao's epochs, as in the paper."))]
    Interval(RowArguments),
    /// The weights of the classifiers over the first steps (Figure 4, Appendix C)
    #[command(after_help = with_sizes(Experiment::Posterior, "alrao experiment posterior --quick"))]
    Posterior(RowArguments),
    /// Alrao on Adam beside Adam at several rates (Figure 7, Appendix E)
    #[command(after_help = with_sizes(Experiment::AlraoAdam, "alrao experiment alrao-adam --quick"))]
    AlraoAdam(RowArguments),
    /// Loss where only a part of the features is trained (Figure 8, Appendix G)
    #[command(after_help = with_sizes(Experiment::Frozen, "alrao experiment frozen --quick"))]
    Frozen(RowArguments),
    /// Returns of Q-learning with SGD at each rate, Adam and Alrao (Table 1's last rows, Figure 6, Appendix D)
    #[command(after_help = "Examples:\n  alrao experiment q-learning --quick\n  \
        alrao experiment q-learning --env gym:LunarLander-v3 --seeds 5    # pip install \"gymnasium[box2d]\"")]
    QLearning(QLearningArguments),
    /// The loss of a convex problem comes down to its optimum (Theorem 1, Appendix B)
    #[command(
        after_help = "One problem after the other, which takes seconds: there are no jobs.\n\nExample:\n  alrao experiment theorem --quick"
    )]
    Theorem(TheoremArguments),
}

/// Examples, and the sizes of an experiment.
fn with_sizes(experiment: Experiment, examples: &str) -> String {
    let told = |Size { epochs, seeds, .. }: Size| match seeds {
        Some(1) => format!("{epochs} epochs, 1 run of each setting"),
        Some(seeds) => format!("{epochs} epochs, {seeds} runs of each setting"),
        None => {
            format!("{epochs} epochs, as many runs of each setting as the paper's (1, 5 or 10)")
        }
    };
    let [whole, quick] = experiments::sizes(experiment).unwrap_or_default().map(told);
    format!("Examples:\n  {examples}\n\nDefaults: {whole}; with --quick {quick}.")
}

#[derive(Args)]
#[command(allow_negative_numbers = true)]
struct RowArguments {
    /// A row of Table 1, such as cifar10/vgg19, several times for several [default: those of the paper's table or figure on CIFAR-10; with --quick generated/cnn]; --data serves all of them
    #[arg(long, value_name = "ROW")]
    row: Vec<String>,
    /// Architecture in place of the row's
    #[arg(long, value_name = "MODEL", value_parser = choice(Architecture::ALL))]
    model: Option<Architecture>,
    /// Factor on the number of every layer's features [default: the row's]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    width: Option<f64>,
    /// The data of all rows: a folder or file, as of alrao train, or generated[:SEED] [default: generated where --quick or the row says so]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Largest number of passes over the training data [default: depends on the experiment, below]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    epochs: Option<u64>,
    /// Runs of each setting [default: depends on the experiment, below]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    seeds: Option<u64>,
    /// Runs at a time; results do not depend on it [default: 1; with --quick on the cpu, one per core]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    jobs: Option<usize>,
    /// Where to run; auto takes cuda if it can be opened, else cpu; cuda:1 is the second GPU, and so on; simulator runs cuda's kernels on the cpu [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = DeviceKind::parser())]
    device: Option<DeviceKind>,
    /// A small size, for two cores: a narrow model and few epochs, runs and samples; a row takes less than about ten minutes
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Args)]
struct QLearningArguments {
    /// Environment, pendulum[:TORQUES] or gym:NAME [default: pendulum]
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// Steps of the environment in each run [default: as of alrao rl train; with --quick 12000]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    steps: Option<u64>,
    /// Runs of each setting [default: 10; with --quick 2]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    seeds: Option<u64>,
    /// Runs at a time; results do not depend on it [default: 1; with --quick on the cpu, one per core]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    jobs: Option<usize>,
    /// Where to run; auto takes cuda if it can be opened, else cpu; cuda:1 is the second GPU, and so on; simulator runs cuda's kernels on the cpu [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = DeviceKind::parser())]
    device: Option<DeviceKind>,
    /// A small size: fewer steps and runs
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Args)]
struct TheoremArguments {
    /// Steps, each over all points [default: 20000; with --quick 3000]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    epochs: Option<u64>,
    /// Problems, each with other points and weights [default: 3]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    seeds: Option<u64>,
    /// Fewer steps
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Args)]
struct CountArguments {
    /// Without effect: the table is counted, not trained
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Args)]
struct PlaceArguments {
    /// Folder of results and runs; an experiment that is there is continued [default: runs/experiment-NAME, with quick, rows, model, data and env in the name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Which {
    fn options(self) -> (Experiment, Options) {
        match self {
            Which::Table1(own) => (Experiment::Table1, own.options()),
            Which::Table2(CountArguments { quick, place }) => {
                (Experiment::Table2, place.options(quick))
            }
            Which::LearningCurves(own) => (Experiment::LearningCurves, own.options()),
            Which::Interval(own) => (Experiment::Interval, own.options()),
            Which::Posterior(own) => (Experiment::Posterior, own.options()),
            Which::AlraoAdam(own) => (Experiment::AlraoAdam, own.options()),
            Which::Frozen(own) => (Experiment::Frozen, own.options()),
            Which::QLearning(own) => {
                let QLearningArguments { env, steps, seeds, jobs, device, quick, place } = own;
                let device = device.unwrap_or_default();
                let options = Options { env, steps, seeds, jobs, device, ..place.options(quick) };
                (Experiment::QLearning, options)
            }
            Which::Theorem(own) => {
                let TheoremArguments { epochs, seeds, quick, place } = own;
                (Experiment::Theorem, Options { epochs, seeds, ..place.options(quick) })
            }
        }
    }
}

impl RowArguments {
    fn options(self) -> Options {
        let RowArguments { row, model, width, data, epochs, seeds, jobs, device, quick, place } =
            self;
        let (rows, device) = (row, device.unwrap_or_default());
        let own = place.options(quick);
        Options { rows, model, width, data, epochs, seeds, jobs, device, ..own }
    }
}

impl PlaceArguments {
    fn options(self, quick: bool) -> Options {
        Options { quick, out: self.out, ..Options::default() }
    }
}

pub(super) fn run(arguments: Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let (experiment, options) = arguments.experiment.options();
    let stop = StopFlag::default();
    let mut progress = Progress::new(quiet, &stop);
    let received = signals::listen(&stop, progress.announcer())?;
    let conclusion = experiments::run(experiment, &options, &mut progress, &stop);
    progress.finish();
    let folder = experiments::folder(experiment, &options);
    match conclusion? {
        Conclusion::Finished { findings, failures } => {
            messages::result(&findings.markdown())?;
            if !quiet {
                messages::note(&format!("report  {}", folder.join("report.html").display()));
            }
            for (name, message) in &failures {
                messages::note(&format!("failed: {name}: {message}"));
            }
            match failures.len() {
                0 => Ok(Ending::Done),
                1 => anyhow::bail!("1 run failed; the same command tries it again"),
                count => anyhow::bail!("{count} runs failed; the same command tries them again"),
            }
        }
        Conclusion::Stopped => {
            if !quiet {
                messages::note(&format!("stopped; to go on: {}", command()));
            }
            Ok(received.signal().map_or(Ending::Unwatched, Ending::Signalled))
        }
    }
}

/// The command line of this process.
fn command() -> String {
    let quoted = |argument: String| {
        let is_plain = |c: char| c.is_alphanumeric() || "-_./=,:+".contains(c);
        match !argument.is_empty() && argument.chars().all(is_plain) {
            true => argument,
            false => format!("'{}'", argument.replace('\'', "'\\''")),
        }
    };
    std::env::args_os()
        .map(|own| quoted(own.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}
