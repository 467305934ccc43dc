//! What a training run looks like: the observer that prints.
//!
//! On a terminal a line of numbers moves with every batch; elsewhere each epoch prints one plain line and one row of
//! metrics, without control characters.

use crate::findings;
use crate::printer::{Printer, counted};
use crate::progress::{Bar, clock, epoch_header, epoch_row};
use kinglet_data::Dataset;
use kinglet_eval::table::{table_header, table_row};
use kinglet_nn::Transfer;
use kinglet_train::events::{BatchDone, EpochDone, Observer, Started};
use kinglet_train::guard::Retreat;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The epoch under way.
#[derive(Debug, Default)]
struct Current {
    bar: Bar,
    row: String,
    begun: Option<Instant>,
}

/// Prints a run.
#[derive(Debug)]
pub struct Console<'a> {
    printer: &'a Printer,
    folder: PathBuf,
    current: Current,
    validating: Bar,
    scanning: Bar,
    /// Time and number of the epochs done by this process.
    spent: (Duration, usize),
    header_printed: bool,
}

impl<'a> Console<'a> {
    /// For a run in `folder`.
    pub fn new(printer: &'a Printer, folder: &Path) -> Self {
        Console {
            printer,
            folder: folder.to_owned(),
            current: Current::default(),
            validating: Bar::default(),
            scanning: Bar::default(),
            spent: (Duration::ZERO, 0),
            header_printed: false,
        }
    }

    /// Time left of the run, from the epochs done and the one under way.
    fn run_left(&self, batch: &BatchDone, in_epoch: Duration) -> Duration {
        let share = (batch.batch + 1) as f64 / batch.batches.max(1) as f64;
        // Finished epochs include their validation; before the first one there is only the training to go by.
        let epoch_time = match self.spent {
            (time, n) if n > 0 => time.as_secs_f64() / n as f64,
            _ => in_epoch.as_secs_f64() / share,
        };
        let left = batch.epochs.saturating_sub(batch.epoch) as f64 * epoch_time - in_epoch.as_secs_f64();
        // What nobody lives to see is not a duration.
        Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX)
    }
}

impl Observer for Console<'_> {
    fn scanning(&mut self, split: &str, done: usize, total: usize) {
        if !self.scanning.is_visible() {
            self.scanning = Bar::new(self.printer, &format!("scanning {split}"), total);
        }
        self.scanning.advance(done, total);
    }

    fn scanned(&mut self, dataset: &Dataset) {
        self.scanning.clear();
        findings::print(dataset, self.printer);
    }

    fn note(&mut self, message: &str) {
        self.printer.say(message);
    }

    fn diverged(&mut self, retreat: &Retreat) {
        self.current.bar.clear();
        self.current = Current::default();
        self.printer.warn(&retreat.to_string());
    }

    fn transferred(&mut self, from: &Path, transfer: &Transfer) {
        let mut line =
            format!("{} of {} tensors taken from {}", transfer.loaded.len(), transfer.total(), from.display());
        if !transfer.mismatched.is_empty() {
            line.push_str(&format!("; of another shape, and left at random: {}", transfer.mismatched.len()));
        }
        if transfer.by_structure {
            self.printer.say(&format!(
                "{line}: the backbone, matched layer by layer; neck and head start at random{}",
                if transfer.unexpected.is_empty() {
                    String::new()
                } else {
                    format!(", {} tensors behind the backbone are not used", transfer.unexpected.len())
                }
            ));
        } else if transfer.loaded.len() * 2 < transfer.total() {
            self.printer.warn(&format!("{line}: these weights are mostly of another model"));
        } else {
            self.printer.say(&line);
        }
    }

    fn started(&mut self, run: &Started<'_>) {
        self.printer.say(&format!("\n{}\n", run.summary));
        self.printer.say(&format!(
            "{}, {} instructions; results go to {}",
            counted(run.threads, "thread"),
            run.isa,
            self.folder.display()
        ));
        self.printer.say(&format!(
            "training epochs {} to {} of {} batches each; Ctrl-C stops after a batch and can be resumed",
            run.epoch + 1,
            run.epochs,
            run.batches
        ));
    }

    fn batch(&mut self, batch: &BatchDone) {
        if self.current.begun.is_none() {
            // The first batch is done already; its time is lost to the estimate, which hardly matters.
            self.current.begun = Some(Instant::now());
            if self.printer.animates() {
                self.printer.say(&format!("\n{}", epoch_header()));
                self.current.bar = Bar::new(self.printer, "", batch.batches);
            }
        }
        let row = epoch_row(batch.epoch, batch.epochs, batch.memory, batch.losses, batch.instances, batch.size);
        self.current.row.clone_from(&row);
        if self.current.bar.is_visible() {
            let in_epoch = self.current.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
            let per_batch = in_epoch.as_secs_f64() / batch.batch.max(1) as f64;
            let left = Duration::from_secs_f64(per_batch * (batch.batches - batch.batch - 1) as f64);
            let remark = format!(
                "{:.1} img/s, {} left, run {}",
                batch.images_per_second,
                clock(left),
                clock(self.run_left(batch, in_epoch))
            );
            self.current.bar.update(batch.batch + 1, row, remark);
        }
    }

    fn validating(&mut self, done: usize, total: usize) {
        // The last line of the epoch stays above the bar of its validation.
        self.current.bar.keep();
        if !self.validating.is_visible() {
            self.validating = Bar::new(self.printer, &format!("{:>22}", "validating"), total);
        }
        self.validating.set(done);
        if done == total {
            self.validating.clear();
        }
    }

    fn epoch(&mut self, epoch: &EpochDone) {
        self.current.bar.keep();
        self.validating.clear();
        let remark = if epoch.is_best { "  best so far" } else { "" };
        // Plain output gets its two head lines once, a terminal above every epoch.
        let needs_header = self.printer.animates() || !self.header_printed;
        if !self.printer.animates() {
            if needs_header {
                self.printer.say(&format!("{}{:>9}", epoch_header(), "Time"));
            }
            self.printer.say(&format!("{}{:>9}", self.current.row, clock(epoch.elapsed)));
        }
        if let Some(validation) = &epoch.validation {
            let r = &validation.report;
            if needs_header {
                self.printer.say(&table_header());
            }
            self.header_printed = true;
            let values = [r.precision, r.recall, r.map50, r.map50_95];
            self.printer.say(&format!("{}{remark}", table_row("all", r.images, r.instances, values)));
        }
        self.spent.0 += epoch.elapsed;
        self.spent.1 += 1;
        self.current = Current::default();
    }
}
