//! No text makes the reader panic, and limits hold.

use crate::registry::REGISTRY;
use kinglet_spec::{ResolveOptions, SpecErrorKind, resolve};
use proptest::prelude::*;

const MODEL: &str = include_str!("../../../../zoo/models/yolov5n.yaml");

fn read(text: &str) -> Result<kinglet_spec::GraphSpec, kinglet_spec::SpecError> {
    resolve(text, "x.yaml", REGISTRY, &ResolveOptions::default())
}

fn kind(text: &str) -> SpecErrorKind {
    read(text).expect_err("an error").kind
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n\t\u{e9}\u{4e2d}]{0,200}") {
        if let Err(error) = read(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_damaged_model_is_read_or_refused(at in 0usize..1400, cut in 0usize..4, put in "[\\[\\]{}:,'\"#&*!|>%@`\\-0-9a-z \n\t]{0,3}") {
        let mut start = at.min(MODEL.len());
        while !MODEL.is_char_boundary(start) { start -= 1; }
        let mut end = (start + cut).min(MODEL.len());
        while !MODEL.is_char_boundary(end) { end += 1; }
        let text = format!("{}{put}{}", &MODEL[..start], &MODEL[end..]);
        if let Err(error) = read(&text) {
            prop_assert!(error.to_string().starts_with("error: "));
        }
    }
}

fn model(row: &str) -> String {
    format!(
        "nc: 2\nanchors: 3\nbackbone:\n  - [-1, 1, Conv, [8, 3, 8]]\n  - {row}\nhead:\n  - [[-1], 1, Detect, [nc, anchors]]\n"
    )
}

#[test]
fn limits_hold() {
    let is_limit = |text: &str| matches!(kind(text), SpecErrorKind::Limit { .. });
    assert!(is_limit(&" ".repeat((1 << 20) + 1)));
    assert!(is_limit(&model("[-1, 1001, Conv, [8]]")));
    assert!(
        is_limit(&model("[-1, 1, Conv, [70000]]"))
            || matches!(kind(&model("[-1, 1, Conv, [70000]]")), SpecErrorKind::Argument { .. })
    );
    assert!(is_limit(&model("[-1, 1, nn.Upsample, [None, 60000]]")));
    assert!(is_limit(&format!("nc: 2\nanchors: 3\nhead: []\nbackbone:\n{}", "  - [-1, 1, Conv, [8]]\n".repeat(2001))));
    assert!(is_limit(&format!("nc: {}{}", "[".repeat(100), "]".repeat(100))));
    let deep = format!("{}x", "- ".repeat(20_000));
    assert!(is_limit(&deep));
    let many_anchors =
        format!("anchors: [[{}]]\nnc: 2\nbackbone: [[-1, 1, Conv, [8]]]\nhead: []\n", "1,".repeat(10_000));
    assert!(matches!(kind(&many_anchors), SpecErrorKind::Value { .. }));
}

#[test]
fn aliases_cannot_blow_a_text_up() {
    assert!(matches!(kind("a: &a [1, 2]\nnc: *a\n"), SpecErrorKind::Syntax { .. }));
}

#[test]
fn stacked_repeats_are_bounded_in_total() {
    let rows = "  - [-1, 1000, Conv, [8]]\n".repeat(21);
    let text = format!("nc: 2\nanchors: 3\nbackbone:\n{rows}head:\n  - [-1, 1, Detect, [nc, anchors]]\n");
    assert!(matches!(kind(&text), SpecErrorKind::Limit { .. }));
}
