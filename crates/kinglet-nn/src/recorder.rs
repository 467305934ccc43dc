//! The hand that blocks write with: operations into the graph, parameters by name.

use kinglet_spec::{Shape as MapShape, SpecErrorKind, limits};
use kinglet_tensor::ops::{ConvUnit, Norm, Op};
use kinglet_tensor::{Activation, Graph, Init, ParamId, ParamKind, Params, Shape, Var};

/// Added to the variance in YOLOv5's models; PyTorch's default is 1e-5.
const BATCH_NORM_EPS: f32 = 1e-3;

/// The geometry of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Output channels.
    pub c_out: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
}

impl Conv {
    /// A dense convolution that keeps the size at stride 1 (padding kernel / 2).
    pub fn new(c_out: usize, kernel: usize, stride: usize) -> Self {
        Conv { c_out, kernel, stride, padding: kernel / 2, dilation: 1, groups: 1 }
    }

    /// A depthwise convolution.
    pub fn depthwise(channels: usize, kernel: usize, stride: usize) -> Self {
        Conv { groups: channels, ..Conv::new(channels, kernel, stride) }
    }

    /// The output's shape.
    ///
    /// # Errors
    /// Channels that the groups do not divide, or a map smaller than the kernel.
    pub fn plan(&self, x: MapShape) -> Result<MapShape, SpecErrorKind> {
        if self.c_out == 0
            || self.groups == 0
            || !x.channels.is_multiple_of(self.groups)
            || !self.c_out.is_multiple_of(self.groups)
        {
            let message = format!(
                "needs input and output channels divisible by groups = {}, found {} and {}",
                self.groups, x.channels, self.c_out
            );
            return Err(SpecErrorKind::Inputs { message });
        }
        check_weights(&[self.c_out, x.channels / self.groups, self.kernel, self.kernel])?;
        let reach = self.dilation * (self.kernel - 1) + 1;
        let out = |side: usize| (side + 2 * self.padding).checked_sub(reach).map(|free| free / self.stride + 1);
        match (out(x.height), out(x.width)) {
            (Some(height), Some(width)) => Ok(MapShape { channels: self.c_out, height, width }),
            _ => Err(SpecErrorKind::Inputs {
                message: format!("with kernel {} needs a larger map than {x}", self.kernel),
            }),
        }
    }
}

/// Refuses weights of this shape where they are too many for any machine, before anything counts them.
pub(crate) fn check_weights(shape: &[usize]) -> Result<(), SpecErrorKind> {
    let count = shape.iter().fold(1usize, |count, &side| count.saturating_mul(side));
    if count > limits::WEIGHTS {
        return Err(SpecErrorKind::Limit { what: "the number of weights".into(), limit: limits::WEIGHTS });
    }
    Ok(())
}

/// Records operations under a name, such as `model.4.cv1`.
#[derive(Debug)]
pub struct Recorder<'a> {
    graph: &'a mut Graph,
    params: &'a mut Params,
    prefix: String,
}

impl<'a> Recorder<'a> {
    /// A recorder whose parameters begin with `prefix`.
    pub fn new(graph: &'a mut Graph, params: &'a mut Params, prefix: &str) -> Self {
        Recorder { graph, params, prefix: prefix.to_owned() }
    }

