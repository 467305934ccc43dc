//! `kinglet evolve`: many trainings, each with other hyperparameters; the table of all, and the best.
//!
//! Columns, names and formats of the files are YOLOv5's. `evolve.csv` holds what was tried and `evolve.json` the settings:
//! together they are all that going on needs.

use super::save_plot;
use super::train::{run_name, settings};
use crate::args::EvolveArgs;
use crate::args::evolve::SchemeName;
use crate::errors::CliError;
use crate::findings;
use crate::interrupt;
use crate::output::{read_earlier, write_file};
use crate::printer::{Printer, counted};
use crate::progress::{Bar, clock};
use crate::results::COLUMNS;
use crate::run_dir::RunDir;
use kinglet_data::Dataset;
use kinglet_eval::charts::{Chart, plot_charts};
use kinglet_eval::figure::Figure;
use kinglet_eval::plots::Series;
use kinglet_eval::table::general;
use kinglet_train::TrainError;
use kinglet_train::events::{BatchDone, EpochDone, Observer, Validation};
use kinglet_train::evolve::{DIGITS, Evolution, LEAST_POPULATION, Scheme, Tried};
use kinglet_train::guard::Retreat;
use kinglet_train::hyp::Hyp;
use kinglet_train::options::TrainOptions;
use kinglet_train::trainer::Trainer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Flags of a training that an evolution leaves nothing to do. --nosave and --noval are what it does.
const WITHOUT_EFFECT: [&str; 2] = ["save-period", "patience"];
const PROJECT: &str = "runs/evolve";
const DEFAULT_GENERATIONS: usize = 300;
const DEFAULT_POPULATION: usize = 50;
const SETTINGS: &str = "evolve.json";
const TABLE: &str = "evolve.csv";
const BEST: &str = "hyp_evolve.yaml";
/// Folder of the training under way; it goes away with it.
const TRAINING: &str = "training";
/// Columns of the table before the hyperparameters: those of `results.csv` from the precision to the class loss.
const METRICS: usize = 7;
const FIRST_METRIC: usize = 4;

/// What an evolution is asked to do, as it is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Settings {
    scheme: Scheme,
    generations: usize,
    /// The values to begin with, as YAML; the user's first.
    founders: Vec<String>,
    options: TrainOptions,
}

/// An evolution and its files.
struct Run {
    folder: RunDir,
    settings: Settings,
    evolution: Evolution,
    /// The first columns of the table.
    metrics: Vec<[f64; METRICS]>,
}

/// The folder of an evolution that a path names: the folder, or a file in it.
pub(super) fn folder_of(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let folder = if path.is_dir() { path } else { path.parent().filter(|p| !p.as_os_str().is_empty())? };
    folder.join(SETTINGS).is_file().then(|| folder.to_owned())
}

