//! What a training run leaves in its folder while it goes on: `results.csv`, `findings.txt`, `events.jsonl`, TensorBoard's
//! event file, pictures of the data, and at the end plots and `report.html`.

use crate::commands::{save_picture, save_plot, save_report_plots};
use crate::errors::CliError;
use crate::event_log::EventLog;
use crate::findings;
use crate::gallery::{BATCHES, Gallery, Shown};
use crate::output::write_file;
use crate::printer::Printer;
use crate::progress::clock;
use crate::report::{RunReport, label_plot};
use crate::results::{Results, measured};
use crate::run_dir::RunDir;
use crate::tensorboard::EventFile;
use kinglet_data::{Batch, Dataset, Sample};
use kinglet_eval::label_plots::{plot_anchors, plot_correlogram, plot_labels};
use kinglet_train::events::{BatchDone, EpochDone, Finished, Observer, Started};
use kinglet_train::guard::Retreat;
use kinglet_vision::sheet::{TILES, Tile, sheet, tile_side};
use kinglet_vision::{Detection, Image, cxcywh_to_xyxy};
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps a run.
#[derive(Debug)]
pub struct Recorder<'a> {
    printer: &'a Printer,
    stop: &'a AtomicBool,
    run: RunDir,
    plots: bool,
    failure: Option<CliError>,
    findings: String,
    told: Vec<String>,
    results: Option<Results>,
    log: Option<EventLog>,
    tensorboard: Option<EventFile>,
    gallery: Gallery,
    names: Vec<String>,
    files: Vec<String>,
    report: RunReport,
    next_epoch: usize,
}

impl<'a> Recorder<'a> {
    /// For a run in a folder; `stop` is set where it cannot be written any more. Without `plots` nothing is drawn.
    pub fn new(run: RunDir, plots: bool, printer: &'a Printer, stop: &'a AtomicBool) -> Self {
        Recorder {
            printer,
            stop,
            run,
            plots,
            failure: None,
            findings: String::new(),
            told: Vec::new(),
            results: None,
            log: None,
            tensorboard: None,
            gallery: Gallery::new(1),
            names: Vec::new(),
            files: Vec::new(),
            report: RunReport::default(),
            next_epoch: 0,
        }
    }

    /// The first thing that could not be written, if any.
    pub fn take_failure(&mut self) -> Option<CliError> {
        self.failure.take()
    }