    /// The same, one name deeper.
    pub fn scope(&mut self, name: impl std::fmt::Display) -> Recorder<'_> {
        let prefix = if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) };
        Recorder { graph: self.graph, params: self.params, prefix }
    }

    /// The shape of a value.
    pub fn shape(&self, var: Var) -> Shape {
        self.graph.shape(var)
    }

    /// Appends an operation.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[Var]) -> Var {
        self.graph.push(op, inputs)
    }

    /// Marks a result of the model.
    pub fn output(&mut self, var: Var) {
        self.graph.output(var);
    }

    /// Declares a parameter of this scope.
    pub fn declare(&mut self, name: &str, shape: &[usize], kind: ParamKind, init: Init) -> ParamId {
        self.params.declare(&format!("{}.{name}", self.prefix), shape, kind, init)
    }

    /// Declares a BatchNorm called `name`.
    pub fn norm(&mut self, name: &str, channels: usize) -> Norm {
        let mut scope = self.scope(name);
        let shape = [channels];
        Norm {
            weight: scope.declare("weight", &shape, ParamKind::NormWeight, Init::Constant(1.0)),
            bias: scope.declare("bias", &shape, ParamKind::Bias, Init::Constant(0.0)),
            mean: scope.declare("running_mean", &shape, ParamKind::Statistic, Init::Constant(0.0)),
            variance: scope.declare("running_var", &shape, ParamKind::Statistic, Init::Constant(1.0)),
            eps: BATCH_NORM_EPS,
        }
    }

    /// Declares weight and bias of a linear layer or convolution: PyTorch's default, uniform in ±1 / sqrt(fan_in).
    pub fn weight_and_bias(&mut self, name: &str, shape: &[usize]) -> [ParamId; 2] {
        let bound = init_bound(shape);
        let mut scope = self.scope(name);
        [
            scope.declare("weight", shape, ParamKind::Weight, Init::Uniform(bound)),
            scope.declare("bias", &shape[..1], ParamKind::Bias, Init::Uniform(bound)),
        ]
    }

    /// Records a linear layer of each pixel's channels, without bias unless asked for, plus a residual.
    pub fn linear(&mut self, name: &str, x: Var, c_out: usize, bias: bool, residual: Option<Var>) -> Var {
        let shape = [c_out, self.shape(x).c];
        let (weight, bias) = if bias {
            let [weight, bias] = self.weight_and_bias(name, &shape);
            (weight, Some(bias))
        } else {
            let init = Init::Uniform(init_bound(&shape));
            (self.scope(name).declare("weight", &shape, ParamKind::Weight, init), None)
        };
        let unit = ConvUnit {
            weight,
            bias,
            norm: None,
            activation: Activation::Identity,
            c_out,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: 1,
            groups: 1,
        };
        self.push(unit, &[Some(x), residual].into_iter().flatten().collect::<Vec<_>>())
    }

    /// Records `activation(norm(conv(x))) + residual`; the convolution has no bias, as everywhere in YOLOv5 but the head.
    pub fn conv_norm(
        &mut self,
        [conv, norm]: [&str; 2],
        x: Var,
        geometry: Conv,
        activation: Activation,
        residual: Option<Var>,
    ) -> Var {
        let norm = self.norm(norm, geometry.c_out);
        self.conv_unit(conv, x, geometry, Some(norm), activation, residual)
    }

    /// Records a convolution on its own, without bias.
    pub fn conv_bare(&mut self, name: &str, x: Var, geometry: Conv) -> Var {
        self.conv_unit(name, x, geometry, None, Activation::Identity, None)
    }

    /// Records YOLOv5's `Conv`: a convolution `name.conv`, a BatchNorm `name.bn` and an activation.
    pub fn conv(&mut self, name: &str, x: Var, geometry: Conv, activation: Activation, residual: Option<Var>) -> Var {
        self.scope(name).conv_norm(["conv", "bn"], x, geometry, activation, residual)
    }

    fn conv_unit(
        &mut self,
        name: &str,
        x: Var,
        g: Conv,
        norm: Option<Norm>,
        activation: Activation,
        residual: Option<Var>,
    ) -> Var {
        let shape = [g.c_out, self.shape(x).c / g.groups, g.kernel, g.kernel];
        let weight = self.scope(name).declare("weight", &shape, ParamKind::Weight, Init::Uniform(init_bound(&shape)));
        let unit = ConvUnit {
            weight,
            bias: None,
            norm,
            activation,
            c_out: g.c_out,
            kernel: [g.kernel; 2],
            stride: [g.stride; 2],
            padding: [g.padding; 2],
            dilation: g.dilation,
            groups: g.groups,
        };
        match residual {
            None => self.push(unit, &[x]),
            Some(residual) => self.push(unit, &[x, residual]),
        }
    }
}

/// PyTorch's default for convolutions and linear layers: Kaiming-uniform with a = sqrt(5), that is 1 / sqrt(fan_in).
pub(crate) fn init_bound(shape: &[usize]) -> f32 {
    (1.0 / shape[1..].iter().product::<usize>() as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_weights_than_any_machine_holds_are_refused() {
        let x = MapShape { channels: 65_536, height: 8, width: 8 };
        // 2^32 weights; 2^31 of them are the most.
        let error = Conv::new(65_536, 1, 1).plan(x).unwrap_err();
        assert!(matches!(error, SpecErrorKind::Limit { limit: limits::WEIGHTS, .. }), "{error:?}");
        let wide = MapShape { height: 65_536, width: 65_536, ..x };
        assert!(Conv::new(65_536, 65_536, 1).plan(wide).is_err());
        assert!(Conv::new(32_768, 1, 1).plan(x).is_ok());
    }
}
