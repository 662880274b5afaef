//! What Redis is told after a commit: balances, then replies, so that whoever reads a reply finds its balances, and last the keys seen,
//! for which nobody waits.

use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};

use crate::answer::{MEMBER_LENGTH, SEEN_SHARDS, seen_key, seen_member, seen_shard};
use crate::resp::{append_argument, append_header};
use crate::transaction::Group;

/// Redis works off what it has of a connection before it turns to the next one. So a pipeline goes there in pieces of a third of a
/// millisecond, and a balance that is asked for meanwhile waits for one of them at most.
const PER_PIECE: usize = 400;

/// Commands and how many answers they get.
pub type Piece = (Vec<u8>, usize);

/// Commands of about [`PER_PIECE`] elements each, dealt into pieces of about as many.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    bytes: Vec<u8>,
    answers: usize,
    elements: usize,
}

impl Pieces {
    /// One command over some elements.
    fn command(&mut self, name: &[u8], key: &[u8], elements: &[impl AsArguments]) {
        if self.answers > 0 && self.elements + elements.len() > PER_PIECE {
            self.cut();
        }
        let arguments: usize = elements.iter().map(|element| element.arguments().len()).sum();
        append_header(&mut self.bytes, 2 + arguments);
        append_argument(&mut self.bytes, name);
        append_argument(&mut self.bytes, key);
        for element in elements {
            element.arguments().iter().for_each(|argument| append_argument(&mut self.bytes, argument));
        }
        self.answers += 1;
        self.elements += elements.len();
    }

    fn cut(&mut self) {
        self.done.push((std::mem::take(&mut self.bytes), std::mem::take(&mut self.answers)));
        self.elements = 0;
    }

    fn finish(mut self) -> Vec<Piece> {
        if self.answers > 0 {
            self.cut();
        }
        self.done
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

/// What to send, piece by piece, each after the answers to the one before.
#[must_use]
pub fn pieces(group: &Group, balance_key: &[u8], seen_generation: &[u8], reply_ttl_ms: u64) -> Vec<Piece> {
    let mut pieces = Pieces::default();
    for chunk in group.evicted.chunks(PER_PIECE) {
        pieces.command(b"HDEL", balance_key, chunk);
    }
    for chunk in group.balances.chunks(PER_PIECE) {
        pieces.command(b"HSET", balance_key, chunk);
    }
    let ttl = reply_ttl_ms.to_string().into_bytes();
    for (list, replies) in replies(group) {
        for chunk in replies.chunks(PER_PIECE) {
            pieces.command(b"RPUSH", list, chunk);
        }
        pieces.command(b"PEXPIRE", list, &[&ttl[..]]);
    }
    for (shard, members) in (0_u8..).zip(seen(group)) {
        for chunk in members.chunks(PER_PIECE) {
            pieces.command(b"SADD", &seen_key(seen_generation, shard), chunk);
        }
    }
    pieces.finish()
}
