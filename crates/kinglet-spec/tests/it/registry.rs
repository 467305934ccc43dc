//! A small registry: shape rules only, enough to read YOLOv5's P5 models and the tutorial's.

use kinglet_spec::{Activation, ArgCursor, BlockKind, Context, Repeats, Shape, SpecErrorKind, Width, one_input};
use std::any::Any;

type Planned = Result<(Box<dyn Any + Send + Sync>, Shape), SpecErrorKind>;
type Plan = fn(&mut ArgCursor<'_>, &[Shape], &Context) -> Planned;

/// What the plan of every test block is: text to look at.
pub type Layer = String;

pub struct Kind {
    name: &'static str,
    aliases: &'static [&'static str],
    arguments: &'static str,
    width: Width,
    repeats: Repeats,
    head: bool,
    plan: Plan,
}

impl BlockKind for Kind {
    fn name(&self) -> &'static str {
        self.name
    }
    fn aliases(&self) -> &'static [&'static str] {
        self.aliases
    }
    fn arguments(&self) -> &'static str {
        self.arguments
    }
    fn summary(&self) -> &'static str {
        "A block for tests."
    }
    fn width(&self) -> Width {
        self.width
    }
    fn repeats(&self) -> Repeats {
        self.repeats
    }
    fn is_head(&self) -> bool {
        self.head
    }
    fn plan(&self, args: &mut ArgCursor<'_>, inputs: &[Shape], context: &Context) -> Planned {
        (self.plan)(args, inputs, context)
    }
}

fn strided(input: Shape, channels: usize, kernel: usize, stride: usize, padding: usize) -> Shape {
    let side = |n: usize| (n + 2 * padding).checked_sub(kernel).map_or(0, |n| n / stride + 1);
    Shape { channels, height: side(input.height), width: side(input.width) }
}

fn conv(args: &mut ArgCursor<'_>, inputs: &[Shape], context: &Context) -> Planned {
    let c_out = args.positive_arg("c_out")?;
    let kernel = args.opt_positive("kernel", 1)?;
    let stride = args.opt_positive("stride", 1)?;
    let padding = args.opt_usize_or_none("padding")?.unwrap_or(kernel / 2);
    let groups = args.opt_positive("groups", 1)?;
    let _dilation = args.opt_positive("dilation", 1)?;
    let activation: Activation = args.opt_activation("activation", context.default_activation)?;
    args.finish()?;
    let input = one_input(inputs)?;
    if input.channels % groups != 0 || c_out % groups != 0 {
        return Err(SpecErrorKind::Inputs {
            message: format!(
                "needs {} input and {c_out} output channels divisible by groups = {groups}",
                input.channels
            ),
        });
    }
    Ok((Box::new(format!("conv {activation}")), strided(input, c_out, kernel, stride, padding)))
}

fn conv3bn(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    let (c_out, stride) = (args.positive_arg("c_out")?, args.positive_arg("stride")?);
    Ok((Box::new(String::new()), strided(one_input(inputs)?, c_out, 3, stride, 1)))
}

fn c3(args: &mut ArgCursor<'_>, inputs: &[Shape], context: &Context) -> Planned {
    let channels = args.positive_arg("c_out")?;
    let shortcut = args.opt_bool("shortcut", true)?;
    let _groups = args.opt_positive("groups", 1)?;
    let _expansion = args.opt_f32("expansion", 0.5)?;
    args.finish()?;
    let planned = format!("c3 {} {shortcut}", context.repeats);
    Ok((Box::new(planned), Shape { channels, ..one_input(inputs)? }))
}

fn sppf(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    let channels = args.positive_arg("c_out")?;
    let _kernel = args.opt_positive("kernel", 5)?;
    args.finish()?;
    Ok((Box::new(String::new()), Shape { channels, ..one_input(inputs)? }))
}

fn mobile(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    let c_out = args.positive_arg("c_out")?;
    let hidden = args.positive_arg("hidden")?;
    let kernel = args.positive_arg("kernel")?;
    let stride = args.positive_arg("stride")?;
    let (se, hs) = (args.bool_arg("use_se")?, args.bool_arg("use_hs")?);
    args.finish()?;
    let planned = format!("mobile {hidden} {se} {hs}");
    Ok((Box::new(planned), strided(one_input(inputs)?, c_out, kernel, stride, kernel / 2)))
}

fn upsample(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    args.none_arg("size")?;
    let scale = args.positive_arg("scale")?;
    let mode = args.opt_str("mode", &["nearest"], "nearest")?;
    args.finish()?;
    let input = one_input(inputs)?;
    let output = Shape { height: input.height * scale, width: input.width * scale, ..input };
    Ok((Box::new(mode.to_owned()), output))
}

fn concat(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    args.opt_usize("dimension", 1)?;
    args.finish()?;
    if inputs.len() < 2 {
        return Err(SpecErrorKind::InputCount { expected: "at least two inputs".into(), found: inputs.len() });
    }
    let first = inputs[0];
    if inputs.iter().any(|s| (s.height, s.width) != (first.height, first.width)) {
        return Err(SpecErrorKind::SizesDiffer);
    }
    Ok((Box::new(String::new()), Shape { channels: inputs.iter().map(|s| s.channels).sum(), ..first }))
}

