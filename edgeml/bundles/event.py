"""What a change of a store leaves behind: a line for the journal, and an order for the worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal.

    Attributes:
        kind: ``installed``, ``activated``, ``confirmed``, ``rejected``, ``rolled_back``, ``denied``, ``allowed``,
            ``removed``, ``tried``, ``withdrawn``, ``died``, ``abandoned``, ``keyring``, ``settings``, ``capture``,
            ``drift``, ``objective``, ``rule``, ``watch`` or ``recovered``.
        model: Name of the model; empty where none is concerned.
        digest: Hex digest concerned; empty where there is none.
        reason: A sentence for people.
        signal: Stable word for what caused it, such as ``process_deaths``; empty for a person's decision.
    """

    kind: str
    model: str = ""
    digest: str = ""
    reason: str = ""
    signal: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker is to load for a model.

    Attributes:
        model: Name.
        digest: Hex digest that answers; None where nothing can answer.
        trial: Whether it is on trial.
        previous: The one to keep warm beside it, None where there is none.
        reason: Why nothing can answer, or not the whole bundle; empty otherwise.
        without_model: Whether only its rules and its fallback are to answer.
    """

    model: str
    digest: str | None
    trial: bool = False
    previous: str | None = None
    reason: str = ""
    without_model: bool = False
