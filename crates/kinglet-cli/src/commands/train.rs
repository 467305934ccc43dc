//! `kinglet train`: settings in, a run folder out.

use super::{check_weights, detect, evolve, load_weights, shown_json};
use crate::args::train::{Cache, DEFAULT_HYP};
use crate::args::{TrainArgs, TrainCommand};
use crate::console::Console;
use crate::demo;
use crate::errors::CliError;
use crate::gallery::Shown;
use crate::interrupt;
use crate::live::Live;
use crate::output::{write_file, yaml_lines};
use crate::printer::{Printer, counted};
use crate::progress::clock;
use crate::recorder::Recorder;
use crate::run_dir::{RunDir, newest_checkpoint};
use crate::zoo::{self, ModelText};
use kinglet_data::{Format, Source};
use kinglet_eval::report_table;
use kinglet_runtime::raised;
use kinglet_spec::ResolveOptions;
use kinglet_train::checkpoint::run_folder;
use kinglet_train::events::{Both, Finished};
use kinglet_train::hyp::{Hyp, with_anchors};
use kinglet_train::options::TrainOptions;
use kinglet_train::trainer::Trainer;
use kinglet_train::{TrainError, auto_batch};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The model where neither --cfg nor --weights names one.
const DEFAULT_MODEL: &str = "kinglet_small";
const DEFAULT_EPOCHS: usize = 100;
const DEFAULT_BATCH: usize = 16;
const DEFAULT_IMG: usize = 640;

/// Trains, or goes on with a run.
///
/// # Errors
/// Whatever is wrong with settings, model, data or weights; a folder that cannot be written.
pub fn run(command: TrainCommand, printer: &Printer) -> Result<ExitCode, CliError> {
    let of_evolution = command.train.resume.as_deref().and_then(evolve::folder_of).is_some();
    if command.evolve.is_some() || of_evolution {
        return evolve::run(command.into(), printer);
    }
    if command.ancestors.is_some() {
        return Err(CliError::usage("--ancestors belongs to an evolution; add --evolve, or leave it out"));
    }
    let args = command.train;
    let printer = &printer.json(args.json);
    kinglet_kernels::threads::set_threads(args.machine.threads);
    if args.resume.is_some() {
        return resume(&args, printer);
    }
    let is_demo = args.data.is_none();
    if is_demo && args.weights.as_deref().is_some_and(|w| !w.is_empty()) {
        return Err(CliError::usage("--weights needs --data; without --data the demo starts from random weights"));
    }
    let data = match &args.data {
        Some(data) => data.clone(),
        None => demo::prepare(printer)?,
    };
    let (mut options, hyp) = settings(&args, data, printer)?;
    // The page's address first: where it is taken, nothing was written yet.
    let mut live = Live::open(args.ui.as_ref(), printer)?;
    let run = RunDir::create(&args.project(), &run_name(&args, &options), args.exist_ok)?;
    options.dir = run.path().to_owned();

    interrupt::listen("this batch");
    let mut console = Console::new(printer, run.path());
    let mut recorder = Recorder::new(run.clone(), !args.noplots, printer, &interrupt::STOP);
    let trainer = Trainer::new(options, &mut Both(&mut console, &mut recorder)).map_err(|error| {
        run.remove_if_empty();
        CliError::from(error)
    })?;
    write_file(&run.join("opt.yaml"), opt_yaml(&args, trainer.options()).as_bytes())?;
    write_file(&run.join("hyp.yaml"), hyp.to_yaml().as_bytes())?;
    live.iter_mut().for_each(|live| live.set_folder(run.path()));
    train(trainer, console, recorder, &run, &args, live, printer)
}

/// The name of the run's folder.
pub(super) fn run_name(args: &TrainArgs, options: &TrainOptions) -> String {
    if args.name == "cfg" {
        Path::new(&options.model_file).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
    } else {
        args.name.clone()
    }
}