/// Evolves, or goes on with an evolution.
///
/// # Errors
/// Whatever is wrong with settings, model, data or weights; a folder that cannot be written.
pub fn run(args: EvolveArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.train.json);
    kinglet_kernels::threads::set_threads(args.train.machine.threads);
    if args.train.ui.is_some() {
        return Err(CliError::usage("--ui shows one training, and an evolution is many; leave it out"));
    }
    let idle = WITHOUT_EFFECT.iter().find(|flag| args.train.given.iter().any(|given| given == *flag));
    if let (Some(flag), None) = (idle, &args.train.resume) {
        printer.warn(&format!(
            "--{flag} has no effect: each training of an evolution is measured after its last epoch, and its weights are not kept"
        ));
    }
    let mut run = match &args.train.resume {
        Some(path) => Run::load(path, &args, printer)?,
        None => Run::create(&args, printer)?,
    };
    interrupt::listen("this batch");
    // More than are asked for may be done already.
    let total = run.evolution.trainings(run.settings.generations).max(run.evolution.tried().len());
    printer.say(&format!(
        "{total} trainings of {} each; results go to {}; Ctrl-C stops and can be resumed",
        counted(run.settings.options.epochs, "epoch"),
        run.folder.path().display()
    ));
    let first = run.evolution.tried().len() + 1;
    while run.evolution.tried().len() < total {
        let number = run.evolution.tried().len() + 1;
        let begun = Instant::now();
        let Some(diverged) = run.train_next(&format!("training {number}/{total}"), printer)? else {
            return Ok(interrupted(&run, &args, printer));
        };
        if number == first {
            // Below the notes of the first training.
            let heads = ["training", "fitness", "mAP50", "mAP50-95", "time"];
            printer.say(&heads.map(|head| format!("{head:>11}")).concat());
        }
        let (tried, metrics) = (&run.evolution.tried()[number - 1], run.metrics[number - 1]);
        let best = run.evolution.best() == Some(number - 1);
        let remark = match (diverged, best) {
            (true, _) => "  diverged",
            (_, true) => "  best so far",
            _ => "",
        };
        let values = [tried.fitness, metrics[2], metrics[3]].map(|v| format!("{:>11}", general(v, 4)));
        let place = format!("{number}/{total}");
        printer.say(&format!("{place:>11}{}{:>11}{remark}", values.concat(), clock(begun.elapsed())));
        run.write(args.train.noplots)?;
    }
    run.remove_training();
    if let Some(best) = run.evolution.best() {
        printer.result(&format!(
            "The best of {total} trainings is number {}, fitness {}.",
            best + 1,
            general(run.evolution.tried()[best].fitness, 4)
        ));
        printer.say(&format!("Use its values with: kinglet train --hyp {}", run.folder.join(BEST).display()));
    }
    if args.train.json {
        printer.data(&run.json(false));
    }
    Ok(ExitCode::SUCCESS)
}

fn interrupted(run: &Run, args: &EvolveArgs, printer: &Printer) -> ExitCode {
    run.remove_training();
    let done = counted(run.evolution.tried().len(), "training");
    printer.say(&format!("\n{done} completed before the interruption."));
    printer.say(&format!("Go on with: kinglet evolve --resume {}", run.folder.path().display()));
    if args.train.json {
        printer.data(&run.json(true));
    }
    interrupt::exit_code()
}

impl Settings {
    fn evolution(&self) -> Result<Evolution, CliError> {
        let parse = |text: &String| Hyp::parse(text, SETTINGS).map_err(CliError::input);
        let founders = self.founders.iter().map(parse).collect::<Result<Vec<Hyp>, _>>()?;
        let Some((base, others)) = founders.split_first() else {
            return Err(CliError::input(format!("`{SETTINGS}` has no values to begin with; start a new evolution")));
        };
        Ok(Evolution::new(self.scheme, base, others, self.options.seed))
    }
}

impl Run {
    /// Begins an evolution.
    fn create(args: &EvolveArgs, printer: &Printer) -> Result<Self, CliError> {
        let train = &args.train;
        let Some(data) = train.data.clone() else {
            return Err(CliError::usage("an evolution needs a data set; name one with --data"));
        };
        let genetic = match args.scheme {
            Some(scheme) => scheme == SchemeName::Genetic,
            None => args.ancestors.is_some(),
        };
        if !genetic && (args.ancestors.is_some() || args.population.is_some()) {
            return Err(CliError::usage(
                "--ancestors and --population belong to the genetic scheme; add --scheme genetic, or leave them out",
            ));
        }
        let population = args.population.unwrap_or(DEFAULT_POPULATION);
        if population < LEAST_POPULATION {
            return Err(CliError::usage(format!(
                "--population {population}: expected at least {LEAST_POPULATION}, of which two go on unchanged"
            )));
        }
        let scheme = if genetic { Scheme::Genetic { population } } else { Scheme::Mutation };
        let mut founders = ancestors(args.ancestors.as_deref())?;
        let (options, hyp) = settings(train, data, printer)?;
        founders.insert(0, hyp);
        if founders.len() > population {
            return Err(CliError::usage(format!(
                "--ancestors has {} files; a population of {population} has room for {}",
                founders.len() - 1,
                population - 1
            )));
        }
        let project = train.project.clone().unwrap_or_else(|| PathBuf::from(PROJECT));
        let folder = RunDir::create(&project, &run_name(train, &options), train.exist_ok)?;
        let options = TrainOptions {
            // Only the state of the last epoch counts.
            nosave: true,
            noval: true,
            save_period: None,
            dir: folder.join(TRAINING),
            ..options
        };
        let settings = Settings {
            scheme,
            generations: args.generations.unwrap_or(DEFAULT_GENERATIONS),
            founders: founders.iter().map(Hyp::to_yaml).collect(),
            options,
        };
        let evolution = settings.evolution()?;
        let run = Run { folder, settings, evolution, metrics: Vec::new() };
        // With --exist-ok there may be the table of an earlier one.
        let _ = std::fs::remove_file(run.folder.join(TABLE));
        run.write_settings()?;
        Ok(run)
    }

