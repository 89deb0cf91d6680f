"""The metrics of a box, as HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from edgeml.bundles.state import State
from edgeml.supervisor.call import Call
from edgeml.supervisor.refusals import Answer
from edgeml.supervisor.watching import Watching

# The text format that every collector reads, whatever else it asks for.
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class MetricsPlane:
    """Answers scrapes.

    Args:
        watching: Who watches the models.
        live: What the worker serves and how it is; see ``Supervisor.live``.
        state: Reads the record.
    """

    def __init__(self, watching: Watching, live: Callable[[], Mapping[str, Any]], state: Callable[[], State]) -> None:
        self._watching = watching
        self._live = live
        self._state = state

    def scrape(self, call: Call) -> Answer:
        """Everything that is counted."""
        return 200, [("Content-Type", TEXT)], self._text()

    @cached_property
    def _text(self) -> Callable[[], bytes]:
        # A box that nobody scrapes never loads it.
        from edgeml.supervisor.metrics import Metrics

        watching = self._watching
        metrics = Metrics(reports=watching.reports, snapshots=watching.snapshots, live=self._live, state=self._state)
        return metrics.text
