//! `events.jsonl`: what happens in a run, one JSON object a line, as it happens.
//!
//! Every event has `event` (`start`, `batch`, `epoch`, `diverged` or `end`) and `epoch` (from 0). Numbers that an epoch has not
//! measured are left out. A line is written at once and whole; the file grows at its end only.

use crate::errors::CliError;
use crate::output::{read_earlier, write_file};
use crate::results::{left_out, measured};
use kinglet_train::events::{BatchDone, EpochDone, Finished, Started};
use kinglet_train::guard::Retreat;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The log of a run.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
    damaged: usize,
}

impl EventLog {
    /// Opens the log in a run folder. Of what stands there, the lines of epochs before `first` stay: later epochs run again.
    ///
    /// # Errors
    /// A log that cannot be read, a folder that cannot be written.
    pub fn open(folder: &Path, first: usize) -> Result<Self, CliError> {
        let path = folder.join("events.jsonl");
        let old = if first > 0 { read_earlier(&path)?.unwrap_or_default() } else { String::new() };
        let (mut kept, mut damaged) = (String::new(), 0);
        for line in old.split_inclusive('\n').filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line).ok().and_then(|event: Value| event["epoch"].as_u64()) {
                Some(epoch) if epoch < first as u64 => kept.push_str(&format!("{}\n", line.trim_end())),
                Some(_) => {}
                // A process that was killed leaves half a line at the end.
                None => damaged += usize::from(line.ends_with('\n')),
            }
        }
        write_file(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|error| CliError::write(&path, &error))?;
        Ok(EventLog { path, file, damaged })
    }

    /// What is to be told of lines that were left out.
    pub fn remark(&self) -> Option<String> {
        left_out(self.damaged, &self.path)
    }

    fn write(&mut self, event: &Value) -> Result<(), CliError> {
        self.file.write_all(format!("{event}\n").as_bytes()).map_err(|error| CliError::write(&self.path, &error))
    }

    /// The run begins, or goes on.
    ///
    /// # Errors
    /// A full disk; so for all events.
    pub fn started(&mut self, run: &Started<'_>) -> Result<(), CliError> {
        self.write(&json!({
            "event": "start", "epoch": run.epoch, "epochs": run.epochs, "batches": run.batches,
            "train_images": run.train.samples.len(), "val_images": run.val.map_or(0, |val| val.samples.len()),
            "classes": run.train.names, "model": run.summary.name, "params": run.summary.params, "imgsz": run.img,
            "threads": run.threads, "version": env!("CARGO_PKG_VERSION"),
        }))
    }

    /// The run goes back to an earlier state.
    ///
    /// # Errors
    /// A full disk.
    pub fn diverged(&mut self, retreat: &Retreat) -> Result<(), CliError> {
        let divergence = &retreat.divergence;
        self.write(&json!({
            "event": "diverged", "epoch": divergence.epoch - 1, "batch": divergence.batch - 1,
            "what": divergence.to_string(), "epochs_done": retreat.epochs_done, "lr": retreat.lr,
        }))
    }

    /// A batch is done.
    ///
    /// # Errors
    /// A full disk.
    pub fn batch(&mut self, batch: &BatchDone) -> Result<(), CliError> {
        let [box_, obj, cls] = batch.losses;
        self.write(&json!({
            "event": "batch", "epoch": batch.epoch, "batch": batch.batch, "box_loss": box_, "obj_loss": obj,
            "cls_loss": cls, "instances": batch.instances, "size": batch.size,
        }))
    }

    /// An epoch is done.
    ///
    /// # Errors
    /// A full disk.
    pub fn epoch(&mut self, epoch: &EpochDone) -> Result<(), CliError> {
        let mut event = json!({"event": "epoch", "epoch": epoch.epoch});
        for (name, value) in measured(epoch) {
            event[name] = json!(value);
        }
        event["best"] = json!(epoch.is_best);
        event["seconds"] = json!(epoch.elapsed.as_secs_f64());
        self.write(&event)
    }

    /// The run ends; `epoch` is the one that would come next.
    ///
    /// # Errors
    /// A full disk.
    pub fn finished(&mut self, finished: &Finished, next: usize) -> Result<(), CliError> {
        let validation = finished.validation.as_ref().map(|v| super::commands::report_json(&v.report));
        self.write(&json!({
            "event": "end", "epoch": next, "best_epoch": finished.best_epoch, "seconds": finished.elapsed.as_secs_f64(),
            "stopped_early": finished.stopped_early, "interrupted": finished.interrupted, "validation": validation,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_resumed_run_goes_on_behind_the_epochs_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let lines = || std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        let batch = |epoch| BatchDone {
            epoch,
            epochs: 3,
            batch: 0,
            batches: 1,
            losses: [0.5, 0.25, 0.0],
            instances: 2,
            size: 64,
            images_per_second: 1.0,
            waiting: 0.0,
            memory: 0,
        };
        let epoch = |number| EpochDone {
            epoch: number,
            epochs: 3,
            train_losses: [0.5, 0.25, 0.0],
            validation: None,
            lrs: [0.1, 0.01, 0.01],
            is_best: false,
            elapsed: Duration::from_millis(1500),
        };
        let mut log = EventLog::open(dir.path(), 0).unwrap();
        for number in 0..2 {
            log.batch(&batch(number)).unwrap();
            log.epoch(&epoch(number)).unwrap();
        }
        // A killed process may leave half a line.
        std::fs::write(dir.path().join("events.jsonl"), lines() + "{\"event\":\"batch\",\"epo").unwrap();
        let before = lines();
        let mut log = EventLog::open(dir.path(), 1).unwrap();
        assert_eq!(lines(), before.lines().take(2).map(|line| format!("{line}\n")).collect::<String>());
        log.batch(&batch(1)).unwrap();
        log.epoch(&epoch(1)).unwrap();
        assert_eq!(lines().lines().collect::<Vec<_>>(), before.lines().take(4).collect::<Vec<_>>());
        let expected = "{\"event\":\"epoch\",\"epoch\":1,\"train/box_loss\":0.5,\"train/obj_loss\":0.25,\
            \"train/cls_loss\":0.0,\"x/lr0\":0.1,\"x/lr1\":0.01,\"x/lr2\":0.01,\"best\":false,\"seconds\":1.5}";
        assert_eq!(lines().lines().last(), Some(expected), "nothing was validated");
    }
}
