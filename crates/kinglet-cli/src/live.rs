//! What a browser sees of a training: the observer that puts everything on a [`Board`].
//!
//! Pictures are drawn by a thread of their own. Where it is still busy, the next ones are left out, so that the training
//! never waits. Clocks decide when pictures are taken, and nothing else.

use crate::commands::detect_output::counts;
use crate::errors::CliError;
use crate::printer::Printer;
use crate::recorder::batch_pictures;
use crate::results::{Results, row_of};
use kinglet_data::{Batch, Sample};
use kinglet_server::live::{self, Board};
use kinglet_server::{HttpOptions, Server, Stop, http};
use kinglet_train::TrainError;
use kinglet_train::events::{BatchDone, EpochDone, Finished, Observer, Started};
use kinglet_train::guard::Retreat;
use kinglet_vision::decode::{self, Limits};
use kinglet_vision::encode::jpeg_bytes;
use kinglet_vision::image::Region;
use kinglet_vision::{Detection, DrawOptions, Image, draw_detections};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pictures of a group.
const PICTURES: usize = 8;
/// Longest side of a validation picture on the page.
const SIDE: usize = 480;
/// Detections below this score are not drawn.
const SHOWN_SCORE: f32 = 0.25;
const JPEG_QUALITY: u8 = 85;
/// Least time between two looks at the pictures of a group: drawing takes time from short epochs.
const PICTURE_PAUSE: Duration = Duration::from_secs(5);
/// The newest notes are kept.
const NOTES: usize = 100;
/// At the end, browsers that watch get this long to fetch the last pictures.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Pictures to be drawn.
enum Canvas {
    /// Of a batch, with its targets.
    Pixels(Image, Vec<Detection>),
    /// Of a file of this width and height, with what was found.
    File(PathBuf, (usize, usize), Vec<Detection>),
}

struct Order {
    group: &'static str,
    title: String,
    canvases: Vec<Canvas>,
    names: Vec<String>,
}

/// Shows a run.
#[derive(Debug)]
pub struct Live {
    board: Board,
    stop: Stop,
    server: Server,
    folder: PathBuf,
    names: Vec<String>,
    painter: Option<(SyncSender<Order>, JoinHandle<()>)>,
    /// When batches and validation images were drawn last.
    painted: [Option<Instant>; 2],
    /// When the run began, and with which epoch.
    begun: (Instant, usize),
    batch: Value,
    found: Vec<(PathBuf, (usize, usize), Vec<Detection>)>,
    notes: usize,
}

impl Live {
    /// A page at the address, where there is one.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn open(address: Option<&(String, u16)>, printer: &Printer) -> Result<Option<Live>, CliError> {
        let Some((host, port)) = address else { return Ok(None) };
        let listener =
            http::listen(host, *port).map_err(|error| CliError::input(format!("{error}: --ui HOST:PORT")))?;
        let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let (board, stop) = (Board::default(), Stop::default());
        let router = live::router(board.clone(), stop.clone());
        let server = Server::start(listener, router, stop.clone(), HttpOptions::default()).map_err(CliError::input)?;
        printer.say(&format!("the training can be watched at {}", server.url()));
        if !is_local {
            printer.warn(
                "others on the network can watch, too: there is no key; --ui without a value is for this machine alone",
            );
        }
        let (orders, queue) = sync_channel::<Order>(1);
        let shown = board.clone();
        let work = move || queue.iter().for_each(|order| paint(&shown, order));
        let painter = std::thread::Builder::new().name("painter".into()).spawn(work).map_err(CliError::input)?;
        Ok(Some(Live {
            board,
            stop,
            server,
            folder: PathBuf::new(),
            names: Vec::new(),
            painter: Some((orders, painter)),
            painted: [None; 2],
            begun: (Instant::now(), 0),
            batch: Value::Null,
            found: Vec::new(),
            notes: 0,
        }))
    }

    /// Names the run's folder, before the run starts.
    pub fn set_folder(&mut self, folder: &Path) {
        self.folder = folder.to_owned();
    }

    /// Tells how the run ended, and closes the page's server.
    pub fn finish(mut self, outcome: &Result<Finished, TrainError>) {
        let (good, text) = match outcome {
            Ok(run) if run.interrupted => (false, "interrupted; `kinglet train --resume` goes on".to_owned()),
            Ok(run) if run.stopped_early => {
                (true, format!("done: nothing improved any more after {} epochs", run.epochs))
            }
            Ok(run) => (true, format!("done: {} epochs", run.epochs)),
            Err(error) => (false, format!("stopped: {error}")),
        };
        if let Some((orders, painter)) = self.painter.take() {
            drop(orders);
            // A panic of the painter was printed when it happened; the training is not concerned.
            let _ = painter.join();
        }
        self.board.put("finished", "finished", &json!({"good": good, "text": text}));
        if self.board.is_watched() {
            std::thread::sleep(LAST_LOOK);
        }
        self.stop.stop();
        self.server.join();
    }

    /// Has pictures drawn, where the painter is free.
    fn order(&mut self, group: &'static str, title: String, canvases: impl FnOnce() -> Vec<Canvas>) {
        if let Some((orders, _)) = &self.painter {
            // A full queue means that these are left out; there will be others.
            let _ = orders.try_send(Order { group, title, canvases: canvases(), names: self.names.clone() });
        }
    }

    fn put_epoch(&self, row: &[f64; 14], validated: bool, images_per_second: Option<f64>) {
        let measured = |value: f64| validated.then_some(value);
        let epoch = row[0] as usize + 1;
        self.board.put(
            format!("epoch/{epoch}"),
            "epoch",
            &json!({
                "epoch": epoch, "train_losses": row[1..4], "precision": measured(row[4]), "recall": measured(row[5]),
                "map50": measured(row[6]), "map50_95": measured(row[7]), "val_losses": validated.then(|| &row[8..11]),
                "lrs": row[11..14], "images_per_second": images_per_second,
            }),
        );
    }
}

