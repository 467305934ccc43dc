//! Arguments of `kinglet train`.

use super::{Machine, address, positive, seed, side, whole};
use clap::{Args, ValueEnum};
use kinglet_train::optim::OptimKind;
use kinglet_train::options::Recipe;
use serde::Serialize;
use std::path::PathBuf;

/// The hyperparameters of a run that names none.
pub const DEFAULT_HYP: &str = "scratch-low";

/// Update rules by the names people type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Optimizer {
    /// Stochastic gradient descent with Nesterov momentum
    #[value(name = "SGD")]
    #[serde(rename = "SGD")]
    Sgd,
    /// Adam
    #[value(name = "Adam")]
    Adam,
    /// Adam with decoupled weight decay
    #[value(name = "AdamW")]
    AdamW,
}

impl Optimizer {
    /// The trainer's word.
    pub fn kind(self) -> OptimKind {
        match self {
            Optimizer::Sgd => OptimKind::Sgd,
            Optimizer::Adam => OptimKind::Adam,
            Optimizer::AdamW => OptimKind::AdamW,
        }
    }
}

/// Recipes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipeName {
    /// Learns steadily from few images
    Kinglet,
    /// YOLOv5's, to the letter
    Yolov5,
}

impl RecipeName {
    /// The trainer's word.
    pub fn recipe(self) -> Recipe {
        match self {
            RecipeName::Kinglet => Recipe::Kinglet,
            RecipeName::Yolov5 => Recipe::Yolov5,
        }
    }
}

/// Where the pictures are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// In memory
    Ram,
    /// On disk: not supported, memory is used
    #[value(hide = true)]
    Disk,
    /// Validation images only: not supported, memory is used for all
    #[value(hide = true)]
    Val,
}

/// `kinglet train`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kinglet train                             # the demo: nothing else is needed\n  \
    kinglet train --data data.yaml --cfg kinglet_small --img 320\n  \
    kinglet train --data data.yaml --weights best.safetensors --epochs 50\n  \
    kinglet train --resume                    # goes on with the newest run\n\n\
    Results are saved to runs/train/exp, exp2, ...; Ctrl-C stops after the current batch and can be resumed.")]
pub struct TrainCommand {
    /// The training.
    #[command(flatten)]
    pub train: TrainArgs,
    /// Evolve the hyperparameters over N trainings instead, as `kinglet evolve` does [default: 300]
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "300", value_parser = positive,
          allow_negative_numbers = true, help_heading = "Training")]
    pub evolve: Option<usize>,
    /// Folder of hyperparameter files to begin an evolution with
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub ancestors: Option<PathBuf>,
}

/// What a training is asked to do.
#[derive(Debug, Clone, Args, Serialize)]
pub struct TrainArgs {
    /// A data.yaml, COCO .json, or a folder of VOC, CVAT, Roboflow, Label Studio or LabelImg; without it, a demo set is drawn
    #[arg(long, value_name = "DATA", help_heading = "Model and data")]
    pub data: Option<PathBuf>,
    /// A model file, or the name of a built-in model such as kinglet_small or yolov5n
    /// [default: the weights' model, else kinglet_small]
    #[arg(long, value_name = "MODEL", help_heading = "Model and data")]
    pub cfg: Option<String>,
    /// Weights to start from (.safetensors, .pt or .pth); none or '' for random ones
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub weights: Option<String>,
    /// Hyperparameters: a file, or one of scratch-low, scratch-med and scratch-high
    #[arg(long, value_name = "FILE|NAME", default_value = DEFAULT_HYP, help_heading = "Model and data")]
    pub hyp: String,
    /// Treat all classes as one
    #[arg(long, help_heading = "Model and data")]
    pub single_cls: bool,
    /// Go on with an interrupted run; without a value, the newest one
    #[arg(long, value_name = "CHECKPOINT", num_args = 0..=1, default_missing_value = "", help_heading = "Model and data")]
    pub resume: Option<String>,

