//! What Redis is told after a commit, as one pipeline: balances, then keys seen, then replies, in this order, so that
//! whoever reads a reply finds its balances.

use hashbrown::HashMap;

use crate::answer::{MEMBER_LENGTH, SEEN_SHARDS, seen_key, seen_member, seen_shard};
use crate::resp::{append_argument, append_header};
use crate::transaction::Group;

/// Arguments of one command are bounded, so that no command holds Redis for long.
const PER_COMMAND: usize = 1_000;

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

/// How many answers the pipeline gets.
#[must_use]
pub fn command_count(group: &Group) -> usize {
    let chunks = |length: usize| length.div_ceil(PER_COMMAND);
    chunks(group.evicted.len())
        + chunks(group.balances.len())
        + seen(group).iter().map(|members| chunks(members.len())).sum::<usize>()
        + 2 * replies(group).len()
}

/// The pipeline as RESP bytes.
#[must_use]
pub fn commands(group: &Group, balance_key: &[u8], seen_generation: &[u8], reply_ttl_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(group.new_keys.len() * 32 + group.balances.len() * 160 + group.replies.len() * 12_000 + 256);
    for chunk in group.evicted.chunks(PER_COMMAND) {
        append_header(&mut out, 2 + chunk.len());
        append_argument(&mut out, b"HDEL");
        append_argument(&mut out, balance_key);
        chunk.iter().for_each(|field| append_argument(&mut out, field));
    }
    for chunk in group.balances.chunks(PER_COMMAND) {
        append_header(&mut out, 2 + 2 * chunk.len());
        append_argument(&mut out, b"HSET");
        append_argument(&mut out, balance_key);
        for (field, packed) in chunk {
            append_argument(&mut out, field);
            append_argument(&mut out, packed);
        }
    }
    for (shard, members) in (0_u8..).zip(seen(group)) {
        for chunk in members.chunks(PER_COMMAND) {
            append_header(&mut out, 2 + chunk.len());
            append_argument(&mut out, b"SADD");
            append_argument(&mut out, &seen_key(seen_generation, shard));
            chunk.iter().for_each(|member| append_argument(&mut out, member));
        }
    }
    let ttl = reply_ttl_ms.to_string();
    for (list, replies) in replies(group) {
        append_header(&mut out, 2 + replies.len());
        append_argument(&mut out, b"RPUSH");
        append_argument(&mut out, list);
        replies.iter().for_each(|reply| append_argument(&mut out, reply));
        append_header(&mut out, 3);
        append_argument(&mut out, b"PEXPIRE");
        append_argument(&mut out, list);
        append_argument(&mut out, ttl.as_bytes());
    }
    out
}
