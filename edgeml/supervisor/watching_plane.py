"""The watch over a box's models, as HTTP."""

from __future__ import annotations

from edgeml.errors import RequestError
from edgeml.supervisor.call import Call, answer
from edgeml.supervisor.refusals import Answer
from edgeml.supervisor.watching import Watching


class WatchingPlane:
    """Answers about what is watched.

    Args:
        watching: Who watches.
    """

    def __init__(self, watching: Watching) -> None:
        self._watching = watching

    def report(self, call: Call, name: str) -> Answer:
        """What is known of one model."""
        return answer(self._watching.report(name))

    def acknowledge(self, call: Call, name: str) -> Answer:
        """An alarm was seen."""
        column = call.document(column=str).get("column")
        if not column:
            raise RequestError("name the column whose alarm was seen", field="column")
        return answer(self._watching.acknowledge(name, column, who=call.caller.name))

    def disable_rule(self, call: Call, name: str) -> Answer:
        """A rule must not answer until the next bundle."""
        return self._switched(call, name, disabled=True)

    def enable_rule(self, call: Call, name: str) -> Answer:
        """A rule may answer again."""
        return self._switched(call, name, disabled=False)

    def _switched(self, call: Call, name: str, *, disabled: bool) -> Answer:
        asked = call.document(rule=str, reason=str)
        if not asked.get("rule"):
            raise RequestError("name the rule by its id", field="rule")
        guard, why = self._watching.guard, asked.get("reason", "")
        return answer(guard.switch(name, asked["rule"], disabled, who=call.caller.name, reason=why))
