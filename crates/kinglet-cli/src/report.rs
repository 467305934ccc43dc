//! `report.html`: a run on one page.

use crate::errors::CliError;
use crate::gallery::{Shown, shown_from};
use crate::output::write_file;
use crate::page::Page;
use crate::run_dir::RunDir;
use kinglet_data::Dataset;
use kinglet_eval::error_kinds::ErrorKind;
use kinglet_eval::figure::Figure;
use kinglet_eval::label_plots::LabelPlot;
use kinglet_eval::metrics::{ClassMetrics, Report};
use kinglet_eval::plots::{Curve, SMOOTHED_NOTE, plot_confusion, plot_curve, plot_errors};
use kinglet_eval::sizes::SIZES;

/// What a page tells of a run besides its validation.
#[derive(Debug, Default)]
pub struct RunReport {
    /// The heading.
    pub title: String,
    /// What was trained or measured on what, in a line.
    pub line: String,
    /// Numbers beside those of the validation.
    pub numbers: Vec<(&'static str, String)>,
    /// Losses and metrics of the epochs.
    pub history: Vec<Figure>,
    /// Charts of the data.
    pub data_charts: Vec<Figure>,
    /// What the scans found, in lines.
    pub findings: String,
    /// Settings, a part each: its name and text.
    pub settings: Vec<(&'static str, String)>,
    /// Program and machine.
    pub environment: Vec<(&'static str, String)>,
}

impl RunReport {
    /// Writes `report.html` into the run's folder.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, run: &RunDir, report: Option<(&Report, &Shown)>, names: &[String]) -> Result<(), CliError> {
        write_file(&run.join("report.html"), self.html(report, names).as_bytes())
    }

    fn html(&self, report: Option<(&Report, &Shown)>, names: &[String]) -> String {
        let mut page = Page::new(&self.title, &self.line);
        let mut numbers = Vec::new();
        if let Some((report, _)) = report {
            numbers.extend([
                ("mAP50-95", decimals(report.map50_95)),
                ("mAP50", decimals(report.map50)),
                ("precision", decimals(report.precision)),
                ("recall", decimals(report.recall)),
            ]);
        }
        numbers.extend(self.numbers.iter().cloned());
        page.numbers(&numbers);
        if !self.history.is_empty() {
            page.heading("Over the epochs");
            page.paragraph(&format!(
                "Losses should fall and metrics rise. Validation losses that rise again while training losses fall mean that \
                 the model learns its training images by heart: more images help, or fewer epochs. Where there are two lines, \
                 {SMOOTHED_NOTE}."
            ));
            page.figures(&self.history);
        }
        if let Some((report, shown)) = report {
            results(&mut page, report, shown, names);
        }
        page.heading("Data");
        self.data_charts.iter().for_each(|chart| page.figure(chart));
        page.lines(self.findings.trim_end());
        page.heading("Settings and machine");
        let rows: Vec<Vec<String>> =
            self.environment.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
        page.table(&[], &rows, true);
        for (name, text) in &self.settings {
            page.folded(name, |page| page.lines(text.trim_end()));
        }
        page.finish()
    }
}

/// The labels of splits, as their chart takes them.
pub fn label_plot<'a>(sets: impl IntoIterator<Item = &'a Dataset>) -> LabelPlot {
    let mut input = LabelPlot::default();
    for set in sets {
        input.names.clone_from(&set.names);
        for sample in &set.samples {
            input.boxes_per_image.push(sample.labels.len());
            input.boxes.extend(sample.labels.iter().map(|label| (label.class, label.cxcywh)));
        }
    }
    input
}

fn decimals(value: f64) -> String {
    format!("{value:.3}")
}

/// Everything about a validation.
fn results(page: &mut Page, report: &Report, shown: &Shown, names: &[String]) {
    page.heading("Classes");
    page.paragraph(&format!(
        "Measured on {} images with {} objects. Precision P is the share of detections that are right, recall R the share of \
         objects that are found, both at confidence {:.3}, where their balance F1 is best. mAP50 asks boxes to overlap by half, \
         mAP50-95 is the mean over stricter and stricter demands.",
        report.images, report.instances, report.confidence
    ));
    let row = |c: &ClassMetrics| {
        let counts = [c.name.clone(), c.images.to_string(), c.instances.to_string()];
        [&counts[..], &[c.p, c.r, c.ap50, c.ap].map(decimals)].concat()
    };
    let values = [report.precision, report.recall, report.map50, report.map50_95].map(decimals);
    let all = [&["all".to_owned(), report.images.to_string(), report.instances.to_string()][..], &values].concat();
    let rows: Vec<Vec<String>> = std::iter::once(all).chain(report.per_class.iter().map(row)).collect();
    page.table(&["Class", "Images", "Instances", "P", "R", "mAP50", "mAP50-95"], &rows, false);

    page.heading("Sizes");
    page.paragraph("Small objects cover less than 32 x 32 pixels of their image, large ones 96 x 96 and more.");
    let value = |value: Option<f64>| value.map_or("-".to_owned(), decimals);
    let sizes = SIZES.iter().zip(&shown.sizes);
    let rows: Vec<Vec<String>> = sizes
        .map(|(name, m)| vec![(*name).to_owned(), m.instances.to_string(), value(m.map50), value(m.map50_95)])
        .collect();
    page.table(&["Size", "Instances", "mAP50", "mAP50-95"], &rows, false);

    page.heading("Curves");
    page.figure(&plot_curve(report, Curve::PrecisionRecall));
    page.figure(&plot_curve(report, Curve::F1));
    page.folded("Precision and recall against confidence", |page| {
        page.figure(&plot_curve(report, Curve::Precision));
        page.figure(&plot_curve(report, Curve::Recall));
    });

    page.heading("What is taken for what");
    page.paragraph(&format!(
        "Each column is what became of the objects of a class, from confidence {} on. The last row are objects that are not \
         found, the last column detections where there is none.",
        shown_from()
    ));
    page.figure(&plot_confusion(&report.confusion, names));

    page.heading("Errors");
    page.paragraph(&format!(
        "Every wrong detection and every object that is not found is an error of one kind (TIDE, arXiv:2008.08115). The number \
         counts those from confidence {} on; the cost is how far mAP50 would rise if there were none of that kind, at any \
         confidence. Costs do not add up.",
        shown_from()
    ));
    page.figure(&plot_errors(&shown.errors));
    let rows = ErrorKind::ALL.map(|kind| {
        let found = shown.errors.of(kind);
        vec![kind.name().to_owned(), found.count.to_string(), decimals(found.cost), kind.describe().to_owned()]
    });
    page.table(&["Kind", "Errors", "Cost in mAP50", "Means"], &rows, true);

    let mut worst = shown.worst_pictures(names).peekable();
    if worst.peek().is_some() {
        page.heading("Images with most errors");
        page.paragraph(
            "Look here for labels that are missing or wrong, before the model is blamed. Frames are white where a detection is \
             right.",
        );
        page.legend(&ErrorKind::ALL.map(|kind| (kind.name(), kind.colour())));
        page.pictures(worst);
    }
}
