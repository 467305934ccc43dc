//! How far things are: bars on a terminal, plain lines (or nothing) elsewhere.

use crate::printer::Printer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar that exists only where it can be seen.
#[derive(Debug, Default)]
pub struct Bar {
    bar: Option<ProgressBar>,
}

impl Bar {
    /// A bar behind `title` with `total` steps.
    pub fn new(printer: &Printer, title: &str, total: usize) -> Self {
        if !printer.animates() || total == 0 {
            return Bar { bar: None };
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} {bar:12} {pos}/{len} {prefix}").expect("the template is valid");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(title.to_owned());
        Bar { bar: Some(bar) }
    }

    /// Moves to `done`.
    pub fn set(&self, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
    }

    /// Moves to `done` of `total`.
    pub fn advance(&self, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    /// Moves to `done` with a new title and remark.
    pub fn update(&self, done: usize, title: String, remark: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(title);
            bar.set_prefix(remark);
            bar.set_position(done as u64);
        }
    }

    /// Whether the bar can be seen.
    pub fn is_visible(&self) -> bool {
        self.bar.is_some()
    }

    /// Leaves the line as it is and goes to the next.
    pub fn keep(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A duration for people: `8s`, `2m05s`, `3h04m`.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// The head line of a training: seven columns of eleven.
pub fn epoch_header() -> String {
    ["Epoch", "Memory", "box_loss", "obj_loss", "cls_loss", "Instances", "Size"]
        .iter()
        .map(|title| format!("{title:>11}"))
        .collect()
}

/// A line under it. `epoch` counts from 0 and is shown from 1; `memory` is in bytes.
pub fn epoch_row(
    epoch: usize,
    epochs: usize,
    memory: usize,
    losses: [f64; 3],
    instances: usize,
    size: usize,
) -> String {
    let mut line = format!("{:>11}", format!("{}/{epochs}", epoch + 1));
    line.push_str(&format!("{:>11}", format!("{}G", kinglet_eval::table::general(memory as f64 / 1e9, 3))));
    for loss in losses {
        line.push_str(&format!("{:>11}", kinglet_eval::table::general(loss, 4)));
    }
    line.push_str(&format!("{instances:>11}{size:>11}"));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let shown = [0, 59, 60, 125, 3600, 11_040].map(|s| clock(Duration::from_secs(s)));
        assert_eq!(shown, ["0s", "59s", "1m00s", "2m05s", "1h00m", "3h04m"]);
    }

    #[test]
    fn the_row_stands_under_its_header() {
        assert_eq!(epoch_header().len(), 77);
        assert_eq!(
            epoch_row(0, 100, 1_234_000_000, [0.123_456, 0.05, 0.0], 84, 640),
            "      1/100      1.23G     0.1235       0.05          0         84        640"
        );
    }
}
