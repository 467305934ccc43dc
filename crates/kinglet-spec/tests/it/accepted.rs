//! What builds, and to what.

use crate::registry::{Layer, REGISTRY};
use kinglet_spec::{GraphSpec, ResolveOptions, Severity, Shape, Source, repeats_after_depth, resolve, round_up_to};
use std::fs;
use std::path::Path;

fn read(text: &str) -> GraphSpec {
    resolve(text, "folder/my.yaml", REGISTRY, &ResolveOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

const TINY: &str = "
nc: 2
anchors: [[10,13, 16,30], [30,61, 62,45]]
backbone:
  [[-1, 1, Conv, [16, 3, 8, None, 1, 1, nn.ReLU()]],
   [-1, 3, C3, [32, False]],
   [-1, 2, Conv, [48, 1, 1]],
   [-1, 1, Conv, [64, 3, 2,]],
  ]
head:
  - [-1, 1, nn.Upsample, ['None', 2, nearest]]
  - [[-1, -3], 1, Concat, [1]]
  - [[5, 3], 1, Detect, [nc, anchors]]
";

#[test]
fn rounding_agrees_with_the_reference() {
    // golden numbers.json: make_divisible and depth_rounding.
    let to8 = [8, 8, 16, 24, 32, 40, 48, 56, 64, 64, 72, 80, 88, 96, 104, 112, 120, 120, 128];
    for (value, expected) in (1..128).step_by(7).zip(to8) {
        assert_eq!(round_up_to(f64::from(value), 8), expected, "{value}");
    }
    let depths = [0.33, 0.5, 0.67, 1.0, 1.33];
    let table: [(usize, [usize; 5]); 6] = [
        (1, [1, 1, 1, 1, 1]),
        (2, [1, 1, 1, 2, 3]),
        (3, [1, 2, 2, 3, 4]),
        (5, [2, 2, 3, 5, 7]),
        (6, [2, 3, 4, 6, 8]),
        (9, [3, 4, 6, 9, 12]),
    ];
    for (n, row) in table {
        for (depth, expected) in depths.into_iter().zip(row) {
            assert_eq!(repeats_after_depth(n, depth), expected, "{n} x {depth}");
        }
    }
}

#[test]
fn a_small_model_resolves_to_worked_shapes() {
    let graph = read(TINY);
    assert_eq!(graph.name, "my");
    // 256 / 8 = 32 rows, then 16 after the stride of two, 32 after upsampling; 64 + 48 channels joined.
    let shapes: Vec<[usize; 3]> = graph.layers.iter().map(|l| [l.output.channels, l.output.height, l.stride]).collect();
    assert_eq!(shapes, [[16, 32, 8], [32, 32, 8], [48, 32, 8], [64, 16, 16], [64, 32, 8], [112, 32, 8], [112, 32, 8]]);
    assert_eq!(graph.layers[0].inputs, [Source::Image]);
    assert_eq!(graph.layers[5].inputs, [Source::Layer(4), Source::Layer(2)]);
    assert_eq!(graph.layers[5].from, [-1, -3]);
    assert_eq!((graph.head, &graph.head_strides[..], graph.backbone_len), (6, &[8, 16][..], 4));
    let texts: Vec<&str> = graph.layers.iter().map(|l| l.args_text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "[3, 16, 3, 8, None, 1, 1, nn.ReLU()]",
            "[16, 32, 3, False]",
            "[32, 48, 1, 1]",
            "[48, 64, 3, 2]",
            "[None, 2, 'nearest']",
            "[1]",
            "[2, [[10, 13, 16, 30], [30, 61, 62, 45]], [112, 64]]",
        ]
    );
    assert_eq!(graph.layers[4].block, "Upsample");
    assert_eq!(graph.layers[4].written, "nn.Upsample");
    assert!(graph.warnings.is_empty(), "{:?}", graph.warnings);
}

#[test]
fn repeats_stack_or_go_inside() {
    let graph = read(TINY);
    let planned =
        |i: usize| -> Vec<&Layer> { graph.layers[i].planned.iter().map(|p| p.downcast_ref().expect("text")).collect() };
    assert_eq!(planned(1), ["c3 3 false"]);
    assert_eq!(planned(2), ["conv nn.SiLU()", "conv nn.SiLU()"]);
    assert_eq!(planned(0), ["conv nn.ReLU()"]);
    assert_eq!((graph.layers[1].number, graph.layers[2].number), (3, 2));
}

#[test]
fn the_first_row_sees_the_image_and_keys_have_defaults() {
    let text = "nc: 1\nch: 3\nactivation: nn.LeakyReLU(0.1)\nchannel_multiple: 4\nnames: [a]\ninplace: True\nanchors: 2\n\
                backbone: [[-1, 1, Conv, [10, 3, 8]]]\nhead: [[[0], 1, Detect, [nc, anchors]]]\n";
    let graph = read(text);
    assert_eq!(graph.layers[0].input_shapes, [Shape { channels: 3, height: 256, width: 256 }]);
    assert_eq!(graph.layers[0].output.channels, 12);
    assert_eq!(graph.layers[0].planned[0].downcast_ref::<Layer>().expect("text"), "conv nn.LeakyReLU(0.1)");
    assert!(graph.placeholder_anchors);
    assert_eq!(graph.anchors, [[[16.0, 16.0], [64.0, 64.0]]]);
    assert_eq!((graph.depth_multiple, graph.width_multiple), (1.0, 1.0));
}

#[test]
fn the_data_sets_classes_replace_the_files_and_say_so() {
    let options = ResolveOptions { nc: Some(3), ..ResolveOptions::default() };
    let graph = resolve(TINY, "my.yaml", REGISTRY, &options).expect("a model");
    assert_eq!(graph.nc, 3);
    assert_eq!(graph.warnings.len(), 1);
    assert_eq!(graph.warnings[0].severity, Severity::Note);
    assert_eq!(graph.warnings[0].message, "nc 2 in the model file is replaced by 3 of the data set");
    // Equal numbers, or none in the file, are nothing to speak of.
    let same = ResolveOptions { nc: Some(2), ..ResolveOptions::default() };
    assert!(resolve(TINY, "my.yaml", REGISTRY, &same).expect("a model").warnings.is_empty());
    let without = TINY.replace("nc: 2\n", "");
    assert_eq!(resolve(&without, "my.yaml", REGISTRY, &options).expect("a model").nc, 3);
}

#[test]
fn carriage_returns_and_a_byte_order_mark_are_no_obstacle() {
    let graph = read(&TINY.replace('\n', "\r\n"));
    assert_eq!(graph.layers.len(), 7);
    let graph = read(&format!("\u{feff}{}", TINY.trim_start()));
    assert_eq!(graph.layers.len(), 7);
}

#[test]
fn a_shape_may_be_asked_for_at_any_image_size() {
    let options = ResolveOptions { image: [640, 320], ..ResolveOptions::default() };
    let graph = resolve(TINY, "my.yaml", REGISTRY, &options).expect("a model");
    assert_eq!(graph.layers[3].output, Shape { channels: 64, height: 40, width: 20 });
    assert_eq!(graph.head_strides, [8, 16]);
}

#[test]
fn the_tutorials_file_is_read_as_it_is_given() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/article_nc2/model.yaml");
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let graph = read(&text);
    assert!(graph.warnings.is_empty(), "{:?}", graph.warnings);
    assert_eq!(graph.layers.len(), 31);
    assert_eq!(graph.head_strides, [8, 16, 32]);
    assert_eq!(graph.layers[30].input_shapes.iter().map(|s| s.channels).collect::<Vec<_>>(), [128, 256, 512]);
    assert_eq!(graph.layers[13].args_text, "[112, 160, 672, 5, 1, 1, 1]");
}
