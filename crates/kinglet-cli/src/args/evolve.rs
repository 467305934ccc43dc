//! Arguments of `kinglet evolve`: those of a training, and how to evolve.

use super::positive;
use super::train::{TrainArgs, TrainCommand};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Schemes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemeName {
    /// One training a generation, with mutated values of one of the five best
    Mutation,
    /// Populations with crossover, of the augmentation alone; fitness is mAP50
    Genetic,
}

/// `kinglet evolve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet evolve --data data.yaml --weights best.safetensors --epochs 10 --generations 100\n  \
    kinglet evolve --resume                   # goes on with the newest evolution\n\n\
    Results are saved to runs/evolve/exp, exp2, ...: hyp_evolve.yaml holds the best values, for `kinglet train --hyp`.\n\
    Every training counts, so few epochs from trained weights are usual. Ctrl-C stops and can be resumed.",
    mut_arg("data", |arg| arg.help("A data.yaml, COCO .json, or a folder of VOC, CVAT, Roboflow, Label Studio or LabelImg")),
    // It shows one training; whoever knows it from there is told so.
    mut_arg("ui", |arg| arg.hide(true)),
    // Each training is measured once, after its last epoch, and leaves no weights.
    mut_arg("nosave", |arg| arg.hide(true)),
    mut_arg("noval", |arg| arg.hide(true)),
    mut_arg("save_period", |arg| arg.hide(true)),
    mut_arg("patience", |arg| arg.hide(true)),
    mut_arg("resume", |arg| arg.value_name("FOLDER").help("Go on with an evolution; without a value, the newest one")))]
pub struct EvolveArgs {
    /// Generations [default: 300]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = "Evolution")]
    pub generations: Option<usize>,
    /// How values come about [default: mutation, genetic with --ancestors]
    #[arg(long, value_enum, help_heading = "Evolution")]
    pub scheme: Option<SchemeName>,
    /// Members of a population of the genetic scheme [default: 50]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = "Evolution")]
    pub population: Option<usize>,
    /// Folder of hyperparameter files that join the first population of the genetic scheme
    #[arg(long, value_name = "FOLDER", help_heading = "Evolution")]
    pub ancestors: Option<PathBuf>,
    /// The trainings.
    #[command(flatten)]
    pub train: TrainArgs,
}

impl From<TrainCommand> for EvolveArgs {
    /// `train --evolve N`.
    fn from(command: TrainCommand) -> Self {
        let TrainCommand { train, evolve: generations, ancestors } = command;
        EvolveArgs { train, generations, scheme: None, population: None, ancestors }
    }
}
