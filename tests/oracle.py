"""An independent model of what BuffMoney must do with usage, grants and holds, in plain Python.

It shares no code with the product: amounts are whole nano-units in unbounded Python integers, prices are exact fractions,
and every rule is written in the most obvious way. The property tests feed it and the Rust engine with the same messages.
"""

from __future__ import annotations

import copy
import math
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

NANO = 10**9
"""nano-units in one unit of a currency or of a metric"""
AMOUNT_LIMIT = 10**18 * NANO
"""no event's charge reaches this"""
KIND_ORDER = {"promotional": 0, "bonus": 1, "paid": 2}
"""what was given away is spent before what was paid for"""


def nano(text: str) -> int:
    """An exact count of nano-units from a decimal string that is already known to be well-formed."""
    value = Fraction(text) * NANO
    if value.denominator != 1:
        raise ValueError(f"{text} has more than nine decimals")
    return int(value)


def show(amount_nano: int) -> str:
    """The decimal string of an amount: no exponent, no trailing zeros."""
    sign = "-" if amount_nano < 0 else ""
    whole, fraction = divmod(abs(amount_nano), NANO)
    return f"{sign}{whole}" + (f".{fraction:09d}".rstrip("0") if fraction else "")


def round_half_even(value: Fraction) -> int:
    """The one rounding there is: to a whole nano-unit, a tie to the even neighbour."""
    floor = value.numerator // value.denominator
    rest = value - floor
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1):
        return floor + 1
    return floor


# ---------------------------------------------------------------- prices


@dataclass(frozen=True)
class Charge:
    """One line of a rate card: what usage of a metric costs where all of `match` is found in the dimensions.

    model: per_unit, `price` for `per` units in proportion; package, `price` for every begun block of `per` units, of the event or, with
    blocks `period`, of what the customer uses in the period; flat, `price` for an event; markup, `price` is what `per` units cost us, and
    `percent` comes on top; graduated, each unit by the tier (up to, price, per) that the period has reached. The first `allowance` units of
    a period are free. No event that is billed costs less than `minimum`.
    """

    metric: str
    price: str
    per: str = "1"
    match: Mapping[str, str] = field(default_factory=dict)
    model: str = "per_unit"
    percent: str | None = None
    minimum: str | None = None
    allowance: str | None = None
    tiers: tuple[tuple[str | None, str, str], ...] = ()
    currency: str | None = None
    """None: the card's"""
    blocks: str = "event"

    @property
    def counts(self) -> bool:
        """Whether what was used before in the period matters."""
        return self.model == "graduated" or self.allowance is not None or self.buys_blocks

    @property
    def buys_blocks(self) -> bool:
        """Whether units are bought in blocks and then used up."""
        return self.blocks == "period"


@dataclass(frozen=True)
class Card:
    """A version of a product's rate card, known by its name. effective_us: None means since ever.

    audience: everyone meets it while it is in force, or only customers to whom it is assigned.
    """

    name: str
    charges: tuple[Charge, ...]
    currency: str = "CNY"
    effective_us: int | None = None
    created_us: int = 0
    product: str = "default"
    audience: str = "everyone"


@dataclass(frozen=True)
class Assignment:
    """From a moment on a customer meets this card of a product; with None the default ones again."""

    customer: str
    product: str
    card: str | None
    effective_us: int


def cards_pricing(cards: Iterable[Card], metric: str) -> list[Card]:
    """The cards of the one product that prices a metric; a metric of two products cannot be published."""
    cards = list(cards)
    products = {card.product for card in cards if any(charge.metric == metric for charge in card.charges)}
    if len(products) > 1:
        raise ValueError(f"{metric} is priced by {products}")
    return [card for card in cards if card.product in products]


def card_met(cards: list[Card], assignments: Iterable[Assignment], customer: str, occurred_us: int) -> Card | None:
    """The card of a product that a customer meets: that of its last assignment, of two with the same start the one made later."""
    if not cards:
        return None
    own = [one for one in assignments if (one.customer, one.product) == (customer, cards[0].product) and one.effective_us <= occurred_us]
    if own:
        last = max(enumerate(own), key=lambda entry: (entry[1].effective_us, entry[0]))[1]
        if last.card is not None:
            return next(card for card in cards if card.name == last.card)
    return card_in_force([card for card in cards if card.audience == "everyone"], occurred_us)


