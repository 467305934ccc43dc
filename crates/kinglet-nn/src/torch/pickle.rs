//! The values of a pickle. `machine` reads them.
//!
//! Values lie in one list and name each other by their number, so that a pickle which contains itself is no trouble.

use super::TorchError;
use super::global::{Dtype, Global};
use super::machine::Machine;

/// The number of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(pub(super) u32);

/// A value. Lists and mappings name their parts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Bytes, a text that is not UTF-8, or a number of more than 64 bits.
    Bytes(&'a [u8]),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A name that was imported.
    Global {
        global: Global,
        module: &'a str,
        name: &'a str,
    },
    /// An instance of an inert class, with the attributes that it was given.
    Object {
        class: Id,
        state: Option<Id>,
    },
    /// The numbers behind tensors.
    Storage {
        dtype: Dtype,
        key: &'a str,
        len: usize,
    },
    /// A view of a storage, in numbers.
    Tensor {
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle; also gives the number of bytes that it took.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Self, usize), TorchError> {
        let mut machine = Machine::new(bytes);
        let root = machine.run()?;
        let (values, len) = machine.finish();
        Ok((Pickle { values, root }, len))
    }

    /// The outermost value.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// A value.
    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    /// All values, in the order in which they were made.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.values.iter()
    }

    /// A mapping's value by its text key.
    pub(super) fn entry(&self, map: Id, key: &str) -> Option<Id> {
        let Value::Dict(entries) = self.get(map) else { return None };
        // The last one counts, as in Python.
        entries.iter().rev().find(|(k, _)| *self.get(*k) == Value::Text(key)).map(|(_, v)| *v)
    }

    /// An object's attribute.
    pub(super) fn attribute(&self, object: Id, key: &str) -> Option<Id> {
        let Value::Object { state: Some(state), .. } = self.get(object) else { return None };
        self.entry(*state, key)
    }

    /// An object's class: module and name.
    pub(super) fn class(&self, object: Id) -> Option<(&'a str, &'a str)> {
        let Value::Object { class, .. } = self.get(object) else { return None };
        match self.get(*class) {
            Value::Global { module, name, .. } => Some((module, name)),
            _ => None,
        }
    }

    /// The parts of a list or tuple.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A text.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}
