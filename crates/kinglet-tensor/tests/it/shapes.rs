//! Shapes and multiply-adds that operations report, and the errors for inputs that do not fit.

use crate::cases::Builder;
use kinglet_tensor::Shape;
use kinglet_tensor::ops::{
    Add, Attention, Concat, Contract, ConvTranspose, ConvUnit, Expand, MaxPool, Op, ShuffleChannels, SliceChannels,
    SpaceToDepth, Upsample, ZeroPad,
};

/// A 3x3 convolution to 8 channels of an input of this many channels.
fn conv(c_in: usize) -> ConvUnit {
    let b = &mut Builder::on(Shape::new(1, 8, 8, c_in));
    b.conv(b.graph.input(), 8, 3, 1)
}

/// A transposed 3x3 convolution to 4 channels, doubling sides.
fn doubling() -> ConvTranspose {
    let weight = conv(1).weight;
    ConvTranspose {
        weight,
        bias: None,
        c_out: 4,
        kernel: 3,
        stride: 2,
        padding: 1,
        output_padding: 1,
        dilation: 1,
        groups: 1,
    }
}

fn attention(heads: usize) -> Attention {
    Builder::on(Shape::new(1, 8, 8, 6)).attention(6, heads)
}

#[test]
fn outputs_have_the_shapes_that_pytorch_gives_them() {
    let x = Shape::new(2, 9, 6, 4);
    let pool = |kernel, stride, padding| MaxPool { kernel, stride, padding };
    let cases: [(Op, Shape); 13] = [
        (conv(4).into(), Shape::new(2, 9, 6, 8)),
        (ConvUnit { stride: [2, 2], ..conv(4) }.into(), Shape::new(2, 5, 3, 8)),
        (ConvUnit { dilation: 2, ..conv(4) }.into(), Shape::new(2, 7, 4, 8)),
        (ConvUnit { kernel: [1, 5], padding: [0, 1], ..conv(4) }.into(), Shape::new(2, 9, 4, 8)),
        (pool(2, 2, 0).into(), Shape::new(2, 4, 3, 4)),
        (pool(5, 1, 2).into(), x),
        (Upsample { scale: 3 }.into(), Shape::new(2, 27, 18, 4)),
        (ZeroPad { border: [1, 2, 3, 4] }.into(), Shape::new(2, 16, 9, 4)), // left, right, top, bottom
        (Contract { gain: 3 }.into(), Shape::new(2, 3, 2, 36)),
        (Expand { gain: 2 }.into(), Shape::new(2, 18, 12, 1)),
        (ShuffleChannels { groups: 2 }.into(), x),
        (SliceChannels { first: 1, count: 3 }.into(), Shape { c: 3, ..x }),
        (doubling().into(), Shape::new(2, 18, 12, 4)), // (9 - 1) 2 - 2 + 2 + 1 + 1
    ];
    for (op, want) in cases {
        assert_eq!(op.run().shape(&[x]), Ok(want), "{op:?}");
    }
    assert_eq!(Op::from(SpaceToDepth).run().shape(&[Shape::new(2, 8, 6, 3)]), Ok(Shape::new(2, 4, 3, 12)));
    assert_eq!(Op::from(Concat).run().shape(&[x, Shape { c: 3, ..x }]), Ok(Shape { c: 7, ..x }));
}

#[test]
fn multiply_adds_of_a_convolution_count_groups() {
    let (x, y) = (Shape::new(2, 8, 8, 4), Shape::new(2, 8, 8, 8));
    assert_eq!(Op::from(conv(4)).run().macs(&[x], y), 2 * 8 * 8 * 8 * (4 * 9));
    assert_eq!(Op::from(ConvUnit { groups: 4, ..conv(4) }).run().macs(&[x], y), 2 * 8 * 8 * 8 * 9);
    assert_eq!(Op::from(doubling()).run().macs(&[x], Shape::new(2, 16, 16, 4)), 2 * 8 * 8 * 4 * (4 * 9));
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let x = Shape::new(1, 5, 4, 6);
    let cases: [(Op, Vec<Shape>, &str); 16] = [
        (ConvUnit { groups: 4, ..conv(6) }.into(), vec![x], "conv: 6 and 8 channels in 4 groups"),
        (ConvUnit { padding: [0, 0], ..conv(6) }.into(), vec![Shape { h: 2, ..x }], "smaller than the kernel [3, 3]"),
        (conv(6).into(), vec![x, x], "residual [1, 5, 4, 6] is added to [1, 5, 4, 8]"),
        (conv(6).into(), vec![], "expected one or two inputs, got 0"),
        (Concat.into(), vec![x, Shape { w: 5, ..x }], "[1, 5, 4, 6] and [1, 5, 5, 6] differ outside the channels"),
        (Concat.into(), vec![], "no inputs"),
        (SpaceToDepth.into(), vec![x], "[1, 5, 4, 6] has an odd side"),
        (MaxPool { kernel: 7, stride: 1, padding: 1 }.into(), vec![x], "smaller than the window of 7"),
        (Contract { gain: 2 }.into(), vec![x], "contract: [1, 5, 4, 6] is not whole squares of 2"),
        (Expand { gain: 2 }.into(), vec![x], "expand: 6 channels are not whole squares of 2"),
        (ShuffleChannels { groups: 4 }.into(), vec![x], "shuffle_channels: 6 channels in 4 groups"),
        (SliceChannels { first: 4, count: 3 }.into(), vec![x], "slice_channels: 3 channels from 4 of 6"),
        (Add.into(), vec![x, Shape { c: 5, ..x }], "add: [1, 5, 4, 6] and [1, 5, 4, 5] differ"),
        (
            ConvTranspose { output_padding: 2, ..doubling() }.into(),
            vec![x],
            "output padding 2 is not below the stride 2",
        ),
        (ConvTranspose { padding: 5, ..doubling() }.into(), vec![x], "conv_transpose: padding 5 leaves nothing of"),
        (attention(4).into(), vec![x, x, x], "attention: 6 channels for 4 heads"),
    ];
    for (op, inputs, want) in cases {
        let error = op.run().shape(&inputs).expect_err("it does not fit").to_string();
        assert!(error.contains(want), "{error} instead of {want}");
    }
    let error = Op::from(Upsample { scale: 2 }).run().shape(&[x, x]).expect_err("one input").to_string();
    assert_eq!(error, "upsample: expected 1 inputs, got 2");
}
