//! What Redis is told after a commit.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};

use crate::answer::{MEMBER_LENGTH, seen_key, seen_member};
use crate::resp::{append_argument, append_header};
use crate::transaction::Group;

/// Arguments of one command are bounded: Redis turns to other connections between commands, and a balance asked for meanwhile waits for one.
const PER_COMMAND: usize = 400;

/// Commands as RESP bytes, and how many answers they get.
pub type Commands = (Vec<u8>, usize);

fn command(out: &mut Commands, name: &[u8], key: &[u8], elements: &[impl AsArguments]) {
    let arguments: usize = elements.iter().map(|element| element.arguments().len()).sum();
    append_header(&mut out.0, 2 + arguments);
    append_argument(&mut out.0, name);
    append_argument(&mut out.0, key);
    for element in elements {
        element.arguments().iter().for_each(|argument| append_argument(&mut out.0, argument));
    }
    out.1 += 1;
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

/// Balances, then replies, so that whoever reads a reply finds its balances; last the marks of batches that are wholly
/// committed, for which nobody waits.
#[must_use]
pub fn commands(group: &Group, balance_key: &[u8], seen_generation: &[u8], ttl_ms: u64) -> Commands {
    let mut out = (Vec::with_capacity(group.balances.len() * 160 + group.replies.len() * 12_000 + 256), 0);
    let ttl = ttl_ms.to_string().into_bytes();
    for chunk in group.evicted.chunks(PER_COMMAND) {
        command(&mut out, b"HDEL", balance_key, chunk);
    }
    for chunk in group.balances.chunks(PER_COMMAND) {
        command(&mut out, b"HSET", balance_key, chunk);
    }
    if !group.balances.is_empty() {
        // The hash may be one that was given up a moment ago: then this makes it anew, and nobody else would remove it.
        command(&mut out, b"PEXPIRE", balance_key, &[&ttl[..]]);
    }
    for (list, replies) in replies(group) {
        for chunk in replies.chunks(PER_COMMAND) {
            command(&mut out, b"RPUSH", list, chunk);
        }
        command(&mut out, b"PEXPIRE", list, &[&ttl[..]]);
    }
    let mut marks: BTreeMap<Vec<u8>, Vec<[u8; MEMBER_LENGTH]>> = BTreeMap::new();
    for (tenant, mark) in &group.seen {
        marks.entry(seen_key(seen_generation, mark)).or_default().push(seen_member(*tenant, mark));
    }
    for (key, members) in &marks {
        for chunk in members.chunks(PER_COMMAND) {
            command(&mut out, b"SADD", key, chunk);
        }
    }
    out
}
