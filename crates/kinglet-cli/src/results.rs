//! `results.csv` and `results.png`: what each epoch gave.
//!
//! Columns, order and format are YOLOv5's (`%20.5g`, comma-separated), so that its readers and notebooks work. Values
//! that an epoch has not measured are 0, as there.

use crate::errors::CliError;
use crate::output::{read_earlier, write_file};
use crate::printer::counted;
use kinglet_eval::figure::Figure;
use kinglet_eval::plots::{Series, plot_history};
use kinglet_eval::table::general;
use kinglet_train::events::EpochDone;
use std::path::{Path, PathBuf};

/// The columns, in order.
pub const COLUMNS: [&str; 14] = [
    "epoch",
    "train/box_loss",
    "train/obj_loss",
    "train/cls_loss",
    "metrics/precision",
    "metrics/recall",
    "metrics/mAP_0.5",
    "metrics/mAP_0.5:0.95",
    "val/box_loss",
    "val/obj_loss",
    "val/cls_loss",
    "x/lr0",
    "x/lr1",
    "x/lr2",
];

/// The columns that become charts, in order, and what they are called.
const CHARTS: [(usize, &str); 10] = [
    (1, "Box loss, training"),
    (2, "Objectness loss, training"),
    (3, "Class loss, training"),
    (4, "Precision"),
    (5, "Recall"),
    (8, "Box loss, validation"),
    (9, "Objectness loss, validation"),
    (10, "Class loss, validation"),
    (6, "mAP50"),
    (7, "mAP50-95"),
];

/// The columns that only a validation measures.
const VALIDATION: std::ops::Range<usize> = 4..11;

/// The rows of a run, kept in step with its file.
#[derive(Debug, Clone)]
pub struct Results {
    path: PathBuf,
    rows: Vec<[f64; 14]>,
    damaged: usize,
}

/// What is to be told where `lines` of an earlier run's file are not understood.
pub(crate) fn left_out(lines: usize, path: &Path) -> Option<String> {
    let lines = (lines > 0).then(|| counted(lines, "line"))?;
    Some(format!("{lines} of `{}` could not be understood and left out", path.display()))
}

/// One line of the file.
pub fn csv_row(row: &[f64; 14]) -> String {
    row.iter().map(|&value| format!("{:>20}", general(value, 5))).collect::<Vec<_>>().join(",")
}

/// The head line of the file.
pub fn csv_header() -> String {
    COLUMNS.iter().map(|name| format!("{name:>20}")).collect::<Vec<_>>().join(",")
}

/// The numbers of an epoch.
pub fn row_of(epoch: &EpochDone) -> [f64; 14] {
    let mut row = [0.0; 14];
    row[0] = epoch.epoch as f64;
    row[1..4].copy_from_slice(&epoch.train_losses);
    if let Some(validation) = &epoch.validation {
        let report = &validation.report;
        row[4..8].copy_from_slice(&[report.precision, report.recall, report.map50, report.map50_95]);
        row[8..11].copy_from_slice(&validation.losses);
    }
    row[11..14].copy_from_slice(&epoch.lrs);
    row
}

/// The names and numbers of an epoch that were measured, without its own number.
pub fn measured(epoch: &EpochDone) -> Vec<(&'static str, f64)> {
    let all = COLUMNS.into_iter().zip(row_of(epoch)).enumerate().skip(1);
    let is_measured = |at: usize| epoch.validation.is_some() || !VALIDATION.contains(&at);
    all.filter(|(at, _)| is_measured(*at)).map(|(_, pair)| pair).collect()
}

