"""What ``ignoring case`` makes of a text, for those who reason about conditions: the kernel's own folding."""

from __future__ import annotations

from edgeml.kernels.rules import fold


def folded(text: str) -> str:
    """The text with small and capital letters alike, one character for one.

    Args:
        text: Any text.
    """
    return fold(text.encode()).decode()
