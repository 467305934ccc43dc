//! The archive around a checkpoint: a ZIP file whose entries are stored, not compressed.
//!
//! Source: PKWARE APPNOTE 6.3.9, sections 4.3.6 to 4.3.16 and 4.5.3 (ZIP64, which PyTorch writes).
//! Entries are slices of the file, so a claim of gigabytes cannot ask for memory.

use super::TorchError;
use std::collections::HashMap;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
/// Bytes of the end record without its comment, and of the ZIP64 locator before it.
const END_LEN: usize = 22;
const LOCATOR64_LEN: usize = 20;
/// Longest comment behind the end record.
const COMMENT: usize = 0xffff;
/// The extra field that holds 64-bit sizes.
const EXTRA64: u16 = 1;

/// The entries of an archive by name, without the folder that PyTorch puts all of them in.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    entries: HashMap<&'a str, &'a [u8]>,
}

/// Whether these bytes begin as an archive does.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(&LOCAL.to_le_bytes())
}

/// Little-endian numbers at places that may lie outside the file.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(self, at: usize, len: usize, what: &str) -> Result<&'a [u8], TorchError> {
        let end = at.checked_add(len).filter(|&end| end <= self.0.len());
        end.map(|end| &self.0[at..end]).ok_or_else(|| {
            TorchError::archive(format!("{what} is expected at byte {at}, the file ends at byte {}", self.0.len()))
        })
    }

    fn number(self, at: usize, len: usize, what: &str) -> Result<u64, TorchError> {
        Ok(self.slice(at, len, what)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn place(self, at: usize, len: usize, what: &str) -> Result<usize, TorchError> {
        let value = self.number(at, len, what)?;
        usize::try_from(value).map_err(|_| TorchError::archive(format!("{what} claims to be at byte {value}")))
    }
}

impl<'a> Archive<'a> {
    /// Reads the directory, and checks every entry against its checksum.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, TorchError> {
        let bytes = Bytes(file);
        let (mut at, count) = directory(bytes)?;
        let (mut entries, mut total, mut compressed) = (HashMap::new(), 0, None);
        for number in 0..count {
            let what = format!("entry {number} of {count} of the directory");
            if bytes.number(at, 4, &what)? != u64::from(CENTRAL) {
                return Err(TorchError::archive(format!("{what} is not at byte {at}")));
            }
            let field = |offset: usize, len: usize| bytes.number(at + offset, len, &what);
            let (method, crc) = (field(10, 2)?, field(16, 4)? as u32);
            let length = |offset: usize| field(offset, 2).map(|len| len as usize);
            let (name_len, extra_len, comment_len) = (length(28)?, length(30)?, length(32)?);
            let name = std::str::from_utf8(bytes.slice(at + 46, name_len, &what)?)
                .map_err(|_| TorchError::archive(format!("{what} has a name that is not UTF-8")))?;
            let mut sizes = [field(20, 4)?, field(24, 4)?, field(42, 4)?];
            widen(&mut sizes, bytes.slice(at + 46 + name_len, extra_len, &what)?, name)?;
            let [packed, size, offset] = sizes;
            at += 46 + name_len + extra_len + comment_len;
            if method != 0 || packed != size {
                compressed.get_or_insert((name, packed, size));
                continue;
            }
            let data = content(bytes, offset, size, name)?;
            total += data.len();
            if total > file.len() {
                return Err(TorchError::archive(format!("its entries up to `{name}` overlap")));
            }
            let found = crc32fast::hash(data);
            if found != crc {
                return Err(TorchError::archive(format!(
                    "the checksum of `{name}` is {found:08x}, expected {crc:08x}"
                )));
            }
            entries.insert(name, data);
        }
        match compressed {
            Some((name, _, _)) if name.contains("/code/") => Err(TorchError::Unsupported {
                message: "is a TorchScript export, a program without its model file; use the checkpoint that it was exported from"
                    .into(),
            }),
            Some((name, packed, size)) => Err(TorchError::Unsupported {
                message: format!(
                    "is an archive whose entry `{name}` is compressed ({packed} bytes for {size}), and PyTorch stores entries as \
                     they are: this is no checkpoint as `torch.save` writes it; unpack it if it holds one, or save it again"
                ),
            }),
            None => Ok(Archive { entries: without_folder(entries) }),
        }
    }

    /// An entry's bytes.
    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.entries.get(name).copied()
    }
}

