"""How a supervisor is reached on its own box: over a private Unix socket in the store.

Its worker and the commands speak here: whoever may write to the store, and nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeml.monitor.link import reach

# What a supervisor may take beyond the time that it was given, to say that its worker did not follow in it.
GRACE_S = 2.0


def nudge(root: Path, *, timeout_s: float = 30.0, events: Sequence[Sequence[Any]] = ()) -> dict[str, Any] | None:
    """Tells a running supervisor that the record has changed, and waits until its worker follows it.

    Args:
        root: Folder of the store.
        timeout_s: How long to wait for the worker.
        events: What could not be written into the journal (``Journal.waiting``); the supervisor keeps it until it can.

    Returns:
        What the worker serves then, ``{"models": {name: {"digest": ..., "ready": ..., "reason": ...}}, ...}``, and
        under ``events`` how many events were taken; None where no supervisor runs.
    """
    document: dict[str, Any] = {"kind": "nudge", "wait_s": timeout_s}
    return _ask(root, document | ({"events": list(events)} if events else {}), timeout_s + GRACE_S)


def live(root: Path, *, timeout_s: float = 5.0) -> dict[str, Any] | None:
    """What a running supervisor's worker serves, and how trials go; None where none runs."""
    return _ask(root, {"kind": "status"}, timeout_s)


def watched(root: Path, *, timeout_s: float = 5.0) -> dict[str, Any] | None:
    """What a running supervisor knows of what it watches, by model; see ``Watching.summaries``.

    Returns:
        None where none runs, or it gives no answer.
    """
    answer = _ask(root, {"kind": "watch"}, timeout_s)
    return None if answer is None else answer.get("reports")


def acknowledge(
    root: Path, model: str, column: str, *, who: str = "cli", timeout_s: float = 5.0
) -> dict[str, Any] | None:
    """Tells a running supervisor that the operator has seen an alarm; see ``Watching.acknowledge``.

    Returns:
        Its answer, or ``{"error": ...}`` where it refuses; None where none runs.
    """
    return _ask(root, {"kind": "acknowledge", "model": model, "column": column, "who": who}, timeout_s)


def switch_rule(
    root: Path, model: str, rule: str, *, disabled: bool, reason: str = "", who: str = "cli", timeout_s: float = 15.0
) -> dict[str, Any] | None:
    """Tells a running supervisor that a rule must not answer, or may again; see ``RuleGuard.switch``.

    Returns:
        Its answer, or ``{"error": ...}`` where it refuses; None where none runs.
    """
    asked = {"kind": "rule", "model": model, "rule": rule, "disabled": disabled, "reason": reason, "who": who}
    return _ask(root, asked, timeout_s)


def _ask(root: Path, document: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
    try:
        link = reach(root, timeout_s=timeout_s)
    except OSError:
        return None
    try:
        link.send(document)
        return link.receive(timeout_s)
    except TimeoutError:
        return {"models": {}, "reason": f"the supervisor gave no answer within {timeout_s:g} s"}
    except OSError:
        return None
    finally:
        link.close()