/// Goes on with an interrupted run.
fn resume(args: &TrainArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let checkpoint = match args.resume.as_deref() {
        Some("") | None => newest_checkpoint(&args.project()).ok_or_else(|| {
            CliError::input(format!(
                "no run to resume: no weights/last*.safetensors in the folders of `{}`; name a checkpoint after --resume",
                args.project().display()
            ))
        })?,
        // A run's folder means its last state.
        Some(path) if Path::new(path).join("weights/last.safetensors").is_file() => {
            Path::new(path).join("weights/last.safetensors")
        }
        Some(path) => PathBuf::from(path),
    };
    check_weights(&checkpoint)?;
    if let Some(warning) = args.passed_over("run", "epochs") {
        printer.warn(&warning);
    }
    printer.say(&format!("resuming {}", checkpoint.display()));
    interrupt::listen("this batch");
    let run = RunDir::existing(&run_folder(&checkpoint));
    let mut live = Live::open(args.ui.as_ref(), printer)?;
    let mut console = Console::new(printer, run.path());
    let mut recorder = Recorder::new(run.clone(), !args.noplots, printer, &interrupt::STOP);
    let trainer = Trainer::resume(&checkpoint, args.epochs, &mut Both(&mut console, &mut recorder))?;
    live.iter_mut().for_each(|live| live.set_folder(run.path()));
    train(trainer, console, recorder, &run, args, live, printer)
}

/// What the arguments mean, except the run folder.
pub(super) fn settings(args: &TrainArgs, data: PathBuf, printer: &Printer) -> Result<(TrainOptions, Hyp), CliError> {
    let is_demo = args.data.is_none();
    let weights = args.weights.as_ref().filter(|w| !w.is_empty()).map(PathBuf::from);
    let source = Source::open(&data)?;
    if source.format != Format::YoloYaml || source.file != data {
        printer.say(&source.describe());
    }
    let classes = source.names.len();
    weights.as_deref().map_or(Ok(()), check_weights)?;
    let model = match (&args.cfg, &weights) {
        (Some(cfg), _) if !cfg.is_empty() => zoo::model(cfg)?,
        (_, Some(weights)) => {
            let loaded = load_weights(weights)?;
            ModelText { text: loaded.model.spec.yaml.clone(), file: loaded.model.spec.name.clone() }
        }
        _ if is_demo => zoo::model(demo::MODEL)?,
        _ => {
            printer.say(&format!("no --cfg: training the built-in model {DEFAULT_MODEL}"));
            zoo::model(DEFAULT_MODEL)?
        }
    };
    let hyp = hyperparameters(args)?;
    let model = match hyp.anchors {
        None => model,
        Some(n) if args.noautoanchor => {
            return Err(CliError::usage(format!(
                "--noautoanchor keeps the model file's anchors, `anchors: {n}` in the hyperparameters computes others; leave \
                 one of them out"
            )));
        }
        Some(n) => {
            printer.say(&format!("{n} anchors a level are computed from the labels, as the hyperparameters ask"));
            let text = with_anchors(&model.text, n).ok_or_else(|| {
                CliError::input(format!("cannot replace the anchors of `{}`; write `anchors: {n}` there", model.file))
            })?;
            ModelText { text, ..model }
        }
    };
    let nc = Some(if args.single_cls { 1 } else { classes });
    let options = ResolveOptions { nc, ..ResolveOptions::default() };
    let spec = kinglet_nn::resolve(&model.text, &model.file, &options)?;
    let stride = spec.size_multiple();
    let wanted = args.imgsz.unwrap_or(if is_demo { demo::IMG } else { DEFAULT_IMG });
    let img = raised(wanted, stride);
    if img != wanted {
        printer.say(&format!("image side {wanted} raised to {img}, a multiple of the model's stride {stride}"));
    }
    let usual_batch = if is_demo { demo::BATCH } else { DEFAULT_BATCH };
    let batch = match args.batch_size {
        None => usual_batch,
        Some(-1) => auto_batch(args, &model, nc, img, printer)?.unwrap_or(usual_batch),
        Some(n) if n >= 1 => n as usize,
        Some(n) => return Err(CliError::usage(format!("--batch-size {n}: expected a whole number of at least 1"))),
    };
    let freeze = match args.freeze[..] {
        [] => Vec::new(),
        // As in YOLOv5: one number is a count, several are the layers.
        [n] => (0..n.min(spec.layers.len() + 1)).collect(),
        _ => args.freeze.clone(),
    };
    if freeze.iter().any(|&layer| layer >= spec.layers.len()) {
        let given = args.freeze.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        return Err(CliError::usage(format!(
            "--freeze {given}: `{}` has {} layers, 0 to {}",
            model.file,
            spec.layers.len(),
            spec.layers.len() - 1
        )));
    }
    if args.cache.is_some_and(|cache| cache != Cache::Ram) {
        printer.warn("--cache: images are kept in memory, all that fit, and not on disk");
    }
    let options = TrainOptions {
        model_yaml: model.text,
        model_file: model.file,
        data,
        weights,
        // The model's text holds the number of anchors by now.
        hyp: Hyp { anchors: None, ..hyp.clone() }.to_yaml(),
        recipe: args.recipe.recipe(),
        epochs: args.epochs.unwrap_or(if is_demo { demo::EPOCHS } else { DEFAULT_EPOCHS }),
        batch,
        img,
        seed: args.seed,
        optimizer: args.optimizer.kind(),
        cos_lr: args.cos_lr,
        patience: args.patience,
        freeze,
        save_period: usize::try_from(args.save_period).ok().filter(|&n| n > 0),
        nosave: args.nosave,
        noval: args.noval,
        noautoanchor: args.noautoanchor,
        rect: args.rect,
        multi_scale: args.multi_scale,
        image_weights: args.image_weights,
        single_cls: args.single_cls,
        workers: args.workers,
        dir: PathBuf::new(),
    };
    Ok((options, hyp))
}

