//! The entropy-coded part of a baseline JPEG: bits, Huffman codes, coefficients of a block.
//!
//! Source: ITU-T T.81, annexes C and F. Nothing is repaired here: what contradicts the standard gives `None`.

use super::batch::Batch;

/// Codes up to this length are found with one look into a table.
const LOOK: u32 = 10;

/// Coefficient `k` of a scan stands at this place of a block of rows.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Where coefficients go, and what they are multiplied by. A damaged file may count beyond a block: there are places for
/// that, too.
pub(super) struct Steps([(u8, i32); 128]);

impl Steps {
    /// From the steps in the scan's order.
    pub(super) fn new(steps: &[u8; 64]) -> Self {
        let step = |k: usize| (ZIGZAG.get(k).copied().unwrap_or(0), steps.get(k).map_or(0, |&step| i32::from(step)));
        Steps(std::array::from_fn(step))
    }
}

/// An interval of the scan, up to a marker, without the zeros that are stuffed behind bytes of 0xff.
#[derive(Default)]
pub(super) struct Interval {
    /// With [`BEYOND`] zeros behind it.
    data: Vec<u8>,
    /// The marker's second byte.
    marker: u8,
}

/// A window of bits is filled with so many bytes at once. What was read beyond an interval's end shows there.
const BEYOND: usize = 16;

impl Interval {
    /// Takes the interval that `scan` begins with, and its marker. `None` where there is no marker.
    pub(super) fn take(&mut self, scan: &mut &[u8]) -> Option<()> {
        self.data.clear();
        loop {
            let at = scan.iter().position(|&byte| byte == 0xff)?;
            let (&[second], after) = scan[at + 1..].split_first_chunk()?;
            if second != 0 {
                self.data.extend_from_slice(&scan[..at]);
                (self.marker, *scan) = (second, after);
                self.data.extend_from_slice(&[0; BEYOND]);
                return Some(());
            }
            self.data.extend_from_slice(&scan[..=at]);
            *scan = after;
        }
    }

    pub(super) fn bits(&self) -> Bits<'_> {
        Bits { rest: &self.data, window: 0, count: 0 }
    }

    /// Whether an interval was read as it should: no bits are left but those that fill its last byte, and this marker
    /// ends it.
    pub(super) fn ends(&self, bits: &Bits<'_>, marker: u8) -> bool {
        // The zeros behind the data are unread, all of them.
        let unread = (8 * bits.rest.len() + bits.count as usize).checked_sub(8 * BEYOND);
        unread.is_some_and(|bits| bits < 8) && self.marker == marker
    }
}

/// Reads bits, first the most significant.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    /// What is not in the window yet.
    rest: &'a [u8],
    /// The next bits, from the top. Below the first `count` they may be there already, but are not counted.
    window: u64,
    count: u32,
}

impl Bits<'_> {
    /// Makes at least 56 bits ready: two codes with their numbers. Beyond the end there are zeros.
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(next) = self.rest.first_chunk() {
            self.window |= u64::from_be_bytes(*next) >> self.count;
            let bytes = (63 - self.count) / 8;
            self.rest = &self.rest[bytes as usize..];
            self.count += bytes * 8;
        } else {
            (self.rest, self.count) = (&[], 63);
        }
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
    look: Box<[Look; 1 << LOOK]>,
    /// For each length, the first code above those of it (in 16 bits), and its symbol's place less its code.
    longer: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Codes {
    /// From the number of codes of each length, and their symbols: of first coefficients, or of the others. `None` where
    /// they are no codes, or a symbol means nothing in 8-bit pictures.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8], first: bool) -> Option<Self> {
        let known = |symbol: u8| match symbol & 15 {
            _ if first => symbol <= 11,
            0 => symbol == END || symbol == ZEROS,
            size => size <= 10,
        };
        if !symbols.iter().all(|&symbol| known(symbol)) {
            return None;
        }
        let mut look = Box::new([Look::default(); 1 << LOOK]);
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

    /// The next symbol and its number, of at most 27 bits together; 0 where the symbol has none.
    #[inline(always)]
    fn next(&self, bits: &mut Bits<'_>) -> Option<(u8, i32)> {
        let look = self.look[(bits.window >> (64 - LOOK)) as usize];
        if look.number != 0 {
            bits.skip(u32::from(look.bits));
            return Some((look.symbol, i32::from(look.number)));
        }
        let (symbol, length) = match look.bits {
            0 => self.long_symbol((bits.window >> 48) as u32)?,
            length => (look.symbol, u32::from(length)),
        };
        bits.skip(length);
        match u32::from(symbol & 15) {
            0 => Some((symbol, 0)),
            size => Some((symbol, bits.number(size))),
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

/// Symbols without a number: the others are zero; the next 16 are zero.
const END: u8 = 0x00;
const ZEROS: u8 = 0xf0;

/// Reads the next block of a batch. `first` is the first coefficient of the block before.
#[inline(always)]
pub(super) fn read_block(
    reader: &mut Bits<'_>,
    [dc, ac]: [&Codes; 2],
    steps: &Steps,
    first: &mut i32,
    batch: &mut Batch,
) -> Option<()> {
    let mut bits = *reader;
    bits.refill();
    *first += dc.next(&mut bits)?.1;
    if !(-2048..2048).contains(first) {
        return None;
    }
    let mut put = |k: usize, value: i32| {
        let (place, step) = steps.0[k % 128];
        batch.put(usize::from(place), value * step);
    };
    put(0, *first);
    let mut k = 1;
    'block: while k < 64 {
        bits.refill();
        for _ in 0..2 {
            let (symbol, number) = ac.next(&mut bits)?;
            if number != 0 {
                k += usize::from(symbol >> 4);
                put(k, number);
                k += 1;
            } else if symbol == ZEROS {
                k += 16;
            } else {
                break 'block;
            }
            if k >= 64 {
                break 'block;
            }
        }
    }
    *reader = bits;
    batch.next();
    // A last run of zeros may not go beyond the block.
    (k <= 64).then_some(())
}
