//! Writes the files that the corpora begin with: small, whole, one for each way to write a thing.

#[path = "../crates/kinglet-nn/tests/it/torch_writer.rs"]
#[allow(dead_code, reason = "written for the tests of the reader")]
mod torch_writer;

use kinglet::nn::{Model, WeightsFile};
use kinglet::spec::ResolveOptions;
use std::path::Path;
use torch_writer::{Pickle, Tensor, archive, archive64, old_format};

const MODEL: &str = "nc: 2\nanchors: [[10, 13, 16, 30]]\nbackbone:\n  - [-1, 1, Conv, [8, 3, 8]] # 0\nhead:\n  - [[0], 1, \
                     Detect, [nc, anchors]] # 1\n";

const MODELS: [(&str, &str); 6] = [
    ("plain", MODEL),
    (
        "named_backbone",
        "nc: 2\nanchors: [[10, 13], [30, 61]]\nbackbone: mobilenetv3_small\nhead:\n  - [P4, 1, Conv, [16, 1, 1]]\n  - [-1, 1, \
         nn.Upsample, [None, 2, 'nearest']]\n  - [[-1, P3], 1, Concat, [1]]\n  - [[12, 10], 1, Detect, [nc, anchors]]\n",
    ),
    (
        "multiples",
        "nc: 3\ndepth_multiple: 0.33\nwidth_multiple: 0.25\nch: 3\nactivation: nn.LeakyReLU(0.1)\nchannel_multiple: 4\nanchors: \
         3\nbackbone:\n  [[-1, 1, Focus, [64, 3]],\n   [-1, 3, C3, [24]], [-1, 2, Conv, [128, 3, 2]],\n   [-2, 1, \
         GhostConv, [128, 3, 2]]]\nhead:\n  [[[-1, -2], 1, Concat, [1]],\n   [[-1], 1, Detect, [nc, anchors]]]\n",
    ),
    (
        "blocks",
        "nc: 1\nanchors: [[4,5]]\nbackbone:\n  - [-1, 1, Conv3BN, [16, 2]]\n  - [-1, 1, MobileNetv3, [16, 16, 3, 2, 1, \
         1]]\n  - [-1, 2, InvertedResidual, [24, 72, 5, 1, 1, 1]]\n  - [-1, 1, GhostNet, [24, 48, 3, 2, 1]]\n  - [-1, 1, \
         ShuffleNetv2, [32, 2]]\n  - [-1, 1, MobileNetv2, [32, 6, 3, 1]]\n  - [-1, 1, C3TR, [32]]\n  - [-1, 1, SPPF, [32, \
         5]]\n  - [-1, 1, MixConv2d, [32, [1, 3], 1]]\nhead:\n  - [-1, 1, nn.ConvTranspose2d, [16, 2, 2]]\n  - [-1, 1, \
         Contract, [2]]\n  - [-1, 1, Expand, [2]]\n  - [-1, 1, nn.ZeroPad2d, [[0, 1, 0, 1]]]\n  - [-1, 1, nn.MaxPool2d, [2, \
         1, 0]]\n  - [-1, 1, CrossConv, [16, 3, 1, 1, 0.5, True]]\n  - [[14], 1, Detect, [nc, anchors]]\n",
    ),
    ("not_a_model", "train: images/train\nval: images/val\nnames: [a]\n"),
    ("unclosed", "nc: 2\nbackbone:\n  [[-1, 1, Conv, [8, 3, 8],\nhead: 'x\n"),
];

const DATA: [(&str, &str); 4] = [
    ("list", "path: ../set\ntrain: images/train\nval: [images/val, more.txt]\ntest:\nnc: 2\nnames: [a, 'b c']\n"),
    ("mapping", "train: a.txt\nval: b\\c\nnames:\n  0: person\n  1: yes\n  2: 1.0\ndownload: rm -rf /\n"),
    ("tagged", "train: !x a\nval: &y b\nnames: {1: x, 0: *y}\n"),
    ("holes", "train: a\nval: a\nnames: {0: a, 5: b}\n"),
];

const LABELS: [(&str, &[u8]); 5] = [
    ("boxes", b"0 0.5 0.5 0.25 0.25\n2 0.1 0.9 0.2 0.2\r\n\n1 1 1 1 1\n"),
    ("polygon", b"0 0.1 0.1 0.9 0.1 0.5 0.9\n1 0.2 0.2 0.4 0.4 0.2 0.4 0.2 0.3\n"),
    ("mistakes", b"0 0.5 0.5 0.5\nx 0 0 1 1\n0 nan inf -0.1 1e9\n9 0.5 0.5 0.1 0.1\n0.5 0 0 1 1\n0 .5 .5 0 .1\n"),
    ("separators", b"\xef\xbb\xbf0,0.5,0.5,0.1,0.1\n1;0.5;0.5;0.1;0.1\n0\t0.5\t0.5\t0.1\t0.1\n"),
    ("not_utf8", b"0 0.5 \xff 0.1 0.1\n0 0.5 0.5 0.1 0.1\r0 1e-45 0.5 1e-45 1\n"),
];

