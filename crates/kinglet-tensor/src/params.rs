//! Parameters: what a model learns, and the statistics that it keeps, by PyTorch's names.

use std::collections::HashMap;

/// The index of a parameter in [`Params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub(crate) usize);

impl ParamId {
    /// The position in [`Params::iter`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// What a parameter is for the optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// A convolution's or linear layer's weight: decays.
    Weight,
    /// Any bias, also that of a BatchNorm.
    Bias,
    /// A BatchNorm's weight.
    NormWeight,
    /// A running statistic: no gradient.
    Statistic,
}

impl ParamKind {
    /// Whether it has a gradient.
    pub fn learns(self) -> bool {
        self != ParamKind::Statistic
    }
}

/// How a parameter begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// All equal.
    Constant(f32),
    /// Uniform in ±bound. PyTorch's default for convolutions and linear layers is bound = 1 / sqrt(fan_in).
    Uniform(f32),
    /// Uniform in ±bound, plus an offset for each value.
    UniformPlus(f32, Vec<f32>),
}

/// A declared parameter. It has no values until [`Params::initialise`] or [`Params::set`].
#[derive(Debug, Clone)]
pub struct Param {
    /// Name in a state dict, such as `model.4.conv.0.weight`.
    pub name: String,
    /// Shape in PyTorch's order.
    pub shape: Vec<usize>,
    /// Its role.
    pub kind: ParamKind,
    /// How it begins.
    pub init: Init,
}

impl Param {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The parameters of a model.
#[derive(Debug, Clone, Default)]
pub struct Params {
    decls: Vec<Param>,
    values: Vec<Vec<f32>>,
    by_name: HashMap<String, ParamId>,
}

impl Params {
    /// Declares a parameter, or finds the one of that name: recording a model again for another input size gives the
    /// same ids.
    ///
    /// # Panics
    /// If the name is known with another shape.
    pub fn declare(&mut self, name: &str, shape: &[usize], kind: ParamKind, init: Init) -> ParamId {
        if let Some(&id) = self.by_name.get(name) {
            assert_eq!(self.decls[id.0].shape, shape, "parameter `{name}` declared twice with different shapes");
            return id;
        }
        let id = ParamId(self.decls.len());
        self.decls.push(Param { name: name.to_owned(), shape: shape.to_vec(), kind, init });
        self.by_name.insert(name.to_owned(), id);
        id
    }

    /// Gives every parameter its first value. Each draws from its own stream, made from the seed and its name, so that
    /// adding a layer leaves the others as they were.
    pub fn initialise(&mut self, seed: u64) {
        self.values = self
            .decls
            .iter()
            .map(|p| {
                let mut stream = Stream::new(seed, &p.name);
                match &p.init {
                    Init::Constant(x) => vec![*x; p.len()],
                    Init::Uniform(bound) => (0..p.len()).map(|_| bound * stream.signed()).collect(),
                    Init::UniformPlus(bound, offset) => offset.iter().map(|o| o + bound * stream.signed()).collect(),
                }
            })
            .collect();
    }

    /// Gives a parameter its values, whether or not it has others.
    ///
    /// # Panics
    /// If they are not as many as its shape has.
    pub fn set(&mut self, id: ParamId, values: Vec<f32>) {
        assert_eq!(values.len(), self.decls[id.0].len(), "values of `{}`", self.decls[id.0].name);
        self.values.resize_with(self.decls.len(), Vec::new);
        self.values[id.0] = values;
    }

    /// The declarations in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ParamId, &Param)> {
        self.decls.iter().enumerate().map(|(i, p)| (ParamId(i), p))
    }

    /// How many parameters and statistics there are.
    pub fn len(&self) -> usize {
        self.decls.len()
    }

    /// Whether none is declared.
    pub fn is_empty(&self) -> bool {
        self.decls.is_empty()
    }

    /// Number of learnt values, as YOLOv5 counts them (statistics excluded).
    pub fn learnt_values(&self) -> usize {
        self.decls.iter().filter(|p| p.kind.learns()).map(Param::len).sum()
    }

    /// The parameter of this name.
    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.by_name.get(name).copied()
    }

    /// The declaration of `id`.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.decls[id.0]
    }

    /// The values of `id`.
    pub fn get(&self, id: ParamId) -> &[f32] {
        &self.values[id.0]
    }

    /// The values of `id`, to change.
    pub fn get_mut(&mut self, id: ParamId) -> &mut [f32] {
        &mut self.values[id.0]
    }

    /// All values, in the order of [`Self::iter`].
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// All values, to change.
    pub fn values_mut(&mut self) -> &mut [Vec<f32>] {
        &mut self.values
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014), begun from a seed and a name (FNV-1a).
struct Stream(u64);

impl Stream {
    fn new(seed: u64, name: &str) -> Self {
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let mut stream = Stream(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        stream.next();
        stream
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    fn signed(&mut self) -> f32 {
        ((self.next() >> 40) as f32) * (2.0 / 16_777_216.0) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_begins_the_same_whatever_was_declared_before_it() {
        let mut a = Params::default();
        a.declare("x", &[3], ParamKind::Weight, Init::Uniform(0.5));
        let mut b = Params::default();
        b.declare("w", &[7], ParamKind::Weight, Init::Uniform(1.0));
        let x = b.declare("x", &[3], ParamKind::Weight, Init::Uniform(0.5));
        a.initialise(1);
        b.initialise(1);
        assert_eq!(a.values()[0], b.get(x));
        assert!(a.values()[0].iter().all(|v| v.abs() <= 0.5));
        assert_ne!(a.values()[0][0], a.values()[0][1]);
    }

    #[test]
    fn uniform_values_have_the_mean_and_variance_of_their_law() {
        let mut p = Params::default();
        p.declare("x", &[100_000], ParamKind::Weight, Init::Uniform(1.0));
        p.initialise(0);
        let mean = p.values()[0].iter().map(|&x| f64::from(x)).sum::<f64>() / 1e5;
        let var = p.values()[0].iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01 && (var - 1.0 / 3.0).abs() < 0.01, "{mean} {var}");
    }
}