/// The batch for --batch-size -1; nothing where the system does not tell its free memory.
fn auto_batch(
    args: &TrainArgs,
    model: &ModelText,
    nc: Option<usize>,
    img: usize,
    printer: &Printer,
) -> Result<Option<usize>, CliError> {
    let Some(free) = kinglet_data::available_memory() else {
        printer.warn("--batch-size -1: this system does not tell its free memory; the usual batch is taken");
        return Ok(None);
    };
    // Batches of several sizes take the memory of the largest, half as large again.
    let largest = if args.multi_scale { img + img / 2 } else { img };
    let mut planned = super::model_at(&model.text, &model.file, nc, largest)?;
    let largest = raised(largest, planned.max_stride());
    let workers = match args.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let chosen =
        auto_batch::choose(&mut planned, args.optimizer.kind(), largest, workers + 2, free).map_err(CliError::input)?;
    printer.say(&format!(
        "--batch-size -1: {} images a step need about {} MB; {} MB are free, of which {:.0} % may be used",
        chosen.batch,
        chosen.bytes >> 20,
        free >> 20,
        auto_batch::SHARE * 100.0
    ));
    Ok(Some(chosen.batch))
}

/// The file or built-in set that --hyp names, with what other flags change in it.
fn hyperparameters(args: &TrainArgs) -> Result<Hyp, CliError> {
    let (text, file) = match args.hyp.as_str() {
        DEFAULT_HYP if args.data.is_none() => (demo::HYP.to_owned(), "demo".to_owned()),
        named => zoo::hyp(named)?,
    };
    let mut hyp = Hyp::parse(&text, &file).map_err(CliError::input)?;
    if let Some(epsilon) = args.label_smoothing {
        if !(0.0..=0.99).contains(&epsilon) {
            return Err(CliError::usage(format!("--label-smoothing {epsilon}: expected a number from 0 to 0.99")));
        }
        hyp.label_smoothing = epsilon;
    }
    Ok(hyp)
}

/// All flags with the values in force.
fn opt_yaml(args: &TrainArgs, options: &TrainOptions) -> String {
    let mut value = serde_json::to_value(args).expect("flags serialise");
    value["data"] = json!(options.data);
    value["project"] = json!(args.project());
    value["cfg"] = json!(options.model_file);
    value["epochs"] = json!(options.epochs);
    value["batch_size"] = json!(options.batch);
    value["imgsz"] = json!(options.img);
    value["freeze"] = json!(options.freeze);
    value["save_dir"] = json!(options.dir);
    yaml_lines(&value)
}

