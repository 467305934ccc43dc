//! Reads a row's arguments one after another, in the order the block names them.
//!
//! The first argument of a block with [`crate::Width::Scaled`] is the scaled channel count.

use crate::block::Activation;
use crate::error::SpecErrorKind;
use crate::limits;
use crate::value::{Value, quoted};

/// A position in a row's argument list. Each method takes the next argument; the `opt_` ones accept its absence.
#[derive(Debug)]
pub struct ArgCursor<'a> {
    values: &'a [Value],
    next: usize,
    anchors: &'a [Vec<[f32; 2]>],
}

type Result<T> = std::result::Result<T, SpecErrorKind>;

impl<'a> ArgCursor<'a> {
    /// Starts at the first of `values`; `anchors` is what the name `anchors` stands for.
    pub fn new(values: &'a [Value], anchors: &'a [Vec<[f32; 2]>]) -> Self {
        Self { values, next: 0, anchors }
    }

    /// Arguments not taken yet.
    pub fn remaining(&self) -> usize {
        self.values.len() - self.next
    }

    /// A whole number >= 0; `True` and `False` are not numbers here.
    pub fn usize_arg(&mut self, name: &str) -> Result<usize> {
        let index = self.next;
        let value = self.required(name)?;
        whole(value).ok_or_else(|| wrong(name, index, "a whole number", value))
    }

    /// A whole number >= 1: channels, kernels, strides.
    pub fn positive_arg(&mut self, name: &str) -> Result<usize> {
        let index = self.next;
        let value = self.required(name)?;
        positive(value).ok_or_else(|| wrong(name, index, "a whole number of at least 1", value))
    }

    /// A whole number >= 0, or `default` where the row ends before it.
    pub fn opt_usize(&mut self, name: &str, default: usize) -> Result<usize> {
        if self.remaining() == 0 { Ok(default) } else { self.usize_arg(name) }
    }

    /// A whole number >= 1, or `default` where the row ends before it.
    pub fn opt_positive(&mut self, name: &str, default: usize) -> Result<usize> {
        if self.remaining() == 0 { Ok(default) } else { self.positive_arg(name) }
    }

    /// A whole number >= 0, or nothing for `None` and where the row ends before it.
    pub fn opt_usize_or_none(&mut self, name: &str) -> Result<Option<usize>> {
        let index = self.next;
        match self.optional() {
            None | Some(Value::None) => Ok(None),
            Some(value) => whole(value).map(Some).ok_or_else(|| wrong(name, index, "a whole number or `None`", value)),
        }
    }

    /// A truth value: `True`, `False`, 1 or 0.
    pub fn bool_arg(&mut self, name: &str) -> Result<bool> {
        let index = self.next;
        match self.required(name)? {
            Value::Bool(v) => Ok(*v),
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            value => Err(wrong(name, index, "`True`, `False`, 1 or 0", value)),
        }
    }

    /// A truth value, or `default` where the row ends before it.
    pub fn opt_bool(&mut self, name: &str, default: bool) -> Result<bool> {
        if self.remaining() == 0 { Ok(default) } else { self.bool_arg(name) }
    }

    /// A number.
    pub fn f32_arg(&mut self, name: &str) -> Result<f32> {
        let index = self.next;
        let value = self.required(name)?;
        let number = match value {
            Value::Int(v) => *v as f32,
            Value::Float(v) => *v as f32,
            _ => f32::NAN,
        };
        if number.is_finite() { Ok(number) } else { Err(wrong(name, index, "a number", value)) }
    }

    /// A number, or `default` where the row ends before it.
    pub fn opt_f32(&mut self, name: &str, default: f32) -> Result<f32> {
        if self.remaining() == 0 { Ok(default) } else { self.f32_arg(name) }
    }

