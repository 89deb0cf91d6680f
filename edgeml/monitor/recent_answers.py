"""Which answers have their label already, so that one that is sent twice counts once."""

from __future__ import annotations

from edgeml.kernels.recent_numbers import RecentNumbers

# Numbers of answers that are remembered.
REMEMBERED = 65_536


def recent_answers() -> RecentNumbers:
    """Remembers the last ``REMEMBERED`` of them; 1 MiB."""
    return RecentNumbers(REMEMBERED)
