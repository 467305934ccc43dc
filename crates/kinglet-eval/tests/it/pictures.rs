//! Plots draw something and stand odd input. With `KINGLET_PLOTS` set to a folder they are kept there to be looked at.

use kinglet_eval::plots::{Curve, Series, plot_confusion, plot_curve, plot_errors, plot_history};
use kinglet_eval::{ConfusionMatrix, ErrorAnalysis, Evaluator, Figure, LabelBox, Report};
use kinglet_vision::Detection;
use kinglet_vision::encode::write_png;

fn keep(figure: &Figure, name: &str) {
    let image = &figure.to_image();
    if let Ok(folder) = std::env::var("KINGLET_PLOTS") {
        write_png(image, std::path::Path::new(&folder).join(name)).unwrap();
    }
    let coloured = image.data.chunks(3).filter(|p| **p != [255; 3]).count();
    assert!(coloured > 500, "{name}: {coloured} pixels are not white");
}

/// Made-up detections of `nc` classes, worse for higher classes.
fn report(nc: usize) -> (Report, Vec<String>) {
    let names: Vec<String> =
        (0..nc).map(|i| ["RBC", "WBC", "Platelets"].get(i).map_or(format!("class {i}"), |n| (*n).into())).collect();
    let mut evaluator = Evaluator::new(nc);
    let mut state = 7u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    for index in 0..60 {
        let (mut found, mut labels) = (Vec::new(), Vec::new());
        for i in 0..6 {
            let class = (index + i * 7) % nc;
            let x = i as f32 * 60.0;
            labels.push(LabelBox { class, xyxy: [x, 0.0, x + 40.0, 40.0] });
            let shift = random() * (6.0 + 9.0 * class as f32 / nc as f32);
            let seen = if random() < 0.1 { (class + 1) % nc } else { class };
            if random() < 0.9 {
                found.push(Detection {
                    xyxy: [x + shift, 0.0, x + 40.0 + shift, 40.0],
                    score: 0.2 + 0.8 * random() * (1.0 - shift / 20.0),
                    class: seen,
                });
            }
            if random() < 0.4 {
                found.push(Detection { xyxy: [x, 100.0, x + 30.0, 130.0], score: random() * 0.6, class });
            }
        }
        evaluator.add_image(index, &found, &labels, &[]);
    }
    (evaluator.finish(&names), names)
}

#[test]
fn curves_and_matrices_of_few_and_many_classes_are_drawn() {
    for nc in [1, 3, 40] {
        let (report, names) = report(nc);
        keep(&plot_curve(&report, Curve::PrecisionRecall), &format!("pr_{nc}.png"));
        let f1 = plot_curve(&report, Curve::F1);
        keep(&f1, &format!("f1_{nc}.png"));
        let told = format!(" at {:.3}<", report.confidence);
        assert!(f1.to_svg().contains(&told), "the confidence of the table's precision and recall: {told}");
        keep(&plot_curve(&report, Curve::Precision), &format!("p_{nc}.png"));
        keep(&plot_curve(&report, Curve::Recall), &format!("r_{nc}.png"));
        keep(&plot_confusion(&report.confusion, &names), &format!("confusion_{nc}.png"));
    }
    let nothing = Evaluator::new(0).finish(&[]);
    keep(&plot_curve(&nothing, Curve::F1), "nothing.png");
    keep(&plot_confusion(&nothing.confusion, &[]), "no_confusion.png");
}

#[test]
fn the_picture_of_a_matrix_is_bounded_and_one_cell_of_thousands_is_seen() {
    let mut matrix = ConfusionMatrix::new(2000);
    matrix.add(&[], &[LabelBox { class: 7, xyxy: [0.0, 0.0, 9.0, 9.0] }], &[]);
    let figure = plot_confusion(&matrix, &[]);
    assert!(figure.width < 6400 && figure.height < 6400, "{} x {}", figure.width, figure.height);
    // 6000 / 2001 pixels a cell; missed labels are in the last row. The matrix begins at (190, 60).
    assert!(figure.to_svg().contains("<rect x=\"211\" y=\"6057\" width=\"3\" height=\"3\""));
}

#[test]
fn the_cost_of_errors_is_drawn_even_where_there_are_none() {
    keep(&plot_errors(&ErrorAnalysis::default().finish()), "no_errors.png");
}

#[test]
fn a_training_history_is_drawn_even_with_gaps_or_one_epoch() {
    let line = |name: &str, f: &dyn Fn(f64) -> f64| Series {
        name: name.into(),
        points: (0..100).map(|i| (f64::from(i), f(f64::from(i)))).collect(),
    };
    let charts: Vec<(String, Vec<Series>)> = ["box loss", "objectness loss", "class loss"]
        .iter()
        .map(|title| {
            let pair = vec![
                line("train", &|x| 0.1 * (-x / 20.0).exp() + 0.02),
                line("val", &|x| 0.11 * (-x / 25.0).exp() + 0.03),
            ];
            ((*title).to_owned(), pair)
        })
        .chain([
            ("precision".to_owned(), vec![line("", &|x| 1.0 - (-x / 15.0).exp())]),
            ("recall".to_owned(), vec![line("", &|x| if x < 50.0 { f64::NAN } else { 0.8 })]),
            ("mAP".to_owned(), vec![Series { name: "mAP50".into(), points: vec![(0.0, 0.3)] }]),
        ])
        .collect();
    keep(&plot_history(&charts, 3), "results.png");
    plot_history(&[], 3);
    plot_history(&[("empty".into(), vec![])], 3);
}
