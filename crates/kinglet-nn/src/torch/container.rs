//! Where a PyTorch file keeps its pickle and its numbers: an archive, or the format before version 1.6.
//!
//! An archive holds `data.pkl` and one entry a storage. The old format is a row of pickles (magic number, version, facts
//! about the machine, the object, the storages' keys), then for each key a length and the numbers.

use super::TorchError;
use super::global::Dtype;
use super::pickle::{Id, Pickle, Value};
use super::zip::{Archive, is_archive};
use crate::widen;
use std::borrow::Cow;
use std::collections::HashMap;

/// The first pickle of the old format: the magic number 0x1950a86a20f9469cfc6c, behind the protocol and perhaps a frame.
const OLD: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// Where it may end.
const OLD_END: usize = 32;

/// A file's object and the numbers behind its tensors.
#[derive(Debug)]
pub(super) struct Container<'a> {
    /// How the file is built, in words.
    pub kind: &'static str,
    /// The object.
    pub pickle: Pickle<'a>,
    storages: Storages<'a>,
}

#[derive(Debug)]
enum Storages<'a> {
    Archive(Archive<'a>),
    Old(HashMap<&'a str, &'a [u8]>),
}

/// Whether these bytes are a PyTorch file. A safetensors file begins with the length of its header, which may look like
/// either kind, and then a brace.
pub(crate) fn recognises(bytes: &[u8]) -> bool {
    bytes.get(8) != Some(&b'{') && (is_archive(bytes) || bytes.first() == Some(&0x80))
}

impl<'a> Container<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, TorchError> {
        if is_archive(bytes) {
            return Self::archive(bytes);
        }
        if bytes[..bytes.len().min(OLD_END)].windows(OLD.len()).any(|window| window == OLD) {
            return Self::old(bytes);
        }
        Err(TorchError::Unsupported {
            message:
                "is a bare pickle, not a checkpoint as `torch.save` writes it; save the model or its state dict with \
                      `torch.save`"
                    .into(),
        })
    }

    fn archive(bytes: &'a [u8]) -> Result<Self, TorchError> {
        let archive = Archive::open(bytes)?;
        if archive.get("byteorder").is_some_and(|order| order != b"little") {
            return Err(TorchError::Unsupported {
                message: "holds big-endian numbers; save it on a little-endian machine".into(),
            });
        }
        let Some(data) = archive.get("data.pkl") else {
            return Err(TorchError::Unsupported {
                message:
                    "is an archive without `data.pkl`, so it is no PyTorch file; if it is a download, unpack it first"
                        .into(),
            });
        };
        let (pickle, _) = Pickle::read(data)?;
        Ok(Container { kind: "PyTorch archive", pickle, storages: Storages::Archive(archive) })
    }

    fn old(bytes: &'a [u8]) -> Result<Self, TorchError> {
        let mut at = 0;
        let mut next = || {
            let (pickle, len) = Pickle::read(&bytes[at..]).map_err(|error| moved(error, at))?;
            at += len;
            Ok::<_, TorchError>(pickle)
        };
        let (_magic, _version, machine, pickle, keys) = (next()?, next()?, next()?, next()?, next()?);
        if machine.entry(machine.root(), "little_endian").map(|id| machine.get(id)) == Some(&Value::Bool(false)) {
            return Err(TorchError::Unsupported {
                message: "holds big-endian numbers; save it on a little-endian machine".into(),
            });
        }
        let sizes = pickle.storages();
        let mut storages = HashMap::new();
        for &key in keys.items(keys.root()).unwrap_or_default() {
            let Some(key) = keys.text(key) else {
                return Err(TorchError::archive(format!("a storage's key at byte {at} is no text")));
            };
            let Some(&(dtype, len)) = sizes.get(key) else {
                return Err(TorchError::archive(format!("the storage `{key}` belongs to no tensor")));
            };
            let left = &bytes[at..];
            let found = left.first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
            let size = len
                .checked_mul(dtype.size())
                .filter(|&size| found == Some(len as u64) && size <= left.len().saturating_sub(8));
            let Some(size) = size else {
                return Err(TorchError::archive(format!(
                    "the storage `{key}` of {len} numbers is expected at byte {at}, the file ends at byte {}",
                    bytes.len()
                )));
            };
            storages.insert(key, &left[8..8 + size]);
            at += 8 + size;
        }
        Ok(Container { kind: "PyTorch file of before version 1.6", pickle, storages: Storages::Old(storages) })
    }

    /// The bytes of a storage.
    fn storage(&self, key: &str) -> Option<&'a [u8]> {
        match &self.storages {
            Storages::Archive(archive) => archive.get(&format!("data/{key}")),
            Storages::Old(storages) => storages.get(key).copied(),
        }
    }

    /// A tensor's type and shape; nothing where the value is no tensor.
    pub(super) fn describe(&self, id: Id) -> Option<(Dtype, &[usize])> {
        let Value::Tensor { storage, shape, .. } = self.pickle.get(id) else { return None };
        let Value::Storage { dtype, .. } = self.pickle.get(*storage) else { return None };
        Some((*dtype, shape))
    }

    /// A tensor's numbers in the order of its shape. `budget` is how many numbers may still be read from this file.
    pub(super) fn numbers(&self, id: Id, name: &str, budget: &mut usize) -> Result<Vec<f32>, TorchError> {
        let wrong = |message: String| TorchError::Tensor { name: name.to_owned(), message };
        let Value::Tensor { storage, offset, shape, strides } = self.pickle.get(id) else {
            return Err(wrong("expected a tensor".into()));
        };
        let &Value::Storage { dtype, key, len } = self.pickle.get(*storage) else {
            return Err(wrong("has no storage".into()));
        };
        let bytes =
            self.storage(key).ok_or_else(|| wrong(format!("its storage `{key}` is missing: the file is damaged")))?;
        if len.checked_mul(dtype.size()) != Some(bytes.len()) {
            return Err(wrong(format!(
                "claims a storage of {len} numbers, {} bytes each; the file has {} bytes for it: it is damaged",
                dtype.size(),
                bytes.len()
            )));
        }
        let count = shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side));
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |at, (&side, &stride)| at.checked_add(side.saturating_sub(1).checked_mul(stride)?));
        let (Some(count), Some(last)) = (count, last) else {
            return Err(wrong(format!("claims the shape {shape:?}: the file is damaged")));
        };
        if count > 0 && last >= len {
            return Err(wrong(format!("reaches to number {last} of a storage of {len}: the file is damaged")));
        }
        *budget = budget.checked_sub(count).ok_or_else(|| TorchError::Limit {
            what: format!("tensor `{name}`, with those before it,"),
            limit: "one number for each byte of the file".into(),
        })?;
        // Beside a side of 0, others may be of any size.
        if count == 0 {
            return Ok(Vec::new());
        }
        let bytes = &bytes[offset * dtype.size()..(last + 1) * dtype.size()];
        let stored = match in_order(shape, strides) {
            true => Cow::Borrowed(bytes),
            false => Cow::Owned(gathered(bytes, dtype.size(), shape, strides)),
        };
        Ok(numbers(dtype, &stored))
    }
}

