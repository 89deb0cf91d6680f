"""What is said to people: each line at once, and one that comes again with every look once a minute."""

from __future__ import annotations

from collections.abc import Callable

REPEAT_S = 60.0


class Said:
    """Remembers what was said lately.

    Args:
        say: Told each line.
        clock: Seconds of CLOCK_MONOTONIC.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._lately: dict[str, float] = {}

    def now_and_then(self, line: str, what: str = "") -> None:
        """Says a line unless it was said within the last minute.

        Args:
            line: The line.
            what: By what it is known again, where its words change; empty for the line itself.
        """
        now = self._clock()
        self._lately = {each: at for each, at in self._lately.items() if now - at < REPEAT_S}
        if (what or line) not in self._lately:
            self._lately[what or line] = now
            self._say(line)
