"""The oracle is the judge of the engine, so a few of its rules are checked by hand here."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.oracle import (
    Assignment,
    Card,
    Charge,
    Outcome,
    RefusedError,
    Tenant,
    Usage,
    card_in_force,
    card_met,
    matching_charge,
    nano,
    price_of,
    round_half_even,
    show,
)

START = 10**15


def tenant(**settings: str) -> Tenant:
    """A tenant where an image costs ¥1."""
    made = Tenant(**settings)
    made.cards.append(Card("one", (Charge("images", "1"),)))
    return made


def image(key: str, quantity: str = "1", customer: str = "acme") -> Usage:
    """Usage that costs its quantity."""
    return Usage(customer, key, "images", nano(quantity), START)


@pytest.mark.parametrize(
    "value, expected",
    [(Fraction(5, 2), 2), (Fraction(7, 2), 4), (Fraction(1, 2), 0), (Fraction(3, 2), 2), (Fraction(26, 10), 3), (Fraction(24, 10), 2)],
)
def test_rounding_is_half_even(value: Fraction, expected: int) -> None:
    """Proves: a tie goes to the even neighbour, everything else to the nearest."""
    assert round_half_even(value) == expected


def test_decimal_strings() -> None:
    """Proves: amounts are shown without exponent and trailing zeros, and read exactly."""
    assert [show(amount) for amount in (0, 1, -1, 10**9, 1_500_000_000, -12_340_000_000)] == [
        "0",
        "0.000000001",
        "-0.000000001",
        "1",
        "1.5",
        "-12.34",
    ]
    assert nano("231.040352") == 231_040_352_000


def test_the_public_price_example() -> None:
    """Proves: ¥4 a million in and ¥16 a million out charge the public traces' totals as ¥231.040352."""
    total = price_of(Charge("tokens_input", "4", "1000000"), nano("40421844")) + price_of(
        Charge("tokens_output", "16", "1000000"), nano("4334561")
    )
    assert show(total) == "231.040352"


def test_cards_and_matches() -> None:
    """Proves: the card that started last is in force from its first moment, and its most specific line prices the event."""
    first = Card("first", (Charge("images", "1"),))
    second = Card(
        "second",
        (Charge("images", "2"), Charge("images", "3", match={"model": "a"}), Charge("images", "4", match={"model": "a", "tier": "x"})),
        effective_us=100,
    )
    assert card_in_force([second, first], 99) is first
    assert card_in_force([second, first], 100) is second
    prices = [
        matching_charge(second, "images", dimensions) for dimensions in ({}, {"model": "a"}, {"model": "a", "tier": "x"}, {"model": "b"})
    ]
    assert [charge.price for charge in prices if charge] == ["2", "3", "4", "2"]
    assert matching_charge(second, "storage_gb", {}) is None


def test_a_customer_meets_its_own_card() -> None:
    """Proves: the last assignment counts, of two with the same start the later one, None is the default; a card for some is not in it."""
    first, second = (Card(name, (Charge("images", name),), effective_us=start) for name, start in (("1", None), ("2", 100)))
    special = Card("3", (Charge("images", "3"), Charge("images", "4", currency="USD")), effective_us=50, audience="assigned")
    cards = [first, special, second]
    steps = (("3", 60), ("1", 110), ("2", 110), (None, 200))
    assignments = [Assignment("acme", "default", card, start) for card, start in steps]
    met = [card_met(cards, assignments, "acme", moment) for moment in (59, 60, 109, 110, 199, 200)]
    assert [card.name for card in met if card] == ["1", "3", "3", "2", "2", "2"]
    assert card_met(cards, assignments, "other", 60) is first
    assert card_met([special], [], "acme", 60) is None
    prices = [matching_charge(special, "images", {}, currency) for currency in ("CNY", "USD", "EUR")]
    assert [charge and charge.price for charge in prices] == ["3", "4", None]


def test_grants_pay_in_order() -> None:
    """Proves: priority, then expiry, then what was given, then age decide."""
    model = tenant()
    for name, kind, priority, expires in (
        ("old", "paid", 10, None),
        ("bonus", "bonus", 10, None),
        ("soon", "paid", 10, START + 9),
        ("first", "paid", 0, None),
    ):
        model.grant("acme", name, nano("1"), kind=kind, priority=priority, expires_us=expires, now_us=START)
    spent = []
    for number in range(4):
        before = {name for name, grant in model.wallets["acme"].grants.items() if grant.remaining}
        model.use(image(str(number)), START)
        spent += before - {name for name, grant in model.wallets["acme"].grants.items() if grant.remaining}
    assert spent == ["first", "soon", "bonus", "old"]


