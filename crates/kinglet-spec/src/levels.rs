//! Levels: how a head says which of the backbone's maps it takes, without counting rows.
//!
//! Source: the pyramid's usual names: P3 is the map of stride 2^3. A level is the backbone's last row of that stride, which
//! is the row that the necks of YOLOv5 and of the zoo tap.

use crate::graph::LayerSpec;
use crate::value::parse_int;
use std::fmt;

/// The levels of the ten rows of YOLOv5's backbone. A head's numbers below ten mean these where the backbone is given by
/// name, so that heads written for YOLOv5's backbone can be put under another one as they are.
pub(crate) const STOCK: [u32; 10] = [1, 2, 2, 3, 3, 4, 4, 5, 5, 5];

/// The coarsest level that has a name.
pub(crate) const COARSEST: u32 = 12;

/// An entry of `from`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    /// Counted back from this row where negative, a row's number where not.
    Row(i64),
    /// The backbone's last row of stride 2^level.
    Level(u32),
}

impl Reference {
    /// Reads `-1`, `6` or `P4`.
    pub(crate) fn from_written(text: &str) -> Option<Self> {
        if let Some(level) = text.strip_prefix('P').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())) {
            return level.parse().ok().filter(|l| (1..=COARSEST).contains(l)).map(Self::Level);
        }
        parse_int(text).map(Self::Row)
    }

    /// The same place of a head that was written for YOLOv5's backbone, behind one of `backbone` rows.
    pub(crate) fn on_backbone(self, backbone: usize) -> Self {
        match self {
            Self::Row(n) if n >= 0 => match usize::try_from(n).ok().and_then(|n| STOCK.get(n)) {
                Some(level) => Self::Level(*level),
                None => Self::Row((n - STOCK.len() as i64).saturating_add(backbone as i64)),
            },
            other => other,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(n) => write!(f, "{n}"),
            Self::Level(level) => write!(f, "P{level}"),
        }
    }
}

/// The level of a layer, if its stride is a power of two.
pub(crate) fn level_of(layer: &LayerSpec, image_height: usize) -> Option<u32> {
    let exact = layer.stride.is_power_of_two() && layer.output.height * layer.stride == image_height;
    exact.then(|| layer.stride.ilog2())
}

/// The last of these layers that has the level.
pub(crate) fn tap(layers: &[LayerSpec], level: u32, image_height: usize) -> Option<usize> {
    layers.iter().rposition(|layer| level_of(layer, image_height) == Some(level))
}
