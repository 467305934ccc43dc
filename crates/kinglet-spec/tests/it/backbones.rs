//! Named backbones, levels, and changes to model files: which graphs they give.

use crate::registry::{MODELS, REGISTRY};
use kinglet_spec::{Edit, GraphSpec, ResolveOptions, Shape, Source, edit, resolve};

const YOLOV5S: &str = include_str!("../../../../zoo/models/yolov5s.yaml");
const YOLOV5S6: &str = include_str!("../../../../zoo/models/yolov5s6.yaml");
const SMALL: &str = MODELS[0].1;

fn options() -> ResolveOptions {
    ResolveOptions { models: MODELS, ..ResolveOptions::default() }
}

fn read(text: &str) -> GraphSpec {
    resolve(text, "my.yaml", REGISTRY, &options()).unwrap_or_else(|e| panic!("{e}"))
}

fn change(text: &str, change: Edit<'_>) -> GraphSpec {
    edit(text, "my.yaml", REGISTRY, &options(), &change).unwrap_or_else(|e| panic!("{e}"))
}

/// Block, number, arguments, inputs and shape of a layer.
type Essence<'a> = (&'a str, usize, &'a str, &'a [Source], Shape);

/// What decides a graph.
fn essence(graph: &GraphSpec) -> Vec<Essence<'_>> {
    graph.layers.iter().map(|l| (l.block, l.number, &l.args_text[..], &l.inputs[..], l.output)).collect()
}

/// The file with the one line `backbone: name` in place of its rows.
fn with_named_backbone(text: &str, name: &str) -> String {
    let (keys, rest) = text.split_once("backbone:\n").expect("a backbone");
    let (_, head) = rest.split_once("head:\n").expect("a head");
    format!("{keys}backbone: {name}\nhead:\n{head}")
}

#[test]
fn a_named_backbone_goes_under_a_stock_head_by_levels() {
    let graph = read(&with_named_backbone(YOLOV5S, "mobilenetv3_small"));
    // The paper's rows 8 and 3 are the last of strides 16 and 8. Ten rows of YOLOv5 become twelve: 14 to 16, 10 to 12.
    assert_eq!(graph.backbone_len, 12);
    let inputs = |layer: usize| &graph.layers[layer].inputs[..];
    assert_eq!(inputs(12), [Source::Layer(11)]);
    assert_eq!(inputs(14), [Source::Layer(13), Source::Layer(8)]);
    assert_eq!(inputs(18), [Source::Layer(17), Source::Layer(3)]);
    assert_eq!(inputs(21), [Source::Layer(20), Source::Layer(16)]);
    assert_eq!(inputs(24), [Source::Layer(23), Source::Layer(12)]);
    assert_eq!(inputs(26), [19, 22, 25].map(Source::Layer));
    // The backbone's channels are the paper's; the head's are halved by the file's width multiple.
    let channels = [0, 3, 8, 11, 12, 25].map(|l: usize| graph.layers[l].output.channels);
    assert_eq!(channels, [16, 24, 48, 96, 256, 512]);
    assert!(graph.warnings.is_empty(), "{}", graph.warnings[0]);
}

#[test]
fn the_text_of_a_named_backbone_is_plain_and_gives_the_same_graph() {
    for (text, name) in [(YOLOV5S, "mobilenetv3_small"), (YOLOV5S, "yolov5n")] {
        let graph = read(&with_named_backbone(text, name));
        let plain = resolve(&graph.yaml, "my.yaml", REGISTRY, &ResolveOptions::default()).expect("a plain model file");
        assert_eq!(essence(&plain), essence(&graph), "{name}");
        assert_eq!(plain.yaml, graph.yaml);
    }
}

#[test]
fn swapping_gives_what_naming_gives() {
    let swapped = change(YOLOV5S, Edit::Backbone { text: SMALL, file: "mobilenetv3_small.yaml" });
    let named = read(&with_named_backbone(YOLOV5S, "mobilenetv3_small"));
    assert_eq!(swapped.yaml, named.yaml);
    insta::assert_snapshot!(swapped.yaml);
}

