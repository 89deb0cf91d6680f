"""How large a condition is once its names are written out, known without writing it out.

Names make it possible to write little and mean much (a definition of two others, each of two others, ...), and so does
a chain of comparisons, whose inner operands are reckoned twice. What a condition compiles to is bounded by its size.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeml.runtime.expression import Between, Comparison, Count, Field, Membership, Node, Points, TextMatch, children

# Instructions of one condition; texts that are looked for one by one count each.
MAX_SIZE = 1 << 18
# Values of sets, and texts.
MAX_VALUES = 1 << 17


class Size(NamedTuple):
    """How large an expression is.

    Attributes:
        instructions: What it compiles to, at most.
        values: Values of its sets, and texts that it looks for.
        height: Levels of its tree.
    """

    instructions: int
    values: int
    height: int


def size_of(node: Node, known: dict[str, Size]) -> Size:
    """The size of a written tree once its names are resolved.

    Args:
        node: The tree as written, its height bounded by the parser.
        known: Sizes of definitions, and of lists (``instructions`` and ``height`` are 0).
    """
    if isinstance(node, Field):
        return known.get(node.name, Size(1, 0, 1))
    below = [size_of(child, known) for child in children(node)]
    values = sum(size.values for size in below)
    height = 1 + max([size.height for size in below], default=0)
    instructions = 1 + sum(size.instructions for size in below)
    match node:
        case Comparison(operands) if len(operands) > 2:
            instructions = 2 * instructions + len(operands)
        case Between():
            instructions += 2
        case Points(points):
            instructions += 4 + len(points)
        case Count(conditions):
            instructions += 1 + len(conditions)
        case Membership(_, items):
            values += len(items) + sum(known[name.name].values for name in node.lists)
        case TextMatch(_, _, texts):
            looked_for = len(texts) + sum(known[name.name].values for name in node.lists)
            values += looked_for
            instructions += looked_for if node.how in ("starts with", "ends with") else 8
    return Size(instructions, values, height)
