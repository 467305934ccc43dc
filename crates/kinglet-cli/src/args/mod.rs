//! What the user types. Flags keep YOLOv5's names; any prefix that only one flag has will do.

pub mod bench;
pub mod completions;
pub mod data;
pub mod detect;
pub mod evolve;
pub mod export;
pub mod groups;
pub mod import;
pub mod inspect;
pub mod legacy;
pub mod man;
pub mod serve;
pub mod swap;
pub mod train;
pub mod ui;
pub mod val;
pub mod zoo;

pub use bench::{BenchArgs, BenchCommand, DetectionBench, Runs, TrainBench};
pub use completions::CompletionsArgs;
pub use data::DataArgs;
pub use detect::{DetectArgs, TrackFormat};
pub use evolve::EvolveArgs;
pub use export::{ExportArgs, ModelChoice};
pub use groups::{ImageSize, Machine, RunFolder, Suppression, Tiles};
pub use import::ImportArgs;
pub use inspect::{BlocksArgs, InspectArgs};
pub use man::ManArgs;
pub use serve::ServeArgs;
pub use swap::SwapArgs;
pub use train::{TrainArgs, TrainCommand};
pub use ui::UiArgs;
pub use val::ValArgs;
pub use zoo::ZooArgs;

use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use kinglet_nn::IMAGE_SIDES;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "kinglet",
    bin_name = "kinglet",
    version,
    disable_help_flag = true,
    about = "Train and run light object detectors on ordinary machines",
    after_help = "Begin with `kinglet train`: without a data set it draws one, learns it in about two minutes and shows \
                  what it found.\n`kinglet COMMAND --help` explains a command and gives examples.",
    infer_long_args = true,
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Print help
    // One compact form for `-h` and `--help`.
    #[arg(long, short, global = true, action = ArgAction::HelpShort, help_heading = "Output", display_order = 1001)]
    pub help: Option<bool>,
    /// Print results and warnings only
    #[arg(long, short, global = true, help_heading = "Output", display_order = 1000)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses a command line, and notes which flags of a training were typed: one that goes on takes its settings from its
    /// checkpoint, and says so. Help and mistakes are printed and end the program.
    pub fn given_by(argv: Vec<std::ffi::OsString>) -> Self {
        let mut definition = Cli::command();
        let matches = definition.try_get_matches_from_mut(argv).unwrap_or_else(|error| error.exit());
        let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut definition).exit());
        let train = match &mut cli.command {
            Command::Train(command) => &mut command.train,
            Command::Evolve(command) => &mut command.train,
            _ => return cli,
        };
        if let Some((name, typed)) = matches.subcommand() {
            let known = definition.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
            let is_typed =
                |arg: &&clap::Arg| typed.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
            train.given = known.filter(is_typed).filter_map(|arg| arg.get_long()).map(str::to_owned).collect();
        }
        cli
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a detector on your images (without --data: on a small demo set)
    Train(Box<TrainCommand>),
    /// Measure a detector: precision, recall and mAP on labelled images
    Val(Box<ValArgs>),
    /// Find objects in images, videos and streams
    Detect(Box<DetectArgs>),
    /// Look for better hyperparameters by many trainings
    Evolve(Box<EvolveArgs>),
    /// Serve a detector over HTTP: a page to try it, and a REST interface
    Serve(Box<ServeArgs>),
    /// Compare training runs in a browser
    Ui(UiArgs),
    /// Check a data set, convert it, or count what it holds
    Data(Box<DataArgs>),
    /// Turn a checkpoint of YOLOv5 (.pt) into weights of Kinglet; nothing in it is executed
    Import(ImportArgs),
    /// Write a model as a file for other engines: ONNX, or safetensors
    Export(Box<ExportArgs>),
    /// Time detection stage by stage, or training steps
    Bench(Box<BenchArgs>),
    /// Show a model's layers, parameters and arithmetic
    Inspect(InspectArgs),
    /// List the blocks that model files may use
    Blocks(BlocksArgs),
    /// Compare the built-in models: parameters, arithmetic, latency, memory
    Zoo(ZooArgs),
    /// Change a model file: another backbone, another block, one more row
    Swap(SwapArgs),
    /// Print a script that completes commands and flags in a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(ManArgs),
}

/// A share of a tile.
pub(crate) fn overlap(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=0.9).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 0.9".to_owned()),
    }
}

/// A whole number.
pub(crate) fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number of at least 0".to_owned())
}

/// A seed.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number of at least 0".to_owned())
}

/// A whole number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A whole number from `LEAST` to `MOST`.
pub(crate) fn within<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (LEAST..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {LEAST} to {MOST}")),
    }
}

/// A number from 0 to 1.
pub(crate) fn fraction(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

/// An image side.
pub(crate) fn side(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if IMAGE_SIDES.contains(&number) => Ok(number),
        _ => Err("expected a number of pixels from 32 to 8192".to_owned()),
    }
}

/// An address: `HOST:PORT`, or a port of this machine alone.
pub(crate) fn address(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    // An IPv6 address has colons of its own.
    let is_plain = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
    match port.parse() {
        Ok(port) if !host.is_empty() && is_plain => Ok((host.to_owned(), port)),
        _ => Err("expected HOST:PORT or PORT, such as 127.0.0.1:6060, [::1]:6060 or 6060".to_owned()),
    }
}

/// The device: there is one.
pub(crate) fn device(text: &str) -> Result<String, String> {
    match text {
        "" | "cpu" => Ok("cpu".to_owned()),
        _ => Err("Kinglet computes on the CPU; write `--device cpu` or leave the flag out".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tutorial_command_lines_are_understood() {
        for line in [
            "train --img 640 --batch 16 --epochs 3 --data coco128.yaml --weights '' --cfg yolov5n.yaml",
            "train --imgsz 640 --batch-size 16 --hyp x.yaml --cache --resume --freeze 10",
            "train --img-size 320 --cache ram --resume runs/train/exp/weights/last.safetensors --freeze 0 1 2 --cos",
            "val --weights w --data d --img 640 --conf 0.001 --iou 0.65 --batch 1 --task test",
            "val --weights w --data d --conf-thres 0.001 --iou-thres 0.65",
            "detect --weights w --source a --img 640 --conf 0.25 --iou 0.45 --save-txt --classes 0 2 --max-det 5",
            "val --weights a b --data d --augment --task speed --img 640",
            "val --weights a --data d --task study --img 256 320",
            "train --data d --evolve 10 --weights w",
            "train --data d --evol",
            "evolve --data d --generations 3 --scheme genetic --population 8 --epochs 2",
            "detect --weights a b --source c --augment",
            "detect --weights w --source a --imgsz 640 480 --line-thickness 2 --agnostic",
            "detect --weights w --source 0 --vid-stride 2 --nosave",
            "detect --weights w --source a --tile --track --save-tracks csv",
            "val --weights w --data d --tile 1280 --tile-overlap 0.3",
        ] {
            let words = line.split(' ').map(|w| if w == "''" { "" } else { w });
            Cli::try_parse_from(std::iter::once("kinglet").chain(words)).unwrap_or_else(|e| panic!("{line}\n{e}"));
        }
    }
}
