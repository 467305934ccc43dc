//! Writes PyTorch files by hand, opcode by opcode, for the tests of their reader.

/// A pickle in protocol 2, as `torch.save` writes it.
#[derive(Clone)]
pub struct Pickle(pub Vec<u8>);

/// A tensor in a storage of its own: type, key, shape, and the storage's length where it lies.
pub struct Tensor<'a> {
    pub storage: &'a str,
    pub key: &'a str,
    pub shape: &'a [usize],
    pub len: Option<i64>,
}

impl Pickle {
    pub fn new() -> Self {
        Pickle(b"\x80\x02".to_vec())
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub fn int(self, value: i64) -> Self {
        self.raw(b"\x8a\x08").raw(&value.to_le_bytes())
    }

    pub fn float(self, value: f64) -> Self {
        self.raw(b"G").raw(&value.to_be_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(b"c").raw(module.as_bytes()).raw(b"\n").raw(name.as_bytes()).raw(b"\n")
    }

    pub fn ints(self, values: &[usize]) -> Self {
        values.iter().fold(self.raw(b"("), |p, &v| p.int(v as i64)).raw(b"t")
    }

    pub fn list(self, items: &[&str]) -> Self {
        items.iter().fold(self.raw(b"]("), |p, item| p.text(item)).raw(b"e")
    }

    pub fn tensor(self, tensor: &Tensor<'_>) -> Self {
        let len = tensor.len.unwrap_or_else(|| tensor.shape.iter().product::<usize>() as i64);
        let mut strides = vec![1; tensor.shape.len()];
        for axis in (1..tensor.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * tensor.shape[axis];
        }
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", tensor.storage)
            .text(tensor.key)
            .text("cpu")
            .int(len)
            .raw(b"tQK\x00")
            .ints(tensor.shape)
            .ints(&strides)
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    /// An object of a class with the attributes that `state` writes, as keys and values.
    pub fn object(self, module: &str, name: &str, state: impl FnOnce(Self) -> Self) -> Self {
        state(self.global(module, name).raw(b")\x81}(")).raw(b"ub")
    }

    /// A mapping with what `entries` writes, as keys and values.
    pub fn dict(self, entries: impl FnOnce(Self) -> Self) -> Self {
        entries(self.raw(b"}(")).raw(b"u")
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// CRC-32, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// An archive of stored entries in the folder that PyTorch uses.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let name = format!("archive/{name}");
        let offset = out.len() as u32;
        let sizes = [crc32(data), data.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
        let lengths = [(name.len() as u16).to_le_bytes(), [0; 2]].concat();
        // Version 2.0, no flags, stored, no time.
        let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes, &lengths].concat();
        out.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), data].concat());
        directory
            .extend([&b"PK\x01\x02\x14\x00"[..], &common, &[0; 10], &offset.to_le_bytes(), name.as_bytes()].concat());
    }
    let (start, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    let sizes = [(directory.len() as u32).to_le_bytes(), start.to_le_bytes()].concat();
    out.extend([&directory[..], b"PK\x05\x06\0\0\0\0", &count, &count, &sizes, &[0, 0]].concat());
    out
}

/// The format of before version 1.6: pickles, then each storage's length and bytes.
pub fn old_format(object: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let keys: Vec<&str> = storages.iter().map(|s| s.0).collect();
    let mut out = Pickle::new().raw(b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19").end();
    out.extend(Pickle::new().raw(b"M\xe9\x03").end());
    out.extend(Pickle::new().dict(|p| p.text("little_endian").raw(b"\x88")).end());
    out.extend_from_slice(object);
    out.extend(Pickle::new().list(&keys).end());
    for (_, len, bytes) in storages {
        out.extend(len.to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

/// The same with the 64-bit records that PyTorch writes: places and sizes of the directory and of its entry are only there.
pub fn archive64(name: &str, data: &[u8]) -> Vec<u8> {
    let (crc, len) = (crc32(data).to_le_bytes(), (data.len() as u64).to_le_bytes());
    let name_len = (name.len() as u16).to_le_bytes();
    let narrow = [0xff; 4];
    let common = |extra: u16| {
        [&[45, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &narrow, &narrow, &name_len, &extra.to_le_bytes()].concat()
    };
    let mut out = [&b"PK\x03\x04"[..], &common(0), name.as_bytes(), data].concat();
    let directory = out.len() as u64;
    // Behind another extra field (id 9, two bytes): sizes and the offset, 0.
    let extra = [&[9, 0, 2, 0, 7, 7, 1, 0, 24, 0][..], &len, &len, &[0; 8]].concat();
    let entry = [&b"PK\x01\x02\x2d\x00"[..], &common(extra.len() as u16), &[0; 10], &narrow, name.as_bytes(), &extra];
    out.extend(entry.concat());
    let (end, size) = (out.len() as u64, out.len() as u64 - directory);
    let one = 1u64.to_le_bytes();
    let numbers = [one, one, size.to_le_bytes(), directory.to_le_bytes()].concat();
    out.extend([&b"PK\x06\x06"[..], &44u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8], &numbers].concat());
    out.extend([&b"PK\x06\x07"[..], &[0; 4], &end.to_le_bytes(), &[1, 0, 0, 0]].concat());
    out.extend([&b"PK\x05\x06"[..], &[0; 4], &[0xff; 12], &[0, 0]].concat());
    out
}
