"""ONNX Runtime through its C library, without its Python binding.

1. ``Library`` opens the file at run time and takes the functions it needs by their position in a table that only
   grows (``ext/ort_api.h``), so edgeml is compiled without ONNX Runtime and runs with any version from 1.5 on.
2. ``Session`` is one opened model; any number of threads may run it. ``Bound`` is a run on memory that stays: it
   creates nothing on the way. It belongs to one thread at a time.
3. The GIL is released while a model is opened and while it runs.
4. Arguments are checked only as far as memory safety asks; ``edgeml.runtime.onnx_session`` checks them against the
   model. Whatever ONNX Runtime refuses is raised as the error class that ``Library`` was given, with the first line
   of its message.
"""

from typing import Any

Spec = tuple[str, str, tuple[int, ...]]
"""Name, numpy's name of the element type (``object`` for strings, empty for what is no tensor), sizes (-1 any)."""

Buffer = Any
"""A C-contiguous buffer. (numpy's stubs know arrays as buffers from Python 3.12 on, so it is Any for now.)"""

Strings = tuple[tuple[int, ...], list[bytes]]
"""Shape, and the UTF-8 strings in C order."""

class Library:
    """The opened library and its one environment, which logs nothing and sends no telemetry.

    Args:
        path: The file.
        error: Class of the exceptions raised for what ONNX Runtime refuses; takes one message.

    Raises:
        error: The file cannot be opened, is not ONNX Runtime or too old.
    """

    def __init__(self, path: bytes, error: type[Exception]) -> None: ...
    @property
    def version(self) -> str:
        """Version of ONNX Runtime, such as ``1.20.1``."""

class Tensor:
    """An output of ``Session.run`` that holds no strings: a writable C-contiguous buffer that owns its memory."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

class Session:
    """One model, with all graph optimisations, run by one thread or by a pool of its own.

    Args:
        library: The opened library.
        model: The bytes of an ONNX file.
        intra_op_threads: Threads of one operator.
        spinning: Whether idle threads of the pool wait busily.
        arena: Whether freed memory is kept for later runs.
        memory_pattern: Whether the memory of a run is planned after an earlier one.

    Raises:
        Exception: The library's error class; the model is refused.
    """

    def __init__(
        self, library: Library, model: bytes, intra_op_threads: int, spinning: bool, arena: bool, memory_pattern: bool
    ) -> None: ...
    @property
    def inputs(self) -> tuple[Spec, ...]:
        """What the model takes."""

    @property
    def outputs(self) -> tuple[Spec, ...]:
        """What the model gives."""

    def run(self, feeds: tuple[Buffer | Strings, ...]) -> list[Tensor | tuple[tuple[int, ...], list[str]]]:
        """Runs the model once.

        Args:
            feeds: For each input, in order, a C-contiguous buffer of its element type, or its Strings. Strings end
                at their first NUL.

        Returns:
            For each output, in order, a Tensor, or shape and strings.

        Raises:
            ValueError: The number of feeds or the size of an element does not fit.
            Exception: The library's error class; the model failed.
        """

class Bound:
    """One input and some outputs bound to memory.

    Args:
        session: A model with one input that holds no strings.
        array: The input: a C-contiguous buffer of its element type.
        indexes: Places of the wanted outputs in ``session.outputs``.
        arrays: For each of them a writable C-contiguous buffer of its element type.

    Raises:
        ValueError: A buffer or index does not fit.
        Exception: The library's error class; ONNX Runtime refuses to bind.
    """

    def __init__(
        self, session: Session, array: Buffer, indexes: tuple[int, ...], arrays: tuple[Buffer, ...]
    ) -> None: ...
    def run(self) -> None:
        """Runs the model from the input's memory into that of the outputs.

        Raises:
            Exception: The library's error class; the model failed, or an output has another shape than its memory.
        """