impl Observer for Live {
    fn note(&mut self, message: &str) {
        self.notes += 1;
        let value = json!({"number": self.notes, "text": message});
        self.board.put(format!("note/{}", self.notes % NOTES), "note", &value);
    }

    fn diverged(&mut self, retreat: &Retreat) {
        self.note(&retreat.to_string());
    }

    fn started(&mut self, run: &Started<'_>) {
        self.names.clone_from(&run.train.names);
        self.begun = (Instant::now(), run.epoch);
        let id = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis());
        self.board.put(
            "run",
            "run",
            &json!({"id": id.to_string(), "name": self.folder, "epochs": run.epochs, "images": run.train.samples.len()}),
        );
        // Where the table cannot be read, whoever keeps it ends the run.
        let earlier = Results::open(&self.folder, run.epoch);
        for row in earlier.iter().flat_map(Results::rows) {
            // A table holds zeros where nothing was measured.
            self.put_epoch(row, row[4..11].iter().any(|&v| v != 0.0), None);
        }
    }

    fn batch_made(&mut self, epoch: usize, index: usize, batch: &Batch) {
        let due = self.painted[0].is_none_or(|at| at.elapsed() >= PICTURE_PAUSE);
        if !due || !(index == 0 || self.board.is_watched()) {
            return;
        }
        self.painted[0] = Some(Instant::now());
        let title = format!("What it learns from: augmented pictures, epoch {}, batch {}", epoch + 1, index + 1);
        let canvases =
            || batch_pictures(batch).take(PICTURES).map(|(image, boxes)| Canvas::Pixels(image, boxes)).collect();
        self.order("train", title, canvases);
    }

    fn batch(&mut self, batch: &BatchDone) {
        let within = (batch.batch + 1) as f64 / batch.batches.max(1) as f64;
        let (begun, first) = self.begun;
        let done = (batch.epoch - first) as f64 + within;
        let left = begun.elapsed().as_secs_f64() / done * ((batch.epochs - first) as f64 - done).max(0.0);
        self.batch = json!({
            "epoch": batch.epoch + 1, "done": batch.batch + 1, "batches": batch.batches, "losses": batch.losses,
            "images_per_second": batch.images_per_second, "waiting": batch.waiting, "memory": batch.memory,
            "instances": batch.instances, "size": batch.size, "seconds_left": left,
        });
        self.board.put("batch", "batch", &self.batch);
    }

    fn validating(&mut self, done: usize, total: usize) {
        self.batch["validating"] = json!([done, total]);
        self.board.put("batch", "batch", &self.batch);
    }

    fn validated(&mut self, sample: &Sample, detections: &[Detection]) {
        if self.found.len() < PICTURES {
            let shown = detections.iter().filter(|d| d.score >= SHOWN_SCORE).copied().collect();
            self.found.push((sample.path.clone(), (sample.width, sample.height), shown));
        }
    }

    fn epoch(&mut self, epoch: &EpochDone) {
        let found = std::mem::take(&mut self.found);
        let speed = self.batch["images_per_second"].as_f64();
        self.put_epoch(&row_of(epoch), epoch.validation.is_some(), speed);
        let due = self.painted[1].is_none_or(|at| at.elapsed() >= PICTURE_PAUSE);
        if !found.is_empty() && (due || epoch.epoch + 1 == epoch.epochs) {
            self.painted[1] = Some(Instant::now());
            let title = format!(
                "What it finds: validation images after epoch {}, scores from {SHOWN_SCORE} on",
                epoch.epoch + 1
            );
            self.order("val", title, || found.into_iter().map(|(path, size, d)| Canvas::File(path, size, d)).collect());
        }
    }
}

/// Draws pictures and shows them.
fn paint(board: &Board, order: Order) {
    let names = &order.names;
    let drawn = order.canvases.into_iter().filter_map(|canvas| {
        let (mut image, boxes, what, scores) = match canvas {
            Canvas::Pixels(image, boxes) => (image, boxes, "labels", false),
            Canvas::File(path, (width, height), mut boxes) => {
                let shrink = (SIDE as f32 / width.max(height).max(1) as f32).min(1.0);
                let side = |v: usize| ((v as f32 * shrink).round() as usize).max(1);
                // An image that cannot be read any more is told by the loader.
                let (width, height) = (side(width), side(height));
                let all = Region::whole(width, height);
                let image = decode::read_resized(path, &Limits::default(), (width, height), true, &all).ok()?;
                boxes.iter_mut().for_each(|d| d.xyxy = d.xyxy.map(|v| v * shrink));
                (image, boxes, "found", true)
            }
        };
        let draw = DrawOptions { hide_conf: !scores, ..DrawOptions::default() };
        draw_detections(&mut image, &boxes, names, &draw);
        let counted = if boxes.is_empty() { "none".to_owned() } else { counts(&boxes, names) };
        let text = format!("{what}: {counted}");
        Some((jpeg_bytes(&image, JPEG_QUALITY).ok()?, text))
    });
    let drawn = drawn.collect();
    board.show(order.group, &order.title, drawn);
}
