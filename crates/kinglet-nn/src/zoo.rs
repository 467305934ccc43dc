//! The model files of `zoo/models`, built into the program: by name, for users and as backbones of other model files.

/// Name and text of each built-in model.
pub const MODELS: &[(&str, &str)] = &[
    ("efficientnet_lite0", include_str!("../../../zoo/models/efficientnet_lite0.yaml")),
    ("ghostnet", include_str!("../../../zoo/models/ghostnet.yaml")),
    ("kinglet_large", include_str!("../../../zoo/models/kinglet_large.yaml")),
    ("kinglet_small", include_str!("../../../zoo/models/kinglet_small.yaml")),
    ("mobilenetv2", include_str!("../../../zoo/models/mobilenetv2.yaml")),
    ("mobilenetv3_large", include_str!("../../../zoo/models/mobilenetv3_large.yaml")),
    ("mobilenetv3_small", include_str!("../../../zoo/models/mobilenetv3_small.yaml")),
    ("shufflenetv2", include_str!("../../../zoo/models/shufflenetv2.yaml")),
    ("yolov3", include_str!("../../../zoo/models/yolov3.yaml")),
    ("yolov3-spp", include_str!("../../../zoo/models/yolov3-spp.yaml")),
    ("yolov3-tiny", include_str!("../../../zoo/models/yolov3-tiny.yaml")),
    ("yolov5-bifpn", include_str!("../../../zoo/models/yolov5-bifpn.yaml")),
    ("yolov5-fpn", include_str!("../../../zoo/models/yolov5-fpn.yaml")),
    ("yolov5-p2", include_str!("../../../zoo/models/yolov5-p2.yaml")),
    ("yolov5-p34", include_str!("../../../zoo/models/yolov5-p34.yaml")),
    ("yolov5-p6", include_str!("../../../zoo/models/yolov5-p6.yaml")),
    ("yolov5-p7", include_str!("../../../zoo/models/yolov5-p7.yaml")),
    ("yolov5-panet", include_str!("../../../zoo/models/yolov5-panet.yaml")),
    ("yolov5_mobilenetv3", include_str!("../../../zoo/models/yolov5_mobilenetv3.yaml")),
    ("yolov5l", include_str!("../../../zoo/models/yolov5l.yaml")),
    ("yolov5l6", include_str!("../../../zoo/models/yolov5l6.yaml")),
    ("yolov5m", include_str!("../../../zoo/models/yolov5m.yaml")),
    ("yolov5m6", include_str!("../../../zoo/models/yolov5m6.yaml")),
    ("yolov5n", include_str!("../../../zoo/models/yolov5n.yaml")),
    ("yolov5n6", include_str!("../../../zoo/models/yolov5n6.yaml")),
    ("yolov5n_mobilenetv3_added", include_str!("../../../zoo/models/yolov5n_mobilenetv3_added.yaml")),
    ("yolov5n_mobilenetv3_c3", include_str!("../../../zoo/models/yolov5n_mobilenetv3_c3.yaml")),
    ("yolov5s", include_str!("../../../zoo/models/yolov5s.yaml")),
    ("yolov5s-LeakyReLU", include_str!("../../../zoo/models/yolov5s-LeakyReLU.yaml")),
    ("yolov5s-ghost", include_str!("../../../zoo/models/yolov5s-ghost.yaml")),
    ("yolov5s-transformer", include_str!("../../../zoo/models/yolov5s-transformer.yaml")),
    ("yolov5s6", include_str!("../../../zoo/models/yolov5s6.yaml")),
    ("yolov5x", include_str!("../../../zoo/models/yolov5x.yaml")),
    ("yolov5x6", include_str!("../../../zoo/models/yolov5x6.yaml")),
];

/// The text of a built-in model.
pub fn find(name: &str) -> Option<&'static str> {
    MODELS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