/// Runs, and tells how it ended.
fn train(
    mut trainer: Trainer,
    mut console: Console<'_>,
    mut recorder: Recorder<'_>,
    run: &RunDir,
    args: &TrainArgs,
    live: Option<Live>,
    printer: &Printer,
) -> Result<ExitCode, CliError> {
    let mut written = Both(&mut console, &mut recorder);
    let outcome = match live {
        None => trainer.run(&interrupt::STOP, &mut written),
        Some(mut live) => {
            let outcome = trainer.run(&interrupt::STOP, &mut Both(&mut written, &mut live));
            live.finish(&outcome);
            outcome
        }
    };
    if let Some(failure) = recorder.take_failure() {
        return Err(failure);
    }
    let finished = outcome.map_err(|error| stopped(error, run))?;
    let shown = recorder.finish(&finished)?;
    if finished.interrupted {
        printer.say(&format!("\n{} completed before the interruption.", counted(finished.epochs, "epoch")));
        let again = format!("kinglet train --resume {}", finished.last.display());
        if trainer.options().nosave {
            printer.warn(&format!("nothing was saved since the start, as --nosave asks; begin anew with: {again}"));
        } else {
            printer.say(&format!("Go on with: {again}"));
        }
        if args.json {
            printer.data(&finished_json(&finished, None, run));
        }
        return Ok(interrupt::exit_code());
    }
    printer.say(&format!(
        "\n{} completed in {} ({:.1} % of training spent waiting for data){}.",
        counted(finished.epochs, "epoch"),
        clock(finished.elapsed),
        finished.waiting * 100.0,
        if finished.stopped_early { ", stopped early because nothing improved any more" } else { "" }
    ));
    let weights = if finished.best.exists() { &finished.best } else { &finished.last };
    if let Some(validation) = &finished.validation {
        printer.say(&format!(
            "The best epoch was {}; its weights, {}, on the validation images:",
            finished.best_epoch + 1,
            weights.display()
        ));
        printer.result(&report_table(&validation.report, true));
    }
    let is_demo = args.data.is_none() && args.resume.is_none();
    let drawn = run.join("detections");
    if is_demo {
        let images = Path::new(demo::FOLDER).join("images/test");
        let count = detect::draw_folder(weights, &images, &drawn)?;
        printer.say(&format!("{count} test images with their detections are in {}", drawn.display()));
    }
    printer.say(&format!("Results saved to {}", run.path().display()));
    if shown.is_some() && !args.noplots {
        printer.say(&format!("All on one page, for a browser: {}", run.join("report.html").display()));
    }
    if is_demo {
        printer.say(&demo::next_steps(weights, &drawn));
    } else {
        printer.say(&format!("Find objects with: kinglet detect --weights {} --source IMAGES", weights.display()));
    }
    if args.json {
        printer.data(&finished_json(&finished, shown.as_ref(), run));
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a run stopped, and how to go on where a state was saved.
fn stopped(error: TrainError, run: &RunDir) -> CliError {
    if matches!(error, TrainError::Diverged { .. }) {
        return error.into();
    }
    let error = CliError::from(error);
    let last = run.join("weights/last.safetensors");
    if !last.is_file() {
        return error;
    }
    CliError::input(format!(
        "{error}\n  what was saved before is whole; go on with: kinglet train --resume {}",
        last.display()
    ))
}

/// The end of a run as JSON.
fn finished_json(finished: &Finished, shown: Option<&Shown>, run: &RunDir) -> serde_json::Value {
    json!({
        "saved_to": run.path(), "last": finished.last, "best": finished.best.exists().then_some(&finished.best),
        "epochs": finished.epochs, "best_epoch": finished.best_epoch, "seconds": finished.elapsed.as_secs_f64(),
        "data_wait": finished.waiting,
        "stopped_early": finished.stopped_early, "interrupted": finished.interrupted,
        "validation": finished.validation.as_ref().zip(shown).map(|(v, shown)| shown_json(&v.report, shown)),
    })
}