    /// Goes on with an evolution.
    fn load(path: &str, args: &EvolveArgs, printer: &Printer) -> Result<Self, CliError> {
        let project = args.train.project.clone().unwrap_or_else(|| PathBuf::from(PROJECT));
        let folder = match path {
            "" => newest(&project).ok_or_else(|| {
                CliError::input(format!(
                    "no evolution to resume: no {SETTINGS} in the folders of `{}`; name a folder after --resume",
                    project.display()
                ))
            })?,
            named => folder_of(named).ok_or_else(|| {
                CliError::input(format!(
                    "`{named}` is no folder of an evolution: there is no {SETTINGS}; name one such as {PROJECT}/exp"
                ))
            })?,
        };
        let file = folder.join(SETTINGS);
        let text = std::fs::read_to_string(&file).map_err(|e| CliError::read(&file, &e))?;
        let mut settings: Settings = serde_json::from_str(&text)
            .map_err(|e| CliError::input(format!("`{}` is damaged: {e}; start a new evolution", file.display())))?;
        // Where the evolution lies now, whatever the file says: this folder is going to be deleted.
        settings.options.dir = folder.join(TRAINING);
        if let Some(warning) = args.train.passed_over("evolution", "generations") {
            printer.warn(&warning);
        }
        if let Some(generations) = args.generations {
            settings.generations = generations;
        }
        let evolution = settings.evolution()?;
        let mut run = Run { folder: RunDir::existing(&folder), settings, evolution, metrics: Vec::new() };
        run.read_table()?;
        run.write_settings()?;
        printer.say(&format!("going on with {} after {}", folder.display(), counted(run.metrics.len(), "training")));
        Ok(run)
    }