fn detect(args: &mut ArgCursor<'_>, inputs: &[Shape], context: &Context) -> Planned {
    let nc = args.positive_arg("nc")?;
    let anchors = args.anchors_arg("anchors")?;
    args.finish()?;
    Ok((Box::new(format!("detect {nc} {anchors:?} {:?}", context.strides)), inputs[0]))
}

const fn kind(name: &'static str, arguments: &'static str, width: Width, plan: Plan) -> Kind {
    Kind { name, aliases: &[], arguments, width, repeats: Repeats::Stacked, head: false, plan }
}

static CONV: Kind = kind(
    "Conv",
    "c_out, kernel = 1, stride = 1, padding = None, groups = 1, dilation = 1, activation = True",
    Width::Scaled,
    conv,
);
static DWCONV: Kind = kind("DWConv", "c_out, kernel = 1, stride = 1", Width::Scaled, conv);
static CONV3BN: Kind = kind("Conv3BN", "c_out, stride", Width::Scaled, conv3bn);
static SPPF: Kind = kind("SPPF", "c_out, kernel = 5", Width::Scaled, sppf);
static MOBILE: Kind = kind("MobileNetv3", "c_out, hidden, kernel, stride, use_se, use_hs", Width::Scaled, mobile);
static INVERTED: Kind =
    kind("InvertedResidual", "c_out, hidden, kernel, stride, use_se, use_hs", Width::Scaled, mobile);
static CONCAT: Kind = kind("Concat", "dimension = 1", Width::Unscaled, concat);
static C3: Kind = Kind {
    repeats: Repeats::Inside,
    ..kind("C3", "c_out, shortcut = True, groups = 1, expansion = 0.5", Width::Scaled, c3)
};
static UPSAMPLE: Kind = Kind {
    aliases: &["nn.Upsample"],
    ..kind("Upsample", "size = None, scale, mode = 'nearest'", Width::Unscaled, upsample)
};
static DETECT: Kind = Kind { head: true, ..kind("Detect", "nc, anchors", Width::Unscaled, detect) };

/// Takes any further arguments of these kinds: numbers, lists, truth values.
fn rest(args: &mut ArgCursor<'_>) -> Result<(), SpecErrorKind> {
    while args.remaining() > 0 {
        let before = args.remaining();
        if args.opt_usize_list("rest", &[]).is_err() && args.remaining() == before {
            break;
        }
    }
    Ok(())
}

/// A block that keeps the size.
fn flat(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    let channels = args.positive_arg("c_out")?;
    rest(args)?;
    Ok((Box::new(String::new()), Shape { channels, ..one_input(inputs)? }))
}

/// A block whose stride is the argument behind so many others.
fn with_stride(args: &mut ArgCursor<'_>, inputs: &[Shape], between: usize) -> Planned {
    let channels = args.positive_arg("c_out")?;
    for _ in 0..between {
        args.positive_arg("between")?;
    }
    let stride = args.positive_arg("stride")?;
    rest(args)?;
    Ok((Box::new(String::new()), strided(one_input(inputs)?, channels, 3, stride, 1)))
}

fn max_pool(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    let (kernel, stride) = (args.positive_arg("kernel")?, args.positive_arg("stride")?);
    let padding = args.usize_arg("padding")?;
    let x = one_input(inputs)?;
    Ok((Box::new(String::new()), strided(x, x.channels, kernel, stride, padding)))
}

fn zero_pad(args: &mut ArgCursor<'_>, inputs: &[Shape], _: &Context) -> Planned {
    let border = args.opt_usize_list("border", &[])?;
    let x = one_input(inputs)?;
    let shape = Shape { width: x.width + border[0] + border[1], height: x.height + border[2] + border[3], ..x };
    Ok((Box::new(String::new()), shape))
}

/// What the zoo's other models need beside [`REGISTRY`], which stays small for the messages about mistakes.
pub static OTHERS: &[&dyn BlockKind] = &[
    &kind("Bottleneck", "", Width::Scaled, flat),
    &kind("SPP", "", Width::Scaled, flat),
    &Kind { repeats: Repeats::Inside, ..kind("C3Ghost", "", Width::Scaled, flat) },
    &Kind { repeats: Repeats::Inside, ..kind("C3TR", "", Width::Scaled, flat) },
    &kind("GhostConv", "", Width::Scaled, conv),
    &kind("MobileNetv2", "", Width::Scaled, |args, inputs, _| with_stride(args, inputs, 2)),
    &kind("ShuffleNetv2", "", Width::Scaled, |args, inputs, _| with_stride(args, inputs, 0)),
    &kind("GhostNet", "", Width::Scaled, |args, inputs, _| with_stride(args, inputs, 2)),
    &kind("nn.MaxPool2d", "", Width::Unscaled, max_pool),
    &kind("nn.ZeroPad2d", "", Width::Unscaled, zero_pad),
];

pub static REGISTRY: &[&dyn BlockKind] =
    &[&CONV, &DWCONV, &CONV3BN, &SPPF, &MOBILE, &INVERTED, &CONCAT, &C3, &UPSAMPLE, &DETECT];

/// Models whose backbones a test may name.
pub static MODELS: &[(&str, &str)] = &[
    ("mobilenetv3_small", include_str!("../../../../zoo/models/mobilenetv3_small.yaml")),
    ("yolov5n", include_str!("../../../../zoo/models/yolov5n.yaml")),
    ("yolov5s6", include_str!("../../../../zoo/models/yolov5s6.yaml")),
];
