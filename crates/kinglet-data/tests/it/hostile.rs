//! COCO JSON and VOC XML that are wrong, cut or meant to do harm: one annotation costs itself, a file is refused with its place.

use crate::Fixture;
use crate::formats::{BOX, empty, object, open, picture, voc};
use kinglet_data::{DataError, Dataset, FindingKind, NoProgress, ScanOptions, Severity, Source, Split};

const IMAGES: &str = r#""images": [{"id": 1, "file_name": "x.png", "width": 40, "height": 50}]"#;
const CATEGORIES: &str = r#""categories": [{"id": 3, "name": "a"}]"#;
const GOOD: &str = r#"{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 20]}"#;

fn with_json(text: &str) -> Fixture {
    let f = empty();
    picture(&f, "x.png");
    f.write("set.json", text);
    f
}

fn coco(annotations: &str) -> Fixture {
    with_json(&format!("{{{IMAGES},\n{CATEGORIES},\n\"annotations\": [\n{annotations}]}}"))
}

fn scan(f: &Fixture, name: &str) -> Result<Dataset, DataError> {
    let options = ScanOptions { strict: false, need_labels: false, ..ScanOptions::default() };
    Dataset::open(f.path(name), Split::Val, options, &NoProgress)
}

#[test]
fn a_wrong_coco_annotation_costs_itself_and_is_named_with_its_line() {
    use FindingKind::*;
    use Severity::*;
    let cases = [
        ("7", BadAnnotation, Dropped, "expected an annotation object, found `7`"),
        (
            r#"{"id": 2, "category_id": 3, "bbox": [1, 1, 2, 2]}"#,
            BadAnnotation,
            Dropped,
            "annotation 2 has no `image_id`",
        ),
        (
            r#"{"image_id": 1, "bbox": [1, 1, 2, 2]}"#,
            BadAnnotation,
            Dropped,
            "annotation without a number has no `category_id`",
        ),
        (
            r#"{"id": 2, "image_id": "one", "category_id": 3, "bbox": [1, 1, 2, 2]}"#,
            BadAnnotation,
            Dropped,
            "annotation 2: `image_id` is `\"one\"`, expected a whole number",
        ),
        (
            r#"{"id": 2, "image_id": 8, "category_id": 3, "bbox": [1, 1, 2, 2]}"#,
            UnknownImage,
            Dropped,
            "annotation 2 of image 8",
        ),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 4, "bbox": [1, 1, 2, 2]}"#,
            ClassOutOfRange,
            Dropped,
            "annotation 2: category 4",
        ),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 1, 2]}"#,
            BadAnnotation,
            Dropped,
            "annotation 2: `bbox` is `[1, 1, 2]`, expected four numbers [x, y, width, height]",
        ),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 1, "2", 2]}"#,
            BadAnnotation,
            Dropped,
            "annotation 2: `bbox` is `[1, 1, \"2\", 2]`, expected four numbers [x, y, width, height]",
        ),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 1, 1e999, 2]}"#,
            BadAnnotation,
            Dropped,
            "annotation 2: `bbox` is `[1, 1, 1e999, 2]`, expected four numbers [x, y, width, height]",
        ),
        (r#"{"id": 2, "image_id": 1, "category_id": 3}"#, BadAnnotation, Dropped, "annotation 2 has no `bbox`"),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2], "iscrowd": 5}"#,
            BadAnnotation,
            Dropped,
            "annotation 2: `iscrowd` is `5`, expected 0 or 1",
        ),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 3, "bbox": [9, 9, -2, 2]}"#,
            Negative,
            Dropped,
            "annotation 2: size -2 x 2",
        ),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 3, "bbox": [9, 9, 0, 2]}"#,
            ZeroArea,
            Dropped,
            "annotation 2: size 0 x 2",
        ),
        (
            r#"{"id": 2, "image_id": 1, "category_id": 3, "bbox": [30, 9, 1e300, 2]}"#,
            OutOfRange,
            Fixed,
            "annotation 2: ",
        ),
        (r#"{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5]}"#, DuplicateId, Note, "annotation 1"),
    ];
    for (text, kind, severity, value) in cases {
        let set = scan(&coco(&format!("{GOOD},\n{text}")), "set.json").unwrap();
        let found: Vec<_> = set.findings.iter().filter(|f| f.kind != FindingKind::TooSmall).collect();
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!((found[0].line, found[0].kind, found[0].severity), (Some(5), kind, severity), "{text}");
        assert!(found[0].value.starts_with(value), "{text}: {}", found[0].value);
        let labels = &set.samples[0].labels;
        assert_eq!((labels.len(), labels[0].cxcywh), (if severity == Dropped { 1 } else { 2 }, BOX), "{text}");
    }
}

