"""The chart of accounts and the kinds of postings, as the tables `system_accounts` and `posting_kinds` hold them.

A posting moves one amount from the account it debits to the account it credits. A customer owns three accounts: the wallet (an even
number), one above it what is on hold, and with the negative number of the wallet what it owes unbilled, where the merchant bills
pay-as-you-go.
"""

from enum import IntEnum

PAID_CREDIT_FUNDING = 1
"""What was collected, or is to be, for paid grants, less what was refunded."""
BONUS_CREDIT_COST = 2
"""Bonus grants given."""
PROMOTIONAL_CREDIT_COST = 3
"""Promotional grants given."""
USAGE_REVENUE = 10
"""Usage charged and holds captured."""
BREAKAGE_INCOME = 11
"""Grants that expired unspent."""

WECHAT_CLEARING = 20
"""Collected by WeChat Pay, gross, and not settled yet."""
ALIPAY_CLEARING = 21
"""Collected by Alipay, gross, and not settled yet."""
WECHAT_FEES = 22
"""Estimated fees that WeChat Pay will keep."""
ALIPAY_FEES = 23
"""Estimated fees that Alipay will keep."""
MERCHANT_PAYABLE = 24
"""What the merchant is owed: gross, less fees and refunds."""
PLATFORM_FEES = 25
"""Fees of ours."""
PAYMENT_SUSPENSE = 26
"""Collected, and nobody knows yet what for."""

FUNDING_BY_GRANT_KIND = {"paid": PAID_CREDIT_FUNDING, "bonus": BONUS_CREDIT_COST, "promotional": PROMOTIONAL_CREDIT_COST}
"""The account a grant of each kind comes from, and goes back to by a refund."""

OVERDRAFT_PART = bytes(16)
"""In place of a grant's id among the parts of a hold, a charge or a void: the wallet without a grant."""
UNBILLED_PART = b"\xff" * 16
"""Likewise: the unbilled account."""

FIRST_CUSTOMER_ACCOUNT = 1000
"""Account ids below this belong to the system."""


class PostingKind(IntEnum):
    """What a posting is for. The names in lower case are the codes of `posting_kinds` and of the API's history."""

    GRANT = 1
    USAGE = 2
    HOLD = 3
    CAPTURE = 4
    RELEASE = 5
    GRANT_EXPIRY = 6
    VOID = 7
    HOLD_EXPIRY = 8
    PERIOD_CHARGE = 9
    PERIOD_CHARGE_REVERSAL = 10
    REFUND = 11

    @property
    def code(self) -> str:
        """The name on the wire."""
        return self.name.lower()


def held_account(account_id: int) -> int:
    """The account of what a wallet has on hold. Raises ValueError for a number that is no wallet's."""
    if account_id < FIRST_CUSTOMER_ACCOUNT or account_id % 2:
        raise ValueError(f"{account_id} is not the account of a wallet")
    return account_id + 1


def unbilled_account(account_id: int) -> int:
    """The account of what the customer of a wallet owes and was not invoiced for. Raises ValueError for a number that is no wallet's."""
    return -(held_account(account_id) - 1)


def commit_id(partition_id: int, commit_seq: int) -> int:
    """The number that orders a partition's commits and names their partition."""
    return partition_id << 48 | commit_seq