/// What `coco` finds as an image is called `Cargo.toml`.
const COCO: [(&str, &str); 5] = [
    (
        "boxes",
        r#"{"images": [{"id": 7, "file_name": "Cargo.toml", "width": 64, "height": 48}, {"id": 9, "file_name": "none.jpg"}],
"annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [8, 8, 16.5, 8], "iscrowd": 0,
  "segmentation": [[8, 8, 24.5, 8, 24.5, 16, 8, 16]], "area": 132},
 {"id": 2, "image_id": 7, "category_id": 18, "bbox": [0, 0, 64, 48], "iscrowd": 1, "segmentation": {"counts": [1], "size": [48, 64]}}],
"categories": [{"id": 3, "name": "cat"}, {"id": 18, "name": "dog", "supercategory": "animal"}]}"#,
    ),
    (
        "other_ways",
        r#"{"info": {"year": 2026}, "categories": [{"id": 0, "name": "things", "supercategory": "none"},
 {"id": "1", "name": "a", "supercategory": "things"}, {"id": 2.0, "name": "a", "supercategory": "things"}],
"annotations": [{"image_id": "0", "category_id": 1.0, "bbox": [-3, 1e1, 400, 2], "iscrowd": true, "segmentation": []}],
"images": [{"id": 0, "file_name": "images\\..\\Cargo.toml", "width": "64", "height": 48.0}]}"#,
    ),
    (
        "mistakes",
        r#"{"images": [{"id": 1}, 5, {"id": 1, "file_name": "Cargo.toml"}, {"id": 2, "file_name": "Cargo.toml", "width": 0}, {}],
"annotations": [[], {"image_id": 2}, {"image_id": 2, "category_id": 8, "bbox": [0, 0, 1, 1]},
 {"image_id": 2, "category_id": 1, "bbox": [1e308, 1e308, 1e308, 1e-320]}, {"image_id": 2, "category_id": 1, "bbox": [4, 4, -1, 2]},
 {"image_id": 3, "category_id": 1, "bbox": [4, 4, 1, 2]}, {"image_id": 2, "category_id": 1, "bbox": [0, 0, 1e-44, 2], "iscrowd": 1}],
"categories": [{"id": 1, "name": "a"}]}"#,
    ),
    ("results", r#"[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}]"#),
    ("early_end", r#"{"images": [{"id": 1, "file_name": "a.jpg"#),
];

const VOC: [(&str, &str); 4] = [
    (
        "boxes",
        "<annotation>\n<folder>images</folder><filename>a.jpg</filename>\n<size><width>64</width><height>48</height><depth>3</depth>\
         </size>\n<object><name>cat</name><difficult>0</difficult><bndbox><xmin>8</xmin><ymin>8</ymin><xmax>24.5</xmax>\
         <ymax>16</ymax></bndbox></object>\n<object><name>dog</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1\
         </ymin><xmax>64</xmax><ymax>48</ymax></bndbox></object></annotation>\n",
    ),
    (
        "mistakes",
        "<?xml version=\"1.0\"?>\n<annotation verified=\"yes\"><!-- a > b -->\n<size><width>0</width></size>\n<object/>\n<object><name>cow\
         </name></object><object><name>cat</name></object>\n<object><name>cat</name><bndbox><xmin>9</xmin><ymin>1e-45</ymin>\
         <xmax>x</xmax><ymax>1</ymax></bndbox></object>\n<object><name>cat</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>8\
         </xmax><ymax>-9e99</ymax></bndbox></object><object><name>&#99;at</name><bndbox><xmin>nan</xmin><ymin>inf</ymin><xmax>1\
         </xmax><ymax>1</ymax></bndbox></object></annotation>",
    ),
    ("entities", "<!DOCTYPE a [<!ENTITY b \"bb\">]><annotation>&b;</annotation>"),
    ("other_xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"><g></g></svg>"),
];

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn write(folder: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    std::fs::create_dir_all(&folder).expect("a folder that can be written");
    std::fs::write(folder.join(name), bytes).expect("a file that can be written");
}

fn tensor<'a>(storage: &'a str, key: &'a str, shape: &'a [usize]) -> Tensor<'a> {
    Tensor { storage, key, shape, len: None }
}