def card_in_force(cards: Iterable[Card], occurred_us: int) -> Card | None:
    """The card that came into force last, at or before that moment; of two with the same start, the one made later."""
    started = [
        (card.effective_us is not None, card.effective_us or 0, card.created_us, position, card)
        for position, card in enumerate(cards)
        if card.effective_us is None or card.effective_us <= occurred_us
    ]
    return max(started, key=lambda entry: entry[:4])[4] if started else None


def matching_charge(card: Card, metric: str, dimensions: Mapping[str, str], currency: str = "CNY") -> Charge | None:
    """The most specific line in this currency that matches; of two that are equally specific, the one written first."""
    best: Charge | None = None
    for charge in card.charges:
        if (charge.currency or card.currency) != currency:
            continue
        fits = charge.metric == metric and all(dimensions.get(name) == value for name, value in charge.match.items())
        if fits and (best is None or len(charge.match) > len(best.match)):
            best = charge
    return best


def exact_price(charge: Charge, quantity_nano: int) -> Fraction:
    """What a quantity costs before rounding and minimum, in units of money."""
    quantity, price, per = Fraction(quantity_nano, NANO), Fraction(charge.price), Fraction(charge.per)
    if charge.model == "per_unit":
        return quantity / per * price
    if charge.model == "package":
        return math.ceil(quantity / per) * price
    if charge.model == "flat":
        return price
    if charge.model == "markup":
        return quantity / per * price * (1 + Fraction(charge.percent or "missing") / 100)
    raise ValueError(f"no such model: {charge.model}")


def exact_after(charge: Charge, quantity_nano: int, before_nano: int) -> Fraction | None:
    """What a quantity costs where the period had used so much before; None where all of it is free."""
    free = nano(charge.allowance or "0")
    start, end = max(0, before_nano - free), max(0, before_nano + quantity_nano - free)
    if start == end:
        return None
    if charge.model != "graduated":
        return exact_price(charge, end - start)
    exact, low = Fraction(0), 0
    for up_to, price, per in charge.tiers:
        high = end if up_to is None else nano(up_to)
        units = max(0, min(end, high) - max(start, low))
        exact += Fraction(units, NANO) / Fraction(per) * Fraction(price)
        low = high
    return exact


def blocks_bought(charge: Charge, quantity_nano: int, balance_nano: int) -> int:
    """How many blocks an event buys where its customer has used so much more than it has bought (below zero: bought more than used)."""
    left = nano(charge.allowance or "0") - balance_nano
    return max(0, math.ceil(Fraction(quantity_nano - max(left, 0), nano(charge.per))))


def counted_after(charge: Charge, quantity_nano: int, before_nano: int) -> int:
    """What a line has counted after an event: what was used, and where blocks are bought that less the blocks. What was used beyond the
    allowance and is paid for by none any more, because an event was voided, is forgotten."""
    if not charge.buys_blocks:
        return before_nano + quantity_nano
    bought = blocks_bought(charge, quantity_nano, before_nano) * nano(charge.per)
    return min(before_nano, nano(charge.allowance or "0")) + quantity_nano - bought


def price_of(charge: Charge, quantity_nano: int, before_nano: int = 0) -> int:
    """What an event of this quantity costs, in nano-units: rounded once, and then not less than the minimum. Free within an allowance."""
    if charge.buys_blocks:
        return blocks_bought(charge, quantity_nano, before_nano) * nano(charge.price)
    exact = exact_after(charge, quantity_nano, before_nano)
    return 0 if exact is None else max(round_half_even(exact * NANO), nano(charge.minimum or "0"))


Month = tuple[int, int]


def period_of(occurred_us: int, zone: str, anchor_day: int) -> Month:
    """Year and month in which the billing period of a moment began, by the calendar on the wall: from the anchor day on, or the month's
    last day where it is shorter, it is this month's."""
    moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=occurred_us)).astimezone(ZoneInfo(zone))
    if moment.day >= min(anchor_day, monthrange(moment.year, moment.month)[1]):
        return moment.year, moment.month
    return (moment.year, moment.month - 1) if moment.month > 1 else (moment.year - 1, 12)


Period = tuple[int, Month]
"""a billing period: by which of its merchant's settings, and the month in which it would begin if that had always been in force"""
LONGEST_PERIOD_US = 32 * 86_400 * 10**6


