//! PostgreSQL's COPY BINARY format, written and read.
//!
//! Source of the format: PostgreSQL manual, COPY, "Binary Format"; the numeric layout is that of `numeric_send`.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::money::NANO;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const NUMERIC_NEGATIVE: u16 = 0x4000;
const GROUP: u128 = 10_000;
const SCALE: u16 = 9;
/// Types by their numbers in PostgreSQL's catalogue, which never change.
const INT4_OID: u32 = 23;
const NUMERIC_OID: u32 = 1700;

/// Microseconds between the Unix epoch and PostgreSQL's (2000-01-01).
pub const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Buffers smaller than this are not worth keeping.
const SMALLEST_KEPT: usize = 64 * 1024;
/// As many as three groups have large tables.
const KEPT: usize = 12;

/// The large buffers of groups that are done, for the next ones: fresh pages would cost the kernel a tenth of an engine's time to clear.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty stream with room for `capacity` bytes.
    #[must_use]
    pub fn writer(&self, capacity: usize) -> CopyWriter {
        let kept = if capacity < SMALLEST_KEPT { None } else { self.take(capacity) };
        let mut bytes = kept.unwrap_or_default();
        bytes.reserve(capacity + 32);
        bytes.extend_from_slice(SIGNATURE);
        bytes.extend_from_slice(&[0; 8]);
        CopyWriter { stream: CopyStream { bytes, home: self.clone() }, rows: 0 }
    }

    /// The smallest one that is large enough, or else the largest.
    fn take(&self, capacity: usize) -> Option<Vec<u8>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<u8>| (buffer.capacity() < capacity, buffer.capacity().abs_diff(capacity));
        let best = kept.iter().enumerate().min_by_key(|(_, buffer)| fits(buffer))?.0;
        Some(kept.swap_remove(best))
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.capacity() >= SMALLEST_KEPT && kept.len() < KEPT {
            bytes.clear();
            kept.push(bytes);
        }
    }
}

/// The bytes of one table's rows. Its buffer goes back to where it came from, also when nothing became of it.
#[derive(Debug)]
pub struct CopyStream {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Deref for CopyStream {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for CopyStream {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Drop for CopyStream {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

/// Rows of one table in COPY BINARY. `row(n)` first, then n fields.
#[derive(Debug)]
pub struct CopyWriter {
    stream: CopyStream,
    rows: usize,
}

impl CopyWriter {
    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The finished stream, with its trailer.
    #[must_use]
    pub fn finish(mut self) -> CopyStream {
        self.stream.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.stream
    }

    /// Starts a row of `fields` fields.
    #[inline]
    pub fn row(&mut self, fields: i16) {
        self.rows += 1;
        self.stream.bytes.extend_from_slice(&fields.to_be_bytes());
    }