    fn write_settings(&self) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(&self.settings).expect("settings serialise");
        write_file(&self.folder.join(SETTINGS), text.as_bytes())
    }

    /// Trains with the next values: whether the training diverged; nothing where it was interrupted.
    fn train_next(&mut self, title: &str, printer: &Printer) -> Result<Option<bool>, CliError> {
        let values = self.evolution.next_values();
        let options = TrainOptions { hyp: self.evolution.hyp(&values).to_yaml(), ..self.settings.options.clone() };
        self.remove_training();
        let first = self.metrics.is_empty();
        let mut observer = Listener { printer, first, title, bar: Bar::default(), validation: None, diverged: false };
        let mut trainer = Trainer::new(options, &mut observer)?;
        let outcome = trainer.run(&interrupt::STOP, &mut observer);
        observer.bar.clear();
        let failed = |error: CliError| {
            CliError::input(format!(
                "{error}\n  what was tried before is kept; go on with: kinglet evolve --resume {}",
                self.folder.path().display()
            ))
        };
        let diverged = match outcome {
            Ok(finished) if finished.interrupted => return Ok(None),
            Ok(_) => observer.diverged,
            Err(TrainError::Diverged { .. }) => true,
            Err(error) => return Err(failed(error.into())),
        };
        // A training that went on with another learning rate tells nothing about its values.
        let metrics = match (observer.validation, diverged) {
            (_, true) => [0.0; METRICS],
            (Some(validation), _) => metrics(&validation),
            (None, _) => {
                return Err(CliError::input(format!(
                    "`{}` has no validation images, which tell how good values are; add a `val:` line",
                    self.settings.options.data.display()
                )));
            }
        };
        self.tell(values, metrics);
        Ok(Some(diverged))
    }

    fn tell(&mut self, values: Vec<f64>, metrics: [f64; METRICS]) {
        let fitness = self.evolution.fitness(metrics[2], metrics[3]);
        self.evolution.tell(Tried { values, fitness });
        self.metrics.push(metrics);
    }

    /// Takes the folder of a training away: its weights are of whichever values came last.
    fn remove_training(&self) {
        // What stays does no harm: the next training writes over it.
        let _ = std::fs::remove_dir_all(&self.settings.options.dir);
    }

    /// Names of the columns.
    fn columns(&self) -> Vec<&'static str> {
        COLUMNS[FIRST_METRIC..FIRST_METRIC + METRICS].iter().copied().chain(self.evolution.keys()).collect()
    }

    fn table(&self) -> String {
        let line = |cells: Vec<String>| cells.iter().map(|c| format!("{c:>20}")).collect::<Vec<_>>().join(",") + "\n";
        let mut text = line(self.columns().into_iter().map(str::to_owned).collect());
        for (metrics, tried) in self.metrics.iter().zip(self.evolution.tried()) {
            text.push_str(&line(metrics.iter().chain(&tried.values).map(|&v| general(v, DIGITS)).collect()));
        }
        text
    }

    /// Takes in the table of what was tried.
    fn read_table(&mut self) -> Result<(), CliError> {
        let path = self.folder.join(TABLE);
        let Some(text) = read_earlier(&path)? else { return Ok(()) };
        let wrong = |line: usize, what: String| {
            CliError::input(format!("{}:{line}: {what}; correct the line, or start a new evolution", path.display()))
        };
        let columns = self.columns();
        let mut lines = text.lines().enumerate();
        let names: Vec<&str> = lines.next().map_or(Vec::new(), |(_, line)| line.split(',').map(str::trim).collect());
        if names != columns {
            return Err(wrong(1, format!("expected the columns {}", columns.join(", "))));
        }
        for (i, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let cells = line.split(',').map(|cell| (cell.trim(), cell.trim().parse::<f64>().ok()));
            let cells: Vec<(&str, Option<f64>)> = cells.collect();
            if cells.len() != columns.len() {
                return Err(wrong(i + 1, format!("expected {} numbers, found {}", columns.len(), cells.len())));
            }
            if let Some((text, _)) = cells.iter().find(|(_, value)| !value.is_some_and(f64::is_finite)) {
                return Err(wrong(i + 1, format!("expected numbers, found `{text}`")));
            }
            let numbers: Vec<f64> = cells.iter().filter_map(|(_, value)| *value).collect();
            let (first, values) = numbers.split_at(METRICS);
            self.tell(values.to_vec(), std::array::from_fn(|i| first[i]));
        }
        Ok(())
    }

    /// Writes the table, the best values and the picture.
    fn write(&self, noplots: bool) -> Result<(), CliError> {
        let Some(best) = self.evolution.best() else { return Ok(()) };
        let (tried, metrics) = (&self.evolution.tried()[best], self.metrics[best]);
        let text = format!(
            "# The best of {} trainings: number {}, fitness {}, mAP50 {}, mAP50-95 {}\n{}",
            self.metrics.len(),
            best + 1,
            general(tried.fitness, 4),
            general(metrics[2], 4),
            general(metrics[3], 4),
            self.evolution.hyp(&tried.values).to_yaml()
        );
        write_file(&self.folder.join(BEST), text.as_bytes())?;
        // The table last: it decides what was done.
        write_file(&self.folder.join(TABLE), self.table().as_bytes())?;
        if noplots { Ok(()) } else { save_plot(&self.folder, "evolve.png", &self.plot()) }
    }

    /// Fitness against each hyperparameter that evolves.
    fn plot(&self) -> Figure {
        let tried = self.evolution.tried();
        let best = self.evolution.best().unwrap_or(0);
        let charts: Vec<Chart> = self
            .evolution
            .keys()
            .enumerate()
            .filter(|(place, _)| self.evolution.evolves(*place))
            .map(|(place, key)| {
                let point = |t: &Tried| (t.values[place], t.fitness);
                let dots = |points| Series { name: String::new(), points };
                Chart {
                    title: format!("fitness, best at {}", general(tried[best].values[place], 3)),
                    x_title: key.to_owned(),
                    series: vec![dots(tried.iter().map(point).collect()), dots(vec![point(&tried[best])])],
                    dots: true,
                }
            })
            .collect();
        plot_charts(&charts, 5, "Fitness against each hyperparameter")
    }

    fn json(&self, interrupted: bool) -> serde_json::Value {
        let best = self.evolution.best().map(|best| {
            let (tried, metrics) = (&self.evolution.tried()[best], self.metrics[best]);
            let hyp: serde_json::Map<String, serde_json::Value> =
                self.evolution.keys().zip(&tried.values).map(|(key, &value)| (key.to_owned(), json!(value))).collect();
            json!({
                "training": best + 1, "fitness": tried.fitness, "map50": metrics[2], "map50_95": metrics[3], "hyp": hyp,
            })
        });
        json!({
            "saved_to": self.folder.path(), "trainings": self.metrics.len(),
            "of": self.evolution.trainings(self.settings.generations).max(self.metrics.len()), "best": best, "interrupted": interrupted,
        })
    }
}

