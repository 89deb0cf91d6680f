"""Vectorizers, SparseProduct and TextEncoder: from a Frame's texts to the sparse columns of a model's input.

1. Vectorizers are those of a feature program, checked as a whole when they are made; ``ext/text_tokens.h`` says how a
   text is cut, ``ext/text_vectors.h`` how terms are counted and weighed. Values are float64 as in scikit-learn.
2. A TextEncoder runs them behind the Encoder of the other columns, with scratch memory of its own: one for each thread.
3. With a SparseProduct it gives not the columns but their product with a model's weights.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

UNICODE: Final[str]
"""Version of Unicode that letters, white space and lower case are those of."""
ANALYZERS: Final[tuple[str, ...]]
"""What a vectorizer's terms are made of."""
ACCENTS: Final[tuple[str, ...]]
"""Which accents are taken off: none, those of which ASCII is left, all."""
BEYOND_ASCII: Final[tuple[str, ...]]
"""Classes of characters that are not ASCII."""
STEPS: Final[tuple[str, ...]]
"""Names of the steps over counts."""
TERM_LIMIT: Final[int]
"""Terms and hashes of all vectorizers together."""
SIZE_LIMIT: Final[int]
"""Sizes of n-grams of all vectorizers together; sizes that no term has do not count."""
LOOK_LIMIT: Final[int]
"""These sizes added up: words or characters that are looked at for each place of a text."""

def normalized(text: bytes, *, lowercase: bool, accents: str = "") -> bytes:
    """A text as vectorizers see it.

    Args:
        text: UTF-8.
        lowercase: Whether it becomes what ``str.lower`` makes of it.
        accents: One of ``ACCENTS``: what scikit-learn's ``strip_accents`` then takes off.
    """

def kinds_of(code: int) -> tuple[bool, bool, bool]:
    """Whether a code point is a word character (``\\w``), white space (``\\s``) and a decimal digit (``\\d``)."""

class Vectorizers:
    """Checked vectorizers. Immutable; may be shared by threads.

    Args:
        specs: One for each; its entries are the attributes of ``edgeml.runtime.text_program.Vectorizer``.
        terms: uint8: stop words and terms of each in turn: two bytes of length, lowest first, and so many bytes.
        constants: float64: numbers that steps refer to.
        index: int32: columns that vectorizers refer to.
        places: int32 [n_dense]: columns that no text gives.
        n_texts: Text columns that a frame must have.
        width: Columns in all.

    Raises:
        ValueError: Something would leave its memory, a term stands twice, a column is written twice or never, no hash
            of a vectorizer has a column, or they are beyond one of the limits above.
        OverflowError: A number does not fit its type.
    """

    def __init__(
        self,
        specs: Sequence[Mapping[str, Any]],
        terms: Any,
        constants: Any,
        index: Any,
        places: Any,
        *,
        n_texts: int,
        width: int,
    ) -> None: ...
    @property
    def n_dense(self) -> int:
        """Columns that no text gives."""

    @property
    def width(self) -> int:
        """Columns in all."""

class SparseProduct:
    """The weights that a row is multiplied with. Immutable; may be shared by threads.

    Args:
        weights: float64 [width, results], C-contiguous.
        bias: float64 [results].

    Raises:
        ValueError: They do not fit each other.
    """

    def __init__(self, weights: Any, bias: Any) -> None: ...
    @property
    def width(self) -> int:
        """Columns of the row."""

    @property
    def results(self) -> int:
        """Sums that a row gives."""

    def take(self, columns: Any, out: Any) -> None:
        """Copies the weights of some columns.

        Args:
            columns: int64 [k].
            out: Writable float64 [k, results].

        Raises:
            ValueError: There is no such column, or a shape does not fit.
        """

    def biases(self) -> bytes:
        """The biases, as float64 [results]."""

class TextEncoder:
    """Runs Vectorizers; takes the place of an Encoder. Belongs to one thread at a time.

    Args:
        vectorizers: The vectorizers.
        dense_encoder: The Encoder of the columns that no text gives; not asked where there are none.
        make_dense: Given n, makes an array [n, n_dense] of the door's type for it.
        double_door: Whether the columns are float64 (else float32).
        product: Where given, the output is float64 [n, results]: what the columns make with its weights.

    Raises:
        ValueError: The product is of another width.
    """

    def __init__(
        self,
        vectorizers: Vectorizers,
        *,
        dense_encoder: Any = None,
        make_dense: Callable[[int], Any] | None = None,
        double_door: bool = True,
        product: SparseProduct | None = None,
    ) -> None: ...
    @property
    def n_outputs(self) -> int:
        """Columns of the output."""

    @property
    def refused(self) -> list[int]:
        """Positions, among the rows of the last ``encode``, of those that the pipeline itself would refuse."""

    def bind(self, out: Any) -> None:
        """Sets the output of ``encode_bound``, clears it and keeps it alive; nobody else may write to it.

        Args:
            out: Writable, C-contiguous, [1, n_outputs].

        Raises:
            ValueError: It is of another type or shape.
        """

    def encode_bound(self, capsule: Any) -> int:
        """Encodes row 0 of a frame into the bound output.

        Returns:
            0, or more where the pipeline itself would refuse the row (such as a text that is missing).

        Raises:
            MemoryError: The text is too long for the memory that is left.
        """

    def encode(self, capsule: Any, out: Any, rows: Any = None) -> int:
        """Encodes rows of a frame, without the GIL.

        Args:
            capsule: A frame's.
            out: Writable, C-contiguous, [n, n_outputs].
            rows: int64 [n]: rows wanted; all where None.

        Returns:
            Number of rows that the pipeline itself would refuse; ``refused`` has them.

        Raises:
            ValueError: A shape, a type or a row does not fit.
            MemoryError: A text is too long for the memory that is left.
        """
