//! The machine that a pickle is a program for: opcodes in, values out, nothing executed.
//!
//! Source: the opcode table of CPython's `pickletools`; protocols 1 to 5 as far as PyTorch writes them.
//! Nothing here recurses, and what a pickle asks to build is counted and limited.

use super::TorchError;
use super::global::{Global, resolve};
use super::pickle::{Id, Value};
use std::collections::HashMap;

/// Most values of one pickle, and most parts that these are made with (what is appended later costs a byte of the file
/// each); a checkpoint of YOLOv5 has about 30,000.
const VALUES: usize = 1_000_000;
/// Most entries on the stack, and places in the memo.
const STACK: usize = 1_000_000;
/// Most arguments of a constructor.
const ARGUMENTS: usize = 256;

/// A reader at work.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the opcode at work begins.
    op: usize,
    values: Vec<Value<'a>>,
    /// Parts of lists and mappings so far: copies of a long list would cost more than the bytes that ask for them.
    parts: usize,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Machine {
            bytes,
            at: 0,
            op: 0,
            values: Vec::new(),
            parts: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// All values, and how many bytes were read.
    pub(super) fn finish(self) -> (Vec<Value<'a>>, usize) {
        (self.values, self.at)
    }

    fn wrong(&self, message: impl Into<String>) -> TorchError {
        TorchError::Pickle { offset: self.op, message: message.into() }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], TorchError> {
        let left = self.bytes.len() - self.at;
        if len > left {
            return Err(self.wrong(format!("more bytes are expected ({len}), the pickle ends after {left}")));
        }
        self.at += len;
        Ok(&self.bytes[self.at - len..self.at])
    }

    fn number(&mut self, len: usize) -> Result<u64, TorchError> {
        Ok(self.take(len)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A length of so many bytes, and the bytes that it counts.
    fn counted(&mut self, len: usize) -> Result<&'a [u8], TorchError> {
        let count = self.number(len)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str, TorchError> {
        let Some(len) = self.bytes[self.at..].iter().position(|&b| b == b'\n') else {
            return Err(self.wrong("a line is expected, the pickle ends in it"));
        };
        let line = self.take(len + 1)?;
        std::str::from_utf8(&line[..len]).map_err(|_| self.wrong("a line is not UTF-8"))
    }

    fn text(&mut self, bytes: &'a [u8]) -> Result<Value<'a>, TorchError> {
        std::str::from_utf8(bytes).map(Value::Text).map_err(|_| self.wrong("a text is not UTF-8"))
    }

    fn add(&mut self, value: Value<'a>) -> Result<Id, TorchError> {
        self.parts += match &value {
            Value::Tuple(items) | Value::List(items) => items.len(),
            Value::Dict(entries) => entries.len(),
            _ => 0,
        };
        if self.values.len().max(self.parts) >= VALUES {
            return Err(TorchError::Limit { what: "the pickle".into(), limit: format!("{VALUES} values") });
        }
        self.values.push(value);
        Ok(Id(u32::try_from(self.values.len() - 1).expect("the limit is below 2^32")))
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), TorchError> {
        let id = self.add(value)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<(), TorchError> {
        if self.stack.len() >= STACK {
            return Err(TorchError::Limit { what: "the pickle's stack".into(), limit: format!("{STACK} values") });
        }
        self.stack.push(id);
        Ok(())
    }

    /// The value on top, which belongs to the innermost mark.
    fn pop(&mut self) -> Result<Id, TorchError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.wrong("a value is expected on the stack, there is none"));
        }
        Ok(self.stack.pop().expect("longer than the floor"))
    }

    fn top(&self) -> Result<Id, TorchError> {
        self.stack.last().copied().ok_or_else(|| self.wrong("a value is expected on the stack, there is none"))
    }

    /// The values above the innermost mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, TorchError> {
        let Some(mark) = self.marks.pop() else { return Err(self.wrong("a mark is expected, there is none")) };
        Ok(self.stack.split_off(mark))
    }

    fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    fn tuple(&mut self, len: usize) -> Result<(), TorchError> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn memoise(&mut self, place: u32) -> Result<(), TorchError> {
        let top = self.top()?;
        if self.memo.len() >= STACK {
            return Err(TorchError::Limit { what: "the pickle's memo".into(), limit: format!("{STACK} values") });
        }
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), TorchError> {
        match self.memo.get(&place) {
            Some(&id) => self.push_id(id),
            None => Err(self.wrong(format!("value {place} of the memo is asked for and was never stored"))),
        }
    }

    /// Reads up to the end of the pickle; the result is its outermost value.
    pub(super) fn run(&mut self) -> Result<Id, TorchError> {
        loop {
            self.op = self.at;
            let code = self.take(1)?[0];
            match code {
                0x80 => {
                    let protocol = self.number(1)?;
                    if protocol > 5 {
                        return Err(self.wrong(format!("protocol 5 at most is expected, found {protocol}")));
                    }
                }
                0x95 => drop(self.take(8)?), // frames only help readers of streams
                b'.' => return self.pop(),
                b'(' => {
                    if self.marks.len() >= STACK {
                        let what = "the pickle's nesting".into();
                        return Err(TorchError::Limit { what, limit: format!("{STACK} marks") });
                    }
                    self.marks.push(self.stack.len());
                }
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.push_id(top)?;
                }
                b'q' => {
                    let place = self.number(1)?;
                    self.memoise(place as u32)?;
                }
                b'r' => {
                    let place = self.number(4)?;
                    self.memoise(place as u32)?;
                }
                0x94 => self.memoise(u32::try_from(self.memo.len()).expect("the limit is below 2^32"))?,
                b'h' => {
                    let place = self.number(1)?;
                    self.recall(place as u32)?;
                }
                b'j' => {
                    let place = self.number(4)?;
                    self.recall(place as u32)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.import(module, name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (&Value::Text(module), &Value::Text(name)) = (self.value(module), self.value(name)) else {
                        return Err(self.wrong("an import needs two texts"));
                    };
                    self.import(module, name)?;
                }
                b'R' => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    let result = self.construct(function, arguments)?;
                    self.push_id(result)?;
                }
                0x81 => {
                    let (arguments, class) = (self.pop()?, self.pop()?);
                    let result = self.instance(class, arguments)?;
                    self.push_id(result)?;
                }
                0x92 => {
                    let (_keywords, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                    let result = self.instance(class, arguments)?;
                    self.push_id(result)?;
                }
                b'b' => self.build()?,
                b'Q' => self.persistent()?,
                b')' => self.push(Value::Tuple(Vec::new()))?,
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
                b']' | 0x8f => self.push(Value::List(Vec::new()))?,
                b'l' | 0x91 => {
                    let items = self.pop_mark()?;
                    self.push(Value::List(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_mark()?;
                    self.append(items)?;
                }
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b'd' => {
                    let items = self.pop_mark()?;
                    self.push(Value::Dict(Vec::new()))?;
                    self.set_items(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(vec![key, value])?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.set_items(items)?;
                }
                _ => {
                    let value = self.scalar(code)?;
                    self.push(value)?;
                }
            }
        }
    }

    /// Opcodes that stand for one plain value.
    fn scalar(&mut self, code: u8) -> Result<Value<'a>, TorchError> {
        Ok(match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            0x8a => whole(self.counted(1)?),
            0x8b => whole(self.counted(4)?),
            b'G' => Value::Float(f64::from_bits((self.number(8)?).swap_bytes())),
            b'I' => match self.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                line => line.parse().map(Value::Int).map_err(|_| self.wrong("a whole number is expected"))?,
            },
            b'L' => {
                let line = self.line()?;
                let parsed = line.strip_suffix('L').unwrap_or(line).parse();
                parsed.map(Value::Int).map_err(|_| self.wrong("a whole number of 64 bits is expected"))?
            }
            b'F' => self.line()?.parse().map(Value::Float).map_err(|_| self.wrong("a number is expected"))?,
            b'X' => {
                let bytes = self.counted(4)?;
                self.text(bytes)?
            }
            0x8c => {
                let bytes = self.counted(1)?;
                self.text(bytes)?
            }
            0x8d => {
                let bytes = self.counted(8)?;
                self.text(bytes)?
            }
            // Texts of Python 2.
            b'T' | b'U' => {
                let bytes = self.counted(if code == b'T' { 4 } else { 1 })?;
                std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text)
            }
            b'B' => Value::Bytes(self.counted(4)?),
            b'C' => Value::Bytes(self.counted(1)?),
            0x8e | 0x96 => Value::Bytes(self.counted(8)?),
            _ => {
                let message = format!("opcode {code:#04x} is none that PyTorch writes");
                return Err(self.wrong(message));
            }
        })
    }

    fn import(&mut self, module: &'a str, name: &'a str) -> Result<(), TorchError> {
        match resolve(module, name) {
            Some(global) => self.push(Value::Global { global, module, name }),
            None => Err(TorchError::Import { import: format!("{module}.{name}"), offset: self.op }),
        }
    }

    fn append(&mut self, mut items: Vec<Id>) -> Result<(), TorchError> {
        let list = self.top()?;
        match &mut self.values[list.0 as usize] {
            Value::List(list) => list.append(&mut items),
            _ => return Err(self.wrong("a list is expected below the values to append")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<(), TorchError> {
        let map = self.top()?;
        if items.len() % 2 == 1 {
            return Err(self.wrong("pairs of key and value are expected, one value is left over"));
        }
        match &mut self.values[map.0 as usize] {
            Value::Dict(entries) => entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err(self.wrong("a mapping is expected below the keys and values")),
        }
        Ok(())
    }

    fn global(&self, id: Id) -> Result<Global, TorchError> {
        match self.value(id) {
            Value::Global { global, .. } => Ok(*global),
            _ => Err(self.wrong("an imported name is expected")),
        }
    }

    fn arguments(&self, id: Id) -> Result<Vec<Id>, TorchError> {
        match self.value(id) {
            Value::Tuple(items) if items.len() <= ARGUMENTS => Ok(items.clone()),
            _ => Err(self.wrong(format!("a tuple of at most {ARGUMENTS} arguments is expected"))),
        }
    }

    /// What a call in the pickle stands for. The closed list of [`Global`] decides; nothing is called.
    fn construct(&mut self, function: Id, arguments: Id) -> Result<Id, TorchError> {
        let arguments = self.arguments(arguments)?;
        let first = arguments.first().copied();
        match (self.global(function)?, first) {
            (Global::Dict, _) => {
                let pairs = first.map_or(Vec::new(), |id| match self.value(id) {
                    Value::List(pairs) | Value::Tuple(pairs) => pairs.clone(),
                    _ => Vec::new(), // the default of a defaultdict
                });
                let mut entries = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    match self.value(pair) {
                        Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => entries.push((pair[0], pair[1])),
                        _ => return Err(self.wrong("a mapping needs pairs of key and value")),
                    }
                }
                self.add(Value::Dict(entries))
            }
            (Global::Set, None) => self.add(Value::List(Vec::new())),
            (Global::Set, Some(items)) => match self.value(items) {
                Value::List(items) | Value::Tuple(items) => {
                    let items = items.clone();
                    self.add(Value::List(items))
                }
                _ => Err(self.wrong("a set needs a list of its values")),
            },
            (Global::RebuildTensor, _) => self.tensor(&arguments),
            (Global::RebuildParameter | Global::Size, Some(inner)) => Ok(inner),
            (Global::Reconstructor, Some(class)) => self.instance(class, function),
            (Global::Inert, _) => self.add(Value::Object { class: function, state: None }),
            (Global::Storage(_) | Global::RebuildParameter | Global::Size | Global::Reconstructor, _) => {
                Err(self.wrong("this import needs other arguments"))
            }
        }
    }

    /// A new object of a class.
    fn instance(&mut self, class: Id, _arguments: Id) -> Result<Id, TorchError> {
        match self.global(class)? {
            Global::Dict => self.add(Value::Dict(Vec::new())),
            Global::Set => self.add(Value::List(Vec::new())),
            Global::Inert => self.add(Value::Object { class, state: None }),
            _ => Err(self.wrong("a class is expected")),
        }
    }

    fn build(&mut self) -> Result<(), TorchError> {
        let state = self.pop()?;
        let object = self.top()?;
        // Attributes of mappings and tensors, such as a state dict's versions, have no meaning here.
        if let Value::Object { state: slot, .. } = &mut self.values[object.0 as usize] {
            *slot = Some(state);
        }
        Ok(())
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
    fn tensor(&mut self, arguments: &[Id]) -> Result<Id, TorchError> {
        let [storage, offset, shape, strides, ..] = *arguments else {
            return Err(self.wrong("a tensor needs storage, offset, shape and strides"));
        };
        let size = |id: Id| match self.value(id) {
            Value::Int(value) => usize::try_from(*value).map_err(|_| self.wrong(format!("a size is {value}"))),
            _ => Err(self.wrong("a size is expected to be a whole number")),
        };
        let sizes = |id: Id| match self.value(id) {
            Value::Tuple(items) if items.len() <= 8 => items.iter().map(|&i| size(i)).collect::<Result<Vec<_>, _>>(),
            _ => Err(self.wrong("a shape of at most 8 sizes is expected")),
        };
        if !matches!(self.value(storage), Value::Storage { .. }) {
            return Err(self.wrong("a tensor needs a storage"));
        }
        let (offset, shape, strides) = (size(offset)?, sizes(shape)?, sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(self.wrong("a tensor needs as many strides as sizes"));
        }
        self.add(Value::Tensor { storage, offset, shape, strides })
    }

    /// `("storage", class, key, place, length)`, or `("module", class, file, source)` in old files.
    fn persistent(&mut self) -> Result<(), TorchError> {
        let id = self.pop()?;
        let parts = self.arguments(id)?;
        let kind = parts.first().map(|&id| self.value(id).clone());
        match (kind, &parts[..]) {
            (Some(Value::Text("storage")), &[_, class, key, _place, len, ref views @ ..]) => {
                let Global::Storage(dtype) = self.global(class)? else {
                    return Err(self.wrong("a storage needs a storage class"));
                };
                let (&Value::Text(key), &Value::Int(len)) = (self.value(key), self.value(len)) else {
                    return Err(self.wrong("a storage needs a key and a length"));
                };
                if views.iter().any(|&view| *self.value(view) != Value::None) {
                    return Err(self
                        .wrong("a storage is a part of another one, which PyTorch has not written since version 0.4"));
                }
                let len = usize::try_from(len).map_err(|_| self.wrong(format!("a storage has the length {len}")))?;
                self.push(Value::Storage { dtype, key, len })
            }
            (Some(Value::Text("module")), &[_, class, ..]) => {
                self.global(class)?;
                self.push_id(class)
            }
            _ => Err(self.wrong("a storage is expected")),
        }
    }
}

/// A little-endian number in two's complement.
fn whole(bytes: &[u8]) -> Value<'_> {
    if bytes.len() > 8 {
        return Value::Bytes(bytes);
    }
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    Value::Int(bytes.iter().rev().fold(fill, |value, &byte| value << 8 | i64::from(byte)))
}