    /// One of the `allowed` names.
    pub fn str_arg(&mut self, name: &str, allowed: &[&'static str]) -> Result<&'static str> {
        let index = self.next;
        let value = self.required(name)?;
        let found = if let Value::Name(text) = value { allowed.iter().find(|a| *a == text) } else { None };
        found.copied().ok_or_else(|| {
            let names: Vec<String> = allowed.iter().map(|a| format!("`{a}`")).collect();
            wrong(name, index, &names.join(" or "), value)
        })
    }

    /// One of the `allowed` names, or `default` where the row ends before it.
    pub fn opt_str(&mut self, name: &str, allowed: &[&'static str], default: &'static str) -> Result<&'static str> {
        if self.remaining() == 0 { Ok(default) } else { self.str_arg(name, allowed) }
    }

    /// An activation: `default` for `True` and where the row ends before it, the identity for `False`, or a name
    /// such as `nn.ReLU()`.
    pub fn opt_activation(&mut self, name: &str, default: Activation) -> Result<Activation> {
        let index = self.next;
        match self.optional() {
            None | Some(Value::Bool(true)) => Ok(default),
            Some(Value::Bool(false)) => Ok(Activation::Identity),
            Some(Value::Activation(activation)) => Ok(*activation),
            Some(value) => {
                let expected = format!("`True`, `False` or one of `{}`", Activation::WRITTEN.join("`, `"));
                Err(wrong(name, index, &expected, value))
            }
        }
    }

    /// Whole numbers >= 0 in a list, or one alone; `default` where the row ends before it.
    pub fn opt_usize_list(&mut self, name: &str, default: &[usize]) -> Result<Vec<usize>> {
        let index = self.next;
        let Some(value) = self.optional() else { return Ok(default.to_vec()) };
        let list = match value {
            Value::List(items) if items.len() <= limits::LIST => items.iter().map(whole).collect(),
            single => whole(single).map(|v| vec![v]),
        };
        list.ok_or_else(|| wrong(name, index, "a whole number or a list of them", value))
    }

    /// The name `anchors`: pixels, one list a level, in the order of the head's inputs.
    pub fn anchors_arg(&mut self, name: &str) -> Result<Vec<Vec<[f32; 2]>>> {
        let index = self.next;
        match self.required(name)? {
            Value::Anchors => Ok(self.anchors.to_vec()),
            value => Err(wrong(name, index, "the name `anchors`, which stands for the file's `anchors` key", value)),
        }
    }

    /// `None` in a place where only `None` makes sense, such as the output size of `nn.Upsample`.
    pub fn none_arg(&mut self, name: &str) -> Result<()> {
        let index = self.next;
        match self.required(name)? {
            Value::None => Ok(()),
            value => Err(wrong(name, index, "`None`", value)),
        }
    }

    /// Ends reading.
    ///
    /// # Errors
    /// [`SpecErrorKind::SurplusArguments`] where arguments are left.
    pub fn finish(&self) -> Result<()> {
        if self.remaining() == 0 {
            Ok(())
        } else {
            Err(SpecErrorKind::SurplusArguments { taken: self.next, found: self.values.len() })
        }
    }

    fn optional(&mut self) -> Option<&'a Value> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        Some(value)
    }

    fn required(&mut self, name: &str) -> Result<&'a Value> {
        let index = self.next;
        self.optional().ok_or_else(|| SpecErrorKind::MissingArgument { name: name.to_owned(), index })
    }
}

fn whole(value: &Value) -> Option<usize> {
    match value {
        Value::Int(v) => usize::try_from(*v).ok().filter(|v| *v <= limits::CHANNELS),
        // A checkpoint's dictionary may hold 2.0 where the file had 2.
        Value::Float(v) if v.fract() == 0.0 && (0.0..=limits::CHANNELS as f64).contains(v) => Some(*v as usize),
        _ => None,
    }
}

fn positive(value: &Value) -> Option<usize> {
    whole(value).filter(|v| *v >= 1)
}

fn wrong(name: &str, index: usize, expected: &str, found: &Value) -> SpecErrorKind {
    let found = if let Value::Name(text) = found { quoted(text) } else { quoted(&found.to_string()) };
    SpecErrorKind::Argument { name: name.to_owned(), index, expected: expected.to_owned(), found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_in_order_and_defaults_fill_the_end() {
        let values = [Value::Int(16), Value::None, Value::Bool(true), Value::Name("nearest".into())];
        let mut args = ArgCursor::new(&values, &[]);
        assert_eq!(args.usize_arg("c_out"), Ok(16));
        assert_eq!(args.opt_usize_or_none("padding"), Ok(None));
        assert_eq!(args.opt_activation("activation", Activation::Relu), Ok(Activation::Relu));
        assert_eq!(args.finish(), Err(SpecErrorKind::SurplusArguments { taken: 3, found: 4 }));
        assert_eq!(args.str_arg("mode", &["nearest"]), Ok("nearest"));
        assert_eq!(args.opt_usize("scale", 2), Ok(2));
        assert_eq!(args.opt_usize_list("kernels", &[5, 9]), Ok(vec![5, 9]));
        assert_eq!(args.finish(), Ok(()));
        let missing = SpecErrorKind::MissingArgument { name: "more".into(), index: 4 };
        assert_eq!(args.f32_arg("more"), Err(missing));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_position() {
        let values = [Value::Int(16), Value::Int(-3)];
        let mut args = ArgCursor::new(&values, &[]);
        assert_eq!(args.positive_arg("c_out"), Ok(16));
        let error = args.positive_arg("kernel").expect_err("negative");
        assert_eq!(error.to_string(), "argument `kernel` must be a whole number of at least 1, found `-3`");
        assert!(matches!(error, SpecErrorKind::Argument { index: 1, .. }));
    }

    #[test]
    fn switches_may_be_numbers_and_numbers_may_not_be_switches() {
        let values = [Value::Int(1), Value::Int(2), Value::Bool(true)];
        let mut args = ArgCursor::new(&values, &[]);
        assert_eq!(args.bool_arg("se"), Ok(true));
        assert!(args.bool_arg("hs").is_err());
        assert!(args.usize_arg("kernel").is_err());
    }
}