/// A model of two layers as YOLOv5 pickles it.
fn model() -> Vec<u8> {
    let row = |p: Pickle, from: i64, module: &str, args: &[usize]| {
        let p = p.raw(b"](").int(from).int(1).text(module);
        args.iter().fold(p.raw(b"]("), |p, &arg| p.int(arg as i64)).raw(b"ee")
    };
    let weight =
        |p: Pickle| p.text("_parameters").dict(|p| p.text("weight").tensor(&tensor("FloatStorage", "2", &[2, 3])));
    let pickle = Pickle::new().dict(|p| {
        p.text("epoch").int(-1).text("model").object("models.yolo", "DetectionModel", |p| {
            let p = p.text("names").list(&["a", "b"]).text("yaml").dict(|p| {
                let p = p.text("nc").int(2).text("anchors").raw(b"](](").int(10).int(13).int(16).int(30).raw(b"ee");
                let p = row(p.text("backbone").raw(b"]("), -1, "Conv", &[8, 3, 8]).raw(b"e");
                let p = p.text("head").raw(b"](](](").int(0).raw(b"e").int(1).text("Detect");
                p.list(&["nc", "anchors"]).raw(b"ee")
            });
            p.text("_modules").dict(|p| {
                let p = p.text("model").object("torch.nn.modules.container", "Sequential", |p| {
                    p.text("_modules").dict(|p| {
                        let p = p.text("0").object("models.common", "Conv", weight);
                        p.text("1").object("models.yolo", "Detect", |p| {
                            let p = p.text("nc").int(2).text("stride").tensor(&tensor("FloatStorage", "0", &[1]));
                            p.text("_buffers")
                                .dict(|p| p.text("anchors").tensor(&tensor("HalfStorage", "1", &[1, 2, 2])))
                        })
                    })
                });
                p
            })
        })
    });
    // Halves: 1, 2, 3 and 4.
    let halves = [0x3c00u16, 0x4000, 0x4200, 0x4400].map(u16::to_le_bytes).concat();
    archive(&[
        ("data.pkl", &pickle.end()),
        ("data/0", &floats(&[8.0])),
        ("data/1", &halves),
        ("data/2", &floats(&[1.0; 6])),
    ])
}

fn main() {
    MODELS.iter().for_each(|(name, text)| write("model_file", name, text.as_bytes()));
    DATA.iter().for_each(|(name, text)| write("data_yaml", name, text.as_bytes()));
    LABELS.iter().for_each(|(name, bytes)| write("labels", name, bytes));
    COCO.iter().for_each(|(name, text)| write("coco", name, text.as_bytes()));
    VOC.iter().for_each(|(name, text)| write("voc", name, text.as_bytes()));

    let state = Pickle::new().dict(|p| p.text("w").tensor(&tensor("FloatStorage", "0", &[2, 3]))).end();
    write("pytorch", "state_dict", &archive(&[("data.pkl", &state), ("data/0", &floats(&[1.0; 6]))]));
    write("pytorch", "old_format", &old_format(&state, &[("0", 6, &floats(&[1.0; 6]))]));
    write("pytorch", "archive64", &archive64("x/data.pkl", &state));
    write("pytorch", "model", &model());
    let call = Pickle::new().global("os", "system").raw(b"(").text("id").raw(b"tR").end();
    write("pytorch", "os_system", &archive(&[("data.pkl", &call)]));
    write("pytorch", "recursive", &archive(&[("data.pkl", b"\x80\x02]q\x00h\x00a.")]));
    write("pytorch", "bare", &Pickle::new().list(&["a"]).end());

    let mut file = WeightsFile::default();
    file.insert("model.0.conv.weight", &[2, 1, 1, 1], &[1.0, f32::NAN]);
    write("safetensors", "nan", &file.to_bytes().expect("shapes that agree"));
    let model = Model::from_yaml(MODEL, "plain.yaml", &ResolveOptions::default()).expect("a model");
    let values: Vec<Vec<f32>> = model.params.iter().map(|(_, p)| vec![0.5; p.shape.iter().product()]).collect();
    let mut file = WeightsFile::default();
    file.insert_model(&model, "", &values);
    let header = format!(
        "{{\"version\":1,\"model_yaml\":{MODEL:?},\"model_file\":\"plain.yaml\",\"names\":[\"a\",\"b\"],\"anchors\":[[[10,13],\
         [16,30]]],\"img\":64,\"options\":null,\"progress\":null}}"
    );
    file.metadata.insert("kinglet".into(), header);
    write("safetensors", "checkpoint", &file.to_bytes().expect("shapes that agree"));
}
