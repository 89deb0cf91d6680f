"""A set of the last numbers that came, in constant memory: at most 24 bytes for each."""

class RecentNumbers:
    """Remembers the last ``most`` different numbers; forgets the oldest first.

    Args:
        most: How many, 1 to 2**24.

    Raises:
        ValueError: ``most`` is out of range.
    """

    def __init__(self, most: int) -> None: ...
    def add(self, number: int) -> bool:
        """Remembers a number.

        Args:
            number: 0 to 2**64 - 1.

        Returns:
            False where it is remembered already; that does not make it younger.

        Raises:
            OverflowError: ``number`` is out of range.
        """

    def __contains__(self, number: int) -> bool: ...
    def __len__(self) -> int: ...