/// The first columns of the table, with the digits that it keeps.
fn metrics(validation: &Validation) -> [f64; METRICS] {
    let (r, [a, b, c]) = (&validation.report, validation.losses);
    [r.precision, r.recall, r.map50, r.map50_95, a, b, c]
        .map(|value| general(value, DIGITS).parse().expect("a number that was just written"))
}

/// The hyperparameter files of a folder, by name.
fn ancestors(folder: Option<&Path>) -> Result<Vec<Hyp>, CliError> {
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let entries = std::fs::read_dir(folder).map_err(|e| CliError::read(folder, &e))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    files.sort();
    if files.is_empty() {
        return Err(CliError::input(format!("--ancestors: `{}` has no .yaml file", folder.display())));
    }
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).map_err(|e| CliError::read(file, &e))?;
        Hyp::parse(&text, &file.display().to_string()).map_err(CliError::input)
    };
    files.iter().map(read).collect()
}

/// The newest evolution under `project`.
fn newest(project: &Path) -> Option<PathBuf> {
    let runs = std::fs::read_dir(project).ok()?.flatten().map(|run| run.path());
    let dated = runs.filter_map(|run| Some((run.join(SETTINGS).metadata().ok()?.modified().ok()?, run)));
    dated.max().map(|(_, run)| run)
}

/// Hears one training.
struct Listener<'a> {
    printer: &'a Printer,
    /// Whether it is the first, whose notes hold for all.
    first: bool,
    title: &'a str,
    bar: Bar,
    validation: Option<Validation>,
    diverged: bool,
}

impl Observer for Listener<'_> {
    fn scanned(&mut self, dataset: &Dataset) {
        if self.first {
            findings::print(dataset, self.printer);
        }
    }

    fn note(&mut self, message: &str) {
        if self.first {
            self.printer.say(message);
        }
    }

    fn batch(&mut self, batch: &BatchDone) {
        if !self.bar.is_visible() {
            self.bar = Bar::new(self.printer, self.title, batch.epochs * batch.batches);
        }
        self.bar.set(batch.epoch * batch.batches + batch.batch + 1);
    }

    fn epoch(&mut self, epoch: &EpochDone) {
        if epoch.validation.is_some() {
            self.validation.clone_from(&epoch.validation);
        }
    }

    fn diverged(&mut self, _retreat: &Retreat) {
        self.diverged = true;
    }
}
