"""Conditions of rules, slowly: Kleene's three-valued logic over the tree and a plain record.

Unknown is None. A record maps a feature's name to a float, bool, str or None; a level that the schema does not know is
simply a string that equals none of the levels.
"""

import math
import re
from decimal import Decimal

from edgeml.runtime.expression import (
    And,
    Arithmetic,
    Between,
    Call,
    Comparison,
    Count,
    Field,
    Membership,
    Missing,
    Negate,
    Not,
    Number,
    Or,
    Points,
    Text,
    TextMatch,
    Truth,
)


def value_of(node, record):
    """What a value is, None where it is missing."""
    match node:
        case Number(value) | Text(value) | Truth(value):
            return value
        case Field(name):
            return record[name]
        case Negate(operand):
            given = value_of(operand, record)
            return None if given is None else -given
        case Call(function, arguments):
            given = [value_of(argument, record) for argument in arguments]
            if None in given:
                return None
            if function in ("length", "word_count"):
                return len(given[0]) if function == "length" else len(re.findall(r"\w+", given[0]))
            return abs(given[0]) if function == "abs" else {"min": min, "max": max}[function](given)
        case Points(points, conditions):
            given = [Decimal(repr(n)) for n, p in zip(points, conditions, strict=True) if truth_of(p, record) is True]
            return float(sum(given))
        case Count(conditions):
            return sum(truth_of(condition, record) is True for condition in conditions)
        case Arithmetic(operands, operators):
            total = value_of(operands[0], record)
            for operator, operand in zip(operators, operands[1:], strict=True):
                total = reckon(total, operator, value_of(operand, record))
            return total
    raise AssertionError(node)


def reckon(left, operator, right):
    """One step of arithmetic, None where it has no finite result."""
    if left is None or right is None:
        return None
    if operator == "/":
        result = left / right if right != 0 else math.inf
    else:
        result = {"+": left + right, "-": left - right, "*": left * right}[operator]
    return result if math.isfinite(result) else None


def compare(left, operator, right):
    """One comparison, None where it is unknown."""
    if left is None or right is None:
        return None
    if operator == "==":
        return left == right
    if operator == "!=":
        return left != right
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def negation(truth):
    return None if truth is None else not truth


def conjunction(truths):
    truths = list(truths)
    if False in truths:
        return False
    return None if None in truths else True


def disjunction(truths):
    return negation(conjunction([negation(truth) for truth in truths]))


def fold(text):
    """Simple folding: each character to one character."""
    return "".join(
        next((changed for changed in (mark.casefold(), mark.lower()) if len(changed) == 1), mark) for mark in text
    )


def text_truth(value, how, text, folded):
    """Whether a text passes a test of one string."""
    if how == "contains word":
        words, wanted = (re.findall(r"\w+", part) for part in (value, text))
        if folded:
            words, wanted = list(map(fold, words)), list(map(fold, wanted))
        return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))
    if how == "matches":
        return re.search(text, value, re.IGNORECASE if folded else 0) is not None
    if folded:
        value, text = fold(value), fold(text)
    return {"starts with": str.startswith, "ends with": str.endswith, "contains": str.__contains__}[how](value, text)


def truth_of(node, record):
    """True, False or None (unknown)."""
    match node:
        case And(operands):
            return conjunction([truth_of(operand, record) for operand in operands])
        case Or(operands):
            return disjunction([truth_of(operand, record) for operand in operands])
        case Not(operand):
            return negation(truth_of(operand, record))
        case Comparison(operands, operators):
            values = [value_of(operand, record) for operand in operands]
            return conjunction(map(compare, values, operators, values[1:]))
        case Between(operand, low, high):
            value, low, high = (value_of(part, record) for part in (operand, low, high))
            return conjunction([compare(low, "<=", value), compare(value, "<=", high)])
        case Membership(operand, items, negated):
            value = value_of(operand, record)
            found = disjunction([compare(value, "==", item.value) for item in items])
            return negation(found) if negated else found
        case Missing(operand, negated):
            return (value_of(operand, record) is None) != negated
        case TextMatch(operand, how, texts, folded):
            value = value_of(operand, record)
            return None if value is None else any(text_truth(value, how, text, folded) for text in texts)
        case Truth() | Field():
            return value_of(node, record)
    raise AssertionError(node)


def first_rule(conditions, record):
    """Index of the first condition that is true, -1 where none is."""
    for index, node in enumerate(conditions):
        if truth_of(node, record) is True:
            return index
    return -1