impl Results {
    /// The results in a run folder before epoch `first`: those of an earlier process, where a run is resumed.
    ///
    /// Later rows belong to epochs that will run again. Lines that are no rows are left out, and counted.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn open(folder: &Path, first: usize) -> Result<Self, CliError> {
        let path = folder.join("results.csv");
        let text = if first > 0 { read_earlier(&path)?.unwrap_or_default() } else { String::new() };
        let parse = |line: &str| -> Option<[f64; 14]> {
            let values: Option<Vec<f64>> = line.split(',').map(|value| value.trim().parse().ok()).collect();
            values?.try_into().ok()
        };
        let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty());
        let (rows, damaged): (Vec<_>, Vec<_>) = lines.map(parse).partition(Option::is_some);
        let rows = rows.into_iter().flatten().filter(|row| row[0] < first as f64).collect();
        Ok(Results { path, rows, damaged: damaged.len() })
    }

    /// Adds an epoch and writes the file anew, whole or not at all.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn add(&mut self, epoch: &EpochDone) -> Result<(), CliError> {
        // A run that went back to an earlier state does its epochs again.
        self.rows.retain(|row| row[0] < epoch.epoch as f64);
        self.rows.push(row_of(epoch));
        write_file(&self.path, self.text().as_bytes())
    }

    /// What is to be told of lines that were left out.
    pub fn remark(&self) -> Option<String> {
        left_out(self.damaged, &self.path)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in order.
    pub fn rows(&self) -> &[[f64; 14]] {
        &self.rows
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = csv_header();
        text.push('\n');
        for row in &self.rows {
            text.push_str(&csv_row(row));
            text.push('\n');
        }
        text
    }

    /// The curves as `results.png` has them: ten small charts in two rows.
    pub fn plot(&self) -> Figure {
        plot_history(&self.charts(), 5)
    }

    /// The same charts, each by itself.
    pub fn plots(&self) -> Vec<Figure> {
        self.charts().into_iter().map(|chart| plot_history(&[chart], 1)).collect()
    }

    /// A chart for each column that is shown. Epochs are counted from 1, and those without a validation leave gaps.
    fn charts(&self) -> Vec<(String, Vec<Series>)> {
        let is_gap = |row: &[f64; 14], at: usize| VALIDATION.contains(&at) && row[VALIDATION].iter().all(|v| *v == 0.0);
        let chart = |(column, title): (usize, &str)| {
            let value = |row: &[f64; 14]| if is_gap(row, column) { f64::NAN } else { row[column] };
            let points = self.rows.iter().map(|row| (row[0] + 1.0, value(row))).collect();
            (title.to_owned(), vec![Series { name: String::new(), points }])
        };
        CHARTS.into_iter().map(chart).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn epoch(number: usize) -> EpochDone {
        EpochDone {
            epoch: number,
            epochs: 3,
            train_losses: [0.123_456_78, 0.05, 0.0],
            validation: None,
            lrs: [0.1, 0.003_333_3, 1e-7],
            is_best: false,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn rows_have_twenty_columns_a_value_and_five_digits() {
        let row = csv_row(&row_of(&epoch(1)));
        assert_eq!(row.len(), 14 * 20 + 13);
        let values: Vec<&str> = row.split(',').map(str::trim).collect();
        assert_eq!(values[4..11], ["0"; 7], "nothing was validated");
        assert!(
            row.starts_with("                   1,             0.12346,                0.05,                   0,")
        );
        assert!(row.ends_with("                 0.1,           0.0033333,               1e-07"));
        assert!(csv_header().starts_with("               epoch,      train/box_loss,"));
        assert!(csv_header().contains(",metrics/mAP_0.5:0.95,"));
    }

    #[test]
    fn a_resumed_run_keeps_the_epochs_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::open(dir.path(), 0).unwrap();
        for number in 0..3 {
            results.add(&epoch(number)).unwrap();
        }
        let mut resumed = Results::open(dir.path(), 2).unwrap();
        resumed.add(&epoch(2)).unwrap();
        assert_eq!(resumed.text(), results.text());
        assert_eq!(std::fs::read_to_string(dir.path().join("results.csv")).unwrap(), results.text());
        assert_eq!(Results::open(dir.path(), 0).unwrap().rows.len(), 0);
    }
    #[test]
    fn a_damaged_line_is_told_and_a_table_that_cannot_be_read_ends_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::open(dir.path(), 0).unwrap();
        (0..3).for_each(|number| results.add(&epoch(number)).unwrap());
        let file = dir.path().join("results.csv");
        let mut bytes = results.text().into_bytes();
        // In the second row.
        let at = 2 * (14 * 20 + 14) + 19;
        bytes[at] = 0xb5;
        std::fs::write(&file, bytes).unwrap();
        let resumed = Results::open(dir.path(), 3).unwrap();
        assert_eq!(resumed.rows().iter().map(|row| row[0]).collect::<Vec<_>>(), [0.0, 2.0]);
        let remark = resumed.remark().unwrap();
        assert!(remark.starts_with("1 line of `") && remark.contains("results.csv"), "{remark}");
        assert_eq!(Results::open(dir.path(), 0).unwrap().remark(), None);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(Results::open(dir.path(), 3).unwrap_err().to_string().contains("results.csv"));
    }
}