    /// Passes over the images [default: 100]
    #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true, help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Images per step; -1 for as many as the memory allows [default: 16]
    #[arg(long, visible_alias = "batch", value_name = "N", allow_negative_numbers = true, help_heading = "Training")]
    pub batch_size: Option<i64>,
    /// Image side in pixels, raised to a multiple of the model's stride [default: 640]
    #[arg(long = "imgsz", visible_alias = "img", alias = "img-size", value_name = "PIXELS", value_parser = side, allow_negative_numbers = true,
          help_heading = "Training")]
    pub imgsz: Option<usize>,
    /// How to train: steadily from few images, or as YOLOv5 does
    #[arg(long, value_enum, default_value = "kinglet", help_heading = "Training")]
    pub recipe: RecipeName,
    /// Update rule
    #[arg(long, value_enum, ignore_case = true, default_value = "SGD", help_heading = "Training")]
    pub optimizer: Optimizer,
    /// Cosine instead of linear learning rate schedule
    #[arg(long, help_heading = "Training")]
    pub cos_lr: bool,
    /// Label smoothing, from 0 to 0.99 [default: that of the hyperparameters]
    #[arg(long, value_name = "EPSILON", allow_negative_numbers = true, help_heading = "Training")]
    pub label_smoothing: Option<f64>,
    /// Epochs without improvement before stopping; 0 for never
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true, default_value = "100",
          help_heading = "Training")]
    pub patience: usize,
    /// Layers that do not learn: one number N for the first N, several for exactly those
    #[arg(long, value_name = "LAYER", value_parser = whole, allow_negative_numbers = true, num_args = 1..,
          help_heading = "Training")]
    pub freeze: Vec<usize>,
    /// Rectangular batches, without mosaics
    #[arg(long, help_heading = "Training")]
    pub rect: bool,
    /// Vary the image side by up to half, batch by batch
    #[arg(long, help_heading = "Training")]
    pub multi_scale: bool,
    /// Show images of classes that are found badly more often
    #[arg(long, help_heading = "Training")]
    pub image_weights: bool,
    /// Keep the model file's anchors, whether they fit the boxes or not
    #[arg(long, help_heading = "Training")]
    pub noautoanchor: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true, default_value = "0",
          help_heading = "Training")]
    pub seed: u64,

    /// Keep decoded images in memory: always on, where they fit
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "ram", help_heading = "Machine")]
    pub cache: Option<Cache>,
    /// Threads that load images; 0 for as many as the machine has
    #[arg(long, value_name = "N", value_parser = whole, allow_negative_numbers = true, default_value = "0",
          help_heading = "Machine")]
    pub workers: usize,
    /// Threads and device.
    #[serde(flatten)]
    #[command(flatten)]
    pub machine: Machine,

    /// Folder of the runs [default: runs/train, of evolutions runs/evolve]
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub project: Option<PathBuf>,
    /// Name of this run's folder; `cfg` for the model file's name
    #[arg(long, value_name = "NAME", default_value = "exp", help_heading = "Output")]
    pub name: String,
    /// Use the run's folder even if it exists
    #[arg(long, help_heading = "Output")]
    pub exist_ok: bool,
    /// Save weights after the last epoch only
    #[arg(long, help_heading = "Output")]
    pub nosave: bool,
    /// Validate after the last epoch only
    #[arg(long, help_heading = "Output")]
    pub noval: bool,
    /// Draw no plots
    #[arg(long, help_heading = "Output")]
    pub noplots: bool,
    /// Show the training in a browser as it happens, at HOST:PORT or PORT; without a value at 127.0.0.1:6060
    #[arg(long, value_name = "ADDRESS", value_parser = address, num_args = 0..=1, default_missing_value = "6060",
          help_heading = "Output")]
    #[serde(skip)]
    pub ui: Option<(String, u16)>,
    /// Keep the weights of every Nth epoch; -1 for none
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true, help_heading = "Output")]
    pub save_period: i64,
    /// Print the result as JSON, and nothing else, to standard output
    #[arg(long, help_heading = "Output")]
    #[serde(skip)]
    pub json: bool,
    /// The flags that were typed.
    #[arg(skip)]
    #[serde(skip)]
    pub given: Vec<String>,
}

/// Flags that hold for a training that goes on, too.
const STILL_COUNTING: [&str; 9] = ["resume", "project", "threads", "device", "ui", "json", "noplots", "quiet", "help"];

impl TrainArgs {
    /// What is to be told where a `run` goes on with its own settings, and of the flags for settings only `counting` counts.
    pub fn passed_over(&self, run: &str, counting: &str) -> Option<String> {
        let counts = |flag: &str| flag == counting || flag == "evolve" || STILL_COUNTING.contains(&flag);
        let others: Vec<String> = self.given.iter().filter(|f| !counts(f)).map(|f| format!("--{f}")).collect();
        (!others.is_empty()).then(|| {
            format!("a resumed {run} keeps its settings; {} left out, and only --{counting} counts", others.join(", "))
        })
    }

    /// Folder of the runs, where it is not that of an evolution.
    pub fn project(&self) -> PathBuf {
        self.project.clone().unwrap_or_else(|| PathBuf::from("runs/train"))
    }
}
