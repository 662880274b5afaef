//! What Redis is told after a commit.

use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};

use crate::answer::{MEMBER_LENGTH, SEEN_SHARDS, seen_key, seen_member, seen_shard};
use crate::resp::{append_argument, append_header};
use crate::transaction::Group;

/// Redis works off what it has of a connection before it turns to the next one. So a commit goes there in pieces of half a millisecond, each
/// after the answers to the one before, and a balance that is asked for meanwhile waits for one of them: beside full ingest its median is
/// 1.0 ms so, and 2.7 ms with one pipeline for each commit.
const PER_PIECE: usize = 500;

/// Commands as RESP bytes, and how many answers they get.
pub type Piece = (Vec<u8>, usize);

/// Commands dealt into pieces of about [`PER_PIECE`] elements.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Piece>,
    elements: usize,
}

impl Pieces {
    /// A command over some elements, at most [`PER_PIECE`], and one that sets how long its key lives, in the same piece.
    fn command(&mut self, name: &[u8], key: &[u8], elements: &[impl AsArguments], ttl: Option<&[u8]>) {
        if self.pieces.is_empty() || self.elements + elements.len() > PER_PIECE {
            self.pieces.push(Piece::default());
            self.elements = 0;
        }
        self.elements += elements.len();
        let Some((out, answers)) = self.pieces.last_mut() else { return };
        let arguments: usize = elements.iter().map(|element| element.arguments().len()).sum();
        append_header(out, 2 + arguments);
        append_argument(out, name);
        append_argument(out, key);
        for element in elements {
            element.arguments().iter().for_each(|argument| append_argument(out, argument));
        }
        *answers += 1;
        if let Some(ttl) = ttl {
            append_header(out, 3);
            [b"PEXPIRE", key, ttl].into_iter().for_each(|argument| append_argument(out, argument));
            *answers += 1;
        }
    }
}

/// What an element of a collection is to a command.
trait AsArguments {
    fn arguments(&self) -> SmallVec<[&[u8]; 2]>;
}

impl AsArguments for Vec<u8> {
    fn arguments(&self) -> SmallVec<[&[u8]; 2]> {
        smallvec![&self[..]]
    }
}

impl AsArguments for &[u8] {
    fn arguments(&self) -> SmallVec<[&[u8]; 2]> {
        smallvec![*self]
    }
}

impl AsArguments for [u8; MEMBER_LENGTH] {
    fn arguments(&self) -> SmallVec<[&[u8]; 2]> {
        smallvec![&self[..]]
    }
}

impl AsArguments for (Vec<u8>, Vec<u8>) {
    fn arguments(&self) -> SmallVec<[&[u8]; 2]> {
        smallvec![&self.0[..], &self.1[..]]
    }
}

/// Replies by list, in the order in which the lists first appear.
fn replies(group: &Group) -> Vec<(&[u8], Vec<&[u8]>)> {
    let mut place: HashMap<&[u8], usize> = HashMap::new();
    let mut lists: Vec<(&[u8], Vec<&[u8]>)> = Vec::new();
    for (to, _, reply) in group.replies.iter().filter(|(to, _, _)| !to.is_empty()) {
        let index = *place.entry(to).or_insert_with(|| {
            lists.push((to, Vec::new()));
            lists.len() - 1
        });
        lists[index].1.push(reply);
    }
    lists
}

/// The members of the sets of seen keys, by shard.
fn seen(group: &Group) -> Vec<Vec<[u8; MEMBER_LENGTH]>> {
    let mut shards = vec![Vec::with_capacity(group.new_keys.len() / usize::from(SEEN_SHARDS)); usize::from(SEEN_SHARDS)];
    for key in &group.new_keys {
        shards[usize::from(seen_shard(&key.hash))].push(seen_member(&key.hash, key.fingerprint));
    }
    shards
}

/// What somebody waits for: balances, then replies, so that whoever reads a reply finds its balances.
///
/// Every command on balances sets their time to live: the hash may be one that was given up a moment ago, and made anew by it.
#[must_use]
pub fn answers(group: &Group, balance_key: &[u8], ttl_ms: u64) -> Vec<Piece> {
    let mut out = Pieces::default();
    let ttl = ttl_ms.to_string().into_bytes();
    for chunk in group.evicted.chunks(PER_PIECE) {
        out.command(b"HDEL", balance_key, chunk, None);
    }
    for chunk in group.balances.chunks(PER_PIECE) {
        out.command(b"HSET", balance_key, chunk, Some(&ttl));
    }
    for (list, replies) in replies(group) {
        for chunk in replies.chunks(PER_PIECE) {
            out.command(b"RPUSH", list, chunk, Some(&ttl));
        }
    }
    out.pieces
}

/// The keys seen, for which nobody waits.
#[must_use]
pub fn seen_keys(group: &Group, seen_generation: &[u8]) -> Vec<Piece> {
    let mut out = Pieces::default();
    for (shard, members) in (0_u8..).zip(seen(group)) {
        for chunk in members.chunks(PER_PIECE) {
            out.command(b"SADD", &seen_key(seen_generation, shard), chunk, None);
        }
    }
    out.pieces
}
