"""A person with pencil and paper: works out the formulas of an explained charge from what they say, and nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def nearest(value: Fraction, decimals: Fraction) -> Fraction:
    """The nearest number with so many decimals; of two that are as near, the one with the even last digit."""
    scale = 10 ** int(decimals)
    below = Fraction(math.floor(value * scale))
    down, up = value * scale - below, below + 1 - value * scale
    return (below if down < up or (down == up and below % 2 == 0) else below + 1) / scale


_FUNCTIONS: dict[str, Callable[..., Fraction]] = {
    "ceil": lambda value: Fraction(math.ceil(value)),
    "max": max,
    "min": min,
    "round": nearest,
}


def work_out(formula: str) -> Fraction:
    """The exact value of a formula such as `1000 × 4 ÷ 1000000`. Numbers are read as decimals, never as floats."""
    text = formula.replace("×", "*").replace("÷", "/")

    def value(node: ast.AST) -> Fraction:
        match node:
            case ast.Constant():
                return Fraction(str(ast.get_source_segment(text, node)))
            case ast.BinOp():
                return _OPERATIONS[type(node.op)](value(node.left), value(node.right))
            case ast.Call(func=ast.Name(id=name)):
                return _FUNCTIONS[name](*map(value, node.args))
        raise ValueError(f"{formula}: what is {ast.dump(node)}?")

    return value(ast.parse(text, mode="eval").body)


def check(explained: dict[str, Any]) -> Fraction:
    """Works out every step, the rounding and the minimum of an explanation's JSON; fails where it says something else. Gives the charge."""
    for step in explained["steps"]:
        assert work_out(step["formula"]) == Fraction(step["amount"]), step
    rounded = nearest(Fraction(explained["exact"]), Fraction(9))
    assert rounded == Fraction(explained["rounded"])
    charge = Fraction(explained["steps"][-1]["amount"])
    assert charge == Fraction(explained["charge"]) >= rounded
    assert explained["minimumApplied"] == (charge > rounded)
    return charge


def charge_of(line: dict[str, Any], quantity: str, before: str = "0") -> Fraction:
    """What the line of a card, as the API writes it, asks for a quantity where the period had used `before`, less the blocks bought of a
    package whose blocks are those of the period: the table of models, read once more."""
    if line.get("blocks") == "period":
        left = max(Fraction(line.get("allowance", "0")) - Fraction(before), Fraction(0))
        return -(-max(Fraction(quantity) - left, Fraction(0)) // Fraction(line["per"])) * Fraction(line["price"])
    per, free = Fraction(line.get("per", "1")), Fraction(line.get("allowance", "0"))
    start, end = (max(Fraction(0), used - free) for used in (Fraction(before), Fraction(before) + Fraction(quantity)))
    amount = end - start
    if not amount:
        return Fraction(0)
    match line["model"]:
        case "per_unit":
            exact = amount / per * Fraction(line["price"])
        case "package":
            exact = -(-amount // per) * Fraction(line["price"])
        case "flat":
            exact = Fraction(line["price"])
        case "markup":
            exact = amount / per * Fraction(line["cost"]) * (100 + Fraction(line["percent"])) / 100
        case "graduated":
            exact, low = Fraction(0), Fraction(0)
            for tier in line["tiers"]:
                high = end if tier["upTo"] is None else Fraction(tier["upTo"])
                exact += max(Fraction(0), min(end, high) - max(start, low)) * Fraction(tier["price"]) / Fraction(tier["per"])
                low = high
        case other:
            raise ValueError(other)
    return max(nearest(exact, Fraction(9)), Fraction(line.get("minimum", "0")))