impl<'a> Pickle<'a> {
    /// Type and length of every storage by its key.
    fn storages(&self) -> HashMap<&'a str, (Dtype, usize)> {
        let storage = |value: &Value<'a>| match *value {
            Value::Storage { dtype, key, len } => Some((key, (dtype, len))),
            _ => None,
        };
        self.values().filter_map(storage).collect()
    }
}

/// An error's place counted from the beginning of the file.
fn moved(error: TorchError, by: usize) -> TorchError {
    match error {
        TorchError::Pickle { offset, message } => TorchError::Pickle { offset: offset + by, message },
        TorchError::Import { import, offset } => TorchError::Import { import, offset: offset + by },
        other => other,
    }
}

/// Whether numbers lie as their shape counts them, without gaps.
fn in_order(shape: &[usize], strides: &[usize]) -> bool {
    let mut step = 1;
    shape.iter().zip(strides).rev().all(|(&side, &stride)| {
        let fits = side == 1 || stride == step;
        step *= side;
        fits
    })
}

/// Numbers of `size` bytes in the order of their shape.
fn gathered(bytes: &[u8], size: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0usize; shape.len()];
    for _ in 0..count {
        let at = index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
        out.extend_from_slice(&bytes[at * size..][..size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

/// Stored numbers.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F16 => widen::f16(bytes),
        Dtype::Bf16 => widen::bf16(bytes),
        Dtype::F32 => widen::f32(bytes),
        Dtype::F64 => widen::f64(bytes),
        // Sign-extended; booleans and unsigned bytes are never weights.
        Dtype::Whole(size) => {
            let unused = 64 - 8 * size as u32;
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
            bytes.chunks_exact(size).map(|bytes| ((number(bytes) << unused) as i64 >> unused) as f32).collect()
        }
    }
}