#[test]
fn wrong_coco_images_are_left_out_and_named() {
    use FindingKind::*;
    use Severity::*;
    let cases = [
        (r#"{"file_name": "x.png"}"#, BadImageEntry, Dropped),
        (r#"{"id": 2}"#, BadImageEntry, Dropped),
        ("[]", BadImageEntry, Dropped),
        (r#"{"id": 1, "file_name": "x.png"}"#, DuplicateImageId, Dropped),
        (r#"{"id": 2, "file_name": "x.png"}"#, RepeatedImage, Fixed),
        (r#"{"id": 2, "file_name": "../../nowhere.png"}"#, MissingImage, Dropped),
        (r#"{"id": 2, "file_name": ".."}"#, MissingImage, Dropped),
    ];
    for (text, kind, severity) in cases {
        let images = IMAGES.replace("}]", &format!("}},\n{text}]"));
        let set =
            scan(&with_json(&format!("{{{images}, {CATEGORIES}, \"annotations\": [{GOOD}]}}")), "set.json").unwrap();
        let found: Vec<_> = set.findings.iter().map(|f| (f.line, f.kind, f.severity)).collect();
        assert_eq!(found, [(Some(2), kind, severity)], "{text}");
        assert_eq!((set.samples.len(), set.samples[0].labels.len()), (1, 1), "{text}");
    }
}

#[test]
fn a_coco_file_of_another_shape_is_refused_with_its_place() {
    let cases = [
        ("", "DIR/set.json:1:1: not COCO JSON: the file ends early"),
        ("[{\"image_id\": 1}]", "DIR/set.json:1:1: not COCO JSON: expected an object with `images`"),
        (
            "{\"images\": [], \"annotations\": []}",
            "DIR/set.json:1:1: not COCO JSON: expected `categories`, a list of objects, found no such key; export the",
        ),
        (
            "{\"categories\": {}}",
            "DIR/set.json:1:16: not COCO JSON: expected `categories`, a list of objects, found `{}`",
        ),
        ("{\"categories\": []}", "DIR/set.json:1:16: `categories` is empty"),
        (
            "{\"categories\": [{\"id\": 1}]}",
            "DIR/set.json:1:17: a category needs a whole number `id` and a text `name`",
        ),
        (
            "{\"categories\": [{\"id\": 1, \"name\": \"a\"},\n {\"id\": 1, \"name\": \"b\"}]}",
            "DIR/set.json:2:2: category 1 is there already",
        ),
        ("{\"categories\": [{\"id\": 1, \"name\": NaN}]}", "DIR/set.json:1:"),
    ];
    for (text, expected) in cases {
        let f = with_json(text);
        let message = f.message(&Source::open(f.path("set.json")).unwrap_err());
        assert!(message.starts_with(expected), "{text}: {message}");
    }
    let f = with_json(&format!("{{{IMAGES}, {CATEGORIES}}}"));
    let message = f.message(&scan(&f, "set.json").unwrap_err());
    assert_eq!(
        message,
        "DIR/set.json:1:1: not COCO JSON: expected `annotations`, a list of objects, found no such key; export the annotations \
         as COCO, with boxes"
    );
    let f = with_json(&format!("{{\"images\": [], {CATEGORIES}, \"annotations\": []}}"));
    assert!(matches!(scan(&f, "set.json"), Err(DataError::NoImages { .. })));
    let f = with_json(&format!("{{{IMAGES}, {CATEGORIES}, \"annotations\": [{{\"bbox\": [NaN, 1, 2, 3]}}]}}"));
    let message = f.message(&scan(&f, "set.json").unwrap_err());
    assert!(message.contains("`NaN` and `Infinity` are no JSON"), "{message}");
}

#[test]
fn json_cut_anywhere_is_an_error_and_no_panic() {
    let whole = format!("{{{IMAGES},\n{CATEGORIES},\n\"annotations\": [\n{GOOD}]}}");
    let f = with_json(&whole);
    assert_eq!(scan(&f, "set.json").unwrap().summary.boxes, 1);
    for end in (0..whole.len()).step_by(3) {
        f.write("set.json", &whole[..end]);
        let message = f.message(&scan(&f, "set.json").unwrap_err());
        assert!(message.starts_with("DIR/set.json:") && message.contains("ends early"), "{end}: {message}");
    }
    // Nesting beyond any limit.
    f.write("set.json", format!("{{{IMAGES}, {CATEGORIES}, \"annotations\": {}", "[".repeat(200_000)));
    assert!(scan(&f, "set.json").is_err());
}

fn with_xml(text: &str) -> Fixture {
    let f = empty();
    picture(&f, "x.png");
    picture(&f, "good.png");
    f.write("classes.txt", "a\nb\n");
    f.write("good.xml", voc(&object("a", [10.0, 5.0, 30.0, 25.0], "")));
    f.write("x.xml", text);
    f
}

#[test]
fn a_wrong_voc_object_costs_itself_and_is_named_with_its_line() {
    use FindingKind::*;
    use Severity::*;
    let frame = |text: &str| format!("<object><name>b</name><bndbox>{text}</bndbox></object>");
    let cases = [
        ("<object/>".to_owned(), BadAnnotation, Dropped, "an object without a `<name>`"),
        ("<object><name>b</name></object>".to_owned(), BadAnnotation, Dropped, "`b` has no `<bndbox>`"),
        (frame("<xmin>1</xmin>"), BadAnnotation, Dropped, "`b` has no `<ymin>`"),
        (
            frame("<xmin>1</xmin><ymin>x</ymin><xmax>3</xmax><ymax>3</ymax>"),
            NotANumber,
            Dropped,
            "`b`: `<ymin>` is `x`",
        ),
        (frame("<xmin>1</xmin><ymin>NaN</ymin><xmax>3</xmax><ymax>3</ymax>"), NotFinite, Dropped, "`b`: "),
        (object("cat", [1.0, 1.0, 9.0, 9.0], ""), ClassOutOfRange, Dropped, "class `cat`"),
        (object("b", [9.0, 9.0, 1.0, 1.0], ""), SwappedCorners, Fixed, "`b`: xmin 9, ymin 9, xmax 1, ymax 1"),
        (object("b", [9.0, 9.0, 9.0, 20.0], ""), ZeroArea, Dropped, "`b`: size 0 x 11"),
        (object("b", [9.0, 9.0, 1e30, 20.0], ""), OutOfRange, Fixed, "`b`: "),
    ];
    for (text, kind, severity, value) in cases {
        let f = with_xml(&voc(&(object("a", [10.0, 5.0, 30.0, 25.0], "") + &text)));
        let set = scan(&f, "").unwrap();
        assert_eq!(set.findings.len(), 1, "{text}: {:?}", set.findings);
        let found = &set.findings[0];
        assert_eq!((found.line, found.kind, found.severity), (Some(5), kind, severity), "{text}");
        assert!(found.value.starts_with(value), "{text}: {}", found.value);
        let sample = set.samples.iter().find(|sample| sample.path.ends_with("x.png")).unwrap();
        assert_eq!(sample.labels.len(), if severity == Dropped { 1 } else { 2 }, "{text}");
    }
    // Without a size that of the image counts.
    let f = with_xml(&format!("<annotation>{}</annotation>", object("b", [10.0, 5.0, 30.0, 25.0], "")));
    let set = scan(&f, "").unwrap();
    assert_eq!((set.findings.len(), set.samples[1].labels[0].cxcywh), (0, BOX));
}

#[test]
fn a_voc_file_that_is_none_leaves_its_image_out() {
    let bomb =
        "<!DOCTYPE a [<!ENTITY x \"ha\"><!ENTITY y \"&x;&x;&x;&x;\">]><annotation><folder>&y;</folder></annotation>";
    let cases = [
        (bomb.to_owned(), "it has a DTD, which may hide entities"),
        ("<annotation><folder>&x;</folder></annotation>".to_owned(), "unknown entity reference"),
        ("".to_owned(), "the document does not have a root node"),
        ("<html></html>".to_owned(), "expected `<annotation>`, found `<html>`"),
        (format!("<annotation>\n{}", "<a>".repeat(100_000)), "line 2: more than 64 elements lie in each other"),
        ("no XML".to_owned(), "1:1"),
    ];
    for (text, reason) in cases {
        let set = scan(&with_xml(&text), "").unwrap();
        assert_eq!((set.samples.len(), set.findings.len()), (1, 1), "{text:.60}: {:?}", set.findings);
        assert_eq!(
            (set.findings[0].kind, set.findings[0].severity),
            (FindingKind::UnreadableLabels, Severity::Dropped)
        );
        assert!(set.findings[0].value.contains(reason), "{text:.60}: {}", set.findings[0].value);
    }
    let f = with_xml("");
    f.write("x.xml", b"\xff\xfe<\0a\0");
    assert!(scan(&f, "").unwrap().findings[0].value.contains("not UTF-8"));
}

#[test]
fn xml_cut_anywhere_leaves_its_image_out() {
    let whole = voc(&object("b", [10.0, 5.0, 30.0, 25.0], "<difficult>0</difficult>"));
    let f = with_xml(&whole);
    assert_eq!(scan(&f, "").unwrap().summary.boxes, 2);
    for end in (0..whole.trim_end().len()).step_by(3) {
        f.write("x.xml", &whole[..end]);
        let set = scan(&f, "").unwrap();
        assert_eq!((set.samples.len(), set.findings[0].kind), (1, FindingKind::UnreadableLabels), "{end}");
    }
    // What training is told where a class has no name.
    f.write("x.xml", voc(&object("cat", [10.0, 5.0, 30.0, 25.0], "")));
    let message = f.message(&open(&f, "", Split::Train).unwrap_err());
    assert!(message.contains("1 label has a class that `DIR/` does not name; it names 2 (0: a, 1: b)"), "{message}");
    assert!(message.contains("DIR/x.xml:4: class `cat`"), "{message}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_change_of_a_byte_is_survived(at in 0usize..400, byte in 0u8..=255) {
        let mut json = format!("{{{IMAGES},\n{CATEGORIES},\n\"annotations\": [\n{GOOD}]}}").into_bytes();
        let place = at % json.len();
        json[place] = byte;
        let f = with_json("");
        f.write("set.json", &json);
        let _ = scan(&f, "set.json");
        let mut xml = voc(&object("b", [10.0, 5.0, 30.0, 25.0], "<difficult>0</difficult>")).into_bytes();
        let place = at % xml.len();
        xml[place] = byte;
        let f = with_xml("");
        f.write("x.xml", &xml);
        // The other image is whole, so the set opens whatever became of this one.
        proptest::prop_assert!(scan(&f, "").is_ok());
    }
}
