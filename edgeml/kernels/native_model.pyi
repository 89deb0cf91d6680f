"""NativeModel, NativeBinding and TreeShares: linear models and tree ensembles without ONNX Runtime.

1. A model is a flat list of operations over registers of float64 (``ext/native_ops.h``); the first ``width`` registers
   are the row. It is checked as a whole when it is made, so a hostile one is refused and never run.
2. Ensembles are walked four trees at a time; thresholds and leaves are float64. Rows of a batch go through a large one
   (more than 128 KiB) together, four trees at a time, so that these stay in the nearest cache; each row's sums are
   made in the same order as alone.
3. A binding belongs to one thread at a time; the model may be shared.
4. What explains an answer reads the checked model, and costs nothing where nobody asks for it.
"""

from collections.abc import Sequence
from typing import Any, Final

OPERATIONS: Final[tuple[str, ...]]
"""Names of the operations; the position is the operation's number."""
NODE_NUMBERS: Final[int]
"""Numbers of a node in the constants: threshold; column or -1 for a leaf; left child (the right one follows it) or
start of the leaf's numbers; flags (1: a missing value goes left, 2: asks for equality, 4: asks whether an odd number of
bounds is below x; the threshold then says where among the leaf values their number and the bounds stand)."""
TREE_NUMBERS: Final[int]
"""Numbers of a tree in the index: first node, end of its nodes, first target, number of targets."""
DEPTH_LIMIT: Final[int]
"""Questions in a row that a tree may have for ``TreeShares``."""

class NativeModel:
    """A checked model. Immutable; may be shared by threads.

    Args:
        operations: int32 [n, 8]: op, to, from, count, index, constant, extra, size of each operation.
        index: int32: positions that operations and trees refer to.
        constants: float64: numbers that operations and trees refer to.
        width: Numbers of a row.
        n_registers: Registers, the row included.
        ensembles: Of each: start in the index, number of trees, start in the constants, number of nodes, number of
            leaf values.

    Raises:
        ValueError: An operation or a tree is malformed, would leave its memory, or reads what nothing has written.
    """

    def __init__(
        self,
        operations: Any,
        index: Any,
        constants: Any,
        *,
        width: int,
        n_registers: int,
        ensembles: Sequence[tuple[int, int, int, int, int]] = (),
    ) -> None: ...
    @property
    def width(self) -> int:
        """Numbers of a row."""

    @property
    def n_registers(self) -> int:
        """Registers, the row included."""

    @property
    def row_ns(self) -> float:
        """About how many nanoseconds a row takes, reckoned from products and depths of trees; no measurement."""

    def operations(self) -> bytes:
        """The checked operations, int32 [n, 8]; the last number of each is the kernel's own."""

    def index(self, start: int, count: int) -> bytes:
        """A part of the index, int32.

        Raises:
            IndexError: It goes beyond the end.
        """

    def constants(self, start: int, count: int) -> bytes:
        """A part of the constants, float64.

        Raises:
            IndexError: It goes beyond the end.
        """

    def size_of(self, ensemble: int) -> tuple[int, int, int]:
        """Nodes of an ensemble, leaves among them, and questions in a row that its deepest tree has.

        Raises:
            IndexError: There is no such ensemble.
        """

    def count_leaves(self, ensemble: int, rows: Any, counts: Any) -> None:
        """Counts which leaves rows reach.

        Args:
            ensemble: Its number.
            rows: float64 [n, width], as the trees see them.
            counts: Writable int64, one for each leaf in the order of the nodes; is added to.

        Raises:
            IndexError: There is no such ensemble.
            ValueError: A shape does not fit.
        """

class NativeBinding:
    """A model on arrays that stay where they are.

    Args:
        model: The model.
        given: float32 or float64 [n, width].
        outputs: Of each: the register where its columns start, and a writable array [n] or [n, k] of float64 or int64.

    Raises:
        ValueError: An array is of another type or shape.
    """

    def __init__(self, model: NativeModel, given: Any, outputs: Sequence[tuple[int, Any]]) -> None: ...
    def run(self) -> None:
        """Fills the outputs; for more than one row without the GIL."""

class TreeShares:
    """What each player adds to the sum of an ensemble's trees: Shapley values of the path-dependent game of TreeSHAP.

    ``ext/tree_shares.h`` has the game, the formula and its sources. Immutable; may be shared by threads.

    Args:
        model: The model.
        ensemble: Number of the ensemble.
        counts: int32 [leaves]: how many rows have reached each leaf, in the order of the nodes. Where none has
            reached a question, both its sides weigh the same.
        players: int32 [width]: whose each column is, from 0. The columns of a player are present or absent together.
        points: float64: points of a quadrature over 0 to 1, half as many as players that one path may ask.
        weights: Their weights.

    Raises:
        IndexError: There is no such ensemble.
        ValueError: A tree is deeper than ``DEPTH_LIMIT``, a node has several parents, or something does not fit.
    """

    def __init__(
        self, model: NativeModel, ensemble: int, counts: Any, players: Any, points: Any, weights: Any
    ) -> None: ...
    @property
    def n_players(self) -> int:
        """Players: the largest number and one."""

    def nodes(self, target: int) -> int:
        """Nodes of the trees that give a target: ``add`` takes as many steps, times the points."""

    def add(self, row: Any, target: int, out: Any) -> float:
        """Adds what each player adds to the sum for a target; without the GIL.

        Args:
            row: float64 [width], as the trees see it.
            target: Which of the sums.
            out: Writable float64 [n_players].

        Returns:
            The sum where all players are absent: with what they add it is the sum for the row.

        Raises:
            ValueError: A shape does not fit.
        """
