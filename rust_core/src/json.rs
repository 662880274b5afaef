//! A strict single-pass reader of JSON bytes (RFC 8259), for bodies whose shape is known.
//!
//! Everything that is not JSON is an error wherever it stands, also in values that nobody asked for: raw control
//! characters, lone surrogates, numbers beyond a double, nesting deeper than 64. Strings and numbers are handed out as
//! spans of the input, so that reading allocates nothing.

use std::borrow::Cow;
use std::ops::Range;

use hashbrown::HashSet;

/// Containers within containers; the outermost counts.
pub const MAX_DEPTH: u8 = 64;

/// Why bytes are not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReason {
    /// The input ends inside a value.
    #[error("it ends too early")]
    Truncated,
    /// A byte that cannot stand where it stands.
    #[error("unexpected character")]
    Unexpected,
    /// A control character in a string that is not escaped.
    #[error("control character in a string")]
    RawControl,
    /// A backslash with something that is no escape.
    #[error("invalid escape")]
    Escape,
    /// Half of a surrogate pair.
    #[error("lone surrogate")]
    LoneSurrogate,
    /// A number whose double is infinite.
    #[error("number out of range")]
    NumberRange,
    /// Nesting beyond `MAX_DEPTH`.
    #[error("nested too deeply")]
    Depth,
    /// Something after the value.
    #[error("something follows the value")]
    Trailing,
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// The same name twice in one object.
    #[error("duplicate name")]
    DuplicateName,
}

/// Where and why bytes are not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}")]
pub struct Malformed {
    /// What is wrong.
    pub reason: MalformedReason,
    /// Offset in bytes.
    pub at: usize,
}

/// A string as it stands in the input, between its quotes. Its escapes are known to be valid.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// What stands between the quotes.
    pub raw: &'a str,
    /// It has escapes.
    pub escaped: bool,
    /// It has bytes outside printable ASCII (DEL counts as outside), so a search for control characters is due.
    pub unusual: bool,
}

impl<'a> Text<'a> {
    /// The text itself: the raw one where nothing is escaped, else decoded into the buffer.
    #[inline]
    pub fn decode<'b>(&self, buffer: &'b mut String) -> &'b str
    where
        'a: 'b,
    {
        if self.escaped { self.decode_escapes(buffer) } else { self.raw }
    }

    #[cold]
    fn decode_escapes<'b>(&self, buffer: &'b mut String) -> &'b str {
        buffer.clear();
        let mut rest = self.raw;
        while let Some((plain, escape)) = rest.find('\\').and_then(|backslash| rest.split_at_checked(backslash)) {
            buffer.push_str(plain);
            rest = append_escape(buffer, escape);
        }
        buffer.push_str(rest);
        buffer
    }
}

/// Decodes one escape that `Reader::string` has already found valid; returns what follows it.
fn append_escape<'a>(buffer: &mut String, escape: &'a str) -> &'a str {
    let (character, length) = match escape.as_bytes().get(1) {
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'u') => unicode_escape(escape.as_bytes()).unwrap_or((char::REPLACEMENT_CHARACTER, escape.len())),
        Some(other) => (char::from(*other), 2),
        None => return "",
    };
    buffer.push(character);
    escape.get(length..).unwrap_or_default()
}

/// The character of `\uXXXX` or of a surrogate pair `\uXXXX\uXXXX`, and the escape's length.
fn unicode_escape(escape: &[u8]) -> Result<(char, usize), MalformedReason> {
    let first = hex_unit(escape)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let second = match escape.get(6..) {
        Some(rest) if rest.starts_with(b"\\u") => hex_unit(rest)?,
        _ => return Err(MalformedReason::LoneSurrogate),
    };
    let (Some(high @ 0..=0x3ff), Some(low @ 0..=0x3ff)) = (first.checked_sub(0xd800), second.checked_sub(0xdc00)) else {
        return Err(MalformedReason::LoneSurrogate);
    };
    let character = char::from_u32(0x1_0000 + (high << 10) + low).ok_or(MalformedReason::LoneSurrogate)?;
    Ok((character, 12))
}

/// The 16 bits of the `\uXXXX` at the front.
fn hex_unit(escape: &[u8]) -> Result<u32, MalformedReason> {
    let digits = escape.get(2..6).ok_or(MalformedReason::Escape)?;
    digits.iter().try_fold(0_u32, |sum, digit| {
        let value = char::from(*digit).to_digit(16).ok_or(MalformedReason::Escape)?;
        Ok((sum << 4) | value)
    })
}

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"`
    Text,
    /// `-` or a digit
    Number,
    /// `{`
    Object,
    /// `[`
    Array,
    /// `true`, `false` or `null`, as far as the first letter tells
    Literal,
}