    /// SQL NULL.
    #[inline]
    pub fn null(&mut self) {
        self.stream.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// A `bigint`.
    #[inline]
    pub fn int8(&mut self, value: i64) {
        let mut field = [0_u8; 12];
        field[..4].copy_from_slice(&8_i32.to_be_bytes());
        field[4..].copy_from_slice(&value.to_be_bytes());
        self.stream.bytes.extend_from_slice(&field);
    }

    /// Several `bigint`s.
    #[inline]
    pub fn int8s<const N: usize>(&mut self, values: [i64; N]) {
        let mut fields = [[0_u8; 12]; N];
        for (field, value) in fields.iter_mut().zip(values) {
            field[..4].copy_from_slice(&8_i32.to_be_bytes());
            field[4..].copy_from_slice(&value.to_be_bytes());
        }
        self.stream.bytes.extend_from_slice(fields.as_flattened());
    }

    /// An `integer`.
    #[inline]
    pub fn int4(&mut self, value: i32) {
        let mut field = [0_u8; 8];
        field[..4].copy_from_slice(&4_i32.to_be_bytes());
        field[4..].copy_from_slice(&value.to_be_bytes());
        self.stream.bytes.extend_from_slice(&field);
    }

    /// A `smallint`.
    #[inline]
    pub fn int2(&mut self, value: i16) {
        self.stream.bytes.extend_from_slice(&2_i32.to_be_bytes());
        self.stream.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A `boolean`.
    pub fn boolean(&mut self, value: bool) {
        self.stream.bytes.extend_from_slice(&[0, 0, 0, 1, u8::from(value)]);
    }

    /// An `integer[]`.
    pub fn int4_array(&mut self, values: impl ExactSizeIterator<Item = i32>) {
        self.array(INT4_OID, values, Self::int4);
    }

    /// A `numeric(38, 9)[]` from nano-units.
    pub fn numeric_array(&mut self, nanos: impl ExactSizeIterator<Item = i128>) {
        self.array(NUMERIC_OID, nanos, Self::numeric);
    }

    /// One dimension that begins at 1, without NULLs: the layout of `array_send`, in which elements are written as fields are.
    fn array<T>(&mut self, element: u32, values: impl ExactSizeIterator<Item = T>, write: impl Fn(&mut Self, T)) {
        let at = self.stream.bytes.len();
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        for word in [0, 1, 0, element, count, 1] {
            self.stream.bytes.extend_from_slice(&word.to_be_bytes());
        }
        for value in values {
            write(self, value);
        }
        let length = i32::try_from(self.stream.bytes.len() - at - 4).unwrap_or(i32::MAX);
        self.stream.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// A `timestamptz`, from microseconds since the Unix epoch.
    #[inline]
    pub fn timestamp(&mut self, unix_us: i64) {
        self.int8(unix_us - POSTGRES_EPOCH_US);
    }

    /// A `uuid`.
    #[inline]
    pub fn uuid(&mut self, value: &[u8; 16]) {
        let mut field = [0_u8; 20];
        field[..4].copy_from_slice(&16_i32.to_be_bytes());
        field[4..].copy_from_slice(value);
        self.stream.bytes.extend_from_slice(&field);
    }

    /// A `uuid`, or NULL when all its bytes are zero.
    #[inline]
    pub fn uuid_or_null(&mut self, value: &[u8; 16]) {
        if *value == [0; 16] {
            self.null();
        } else {
            self.uuid(value);
        }
    }

    /// `text` or `bytea`. Longer than 2 GiB cannot happen: every source is bounded far below.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.stream.bytes.extend_from_slice(&length.to_be_bytes());
        self.stream.bytes.extend_from_slice(value);
    }

    /// A `timestamptz` or NULL.
    pub fn timestamp_or_null(&mut self, unix_us: Option<i64>) {
        match unix_us {
            Some(unix_us) => self.timestamp(unix_us),
            None => self.null(),
        }
    }

    /// `text` or `bytea`, or NULL.
    pub fn bytes_or_null(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    /// A `numeric(38, 9)` or NULL.
    pub fn numeric_or_null(&mut self, nano: Option<i128>) {
        match nano {
            Some(nano) => self.numeric(nano),
            None => self.null(),
        }
    }

    /// A `numeric(38, 9)` from nano-units.
    #[inline]
    pub fn numeric(&mut self, nano: i128) {
        let sign = if nano < 0 { NUMERIC_NEGATIVE } else { 0 };
        match u64::try_from(nano.unsigned_abs()) {
            // Nearly every amount fits 64 bits: its six base-10,000 digits then fit one register.
            Ok(small) => self.small_numeric(small, sign),
            Err(_) => self.large_numeric(nano.unsigned_abs(), sign),
        }
    }

    fn small_numeric(&mut self, magnitude: u64, sign: u16) {
        let (whole, fraction) = (magnitude / 1_000_000_000, magnitude % 1_000_000_000);
        let digits = [
            whole / 100_000_000,
            whole / 10_000 % 10_000,
            whole % 10_000,
            fraction / 100_000,
            fraction / 10 % 10_000,
            fraction % 10 * 1_000,
        ];
        let packed = digits.iter().fold(0_u128, |packed, digit| packed << 16 | u128::from(*digit));
        if packed == 0 {
            return self.numeric_field(0, 0, 0, 0);
        }
        let (leading, trailing) = ((packed.leading_zeros() - 32) / 16, packed.trailing_zeros() / 16);
        let weight = 2_i16 - i16::try_from(leading).unwrap_or(0);
        self.numeric_field(u16::try_from(6 - leading - trailing).unwrap_or(0), weight, sign, packed << (32 + 16 * leading));
    }

    /// `digits`: up to eight base-10,000 digits, the first one uppermost.
    fn numeric_field(&mut self, count: u16, weight: i16, sign: u16, digits: u128) {
        let length = 8 + 2 * u32::from(count);
        let head = u64::from(count) << 48 | u64::from(weight.cast_unsigned()) << 32 | u64::from(sign) << 16 | u64::from(SCALE);
        // A copy of fixed size and a cut are cheaper than a copy of unknown size.
        let end = self.stream.bytes.len() + 4 + length as usize;
        let mut field = [0; 28];
        field[..4].copy_from_slice(&length.to_be_bytes());
        field[4..12].copy_from_slice(&head.to_be_bytes());
        field[12..].copy_from_slice(&digits.to_be_bytes());
        self.stream.bytes.extend_from_slice(&field);
        self.stream.bytes.truncate(end);
    }

    #[cold]
    fn large_numeric(&mut self, magnitude: u128, sign: u16) {
        let (mut whole, fraction) = (magnitude / NANO.unsigned_abs(), magnitude % NANO.unsigned_abs());
        let mut digits = vec![fraction % 10 * 1_000, fraction / 10 % GROUP, fraction / 100_000];
        let mut weight = -1_i16;
        while whole > 0 {
            digits.push(whole % GROUP);
            whole /= GROUP;
            weight += 1;
        }
        digits.reverse();
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let count = u16::try_from(digits.len()).unwrap_or(0);
        self.stream.bytes.extend_from_slice(&(8 + 2 * u32::from(count)).to_be_bytes());
        for word in [count, weight.cast_unsigned(), sign, SCALE] {
            self.stream.bytes.extend_from_slice(&word.to_be_bytes());
        }
        for digit in digits {
            self.stream.bytes.extend_from_slice(&u16::try_from(digit).unwrap_or(0).to_be_bytes());
        }
    }
}

/// Why a COPY BINARY stream could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed COPY BINARY stream: {0}")]
pub struct CopyError(pub &'static str);

/// Reads COPY BINARY in any chunking: `feed` what came, then `next_row` until it says `None`.
#[derive(Debug, Default)]
pub struct CopyReader {
    bytes: Vec<u8>,
    at: usize,
    header_done: bool,
}

/// One row: its fields in order, `None` for NULL.
pub type Fields<'a> = Vec<Option<&'a [u8]>>;

impl CopyReader {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// Reads one whole row into `fields`. `Ok(false)`: more bytes are needed, or the stream has ended.
    ///
    /// # Errors
    /// When the bytes are not COPY BINARY.
    pub fn next_row<'a>(&'a mut self, ranges: &mut Vec<Option<(usize, usize)>>) -> Result<Option<&'a [u8]>, CopyError> {
        ranges.clear();
        if !self.header_done {
            let Some(header) = self.bytes.get(..19) else { return Ok(None) };
            if header[..11] != *SIGNATURE {
                return Err(CopyError("no signature"));
            }
            let extension = u32::from_be_bytes([header[15], header[16], header[17], header[18]]) as usize;
            if self.bytes.len() < 19 + extension {
                return Ok(None);
            }
            self.at = 19 + extension;
            self.header_done = true;
        }
        let mut at = self.at;
        let Some(&[high, low]) = self.bytes.get(at..at + 2) else { return Ok(None) };
        let count = i16::from_be_bytes([high, low]);
        if count < 0 {
            return Ok(None);
        }
        at += 2;
        for _ in 0..count {
            let Some(&[a, b, c, d]) = self.bytes.get(at..at + 4) else { return Ok(None) };
            let length = i32::from_be_bytes([a, b, c, d]);
            at += 4;
            if let Ok(length) = usize::try_from(length) {
                if self.bytes.len() < at + length {
                    return Ok(None);
                }
                ranges.push(Some((at, at + length)));
                at += length;
            } else {
                ranges.push(None);
            }
        }
        self.at = at;
        Ok(Some(&self.bytes))
    }
}

/// An `int8`, `int4` or `int2` field as i64.
///
/// # Errors
/// When its length is none of 8, 4, 2.
pub fn read_int(field: &[u8]) -> Result<i64, CopyError> {
    match *field {
        [a, b, c, d, e, f, g, h] => Ok(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        [a, b, c, d] => Ok(i64::from(i32::from_be_bytes([a, b, c, d]))),
        [a, b] => Ok(i64::from(i16::from_be_bytes([a, b]))),
        _ => Err(CopyError("not an integer")),
    }
}

/// A `numeric` field in nano-units.
///
/// # Errors
/// NaN, infinity, more than 9 decimals, or out of i128.
pub fn read_numeric(field: &[u8]) -> Result<i128, CopyError> {
    const BAD: CopyError = CopyError("not a finite numeric of scale 9");
    let word = |index: usize| field.get(2 * index..2 * index + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).ok_or(BAD);
    let count = usize::from(word(0)?);
    let weight = i32::from(word(1)?.cast_signed());
    let sign = word(2)?;
    if sign != 0 && sign != NUMERIC_NEGATIVE {
        return Err(BAD);
    }
    let mut total: i128 = 0;
    for index in 0..count {
        let digit = i128::from(word(4 + index)?);
        // The digit stands for digit × 10,000^(weight − index); in nano-units that is times 10^9.
        let power = 4 * (weight - i32::try_from(index).map_err(|_| BAD)?) + 9;
        let part = if power >= 0 {
            let factor = 10_i128.checked_pow(power.unsigned_abs()).ok_or(BAD)?;
            digit.checked_mul(factor).ok_or(BAD)?
        } else {
            let divisor = 10_i128.checked_pow(power.unsigned_abs()).ok_or(BAD)?;
            if digit % divisor != 0 {
                return Err(BAD);
            }
            digit / divisor
        };
        total = total.checked_add(part).ok_or(BAD)?;
    }
    Ok(if sign == NUMERIC_NEGATIVE { -total } else { total })
}

/// An `integer[]`, as [`CopyWriter`] writes it.
///
/// # Errors
/// When it is anything else.
pub fn read_int4_array(field: &[u8]) -> Result<Vec<i64>, CopyError> {
    read_array(field, INT4_OID, read_int)
}

/// A `numeric[]` in nano-units, as [`CopyWriter`] writes it.
///
/// # Errors
/// When it is anything else, or an element is not what [`read_numeric`] takes.
pub fn read_numeric_array(field: &[u8]) -> Result<Vec<i128>, CopyError> {
    read_array(field, NUMERIC_OID, read_numeric)
}

fn read_array<T>(field: &[u8], element: u32, read: impl Fn(&[u8]) -> Result<T, CopyError>) -> Result<Vec<T>, CopyError> {
    const BAD: CopyError = CopyError("not an array of one dimension");
    let word = |at: usize| field.get(at..at + 4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).ok_or(BAD);
    if (word(0)?, word(4)?, word(8)?, word(16)?) != (1, 0, element, 1) {
        return Err(BAD);
    }
    let mut rest = field.get(20..).ok_or(BAD)?;
    let mut values = Vec::new();
    for _ in 0..word(12)? {
        let (length, from) = rest.split_first_chunk::<4>().ok_or(BAD)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| BAD)?;
        values.push(read(from.get(..length).ok_or(BAD)?)?);
        rest = &from[length..];
    }
    if rest.is_empty() { Ok(values) } else { Err(BAD) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_array_is_laid_out_as_array_send_does() {
        let mut writer = Buffers::default().writer(0);
        writer.row(2);
        writer.int4_array([7, -1].into_iter());
        writer.numeric_array([NANO, 0].into_iter());
        let bytes = writer.finish();
        // Dimensions, no NULLs, type, length, lower bound, then the elements as fields.
        let first = [
            0, 0, 0, 36, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 4, 255, 255, 255,
            255,
        ];
        assert_eq!(&bytes[21..61], first);
        assert_eq!(read_int4_array(&bytes[25..61]), Ok(vec![7, -1]));
        assert!(read_numeric_array(&bytes[25..61]).is_err());
        let second = &bytes[65..bytes.len() - 2];
        assert_eq!(read_numeric_array(second), Ok(vec![NANO, 0]));
        for cut in 0..second.len() {
            assert!(read_numeric_array(&second[..cut]).is_err(), "{cut}");
        }
        assert!(read_numeric_array(&[second, &[0]].concat()).is_err());
    }

    fn one(nano: i128) -> Vec<u8> {
        let mut writer = Buffers::default().writer(0);
        writer.row(1);
        writer.numeric(nano);
        writer.finish().to_vec()
    }

    #[test]
    fn a_numeric_is_laid_out_as_numeric_send_does() {
        // 12345.678 as PostgreSQL sends it: digits 1, 2345, 6780; weight 1.
        let bytes = one(12_345_678_000_000);
        assert_eq!(&bytes[19 + 2 + 4..bytes.len() - 2], [0, 3, 0, 1, 0, 0, 0, 9, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
    }

    proptest! {
        #[test]
        fn numerics_survive_a_round_trip_in_any_chunking(
            nano in prop_oneof![any::<i128>().prop_map(|v| v / 1_000), any::<i64>().prop_map(i128::from), -20_000_i128..20_000],
            cut in 1_usize..60,
        ) {
            let bytes = one(nano);
            let mut reader = CopyReader::default();
            let mut ranges = Vec::new();
            let mut found = None;
            for chunk in bytes.chunks(cut) {
                reader.feed(chunk);
                if let Some(row) = reader.next_row(&mut ranges).unwrap() {
                    let (from, to) = ranges[0].unwrap();
                    found = Some(read_numeric(&row[from..to]).unwrap());
                }
            }
            prop_assert_eq!(found, Some(nano));
        }
    }
}