def test_outcomes() -> None:
    """Proves: duplicates, conflicts, refusals that are forgotten, and the floor."""
    model = tenant()
    assert model.use(image("a"), START).code == "insufficient_balance"
    assert "acme" not in model.wallets
    model.grant("acme", "g", nano("1"), kind="paid", priority=0, expires_us=None, now_us=START)
    assert model.use(image("a"), START) == Outcome("accepted", nano("1"))
    assert model.use(image("a"), START).code == "duplicate"
    assert model.use(image("a", "2"), START).code == "conflict"
    model.configure("acme", limit=nano("5"))
    assert model.use(image("b", "5"), START).code == "accepted"
    assert model.use(image("c", "0.000000001"), START).code == "insufficient_balance"
    model.grant("acme", "h", nano("7"), kind="paid", priority=0, expires_us=None, now_us=START)
    assert model.wallets["acme"].grants["h"].remaining == nano("2"), "the overdraft is repaid first"
    model.check()


def test_accrual() -> None:
    """Proves: where customers pay after, grants are spent first, the rest is owed up to the limit, and credit does not repay it."""
    model = tenant(billing="pay-as-you-go")
    model.grant("acme", "g", nano("2"), kind="paid", priority=0, expires_us=None, now_us=START)
    model.configure("acme", limit=nano("8"))
    assert model.use(image("a", "5"), START).code == "accepted"
    wallet = model.wallets["acme"]
    assert (wallet.available, wallet.unbilled) == (0, nano("3"))
    model.hold("acme", "h", nano("5"), ttl_us=10, now_us=START)
    assert model.use(image("b", "0.000000001"), START).code == "insufficient_balance"
    model.capture("h", nano("1"), START)
    model.grant("acme", "i", nano("7"), kind="paid", priority=0, expires_us=None, now_us=START)
    assert (wallet.available, wallet.held, wallet.unbilled) == (nano("7"), 0, nano("4"))
    model.void("a", START)
    assert (wallet.available, wallet.unbilled) == (nano("9"), nano("1"))
    model.check()


def test_holds() -> None:
    """Proves: a hold on a grant and on overdraft comes back to where it was; a captured part does not."""
    model = tenant()
    model.grant("acme", "g", nano("10"), kind="paid", priority=0, expires_us=None, now_us=START)
    model.configure("acme", limit=nano("5"))
    model.hold("acme", "h", nano("15"), ttl_us=10, now_us=START)
    assert model.wallets["acme"].available == -nano("5")
    model.release("h", START)
    assert (model.wallets["acme"].grants["g"].remaining, model.wallets["acme"].deficit) == (nano("10"), 0)
    model.hold("acme", "i", nano("4"), ttl_us=10, now_us=START)
    model.capture("i", nano("1"), START)
    assert model.wallets["acme"].available == nano("9")
    with pytest.raises(RefusedError, match="hold_closed"):
        model.release("i", START)
    model.hold("acme", "j", nano("1"), ttl_us=10, now_us=START)
    with pytest.raises(RefusedError, match="hold_expired"):
        model.capture("j", None, START + 10)
    model.check()


def test_a_refund_takes_all_it_names_or_nothing() -> None:
    """Proves: it takes from its grants alone; what is spent, on hold, expired or another's refuses the whole of it."""
    model = tenant()
    for name, amount, expires_us in (("a", 5, None), ("b", 3, None), ("c", 2, START + 10)):
        model.grant("acme", name, nano(str(amount)), kind="paid", priority=0, expires_us=expires_us, now_us=START)
    model.grant("other", "d", nano("9"), kind="paid", priority=0, expires_us=None, now_us=START)
    model.hold("acme", "h", nano("3.5"), ttl_us=100, now_us=START)
    wallet = model.wallets["acme"]
    assert [grant.remaining for grant in wallet.grants.values()] == [nano("3.5"), nano("3"), 0]
    for parts in ([("a", nano("4"))], [("a", 1), ("d", 1)], [("b", nano("3")), ("c", 1)]):
        with pytest.raises(RefusedError, match="insufficient_balance"):
            model.refund("acme", parts, START)
    with pytest.raises(RefusedError, match="invalid_command"):
        model.refund("acme", [("a", 1), ("a", 1)], START)
    assert model.refund("acme", [("b", nano("1")), ("a", nano("3.5"))], START) == [("a", nano("3.5"), 0), ("b", nano("1"), nano("2"))]
    assert (wallet.available, wallet.refunded) == (nano("2"), nano("4.5"))
    model.check()