/// A position in JSON bytes that are known to be UTF-8.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front after checking that all of it is UTF-8.
    pub fn new(input: &'a [u8]) -> Result<Self, Malformed> {
        match simdutf8::basic::from_utf8(input) {
            Ok(text) => Ok(Self { text, input, at: 0 }),
            // The fast check does not say where.
            Err(_) => {
                let at = std::str::from_utf8(input).err().map_or(0, |error| error.valid_up_to());
                Err(Malformed { reason: MalformedReason::Utf8, at })
            }
        }
    }

    /// The offset of the next byte.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// This part of the input.
    #[inline]
    pub fn span(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    /// What has not been read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// An error at the next byte.
    #[cold]
    pub fn malformed(&self, reason: MalformedReason) -> Malformed {
        Malformed { reason, at: self.at }
    }

    #[cold]
    fn unexpected(&self) -> Malformed {
        self.malformed(if self.at < self.input.len() { MalformedReason::Unexpected } else { MalformedReason::Truncated })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// Steps over bytes that the caller has looked at.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.at = self.at.wrapping_add(bytes);
    }

    /// Steps over white space.
    #[inline]
    pub fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.advance(1);
        }
    }

    /// Takes the byte if it comes next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.advance(usize::from(found));
        found
    }

    /// Takes the byte or fails.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The kind of the value at the next byte.
    #[inline]
    pub fn kind(&self) -> Result<Kind, Malformed> {
        match self.peek() {
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f' | b'n') => Ok(Kind::Literal),
            _ => Err(self.unexpected()),
        }
    }

    /// Fails unless only white space is left.
    pub fn finish(&mut self) -> Result<(), Malformed> {
        self.skip_space();
        if self.at == self.input.len() { Ok(()) } else { Err(self.malformed(MalformedReason::Trailing)) }
    }

    /// After `{` or a member: true if another member's name follows, false (and past the `}`) if the object ends.
    #[inline]
    pub fn next_member(&mut self, first: &mut bool) -> Result<bool, Malformed> {
        self.next_of_container(b'}', first)
    }

    /// After `[` or an element: true if another element follows, false (and past the `]`) if the array ends.
    #[inline]
    pub fn next_element(&mut self, first: &mut bool) -> Result<bool, Malformed> {
        self.next_of_container(b']', first)
    }

    #[inline]
    fn next_of_container(&mut self, close: u8, first: &mut bool) -> Result<bool, Malformed> {
        self.skip_space();
        if self.take(close) {
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',')?;
            self.skip_space();
        }
        Ok(true)
    }

    /// A member's name and its colon; the value comes next.
    #[inline]
    pub fn name(&mut self) -> Result<Text<'a>, Malformed> {
        let name = self.string()?;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        Ok(name)
    }

    /// A string.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Malformed> {
        self.expect(b'"')?;
        let start = self.at;
        let (mut escaped, mut unusual) = (false, false);
        loop {
            match self.input.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
                Some(chunk) => {
                    let word = u64::from_le_bytes(*chunk);
                    let stops = stop_bytes(word);
                    if stops == 0 {
                        unusual |= unusual_bytes(word) != 0;
                        self.advance(8);
                        continue;
                    }
                    let plain = stops.trailing_zeros() / 8;
                    // Only the bytes before the stop belong to this run.
                    unusual |= unusual_bytes(word) & !(u64::MAX << (plain * 8)) != 0;
                    self.at = self.at.wrapping_add(plain as usize);
                }
                None => {
                    while let Some(byte) = self.peek().filter(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
                        unusual |= byte >= 0x7f;
                        self.advance(1);
                    }
                }
            }
            match self.peek() {
                Some(b'"') => {
                    let raw = self.span(start..self.at);
                    self.advance(1);
                    return Ok(Text { raw, escaped, unusual: unusual | escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.malformed(MalformedReason::RawControl)),
                None => return Err(self.unexpected()),
            }
        }
    }

    /// Checks one escape and steps over it.
    #[cold]
    fn escape(&mut self) -> Result<(), Malformed> {
        let rest = self.rest();
        let length = match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => unicode_escape(rest).map_err(|reason| self.malformed(reason))?.1,
            _ => return Err(self.malformed(MalformedReason::Escape)),
        };
        self.advance(length);
        Ok(())
    }

    /// A number as it stands in the input. Its double is finite.
    #[inline]
    pub fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.take(b'-');
        let integer_digits = if self.take(b'0') { 1 } else { self.digits()? };
        if self.take(b'.') {
            self.digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.advance(1);
            if !self.take(b'-') {
                self.take(b'+');
            }
            self.digits()?;
        }
        let raw = self.span(start..self.at);
        // 10³⁰⁰ is well within a double, so shorter numbers need no closer look.
        if (exponent || integer_digits > 300) && !is_finite_double(raw) {
            return Err(Malformed { reason: MalformedReason::NumberRange, at: start });
        }
        Ok(raw)
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.advance(1);
        }
        match self.at.wrapping_sub(start) {
            0 => Err(self.unexpected()),
            count => Ok(count),
        }
    }

    /// Steps over a value of any kind. `depth` is the number of containers it lies in.
    pub fn skip_value(&mut self, depth: u8) -> Result<(), Malformed> {
        match self.kind()? {
            Kind::Text => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Literal => self.literal(),
            Kind::Object => {
                let (inside, mut first) = (self.enter(depth)?, true);
                while self.next_member(&mut first)? {
                    self.name()?;
                    self.skip_value(inside)?;
                }
                Ok(())
            }
            Kind::Array => {
                let (inside, mut first) = (self.enter(depth)?, true);
                while self.next_element(&mut first)? {
                    self.skip_value(inside)?;
                }
                Ok(())
            }
        }
    }

    /// Steps over a value of any kind unless one of its objects names a field twice: then true, and `path` leads to the field.
    fn repeats(&mut self, depth: u8, path: &mut String) -> Result<bool, Malformed> {
        match self.kind()? {
            Kind::Object => self.object_repeats(depth, path),
            Kind::Array => self.array_repeats(depth, path),
            Kind::Text | Kind::Number | Kind::Literal => self.skip_value(depth).map(|()| false),
        }
    }

    fn object_repeats(&mut self, depth: u8, path: &mut String) -> Result<bool, Malformed> {
        let (inside, outside, mut first) = (self.enter(depth)?, path.len(), true);
        let (mut names, mut buffer) = (HashSet::new(), String::new());
        while self.next_member(&mut first)? {
            let name = self.name()?;
            // However it is written: an escape does not make it another name.
            let name = if name.escaped { Cow::Owned(name.decode(&mut buffer).to_owned()) } else { Cow::Borrowed(name.raw) };
            path.push_str(if outside == 0 { "" } else { "." });
            path.push_str(&name);
            if !names.insert(name) || self.repeats(inside, path)? {
                return Ok(true);
            }
            path.truncate(outside);
        }
        Ok(false)
    }

    fn array_repeats(&mut self, depth: u8, path: &mut String) -> Result<bool, Malformed> {
        let (inside, outside, mut first) = (self.enter(depth)?, path.len(), true);
        for place in 0_usize.. {
            if !self.next_element(&mut first)? {
                break;
            }
            path.push('[');
            path.push_str(&place.to_string());
            path.push(']');
            if self.repeats(inside, path)? {
                return Ok(true);
            }
            path.truncate(outside);
        }
        Ok(false)
    }

    /// Steps into a container that lies in `depth` others; returns the depth inside.
    #[inline]
    pub fn enter(&mut self, depth: u8) -> Result<u8, Malformed> {
        if depth >= MAX_DEPTH {
            return Err(self.malformed(MalformedReason::Depth));
        }
        self.advance(1);
        Ok(depth.saturating_add(1))
    }

    fn literal(&mut self) -> Result<(), Malformed> {
        for word in [&b"true"[..], b"false", b"null"] {
            if self.rest().starts_with(word) {
                self.advance(word.len());
                return Ok(());
            }
        }
        Err(self.unexpected())
    }
}

