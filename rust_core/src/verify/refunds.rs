//! The part of the verifier that is about refunds: each takes from a grant that was given to this wallet, goes back to where that came
//! from, leaves the wallet at zero or above, and is posted once. That no grant gives more than it has is checked for all postings.

use hashbrown::{HashMap, HashSet};

use super::Verifier;
use crate::posting::{Id, Posting};

/// What a wallet's walk has met of grants and refunds.
#[derive(Debug, Default)]
pub(super) struct Refunds {
    /// The account that each grant was funded from.
    funding: HashMap<Id, i64>,
    /// Commands with refunds in this wallet.
    known: HashSet<Id>,
    /// The command, commit and sequence of the last refund, with the grants that it has taken from.
    last: (Id, i64, i64),
    taken: Vec<Id>,
}

impl Verifier {
    pub(super) fn grant_posting(&mut self, posting: &Posting<'_>) {
        self.walk.refunds.funding.insert(posting.grant, posting.debit);
    }

    pub(super) fn refund_posting(&mut self, posting: &Posting<'_>) {
        let (tenant, account, seq) = (posting.tenant, posting.account, posting.seq);
        let refunds = &mut self.walk.refunds;
        let funding = refunds.funding.get(&posting.grant).copied();
        let goes_on = refunds.last == (posting.reference, posting.commit_id, seq - 1);
        if !goes_on {
            refunds.taken.clear();
        }
        refunds.last = (posting.reference, posting.commit_id, seq);
        let again = if goes_on { refunds.taken.contains(&posting.grant) } else { !refunds.known.insert(posting.reference) };
        refunds.taken.push(posting.grant);
        if funding != Some(posting.credit) || posting.debit != account {
            let detail = "credit was taken back from something else than a grant of this wallet, or went elsewhere than it came from";
            self.differ("refund_account", tenant, account, seq, detail.to_owned());
        }
        if posting.after.balance < 0 {
            self.differ("refund_overdrawn", tenant, account, seq, "more was taken back than the wallet had".to_owned());
        }
        if again {
            let detail = "a command took credit back twice from one grant, or not in one piece".to_owned();
            self.differ("refund_twice", tenant, account, seq, detail);
        }
    }
}