    fn keep(&mut self, outcome: Result<(), CliError>) {
        if let Err(error) = outcome {
            self.failure.get_or_insert(error);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn start(&mut self, run: &Started<'_>) -> Result<(), CliError> {
        let folder = self.run.path().to_owned();
        let results = Results::open(&folder, run.epoch)?;
        write_file(&folder.join("findings.txt"), self.findings.as_bytes())?;
        self.tensorboard = Some(EventFile::create(&folder, run.epoch)?);
        let mut log = EventLog::open(&folder, run.epoch)?;
        for remark in results.remark().into_iter().chain(log.remark()) {
            self.printer.warn(&remark);
            self.told.push(remark);
        }
        self.results = Some(results);
        log.started(run)?;
        self.log = Some(log);
        if self.plots {
            let boxes = label_plot([run.train]);
            let labels = plot_labels(&boxes);
            save_plot(&self.run, "labels.jpg", &labels)?;
            save_plot(&self.run, "labels_correlogram.jpg", &plot_correlogram(&boxes.boxes))?;
            let anchors = plot_anchors(&run.train.box_sizes(run.img, None), run.anchors, &run.summary.strides);
            save_plot(&self.run, "anchors.png", &anchors)?;
            self.report.data_charts = vec![labels, anchors];
        }
        Ok(())
    }

    /// The end: plots and the report, where wanted. Returns what the validation of the best weights showed.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn finish(mut self, finished: &Finished) -> Result<Option<Shown>, CliError> {
        if let Some(log) = &mut self.log {
            log.finished(finished, self.next_epoch)?;
        }
        let results = self.results.filter(|results| self.plots && !results.is_empty());
        if let Some(results) = &results {
            save_plot(&self.run, "results.png", &results.plot())?;
        }
        let Some(validation) = finished.validation.as_ref().filter(|_| !finished.interrupted) else {
            return Ok(None);
        };
        let shown = self.gallery.finish();
        if self.plots {
            save_validation(&self.run, &validation.report, &shown, &self.names)?;
            self.report.history = results.as_ref().map(Results::plots).unwrap_or_default();
            self.report.numbers = vec![
                ("epochs", self.next_epoch.to_string()),
                ("best epoch", (finished.best_epoch + 1).to_string()),
                ("training", clock(finished.elapsed)),
            ];
            self.report.findings = self.told.join("\n");
            for (name, file) in [("Settings", "opt.yaml"), ("Hyperparameters", "hyp.yaml")] {
                // Only a shown copy: a run folder without the file has a report without that part.
                if let Ok(text) = std::fs::read_to_string(self.run.join(file)) {
                    self.report.settings.push((name, text));
                }
            }
            self.report.save(&self.run, Some((&validation.report, &shown)), &self.names)?;
        }
        Ok(Some(shown))
    }
}

/// Writes the plots and pictures of a validation.
///
/// # Errors
/// A folder that cannot be written.
pub fn save_validation(
    run: &RunDir,
    report: &kinglet_eval::Report,
    shown: &Shown,
    names: &[String],
) -> Result<(), CliError> {
    save_report_plots(run, report, names)?;
    for (batch, [labels, detections]) in shown.batch_sheets(names).enumerate() {
        save_picture(run, &format!("val_batch{batch}_labels.jpg"), &labels)?;
        save_picture(run, &format!("val_batch{batch}_pred.jpg"), &detections)?;
    }
    Ok(())
}

/// Program and machine, as a report tells them.
pub fn environment(threads: usize, isa: &str) -> Vec<(&'static str, String)> {
    vec![
        ("Program", format!("kinglet {}", env!("CARGO_PKG_VERSION"))),
        ("Machine", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("Threads and instructions", format!("{threads}, {isa}")),
    ]
}

/// The summary of a scan, its notes and the findings by kind.
pub fn scan_lines(dataset: &Dataset) -> Vec<String> {
    let notes = dataset.notes.iter().map(|note| format!("  {note}"));
    std::iter::once(findings::summary_line(dataset)).chain(notes).chain(findings::grouped(&dataset.findings)).collect()
}

/// The pictures of a training batch, each with its targets as boxes in pixels.
pub(crate) fn batch_pictures(batch: &Batch) -> impl Iterator<Item = (Image, Vec<Detection>)> {
    let (w, h) = (batch.w as f32, batch.h as f32);
    let place = move |[cx, cy, bw, bh]: [f32; 4]| cxcywh_to_xyxy([cx * w, cy * h, bw * w, bh * h]);
    batch.images.chunks_exact(batch.h * batch.w * 3).enumerate().filter_map(move |(at, pixels)| {
        let own = batch.targets.iter().filter(|target| target.image == at);
        let boxes = own.map(|t| Detection { xyxy: place(t.cxcywh), score: 1.0, class: t.class }).collect();
        Some((Image::from_raw(batch.w, batch.h, pixels.to_vec())?, boxes))
    })
}

/// The pictures of a training batch on one sheet.
fn batch_sheet(batch: &Batch, names: &[String], files: &[String]) -> Image {
    let side = tile_side(batch.n);
    let tiles = batch_pictures(batch).take(TILES).enumerate().map(|(at, (image, boxes))| {
        let file = batch.indices.get(at).and_then(|sample| files.get(*sample)).map_or("", String::as_str);
        Tile::new(&image, side, file, &boxes, names, false)
    });
    sheet(&tiles.collect::<Vec<_>>())
}

impl Observer for Recorder<'_> {
    fn scanned(&mut self, dataset: &Dataset) {
        self.findings.push_str(&findings::full_text(dataset));
        self.told.extend(scan_lines(dataset));
    }

    fn started(&mut self, run: &Started<'_>) {
        self.names.clone_from(&run.train.names);
        self.next_epoch = run.epoch;
        self.gallery = Gallery::new(run.val_batch);
        if self.plots && run.epoch == 0 {
            let name = |sample: &Sample| sample.path.file_name().map(|n| n.to_string_lossy().into_owned());
            self.files = run.train.samples.iter().map(|s| name(s).unwrap_or_default()).collect();
        }
        let folder = self.run.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        self.report.title = format!("Training run {folder}");
        self.report.line = format!("{} on {}", run.summary.name, run.train.source.file.display());
        self.report.environment = vec![("Model", run.summary.totals())];
        self.report.environment.extend(environment(run.threads, run.isa));
        let outcome = self.start(run);
        self.keep(outcome);
    }

    fn diverged(&mut self, retreat: &Retreat) {
        self.told.push(retreat.to_string());
        if let Some(log) = &mut self.log {
            let written = log.diverged(retreat);
            self.keep(written);
        }
        let written = self.tensorboard.as_mut().map_or(Ok(()), |file| file.restart(retreat.epochs_done));
        self.keep(written);
    }

    fn batch_made(&mut self, epoch: usize, index: usize, batch: &Batch) {
        if self.plots && epoch == 0 && index < BATCHES {
            let picture = batch_sheet(batch, &self.names, &self.files);
            let written = save_picture(&self.run, &format!("train_batch{index}.jpg"), &picture);
            self.keep(written);
        }
    }

    fn batch(&mut self, batch: &BatchDone) {
        let written = self.log.as_mut().map_or(Ok(()), |log| log.batch(batch));
        self.keep(written);
    }

    fn detected(&mut self, sample: &Sample, detections: &[Detection]) {
        self.gallery.add(sample, detections);
    }

    fn epoch(&mut self, epoch: &EpochDone) {
        self.next_epoch = epoch.epoch + 1;
        let results = self.results.as_mut().map_or(Ok(()), |results| results.add(epoch));
        self.keep(results);
        let log = self.log.as_mut().map_or(Ok(()), |log| log.epoch(epoch));
        self.keep(log);
        let scalars = measured(epoch);
        let events = self.tensorboard.as_mut().map_or(Ok(()), |file| file.add(epoch.epoch, &scalars));
        self.keep(events);
    }
}
