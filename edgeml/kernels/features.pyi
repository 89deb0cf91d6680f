"""Program and Encoder: from a Frame's columns to the rows that the model takes.

1. A Program is a flat list of operations over registers of float64; what each does stands in ``ext/feature_ops.h``.
   It is checked as a whole when it is made, so a hostile one is refused and never run.
2. An Encoder runs it, with scratch memory of its own: one for each thread.
3. Values are float64 until they are put into the output, which is float32 or float64 (the model's door).
"""

from typing import Any, Final

OPERATIONS: Final[tuple[str, ...]]
"""Names of the operations; the position is the operation's number."""
FUNCTIONS: Final[tuple[str, ...]]
"""Names of the functions of operation ``function``; the position is its ``extra``."""

class Program:
    """A checked list of operations. Immutable; may be shared by threads.

    Args:
        operations: int32 [n, 8]: op, to, from, count, index, constant, extra, size of each operation.
        index: int32: positions that operations refer to.
        constants: float64: numbers that operations refer to.
        n_numbers: Number columns that a frame must have.
        n_categories: Category columns that a frame must have.
        n_registers: Registers of float64.
        n_codes: Registers of codes.
        n_outputs: Columns of the output.
        double_door: Whether the output is float64 (else float32).

    Raises:
        ValueError: An operation is unknown or would leave its memory, or an output is never written.
    """

    def __init__(
        self,
        operations: Any,
        index: Any,
        constants: Any,
        *,
        n_numbers: int,
        n_categories: int,
        n_registers: int,
        n_codes: int,
        n_outputs: int,
        double_door: bool,
    ) -> None: ...
    @property
    def n_numbers(self) -> int:
        """Number columns that a frame must have."""

    @property
    def n_outputs(self) -> int:
        """Columns of the output."""

    @property
    def double_door(self) -> bool:
        """Whether the output is float64."""

class Encoder:
    """Runs a Program. Belongs to one thread at a time.

    Args:
        program: The program.
    """

    def __init__(self, program: Program) -> None: ...
    @property
    def refused(self) -> list[int]:
        """Positions, among the rows of the last ``encode``, of those that the pipeline itself would refuse."""

    def bind(self, out: Any) -> None:
        """Sets the output of ``encode_bound`` and keeps it alive.

        Args:
            out: Writable, C-contiguous, [1, n_outputs] of the door's type.

        Raises:
            ValueError: It is of another type or shape.
        """

    def encode_bound(self, capsule: Any) -> int:
        """Encodes row 0 of a frame into the bound output.

        Returns:
            0, or more where the pipeline itself would refuse the row (such as a category that its encoder rejects).
        """

    def encode(self, capsule: Any, out: Any, rows: Any = None) -> int:
        """Encodes rows of a frame, without the GIL.

        Args:
            capsule: A frame's.
            out: Writable, C-contiguous, [n, n_outputs] of the door's type.
            rows: int64 [n]: rows wanted; all where None.

        Returns:
            Number of rows that the pipeline itself would refuse; ``refused`` has them.

        Raises:
            ValueError: A shape, a type or a row does not fit.
        """
