"""What the explanations of one request may cost, in steps of some nanoseconds each."""

from __future__ import annotations

from dataclasses import dataclass

# About a second.
STEPS = 100_000_000
# What it takes to compile a condition, beside others and alone.
CONDITION = 3_000
QUESTION = 20_000
# What it takes to take a node of a condition apart.
NODE = 400

SPENT = "what one request may cost is used up; ask for fewer records at once"


class Spent(Exception):
    """Nothing more may be explained for this request."""


@dataclass
class Allowance:
    """Steps that may still be taken for one request."""

    left: int = STEPS

    def take(self, steps: int) -> None:
        """Takes steps off.

        Raises:
            Spent: There are fewer left.
        """
        self.left -= steps
        if self.left < 0:
            raise Spent(SPENT)

    def took(self, steps: int) -> None:
        """Takes steps off that were taken already; where they were too many, the next ones are refused."""
        self.left -= steps
