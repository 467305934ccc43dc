//! Values that a row's argument list may hold: a closed set, nothing evaluated.
//!
//! Source: the tokens that YOLOv5's model files use. A bare `None` is a string to YAML, and so is `nn.SiLU()`; both are
//! recognised here. Quotes make no difference, as in YOLOv5.

use crate::block::Activation;
use crate::yaml::{Data, Node};
use std::fmt;

/// One argument.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `None`, `null` or `~`.
    None,
    /// `True` or `False`, in any of YAML's capitalisations.
    Bool(bool),
    /// A whole number, or `nc`, which is replaced by the number of classes.
    Int(i64),
    /// Any other finite number.
    Float(f64),
    /// The name `anchors`.
    Anchors,
    /// `nn.SiLU()` and the like.
    Activation(Activation),
    /// Any other text, such as `nearest`.
    Name(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// Reads an argument; mappings have no meaning in one.
    pub(crate) fn from_node(node: &Node<'_>, nc: usize) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) => Some(Self::from_text(text, nc)),
            Data::List(items) => items.iter().map(|i| Self::from_node(i, nc)).collect::<Option<_>>().map(Self::List),
            Data::Map(_) => None,
        }
    }

    fn from_text(text: &str, nc: usize) -> Self {
        match text {
            "None" | "none" | "null" | "Null" | "NULL" | "~" | "" => return Self::None,
            "True" | "true" | "TRUE" => return Self::Bool(true),
            "False" | "false" | "FALSE" => return Self::Bool(false),
            "nc" => return Self::Int(i64::try_from(nc).unwrap_or(i64::MAX)),
            "anchors" => return Self::Anchors,
            _ => {}
        }
        if let Some(whole) = parse_int(text) {
            Self::Int(whole)
        } else if let Some(number) = parse_float(text) {
            Self::Float(number)
        } else if let Some(activation) = Activation::from_written(text) {
            Self::Activation(activation)
        } else {
            Self::Name(text.to_owned())
        }
    }
}

/// A whole number in decimal digits.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A finite number in digits: `0.5`, `.5`, `1e-3`; not `inf` or `nan`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let digits = text.bytes().any(|b| b.is_ascii_digit());
    let only = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if digits && only { text.parse().ok().filter(|v: &f64| v.is_finite()) } else { None }
}

/// As Python prints it, which is how YOLOv5's model table shows arguments.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Anchors => f.write_str("anchors"),
            Self::Activation(v) => write!(f, "{v}"),
            Self::Name(v) => write!(f, "'{v}'"),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Text in backticks, cut to a length that an error message can bear.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() > LONGEST {
        format!("`{}...`", clean.chars().take(LONGEST).collect::<String>())
    } else {
        format!("`{clean}`")
    }
}
