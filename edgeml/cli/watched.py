"""What is watched on a box, as the commands that show it ask for it.

A running service is asked over its socket. Without one the last snapshots are read, which changes nothing; they are a
few minutes older than what was counted last, and the commands say of when they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeml.cli.box import become_owner, warn
from edgeml.cli.tables import moment


@dataclass(frozen=True)
class Watched:
    """What is known of the models of a box.

    Attributes:
        live: Whether a service told it.
        reports: By model; see docs/watching.md.
    """

    live: bool
    reports: Mapping[str, Mapping[str, Any]]

    @property
    def source(self) -> str:
        """``service`` or ``snapshot``."""
        return "service" if self.live else "snapshot"


def ask(root: Path, model: str | None) -> Watched:
    """Asks what is watched.

    Args:
        root: Folder of the store.
        model: The model that is meant; None for all.

    Raises:
        NotInstalledError: The box does not have the model, or nothing is known of it.
        StateError: There is no store, or its record is damaged.
    """
    from edgeml.bundles.store import Store
    from edgeml.errors import NotInstalledError
    from edgeml.supervisor.channel import watched
    from edgeml.supervisor.watching import kept_reports

    become_owner(root)
    store = Store(root)
    state = store.state()
    if model is not None and model not in state.models:
        raise NotInstalledError(f"this box has no model {model!r}; it has {', '.join(sorted(state.models)) or 'none'}")
    reports = watched(root)
    live = reports is not None
    if reports is None:
        reports = kept_reports(store, say=warn)
    if model is not None:
        if model not in reports:
            raise NotInstalledError(f"nothing is known of {model!r}: {_why(live)}")
        reports = {model: reports[model]}
    return Watched(live, reports)


def heading(report: Mapping[str, Any], watched: Watched) -> str:
    """What a report is of, and of when, in a sentence."""
    said = f"{report['model']} {report['version']}: {report['answered']} answers"
    if report["since"]:
        said += f" since {moment(report['since'])} UTC"
    if watched.live:
        return said
    kept = report["monitors"]["kept_at"]
    return f"{said}; no service runs, so this is the snapshot of {moment(kept)} UTC, {_age(time.time() - kept)} old"


def nothing(watched: Watched) -> str:
    """What is said where no model is known."""
    return f"nothing is known of any model: {_why(watched.live)}"


def _why(live: bool) -> str:
    if live:
        return "nothing answers; see 'edgeml status'"
    return "no service runs on this store, and none has kept a snapshot; see 'edgeml serve --help'"


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"
