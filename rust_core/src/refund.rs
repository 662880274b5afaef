//! The wallet command `refund`: credit is taken back out of exactly the grants that it names, or nothing is done.
//!
//! Only what is left in a grant can be taken: what is on hold or spent is not there, and of a grant that is spent, expired,
//! another customer's or nobody's there is nothing left, which is one answer for all of them. What a wallet owes unbilled stands
//! in nobody's way, since credit leaves it alone, too.

use serde::Deserialize;
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::command::{Failure, MAX_OPEN_GRANTS, parse_hex, positive, public_id, read, refuse};
use crate::engine::{Engine, EngineError};
use crate::group::{Movement, Work, funding_account};
use crate::money::format_nano;
use crate::posting::{Id, PostingKind};
use crate::time::format_us;
use crate::wallet::Grant;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefundCommand {
    customer: String,
    parts: Vec<PartText>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartText {
    grant_id: String,
    amount: String,
}

/// A grant's id and nano-units to be taken back from it.
type Part = (Id, i128);

/// The parts by grant. A grant that is named twice may be meant once or twice: nobody takes money back on a guess.
fn read_parts(texts: &[PartText]) -> Result<Vec<Part>, Failure> {
    if texts.is_empty() || texts.len() > MAX_OPEN_GRANTS {
        return refuse("invalid_command", format!("a refund has 1 to {MAX_OPEN_GRANTS} parts"));
    }
    let mut parts = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(grant) = parse_hex(&text.grant_id) else { return refuse("invalid_command", "grantId is not 32 hex digits") };
        parts.push((grant, positive(&text.amount, "amount")?));
    }
    parts.sort_unstable();
    if parts.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return refuse("invalid_command", "a grant is named twice");
    }
    Ok(parts)
}

impl Engine {
    /// `{"customer", "parts": [{"grantId", "amount"}]}`: takes credit back, to where the grants were funded from. Checks everything
    /// first; after that nothing can fail.
    pub(crate) fn refund(&mut self, work: &mut Work, tenant: i64, id: Id, json: &[u8]) -> Result<Value, Failure> {
        let command: RefundCommand = read(json)?;
        let parts = read_parts(&command.parts)?;
        let Some(index) = self.wallets.find(tenant, &command.customer) else { return refuse("unknown_customer", "no such customer") };
        let Some(wallet) = self.wallets.slots[index as usize].as_mut() else { return Err(EngineError::NotLoaded("a wallet").into()) };
        let slot = work.touch(index, wallet);
        // In the wallet's order of spending, so that the order of the parts makes no difference.
        let asked = |grant: &Grant| parts.binary_search_by(|(id, _)| id.cmp(&grant.id)).ok().map(|place| parts[place].1);
        let covered: SmallVec<[(Grant, i128); 2]> = wallet
            .state
            .grants
            .iter()
            .filter_map(|grant| asked(grant).filter(|amount| *amount <= grant.remaining).map(|amount| (*grant, amount)))
            .collect();
        if covered.len() < parts.len() {
            return refuse("insufficient_balance", "of a grant less is left than is to be refunded");
        }
        let mut taken = Vec::with_capacity(covered.len());
        let mut total = 0;
        for (grant, amount) in covered {
            total += amount;
            wallet.state.take_back(&grant.id, amount);
            let funding = funding_account(grant.kind);
            let movement = Movement { kind: PostingKind::Refund, funding, amount, grant: grant.id, reference: id };
            work.touched[slot].post(wallet.account, wallet.state.amounts(), movement);
            taken.push(json!({
                "grantId": public_id("gr_", &grant.id),
                "amount": format_nano(amount),
                "remaining": format_nano(grant.remaining - amount),
            }));
        }
        let currency = String::from_utf8_lossy(&wallet.currency).into_owned();
        Ok(json!({
            "ok": true,
            "customerExternalId": command.customer,
            "amount": format_nano(total),
            "currency": currency,
            "parts": taken,
            "refundedAt": format_us(work.now_us),
            "balance": self.balance_of(index),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(grant: u8, amount: &str) -> PartText {
        PartText { grant_id: format!("{grant:032x}"), amount: amount.to_owned() }
    }

    #[test]
    fn parts_are_read_in_any_order_and_refused_where_they_could_mean_two_things() {
        let id = |last: u8| std::array::from_fn(|place| if place == 15 { last } else { 0 });
        let read = |texts: &[PartText]| read_parts(texts).ok();
        let both = [(id(1), 2_000_000_000), (id(2), 1)];
        assert_eq!(read(&[part(2, "0.000000001"), part(1, "2")]).as_deref(), Some(&both[..]));
        assert_eq!(read(&[part(1, "2"), part(2, "0.000000001")]).as_deref(), Some(&both[..]));
        let many: Vec<_> = (0..=100).map(|grant| part(grant, "1")).collect();
        assert_eq!((read(&many[..100]).map(|parts| parts.len()), read(&many)), (Some(100), None));
        for amount in ["0", "-1", "1.0000000001", "NaN", "1e3", " 1"] {
            assert_eq!(read(&[part(1, amount)]), None, "{amount}");
        }
        let short = PartText { grant_id: "01".to_owned(), amount: "1".to_owned() };
        assert_eq!((read(&[]), read(&[part(1, "1"), part(1, "2")]), read(&[short])), (None, None, None));
    }
}
