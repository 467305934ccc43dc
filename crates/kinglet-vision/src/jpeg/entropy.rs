//! The entropy-coded part of a baseline JPEG: bits, Huffman codes, coefficients of a block.
//!
//! Source: ITU-T T.81, annexes C and F. Nothing is repaired here: what contradicts the standard gives `None`.

/// Codes up to this length are found with one look into a table.
const LOOK: u32 = 10;

/// Coefficient `k` of a scan stands at this place of a block of rows.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// The most bits of a coefficient, and of a difference of first coefficients, in 8-bit pictures.
const MAX_SIZE: [u32; 2] = [10, 11];

/// Reads bits, first the most significant; stuffed zeros are taken out.
///
/// Rare steps take and give it by value, so that the common ones keep it in registers.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, from the top. Below the first `count` they may be there already, but are not counted.
    window: u64,
    count: u32,
    /// How many of the counted bits are made up, because a marker or the end was reached.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, window: 0, count: 0, made_up: 0 }
    }

    /// Makes at least 32 bits ready: a code and the number that follows it.
    #[inline(always)]
    fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(bytes) = self.data.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let next = u64::from_be_bytes(*bytes);
            // Whether a byte of `next` is 0xff: then its complement has a byte of 0.
            const ONES: u64 = 0x0101_0101_0101_0101;
            if (!next).wrapping_sub(ONES) & next & (ONES << 7) == 0 {
                self.window |= next >> self.count;
                let bytes = (63 - self.count) / 8;
                self.at += bytes as usize;
                self.count += bytes * 8;
                return;
            }
        }
        *self = self.refilled_slowly();
    }

    #[cold]
    fn refilled_slowly(mut self) -> Self {
        while self.count <= 56 {
            let byte = match self.data.get(self.at..) {
                Some([0xff, 0, ..]) => {
                    self.at += 2;
                    0xff
                }
                Some([byte, ..]) if *byte != 0xff => {
                    self.at += 1;
                    *byte
                }
                _ => {
                    self.made_up += 8;
                    0
                }
            };
            // What stands there uncounted is the same byte, or was never read.
            self.window |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
        self
    }

    #[inline(always)]
    fn skip(&mut self, bits: u32) {
        self.window <<= bits;
        self.count -= bits;
    }

    /// Takes a number of `size` bits, 1 to 11, as the standard codes signed numbers.
    #[inline(always)]
    fn number(&mut self, size: u32) -> i32 {
        let bits = (self.window >> (64 - size)) as i32;
        self.skip(size);
        signed(bits, size)
    }

    /// Leaves the interval: only the bits that fill its last byte are left, and the given marker follows.
    pub(super) fn finish(&mut self, marker: u8) -> Option<()> {
        let left = self.count.checked_sub(self.made_up)?;
        let ends = left < 8 && self.data.get(self.at..self.at + 2) == Some(&[0xff, marker]);
        ends.then(|| *self = Self { data: self.data, at: self.at + 2, window: 0, count: 0, made_up: 0 })
    }
}

#[inline(always)]
fn signed(bits: i32, size: u32) -> i32 {
    if bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits }
}

/// What the next bits mean.
#[derive(Clone, Copy, Default)]
struct Look {
    /// The number, where code and number fit into the looked-up bits; otherwise 0.
    number: i16,
    /// The code's symbol: zeros to skip in the upper four bits, size of the number in the lower.
    symbol: u8,
    /// Bits of the code, and of the number if it is there; 0 for long codes.
    bits: u8,
}

/// A table of Huffman codes.
pub(super) struct Codes {
    look: Vec<Look>,
    /// For each length, the first code above those of it (in 16 bits), and its symbol's place less its code.
    longer: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// From the number of codes of each length, and their symbols.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut look = vec![Look::default(); 1 << LOOK];
        let mut longer = [(0, 0); 17];
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16u32 {
            longer[length as usize].1 = place as i32 - code as i32;
            for _ in 0..counts[length as usize - 1] {
                let symbol = *symbols.get(place)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= LOOK {
                    let (first, run) = ((code << (LOOK - length)) as usize, 1usize << (LOOK - length));
                    for (rest, entry) in look[first..first + run].iter_mut().enumerate() {
                        *entry = Self::entry(symbol, length, rest as u32);
                    }
                }
                (code, place) = (code + 1, place + 1);
            }
            longer[length as usize].0 = code << (16 - length);
            code <<= 1;
        }
        (place == symbols.len()).then(|| Self { look, longer, symbols: symbols.to_vec() })
    }

    /// `rest` are the bits after the code.
    fn entry(symbol: u8, length: u32, rest: u32) -> Look {
        let size = u32::from(symbol & 15);
        let room = LOOK - length;
        if size == 0 || size > room {
            return Look { number: 0, symbol, bits: length as u8 };
        }
        let number = signed((rest >> (room - size)) as i32, size);
        Look { number: number as i16, symbol, bits: (length + size) as u8 }
    }

    /// The next symbol and its number; 0 where the symbol has none.
    #[inline(always)]
    fn next(&self, bits: &mut Bits<'_>, max_size: u32) -> Option<(u8, i32)> {
        bits.refill();
        let look = self.look[(bits.window >> (64 - LOOK)) as usize & ((1 << LOOK) - 1)];
        if look.number != 0 {
            bits.skip(u32::from(look.bits));
            return Some((look.symbol, i32::from(look.number)));
        }
        let symbol = if look.bits != 0 {
            bits.skip(u32::from(look.bits));
            look.symbol
        } else {
            let (symbol, length) = self.long_symbol((bits.window >> 48) as u32)?;
            bits.skip(length);
            symbol
        };
        match u32::from(symbol & 15) {
            0 => Some((symbol, 0)),
            size if size <= max_size => Some((symbol, bits.number(size))),
            _ => None,
        }
    }

    /// The symbol of a long code and the code's length; `next` are 16 bits.
    #[cold]
    fn long_symbol(&self, next: u32) -> Option<(u8, u32)> {
        let length = (LOOK + 1..=16).find(|&length| next < self.longer[length as usize].0)?;
        let place = (next >> (16 - length)) as i32 + self.longer[length as usize].1;
        Some((*self.symbols.get(usize::try_from(place).ok()?)?, length))
    }
}

/// Reads a block's coefficients into `out` (rows, zero before), multiplied by `steps` (in the scan's order).
///
/// Gives a bit for each place that was written. `first` is the first coefficient of the block before.
#[inline(always)]
pub(super) fn read_block(
    reader: &mut Bits<'_>,
    dc: &Codes,
    ac: &Codes,
    steps: &[i32; 64],
    first: &mut i32,
    out: &mut [f32; 64],
) -> Option<u64> {
    let mut bits = *reader;
    let (symbol, difference) = dc.next(&mut bits, MAX_SIZE[1])?;
    *first += difference;
    if symbol > 15 || !(-2048..2048).contains(first) {
        return None;
    }
    out[0] = (*first * steps[0]) as f32;
    let mut written = 1;
    let mut k = 1;
    while k < 64 {
        let (symbol, number) = ac.next(&mut bits, MAX_SIZE[0])?;
        if number == 0 {
            match symbol {
                0x00 => break,
                0xf0 => k += 16,
                _ => return None,
            }
            continue;
        }
        k += usize::from(symbol >> 4);
        let place = usize::from(*ZIGZAG.get(k)?);
        out[place] = (number * steps[k]) as f32;
        written |= 1 << place;
        k += 1;
    }
    *reader = bits;
    // A last run of 16 zeros may not go beyond the block.
    (k <= 64).then_some(written)
}