#[test]
fn comments_stay_with_their_rows() {
    let row = |line: &str| YOLOV5S.lines().find(|l| l.contains(line)).expect("a row").to_owned();
    let (stem, deepest, detect) = (row("# 0 P1/2"), row("# 8"), row("# 24"));
    let text = YOLOV5S
        .replace(&stem, "  # the stem\n  - [-1, 1, Conv, [64, 6, 2, 2]] # 0-P1/2 keeps # edges")
        .replace(&deepest, &format!("  # deep\n{}", deepest.replace("# 8", "# the 3 deepest")))
        .replace(
            &detect,
            "\n  # the head\n  # proper\n  - [[17, 20, 23], 1, Detect, [nc, anchors]] # Detect(P3, P4, P5)",
        );
    let inserted = change(&text, Edit::Insert { at: 1, number: 1, with: "Conv [32, 3, 1]" }).yaml;
    let around = |yaml: &str, row: &str| {
        let lines: Vec<&str> = yaml.lines().collect();
        let at = lines.iter().position(|line| line.contains(row)).expect("a row");
        let above = lines[..at].iter().rev().take_while(|l| l.trim_start().starts_with('#')).count();
        (lines[at - above..at].join("|"), lines[at].split_once(" # ").map_or("", |(_, comment)| comment).to_owned())
    };
    let pair = |above: &str, behind: &str| (above.to_owned(), behind.to_owned());
    assert_eq!(around(&inserted, "[64, 6, 2, 2]"), pair("  # the stem", "0 P1/2 keeps # edges"));
    assert_eq!(around(&inserted, "[-1, 3, C3, [1024]]"), pair("  # deep", "9 the 3 deepest"));
    assert_eq!(around(&inserted, "Detect"), pair("  # the head|  # proper", "25 Detect(P3, P4, P5)"));
    assert!(around(&inserted, "[32, 3, 1]").1.starts_with('1'), "{inserted}");
    // Of a row that is replaced, and of rows that go with their backbone, nothing is left.
    let replaced = change(&text, Edit::Replace { row: 0, number: 1, with: "Conv [64, 3, 2]" }).yaml;
    assert_eq!(around(&replaced, "[64, 3, 2]"), pair("", "0 P1/2"));
    let swapped = change(&text, Edit::Backbone { text: SMALL, file: "small.yaml" }).yaml;
    assert!(!swapped.contains("stem") && !swapped.contains("deep"), "{swapped}");
    assert_eq!(around(&swapped, "Detect"), pair("  # the head|  # proper", "26 Detect(P3, P4, P5)"));
    // Rows in one list in brackets, as YOLOv5's own files have them.
    let flow = "nc: 1\nanchors: [[4, 5]]\nbackbone:\n  # [from, number, module, args]\n  [[-1, 1, Conv, [8, 3, 8]],  # 0-P3/8\n   [-1, 1, \
                Conv, [8, 1, 1]],  # same size\n  ]\nhead:\n  [[[1], 1, Detect, [nc, anchors]],  # 2 (P3/8-small)\n  ]\n";
    let changed = change(flow, Edit::Insert { at: 0, number: 1, with: "Conv [4, 3, 1]" }).yaml;
    assert_eq!(around(&changed, "[8, 1, 1]"), pair("", "2 P3/8 same size"));
    assert_eq!(around(&changed, "Detect"), pair("", "3"));
    assert_eq!(changed.matches("[from, number, module, args]").count(), 1, "{changed}");
}