Counter = tuple[str, str, tuple[tuple[str, str], ...], str]
"""product, metric, match and what is counted, units or units less blocks: what a line that counts has in common with its later versions"""


def counter_of(card: Card, charge: Charge) -> Counter:
    """Which counter a line counts by."""
    return card.product, charge.metric, tuple(sorted(charge.match.items())), "blocks" if charge.buys_blocks else "units"


# ---------------------------------------------------------------- wallets

UNBILLED = "unbilled"
"""who pays what nothing in a wallet that accrues covers"""


@dataclass
class Grant:
    """Credit given to a wallet. `remaining` excludes what is on hold."""

    grant_id: str
    kind: str
    priority: int
    amount: int
    remaining: int
    expires_us: int | None
    created_us: int

    def rank(self) -> tuple[int, bool, int, int, int, str]:
        """Grants are spent in this order: priority, soonest expiry, given before paid, oldest; the id decides between equals."""
        return (self.priority, self.expires_us is None, self.expires_us or 0, KIND_ORDER[self.kind], self.created_us, self.grant_id)

    def expired(self, now_us: int) -> bool:
        """Expiry is the first moment at which the grant is of no use."""
        return self.expires_us is not None and self.expires_us <= now_us


@dataclass
class Hold:
    """Money set aside. parts: (grant id, None for overdraft, or UNBILLED; amount), in the order in which they were taken."""

    hold_id: str
    customer: str
    amount: int
    parts: list[tuple[str | None, int]]
    expires_us: int
    status: str = "open"
    captured: int = 0


@dataclass
class Wallet:
    """One customer's money. limit: how far below zero it may go, None for no floor.

    accrues: what grants do not cover is owed unbilled, and the limit is of that.
    """

    customer: str
    currency: str
    limit: int | None
    accrues: bool = False
    grants: dict[str, Grant] = field(default_factory=dict)
    deficit: int = 0
    """overdraft in use; below zero when a hold on overdraft came back after the overdraft was repaid"""
    held: int = 0
    unbilled: int = 0
    granted: int = 0
    spent: int = 0
    broken: int = 0
    """breakage: what expired unspent"""
    refunded: int = 0

    @property
    def available(self) -> int:
        """What may still be spent, without the overdraft."""
        return sum(grant.remaining for grant in self.grants.values()) - self.deficit

    def spendable(self, now_us: int) -> int | None:
        """The most that one debit may take now; None for without end."""
        if self.limit is None:
            return None
        usable = sum(grant.remaining for grant in self.grants.values() if not grant.expired(now_us)) - self.deficit
        if self.accrues:
            # Overdraft from before it accrued is owed as well. Whoever owes more than the limit may still spend what it has.
            owed = self.unbilled + max(0, -usable)
            return max(0, usable) + max(0, self.limit - owed)
        return usable + self.limit

    def expire(self, now_us: int) -> None:
        """Posts what is left of every expired grant to breakage."""
        for grant in self.grants.values():
            if grant.expired(now_us) and grant.remaining:
                self.broken += grant.remaining
                grant.remaining = 0

    def take(self, amount: int, now_us: int) -> list[tuple[str | None, int]]:
        """Takes from the grants in their order, the rest from the overdraft or unbilled. The caller has checked the limit."""
        self.expire(now_us)
        parts: list[tuple[str | None, int]] = []
        for grant in sorted(self.grants.values(), key=Grant.rank):
            part = min(grant.remaining, amount)
            if part:
                grant.remaining -= part
                amount -= part
                parts.append((grant.grant_id, part))
        if amount and self.accrues:
            owed = amount - min(amount, max(0, -self.deficit))
            self.unbilled += owed
            amount -= owed
            parts += [(None, amount)] * bool(amount) + [(UNBILLED, owed)] * bool(owed)
            self.deficit += amount
        elif amount:
            self.deficit += amount
            parts.append((None, amount))
        return parts

    def credit(self, amount: int, grant: Grant) -> None:
        """Adds to a grant what is left after the overdraft is repaid."""
        repaid = min(max(self.deficit, 0), amount)
        self.deficit -= repaid
        grant.remaining += amount - repaid

    def give_back(self, parts: Iterable[tuple[str | None, int]], now_us: int) -> None:
        """Undoes a hold: every part to where it came from, the last first, so that overdraft does not eat up what grants get back.

        What came from a grant that has expired meanwhile expires at once.
        """
        for grant_id, amount in reversed(list(parts)):
            if grant_id == UNBILLED:
                # Nothing is invoiced yet, so all of it is still owed.
                assert self.unbilled >= amount, "something was owed and is gone"
                self.unbilled -= amount
            elif grant_id is None:
                self.deficit -= amount
            else:
                self.credit(amount, self.grants[grant_id])
        self.expire(now_us)

    def check(self) -> None:
        """What must hold after every step."""
        gone = self.spent + self.broken + self.refunded
        assert self.granted == self.available + self.held - self.unbilled + gone, "money was made or lost"
        assert all(0 <= grant.remaining <= grant.amount for grant in self.grants.values()), "a grant is out of its bounds"
        assert self.held >= 0, "less than nothing is on hold"
        assert self.unbilled >= 0, "less than nothing is owed"


