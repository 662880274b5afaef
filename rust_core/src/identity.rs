//! Who an event is: 128 bits of blake3 over tenant and idempotency key, and 64 over what it says.
//!
//! Same key and same fingerprint is the same event again; same key and another fingerprint is a conflict.

/// Bytes of a key hash.
pub const KEY_HASH_LENGTH: usize = 16;

/// The identity of an event, or (with a route before the key) of a command: the first 16 bytes of
/// blake3(tenant in 8 little-endian bytes, key).
pub fn key_hash(tenant_id: u64, key: &[u8]) -> [u8; KEY_HASH_LENGTH] {
    key_hash_with(&mut Vec::with_capacity(key.len() + 8), tenant_id, key)
}

/// `key_hash` with a buffer of the caller's. One contiguous input is hashed much faster than a sequence of updates.
pub(crate) fn key_hash_with(buffer: &mut Vec<u8>, tenant_id: u64, key: &[u8]) -> [u8; KEY_HASH_LENGTH] {
    buffer.clear();
    buffer.extend_from_slice(&tenant_id.to_le_bytes());
    buffer.extend_from_slice(key);
    let hash = blake3::hash(buffer);
    let mut identity = [0; KEY_HASH_LENGTH];
    identity.copy_from_slice(hash.as_bytes().first_chunk::<KEY_HASH_LENGTH>().unwrap_or(&[0; KEY_HASH_LENGTH]));
    identity
}

/// What an event says, apart from its key.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The tenant it was sent for.
    pub tenant_id: u64,
    /// The customer's external id.
    pub customer: &'a str,
    /// The metric's code.
    pub metric: &'a str,
    /// The quantity in nano-units.
    pub quantity_nano: i128,
    /// Microseconds since 1970.
    pub occurred_us: i64,
    /// Canonical JSON.
    pub dimensions: &'a str,
}

impl Payload<'_> {
    /// The first 8 bytes, little-endian, of blake3 over the length-prefixed fields.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint_with(&mut Vec::with_capacity(256))
    }

    /// `fingerprint` with a buffer of the caller's.
    pub(crate) fn fingerprint_with(&self, buffer: &mut Vec<u8>) -> u64 {
        buffer.clear();
        buffer.extend_from_slice(&self.tenant_id.to_le_bytes());
        append_text(buffer, self.customer);
        append_text(buffer, self.metric);
        buffer.extend_from_slice(&self.quantity_nano.to_le_bytes());
        buffer.extend_from_slice(&self.occurred_us.to_le_bytes());
        append_text(buffer, self.dimensions);
        u64::from_le_bytes(*blake3::hash(buffer).as_bytes().first_chunk().unwrap_or(&[0; 8]))
    }
}

fn append_text(buffer: &mut Vec<u8>, text: &str) {
    // The fields are bounded by a body's size, far below 4 GiB.
    buffer.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: Payload<'_> =
        Payload { tenant_id: 7, customer: "c", metric: "images", quantity_nano: 5, occurred_us: -1, dimensions: "{}" };

    /// The bytes under the hash are the documented ones.
    #[test]
    fn hashes_documented_bytes() {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&7_u64.to_le_bytes()).update(&[1, 0, 0, 0]).update(b"c").update(&[6, 0, 0, 0]).update(b"images");
        hasher.update(&5_i128.to_le_bytes()).update(&(-1_i64).to_le_bytes()).update(&[2, 0, 0, 0]).update(b"{}");
        assert_eq!(PAYLOAD.fingerprint().to_le_bytes(), hasher.finalize().as_bytes()[..8]);
        let key = [&1_u64.to_le_bytes()[..], b"key"].concat();
        assert_eq!(key_hash(1, b"key"), blake3::hash(&key).as_bytes()[..16]);
    }

    /// Every field counts, and no text can slide from one field into the next.
    #[test]
    fn every_field_counts() {
        let variants = [
            PAYLOAD,
            Payload { tenant_id: 8, ..PAYLOAD },
            Payload { customer: "ci", metric: "mages", ..PAYLOAD },
            Payload { quantity_nano: 6, ..PAYLOAD },
            Payload { occurred_us: 1, ..PAYLOAD },
            Payload { dimensions: "{\"a\":\"b\"}", ..PAYLOAD },
        ];
        let mut fingerprints: Vec<_> = variants.iter().map(Payload::fingerprint).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), variants.len());
        assert_ne!(key_hash(1, b"key"), key_hash(2, b"key"));
    }
}