#[test]
fn a_head_may_name_levels_in_any_file() {
    let by_level = YOLOV5S.replace("[[-1, 6], 1", "[[-1, P4], 1").replace("[[-1, 4], 1", "[[-1, P3], 1");
    assert_ne!(by_level, YOLOV5S);
    let graph = read(&by_level);
    assert_eq!(essence(&graph), essence(&read(YOLOV5S)));
    assert_eq!(graph.layers[12].from, [-1, 6]);
    // A named backbone that is coarser than the head goes on from the level that the head names.
    let named = with_named_backbone(YOLOV5S, "yolov5s6")
        .replace("[-1, 1, Conv, [512, 1, 1]] # 10", "[P5, 1, Conv, [512, 1, 1]]");
    assert_eq!(read(&named).layers[12].inputs, [Source::Layer(8)]);
}

#[test]
fn a_coarser_backbone_is_cut_behind_the_heads_coarsest_level() {
    let graph = change(YOLOV5S, Edit::Backbone { text: YOLOV5S6, file: "yolov5s6.yaml" });
    // Rows 0 to 8 of the four-level backbone reach stride 32 with 768 x 0.5 channels.
    assert_eq!((graph.backbone_len, graph.layers[8].output.channels), (9, 384));
    assert_eq!(graph.layers[9].from, [-1]);
    assert!(graph.warnings.is_empty());
    let error = edit(YOLOV5S6, "my.yaml", REGISTRY, &options(), &Edit::Backbone { text: SMALL, file: "small.yaml" });
    insta::assert_snapshot!(error.expect_err("no P6").to_string());
}

#[test]
fn swapping_a_backbone_for_itself_changes_nothing() {
    for text in [YOLOV5S, YOLOV5S6, SMALL] {
        let graph = change(text, Edit::Backbone { text, file: "same.yaml" });
        assert_eq!(essence(&graph), essence(&read(text)));
    }
}

#[test]
fn replacing_a_block_and_putting_it_back_gives_the_same_graph() {
    let with = "MobileNetv3 [512, 1024, 5, 1, 1, 1]";
    let replaced = change(YOLOV5S, Edit::Replace { row: 6, number: 1, with });
    assert_eq!(replaced.layers[6].block, "MobileNetv3");
    let back = change(&replaced.yaml, Edit::Replace { row: 6, number: 9, with: "C3 [512]" });
    assert_eq!(essence(&back), essence(&read(YOLOV5S)));
}

#[test]
fn an_inserted_row_moves_every_reference_behind_it() {
    let with = "Conv [256, 3, 1]";
    for at in 0..=24 {
        let graph = change(YOLOV5S, Edit::Insert { at, number: 1, with });
        let moved = |row: usize| row + usize::from(row >= at);
        for old in &read(YOLOV5S).layers {
            let expected: Vec<Source> = old
                .from
                .iter()
                .zip(&old.inputs)
                .map(|(from, input)| match input {
                    _ if *from == -1 && old.index == at => Source::Layer(at),
                    Source::Image => Source::Image,
                    Source::Layer(layer) => Source::Layer(moved(*layer)),
                })
                .collect();
            assert_eq!(graph.layers[moved(old.index)].inputs, expected, "row {} with one at {at}", old.index);
        }
        assert_eq!(graph.backbone_len, if at < 10 { 11 } else { 10 });
    }
}

#[test]
fn a_change_that_cannot_be_made_says_why() {
    let told = |change: Edit<'_>| edit(YOLOV5S, "my.yaml", REGISTRY, &options(), &change).expect_err("no").to_string();
    let messages = [
        told(Edit::Replace { row: 25, number: 1, with: "C3 [512]" }),
        told(Edit::Replace { row: 6, number: 1, with: "MobileNetV3 [512]" }),
        told(Edit::Replace { row: 6, number: 1, with: "MobileNetv3 [512, 1024]" }),
        told(Edit::Replace { row: 6, number: 1, with: "MobileNetv3 [512, 1024, 5, 2, 1, 1]" }),
        told(Edit::Replace { row: 24, number: 1, with: "C3 [512]" }),
        told(Edit::Insert { at: 25, number: 1, with: "C3 [512]" }),
        told(Edit::Insert { at: 3, number: 1, with: "C3 [512" }),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}
