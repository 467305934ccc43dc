//! The table that validation prints.
//!
//! Columns as people know them: `Class Images Instances P R mAP50 mAP50-95`, widths 22 and six times 11, numbers with
//! three significant digits.

use crate::metrics::Report;

/// The head line.
pub fn table_header() -> String {
    let mut line = format!("{:>22}", "Class");
    for title in ["Images", "Instances", "P", "R", "mAP50", "mAP50-95"] {
        line.push_str(&format!("{title:>11}"));
    }
    line
}

/// One line of the table.
pub fn table_row(name: &str, images: usize, instances: usize, values: [f64; 4]) -> String {
    let mut line = format!("{name:>22}{images:>11}{instances:>11}");
    for value in values {
        line.push_str(&format!("{:>11}", general(value, 3)));
    }
    line
}

/// Head line, the line `all` and, where asked for and there is more than one class, a line for each class.
pub fn report_table(report: &Report, per_class: bool) -> String {
    let mut lines = vec![table_header()];
    let all = [report.precision, report.recall, report.map50, report.map50_95];
    lines.push(table_row("all", report.images, report.instances, all));
    if per_class && report.per_class.len() > 1 {
        for class in &report.per_class {
            let values = [class.p, class.r, class.ap50, class.ap];
            lines.push(table_row(&class.name, class.images, class.instances, values));
        }
    }
    lines.join("\n")
}

/// A number with so many significant digits and no trailing zeros, as `%.3g` of C prints it.
pub fn general(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return if value.is_nan() {
            "nan".to_owned()
        } else if value > 0.0 {
            "inf".to_owned()
        } else {
            "-inf".to_owned()
        };
    }
    let digits = digits.max(1);
    // The exponent after rounding decides the form.
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("Rust prints an exponent");
    let exponent: i32 = exponent.parse().expect("a whole exponent");
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{value:.*}", (digits as i32 - 1 - exponent).max(0) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_printf_g() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (0.123_456, "0.123"),
            (0.099_96, "0.1"),
            (0.999_9, "1"),
            (12.345, "12.3"),
            (1234.0, "1.23e+03"),
            (0.000_012_34, "1.23e-05"),
            (0.000_123_4, "0.000123"),
            (-0.25, "-0.25"),
        ] {
            assert_eq!(general(value, 3), text, "{value}");
        }
        assert_eq!(general(0.043_210_987, 5), "0.043211");
    }

    #[test]
    fn columns_line_up() {
        let header = table_header();
        assert_eq!(header.len(), 88);
        assert!(header.ends_with("P          R      mAP50   mAP50-95"));
        assert_eq!(
            table_row("RBC", 87, 967, [0.8, 0.75, 0.812_34, 0.5]),
            "                   RBC         87        967        0.8       0.75      0.812        0.5"
        );
    }
}
