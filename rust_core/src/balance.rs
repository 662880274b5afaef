//! A packed wallet as JSON: the body of the balance answer.

use crate::money::write_nano;
use crate::time::write_us;
use crate::wallet::{NEVER, PACKED_HEAD, PACKED_VERSION};

const GRANT_BYTES: usize = 16 + 1 + 2 + 8 + 16;
const KINDS: [&str; 3] = ["promotional", "bonus", "paid"];

/// Lower-case hex.
pub fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Renders what [`crate::wallet::Wallet::pack`] wrote; `None` when it is not that.
#[must_use]
pub fn render(packed: &[u8]) -> Option<Vec<u8>> {
    let (head, grants) = packed.split_at_checked(PACKED_HEAD)?;
    if head[0] != PACKED_VERSION || !grants.len().is_multiple_of(GRANT_BYTES) {
        return None;
    }
    let amount = |at: usize| Some(i128::from_le_bytes(head.get(at..at + 16)?.try_into().ok()?));
    let seq = i64::from_le_bytes(head[4..12].try_into().ok()?);
    let mut out = Vec::with_capacity(160 + 160 * (grants.len() / GRANT_BYTES));
    out.extend_from_slice(b"{\"available\":\"");
    write_nano(&mut out, amount(12)?);
    out.extend_from_slice(b"\",\"held\":\"");
    write_nano(&mut out, amount(28)?);
    out.extend_from_slice(b"\",\"unbilled\":\"");
    write_nano(&mut out, amount(44)?);
    out.extend_from_slice(b"\",\"currency\":\"");
    out.extend_from_slice(&head[1..4]);
    out.extend_from_slice(b"\",\"byKind\":{");
    let mut list = Vec::new();
    let mut sums = [0_i128; 3];
    for grant in grants.chunks_exact(GRANT_BYTES) {
        let kind = usize::from(grant[16]);
        let priority = i16::from_le_bytes(grant[17..19].try_into().ok()?);
        let expires = i64::from_le_bytes(grant[19..27].try_into().ok()?);
        let remaining = i128::from_le_bytes(grant[27..43].try_into().ok()?);
        *sums.get_mut(kind)? += remaining;
        if !list.is_empty() {
            list.push(b',');
        }
        list.extend_from_slice(b"{\"grantId\":\"gr_");
        write_hex(&mut list, &grant[..16]);
        list.extend_from_slice(b"\",\"kind\":\"");
        list.extend_from_slice(KINDS.get(kind)?.as_bytes());
        list.extend_from_slice(format!("\",\"priority\":{priority},\"remaining\":\"").as_bytes());
        write_nano(&mut list, remaining);
        list.extend_from_slice(b"\",\"expiresAt\":");
        if expires == NEVER {
            list.extend_from_slice(b"null");
        } else {
            list.push(b'"');
            write_us(&mut list, expires);
            list.push(b'"');
        }
        list.push(b'}');
    }
    for (place, kind) in [2_usize, 1, 0].into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(KINDS[kind].as_bytes());
        out.extend_from_slice(b"\":\"");
        write_nano(&mut out, sums[kind]);
        out.push(b'"');
    }
    out.extend_from_slice(b"},\"grants\":[");
    out.extend_from_slice(&list);
    out.extend_from_slice(format!("],\"sequence\":{seq}}}").as_bytes());
    Some(out)
}