# ---------------------------------------------------------------- a tenant


@dataclass(frozen=True)
class Usage:
    """A valid event. quantity in nano-units, times in microseconds since 1970."""

    customer: str
    key: str
    metric: str
    quantity: int
    occurred_us: int
    dimensions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of an event. charge in nano-units."""

    code: str
    charge: int = 0


class RefusedError(Exception):
    """A wallet command was refused; its argument is the code."""

    @property
    def code(self) -> str:
        """The stable code."""
        return str(self.args[0])


class Tenant:
    """One merchant in one mode: its catalogue, its customers, and everything it was ever told."""

    def __init__(self, *, billing: str = "prepaid", unknown_customers: str = "create", currency: str = "CNY") -> None:
        self.settings: list[tuple[int, str, int]] = [(0, "Asia/Shanghai", 1)]
        """since when, by when usage occurred, billing periods begin in which time zone and on which day"""
        self.counters: dict[tuple[str, Counter, int], int] = defaultdict(int)
        """what each customer used of a line in the period with a start, in nano-units; a change may rename a period that is to come, and of
        which there is usage a little ahead, but never moves its start"""
        self.counted: dict[str, tuple[tuple[str, Counter, int], int]] = {}
        """by what each event was counted, and what its void takes off of it: its quantity, less the blocks it bought"""
        self.default_limit = 0 if billing == "prepaid" else None
        self.billing = billing
        """pay-as-you-go accrues; `overdraft` is what it was before it did: prepaid without a floor"""
        self.unknown_customers = unknown_customers
        self.currency = currency
        self.metrics = {"tokens_input", "tokens_output", "images", "agent_runs", "storage_gb"}
        self.cards: list[Card] = []
        self.assignments: list[Assignment] = []
        self.wallets: dict[str, Wallet] = {}
        self.holds: dict[str, Hold] = {}
        self.known: dict[str, tuple[Usage, int]] = {}
        """what every accepted key stood for, and its charge"""
        self.paid: dict[str, list[tuple[str | None, int]]] = {}
        """who paid it: grants, None for overdraft, or UNBILLED"""
        self.voided: dict[str, str | None] = {}
        """the keys of voided events, each with that of the event that amends it"""

    # -- usage

    def currency_of(self, customer: str) -> str:
        """That of the wallet; the tenant's as long as there is none."""
        return self.wallets[customer].currency if customer in self.wallets else self.currency

    def line_met(self, event: Usage, currency: str) -> tuple[Card, Charge] | None:
        """The line that prices an event, by the card that its customer meets."""
        card = card_met(cards_pricing(self.cards, event.metric), self.assignments, event.customer, event.occurred_us)
        charge = matching_charge(card, event.metric, dict(event.dimensions), currency) if card else None
        return (card, charge) if card and charge else None

    def period(self, occurred_us: int) -> Period:
        """The billing period of a moment. What a change takes out of its month is a period of its own."""
        place = max(place for place, (since_us, _, _) in enumerate(self.settings) if since_us <= occurred_us)
        _, zone, anchor_day = self.settings[place]
        return place, period_of(occurred_us, zone, anchor_day)

    def period_bounds(self, moment_us: int) -> tuple[int, int]:
        """The first moment of a period and the first one behind it, sought by halves."""
        name, ends = self.period(moment_us), []
        for reach_us in (-LONGEST_PERIOD_US, LONGEST_PERIOD_US):
            inside, outside = moment_us, moment_us + reach_us
            while abs(outside - inside) > 1:
                middle = (inside + outside) // 2
                if self.period(middle) == name:
                    inside = middle
                else:
                    outside = middle
            ends.append(max(inside, outside))
        return ends[0], ends[1]

    def change_periods(self, zone: str, anchor_day: int, now_us: int) -> None:
        """Lets periods begin elsewhere when the open one has ended; before then another change takes its place."""
        if self.settings[-1][0] > now_us:
            self.settings[-1] = (self.settings[-1][0], zone, anchor_day)
        elif self.settings[-1][1:] != (zone, anchor_day):
            self.settings.append((self.period_bounds(now_us)[1], zone, anchor_day))

    def counter(self, event: Usage) -> tuple[str, Counter, int] | None:
        """By what an event is counted, if its line counts."""
        met = self.line_met(event, self.currency_of(event.customer))
        if met is None or not met[1].counts:
            return None
        return event.customer, counter_of(*met), self.period_bounds(event.occurred_us)[0]

    def rate(self, event: Usage, currency: str) -> Outcome:
        """The price of an event, or why it has none."""
        if event.metric not in self.metrics:
            return Outcome("unknown_metric")
        met = self.line_met(event, currency)
        if met is None:
            return Outcome("no_price")
        counter = self.counter(event)
        before = self.counters[counter] if counter else 0
        if counter and counted_after(met[1], event.quantity, before) >= 10**38:
            return Outcome("amount_out_of_range")
        amount = price_of(met[1], event.quantity, before)
        return Outcome("accepted", amount) if amount < AMOUNT_LIMIT else Outcome("amount_out_of_range")

    def use(self, event: Usage, now_us: int) -> Outcome:
        """Takes one event: known already, refused and forgotten, or charged as a whole and remembered for good."""
        if event.key in self.known:
            first, charge = self.known[event.key]
            return Outcome("duplicate", charge) if first == event else Outcome("conflict")
        wallet = self.wallets.get(event.customer)
        outcome = self.rate(event, self.currency_of(event.customer))
        if outcome.code != "accepted":
            return outcome
        if wallet is None and self.unknown_customers == "refuse":
            return Outcome("unknown_customer")
        if wallet:
            wallet.expire(now_us)
        spendable = wallet.spendable(now_us) if wallet else self.default_limit
        if outcome.charge and spendable is not None and outcome.charge > spendable:
            return Outcome("insufficient_balance")
        wallet = wallet or self.open(event.customer)
        self.paid[event.key] = wallet.take(outcome.charge, now_us)
        wallet.spent += outcome.charge
        counter, met = self.counter(event), self.line_met(event, wallet.currency)
        if counter and met:
            before = self.counters[counter]
            self.counters[counter] = counted_after(met[1], event.quantity, before)
            bought = blocks_bought(met[1], event.quantity, before) * nano(met[1].per) if met[1].buys_blocks else 0
            self.counted[event.key] = counter, event.quantity - bought
        self.known[event.key] = (event, outcome.charge)
        return outcome

    def void(self, key: str, now_us: int, replaced_by: str | None = None) -> int:
        """Takes an event back, once: to those who paid it, as far as they had paid. Gives the amount."""
        if key not in self.known:
            raise RefusedError("event_not_found")
        event, charge = self.known[key]
        if key not in self.voided:
            wallet = self.wallets[event.customer]
            wallet.expire(now_us)
            wallet.spent -= charge
            wallet.give_back(self.paid[key], now_us)
            self.voided[key] = replaced_by
            if key in self.counted:
                counter, change = self.counted[key]
                self.counters[counter] -= change
        return charge

    def amend(self, key: str, event: Usage, now_us: int) -> tuple[int, int]:
        """Takes an event back and another one instead, or neither. Gives what came back and what the new one costs."""
        if key not in self.known:
            raise RefusedError("event_not_found")
        charge = self.known[key][1]
        if key in self.voided:
            if self.voided[key] == event.key and self.known[event.key][0] == event:
                return charge, self.known[event.key][1]
            raise RefusedError("event_voided")
        if event.key in self.known:
            raise RefusedError("idempotency_conflict")
        name = self.known[key][0].customer
        # Expiry is a matter of time alone: it stays, whatever becomes of the amendment.
        self.wallets[name].expire(now_us)
        before = copy.deepcopy(self.wallets[name])
        self.void(key, now_us, event.key)
        outcome = self.use(event, now_us)
        if outcome.code != "accepted":
            self.wallets[name] = before
            del self.voided[key]
            if key in self.counted:
                counter, change = self.counted[key]
                self.counters[counter] += change
            raise RefusedError(outcome.code)
        return charge, outcome.charge

    def usage(self) -> tuple[int, int, int]:
        """(events, quantity, charge) of everything that is not voided."""
        left = [entry for key, entry in self.known.items() if key not in self.voided]
        return len(left), sum(event.quantity for event, _ in left), sum(charge for _, charge in left)

    # -- wallets

    def open(self, customer: str, currency: str | None = None) -> Wallet:
        """The customer's wallet, made if there is none. currency: the tenant's if None."""
        made = Wallet(customer, currency or self.currency, self.default_limit, self.accrues)
        return self.wallets.setdefault(customer, made)

    @property
    def accrues(self) -> bool:
        """Whether what grants do not cover is owed unbilled."""
        return self.billing == "pay-as-you-go"

    def bill(self, billing: str) -> None:
        """From now on the merchant bills like this. What is overdraft stays so."""
        self.billing = billing
        for wallet in self.wallets.values():
            wallet.accrues = self.accrues

    def existing(self, customer: str) -> Wallet:
        """The customer's wallet, or a refusal."""
        if customer not in self.wallets:
            raise RefusedError("unknown_customer")
        return self.wallets[customer]

    def grant(
        self,
        customer: str,
        grant_id: str,
        amount: int,
        *,
        kind: str,
        priority: int,
        expires_us: int | None,
        now_us: int,
        currency: str = "CNY",
    ) -> Wallet:
        """Gives credit; an overdraft is repaid from it first. A grant makes its customer where usage would."""
        if expires_us is not None and expires_us <= now_us:
            raise RefusedError("expired_grant")
        if currency != (self.wallets[customer].currency if customer in self.wallets else self.currency):
            raise RefusedError("currency_mismatch")
        if customer not in self.wallets and self.unknown_customers == "refuse":
            raise RefusedError("unknown_customer")
        wallet = self.open(customer)
        wallet.expire(now_us)
        grant = Grant(grant_id, kind, priority, amount, 0, expires_us, now_us)
        wallet.grants[grant_id] = grant
        wallet.granted += amount
        wallet.credit(amount, grant)
        wallet.expire(now_us)
        return wallet

    def refund(self, customer: str, parts: list[tuple[str, int]], now_us: int) -> list[tuple[str, int, int]]:
        """Takes credit back out of these grants, or refuses it as a whole: what is on hold, spent or expired is not there to be taken.

        Gives (grant id, amount, what is left of it) in the order of spending.
        """
        if not 1 <= len(parts) <= 100 or len({grant_id for grant_id, _ in parts}) < len(parts):
            raise RefusedError("invalid_command")
        wallet = self.existing(customer)
        wallet.expire(now_us)
        if any(grant_id not in wallet.grants or wallet.grants[grant_id].remaining < amount for grant_id, amount in parts):
            raise RefusedError("insufficient_balance")
        for grant_id, amount in parts:
            wallet.grants[grant_id].remaining -= amount
            wallet.refunded += amount
        taken = sorted((wallet.grants[grant_id].rank(), grant_id, amount) for grant_id, amount in parts)
        return [(grant_id, amount, wallet.grants[grant_id].remaining) for _, grant_id, amount in taken]

    def configure(self, customer: str, *, limit: int | None, currency: str | None = None, now_us: int = 0) -> Wallet:
        """Sets how far below zero a wallet may go, and makes it if there is none; its currency stays for good."""
        wallet = self.open(customer, currency)
        if currency not in (None, wallet.currency):
            raise RefusedError("currency_mismatch")
        wallet.expire(now_us)
        wallet.limit = limit
        return wallet

    def estimate(self, events: list[Usage]) -> int:
        """What events would cost if they came now, in this order, and each could be paid."""
        counters, total = copy.copy(self.counters), 0
        try:
            for event in events:
                outcome = self.rate(event, self.currency_of(event.customer))
                if outcome.code != "accepted":
                    raise RefusedError(outcome.code)
                counter, met = self.counter(event), self.line_met(event, self.currency_of(event.customer))
                if counter and met:
                    self.counters[counter] = counted_after(met[1], event.quantity, self.counters[counter])
                total += outcome.charge
        finally:
            self.counters = counters
        return total

    def hold(self, customer: str, hold_id: str, amount: int, *, ttl_us: int, now_us: int) -> Hold:
        """Sets an amount aside, or refuses it as a whole."""
        wallet = self.existing(customer)
        wallet.expire(now_us)
        spendable = wallet.spendable(now_us)
        if amount and spendable is not None and amount > spendable:
            raise RefusedError("insufficient_balance")
        hold = Hold(hold_id, customer, amount, wallet.take(amount, now_us), now_us + ttl_us)
        wallet.held += amount
        self.holds[hold_id] = hold
        return hold

    def _open_hold(self, hold_id: str, now_us: int) -> Hold:
        hold = self.holds.get(hold_id)
        if hold is None:
            raise RefusedError("hold_not_found")
        # Its time is over from its expiry on; giving it back is the sweep's work.
        if hold.status == "expired" or (hold.status == "open" and hold.expires_us <= now_us):
            raise RefusedError("hold_expired")
        if hold.status != "open":
            raise RefusedError("hold_closed")
        return hold

    def _close(self, hold: Hold, status: str, captured: int, now_us: int) -> Hold:
        """Spends the first `captured` of a hold's parts and gives the rest back."""
        wallet = self.wallets[hold.customer]
        back: list[tuple[str | None, int]] = []
        rest = captured
        for grant_id, amount in hold.parts:
            spent = min(rest, amount)
            rest -= spent
            if amount > spent:
                back.append((grant_id, amount - spent))
        wallet.held -= hold.amount
        wallet.spent += captured
        wallet.give_back(back, now_us)
        hold.status, hold.captured = status, captured
        return hold

    def capture(self, hold_id: str, amount: int | None, now_us: int) -> Hold:
        """Spends a hold, whole or in part; the rest becomes available again."""
        hold = self._open_hold(hold_id, now_us)
        captured = hold.amount if amount is None else amount
        if captured > hold.amount:
            raise RefusedError("capture_exceeds_hold")
        return self._close(hold, "captured", captured, now_us)

    def capture_with_events(self, hold_id: str, events: list[Usage], now_us: int) -> list[Outcome]:
        """Gives a hold back and charges the actual events instead, in one step, or does neither where one of them could not be paid. All
        must be of the hold's customer."""
        hold = self._open_hold(hold_id, now_us)
        if any(event.customer != hold.customer for event in events):
            raise RefusedError("customer_mismatch")
        before = copy.deepcopy((self.wallets[hold.customer], hold))
        counters, known, paid, counted = map(copy.copy, (self.counters, self.known, self.paid, self.counted))
        self._close(hold, "captured", 0, now_us)
        outcomes = [self.use(event, now_us) for event in events]
        if any(outcome.code == "insufficient_balance" for outcome in outcomes):
            self.wallets[hold.customer], self.holds[hold_id] = before
            self.counters, self.known, self.paid, self.counted = counters, known, paid, counted
            raise RefusedError("insufficient_balance")
        hold.captured = sum(outcome.charge for outcome in outcomes if outcome.code == "accepted")
        return outcomes

    def release(self, hold_id: str, now_us: int) -> Hold:
        """Gives a hold back."""
        return self._close(self._open_hold(hold_id, now_us), "released", 0, now_us)

    def expire_hold(self, hold_id: str, now_us: int) -> None:
        """Gives back a hold whose time is over; does nothing to any other."""
        hold = self.holds[hold_id]
        if hold.status == "open" and hold.expires_us <= now_us:
            self._close(hold, "expired", 0, now_us)

    def sweep(self, now_us: int) -> None:
        """Expires every due hold and grant: holds in the order of their ends, since what comes back first repays first."""
        for hold_id in sorted(self.holds, key=lambda one: (self.holds[one].expires_us, one)):
            self.expire_hold(hold_id, now_us)
        for wallet in self.wallets.values():
            wallet.expire(now_us)

    def check(self) -> None:
        """What must hold after every step, over all wallets."""
        for wallet in self.wallets.values():
            wallet.check()
            open_holds = [hold for hold in self.holds.values() if hold.customer == wallet.customer and hold.status == "open"]
            assert wallet.held == sum(hold.amount for hold in open_holds)