/// Where an object of these bytes names a field twice, which readers of JSON settle as they like: its path, such as `charges[3].price`.
///
/// # Errors
/// When they are not JSON.
pub fn repeated_name(input: &[u8]) -> Result<Option<String>, Malformed> {
    let (mut reader, mut path) = (Reader::new(input)?, String::new());
    reader.skip_space();
    if reader.repeats(0, &mut path)? {
        return Ok(Some(path));
    }
    reader.finish().map(|()| None)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// High bit set in the lowest byte that is a quote, a backslash or below 0x20 (bytes above it may be marked wrongly).
#[inline]
fn stop_bytes(word: u64) -> u64 {
    let zero_at = |value: u64| value.wrapping_sub(ONES) & !value;
    let quote = zero_at(word ^ (ONES * 0x22));
    let backslash = zero_at(word ^ (ONES * 0x5c));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS
}

/// Non-zero if a byte is 0x7f or above.
#[inline]
fn unusual_bytes(word: u64) -> u64 {
    (word | (word & !HIGHS).wrapping_add(ONES)) & HIGHS
}

/// The only float in this crate: a range check, from which no digit is taken.
fn is_finite_double(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Appends a JSON string with minimal escaping: quote, backslash and control characters only.
pub fn write_string(buffer: &mut Vec<u8>, text: &str) {
    buffer.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(stop) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        let (plain, special) = rest.split_at(stop);
        buffer.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'"' => buffer.extend_from_slice(b"\\\""),
            b'\\' => buffer.extend_from_slice(b"\\\\"),
            0x08 => buffer.extend_from_slice(b"\\b"),
            0x0c => buffer.extend_from_slice(b"\\f"),
            b'\n' => buffer.extend_from_slice(b"\\n"),
            b'\r' => buffer.extend_from_slice(b"\\r"),
            b'\t' => buffer.extend_from_slice(b"\\t"),
            other => {
                let digit = |value: u8| char::from_digit(u32::from(value), 16).map_or(b'0', |digit| digit as u8);
                buffer.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(other >> 4), digit(other & 15)]);
            }
        }
        rest = after;
    }
    buffer.extend_from_slice(rest);
    buffer.push(b'"');
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