/// Place and number of the directory's entries.
fn directory(bytes: Bytes<'_>) -> Result<(usize, u64), TorchError> {
    let len = bytes.0.len();
    let first = len.saturating_sub(END_LEN + COMMENT);
    let end = (first..=len.saturating_sub(END_LEN)).rev().find(|&at| bytes.0[at..].starts_with(&END.to_le_bytes()));
    let Some(end) = end else {
        return Err(TorchError::archive("its end is missing, as when a download or a copy broke off"));
    };
    let locator = end.checked_sub(LOCATOR64_LEN).filter(|&at| bytes.0[at..].starts_with(&LOCATOR64.to_le_bytes()));
    if let Some(locator) = locator {
        let at = bytes.place(locator + 8, 8, "the ZIP64 end record")?;
        if bytes.number(at, 4, "the ZIP64 end record")? != u64::from(END64) {
            return Err(TorchError::archive(format!("the ZIP64 end record is not at byte {at}")));
        }
        return Ok((bytes.place(at + 48, 8, "the directory")?, bytes.number(at + 32, 8, "the ZIP64 end record")?));
    }
    Ok((bytes.place(end + 16, 4, "the directory")?, bytes.number(end + 10, 2, "the end record")?))
}

/// Takes sizes that do not fit 32 bits from the ZIP64 extra field: size, packed size, offset, each only where it is needed.
fn widen([packed, size, offset]: &mut [u64; 3], mut extra: &[u8], name: &str) -> Result<(), TorchError> {
    let narrow = u64::from(u32::MAX);
    while let [id0, id1, len0, len1, rest @ ..] = extra {
        let (id, len) = (u16::from_le_bytes([*id0, *id1]), usize::from(u16::from_le_bytes([*len0, *len1])));
        if id == EXTRA64 {
            let mut at = 0;
            for value in [&mut *size, &mut *packed, &mut *offset] {
                if *value == narrow {
                    *value = Bytes(rest).number(at, 8, &format!("the 64-bit size of `{name}`"))?;
                    at += 8;
                }
            }
            return Ok(());
        }
        extra = rest.get(len..).unwrap_or_default();
    }
    Ok(())
}

/// The bytes behind a local header.
fn content<'a>(bytes: Bytes<'a>, offset: u64, size: u64, name: &str) -> Result<&'a [u8], TorchError> {
    let what = format!("`{name}`");
    let too_large = || {
        let len = bytes.0.len();
        TorchError::archive(format!("`{name}` claims {size} bytes from byte {offset}, the file has {len}"))
    };
    let header = usize::try_from(offset).map_err(|_| too_large())?;
    if bytes.number(header, 4, &what)? != u64::from(LOCAL) {
        return Err(TorchError::archive(format!("{what} does not begin at byte {header}")));
    }
    let names = bytes.number(header + 26, 2, &what)? + bytes.number(header + 28, 2, &what)?;
    let start = header + 30 + names as usize;
    let size = usize::try_from(size).map_err(|_| too_large())?;
    bytes.slice(start, size, &what).map_err(|_| too_large())
}

/// Names without the folder of `FOLDER/data.pkl`.
fn without_folder<'a>(entries: HashMap<&'a str, &'a [u8]>) -> HashMap<&'a str, &'a [u8]> {
    let folder = entries.keys().filter_map(|name| name.strip_suffix("data.pkl")).min_by_key(|folder| folder.len());
    let Some(folder) = folder.filter(|folder| folder.ends_with('/')) else { return entries };
    entries.into_iter().filter_map(|(name, data)| Some((name.strip_prefix(folder)?, data))).collect()
}
