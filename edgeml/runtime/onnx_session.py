"""The model tier: an ONNX model, run by ONNX Runtime.

1. There are two ways to the same library, with one face. ``c`` calls the C library that the onnxruntime wheel ships
   through the kernel ``onnx_session`` and never imports onnxruntime; ``python`` goes through its Python binding.
2. What is asked for is checked here, for both ways alike; what ONNX Runtime says becomes a ModelError of one line.
3. ONNX Runtime is given no model that ``onnx_scan`` has not looked through.
4. Defaults are those of a small box: one thread, no spinning, no arena, no memory pattern; a bundle may override.
5. A Binding is the fast way for one dense input: it runs on memory that stays, and makes nothing on the way.

Threads: a session may be run by any number of threads. A Binding belongs to one thread at a time.
"""

from __future__ import annotations

import importlib.util
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeml.errors import ModelError, RuntimeMissingError
from edgeml.kernels.onnx_session import Bound, Library, Session
from edgeml.runtime.onnx_scan import scan

LIBRARY_VARIABLE = "EDGEML_ORT_LIBRARY"
BACKENDS = ("auto", "c", "python")
MAX_THREADS = 64

# Names of element types in ONNX Runtime's Python binding -> numpy's.
_PYTHON_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(string)": "object",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_DTYPES = frozenset(_PYTHON_TYPES.values())


class TensorSpec(NamedTuple):
    """What a model says of one of its tensors.

    Attributes:
        name: Name in the graph.
        dtype: numpy's name of the element type; ``object`` for strings.
        shape: Sizes; -1 where any size goes. Empty for a scalar, and where the model gives no shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


class Options(NamedTuple):
    """Options of a session; see ``OnnxSession.open``."""

    intra_op_threads: int = 1
    spinning: bool = False
    arena: bool = False
    memory_pattern: bool = False


class Binding:
    """A run on memory that stays.

    Attributes:
        input: Array [n_rows, width], not yet set; write the rows here.
        outputs: Output name -> array [n_rows, ...], filled by ``run``.
        run: Runs the model; raises ModelError where it fails.
    """

    __slots__ = ("input", "outputs", "run")

    def __init__(self, given: NDArray[Any], outputs: dict[str, NDArray[Any]], run: Callable[[], None]) -> None:
        self.input = given
        self.outputs = outputs
        self.run = run


class Backend(Protocol):
    """One way to ONNX Runtime. What it gets was checked."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs; the dtype of what is no tensor is not one of numpy's."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs, likewise."""

    def run(self, feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Runs on one array for each input, in order; gives one for each output."""

    def bind(self, given: NDArray[Any], indexes: tuple[int, ...], made: tuple[NDArray[Any], ...]) -> Callable[[], None]:
        """Gives what runs the only input's array into those of the outputs ``indexes``."""


class OnnxSession:
    """One opened ONNX model.

    Attributes:
        backend: ``c`` or ``python``.
        inputs: The model's inputs.
        outputs: The model's outputs.
    """

    def __init__(self, backend: str, opened: Backend) -> None:
        self.backend = backend
        self.inputs = opened.inputs
        self.outputs = opened.outputs
        self._opened = opened
        self._given = {spec.name: spec for spec in self.inputs}
        self._places = {spec.name: place for place, spec in enumerate(self.outputs)}
        self._plans: dict[tuple[str, ...], _Plan] = {}
        for side, specs in (("input", self.inputs), ("output", self.outputs)):
            for spec in specs:
                if spec.dtype not in _DTYPES:
                    raise ModelError(
                        f"{side} {spec.name!r} is not a tensor of numbers or strings ({spec.dtype}); "
                        "export with zipmap off"
                    )

    @classmethod
    def open(
        cls,
        model: bytes,
        *,
        backend: str = "auto",
        intra_op_threads: int = 1,
        spinning: bool = False,
        arena: bool = False,
        memory_pattern: bool = False,
        control_flow: bool = False,
        functions: bool = False,
        **unknown: Any,
    ) -> OnnxSession:
        """Opens a model.

        Args:
            model: The bytes of an ONNX file.
            backend: ``c`` (the C library), ``python`` (the Python binding) or ``auto``: ``c`` where the library is
                found or named by ``EDGEML_ORT_LIBRARY``, else ``python``.
            intra_op_threads: Threads of one operator, 1 to 64.
            spinning: Idle threads wait busily: faster, but they hold a core.
            arena: Keep freed memory for later runs.
            memory_pattern: Plan the memory of a run after the shapes of an earlier one.
            control_flow: The model may use If, Loop and Scan; see ``onnx_scan``.
            functions: The model may define operators itself.

        Raises:
            ModelError: An option is unknown or of a wrong type, ONNX Runtime is missing, or the model is refused, by
                ``onnx_scan`` or by ONNX Runtime.
        """
        if unknown:
            known = ", ".join((*Options._fields, "control_flow", "functions"))
            raise ModelError(f"session option {sorted(unknown)[0]!r} is unknown; the options are {known}")
        options = Options(intra_op_threads, spinning, arena, memory_pattern)
        _check_options(options)
        if backend not in BACKENDS:
            raise ModelError(f"session backend {backend!r} is unknown; it is one of {', '.join(BACKENDS)}")
        if not isinstance(model, bytes):
            raise ModelError(f"the model must be bytes, not {type(model).__name__}")
        for name, value in (("control_flow", control_flow), ("functions", functions)):
            _check_truth(name, value)
        scan(model, control_flow=control_flow, functions=functions)
        if backend == "auto":
            backend = "python" if find_library() is None else "c"
        opened: Backend = _CLibrary(model, options) if backend == "c" else _PythonBinding(model, options)
        return cls(backend, opened)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Runs the model.

        Args:
            feeds: One array for each input: of the input's dtype and rank; strings as an object array of str.

        Returns:
            One array for each output; strings as an object array of str.

        Raises:
            ModelError: An input is missing, unknown, of a wrong dtype or rank, or the model fails.
        """
        for name in feeds:
            if name not in self._given:
                raise ModelError(f"the model has no input {name!r}; its inputs are {', '.join(self._given)}")
        given = self._opened.run([_checked(spec, feeds.get(spec.name)) for spec in self.inputs])
        return {spec.name: array for spec, array in zip(self.outputs, given, strict=True)}

    def binding(self, n_rows: int, *, outputs: Sequence[str]) -> Binding:
        """Makes the memory for a number of rows and binds the model to it.

        Args:
            n_rows: Rows, at least 1.
            outputs: Names of the outputs wanted; no other is computed for the caller.

        Raises:
            ModelError: The model has not exactly one input [N, width] of numbers, or an output is unknown, holds
                strings or has no rows.
        """
        if n_rows < 1:
            raise ModelError(f"a binding has at least one row, not {n_rows}")
        wanted = tuple(outputs)
        plan = self._plans.get(wanted)
        if plan is None:
            plan = self._plans[wanted] = self._plan(wanted)
        given = np.empty((n_rows, plan.width), dtype=plan.dtype)
        made = {name: np.empty((n_rows, *tail), dtype=dtype) for name, dtype, tail in plan.outputs}
        return Binding(given, made, self._opened.bind(given, plan.indexes, tuple(made.values())))

    def _plan(self, wanted: tuple[str, ...]) -> _Plan:
        only = self.inputs[0] if len(self.inputs) == 1 else None
        if only is None or only.dtype == "object" or len(only.shape) != 2 or only.shape[1] < 0:
            said = ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in self.inputs)
            raise ModelError(f"only a model with one input [N, width] of numbers can be bound; this one has {said}")
        for name in wanted:
            if name not in self._places:
                raise ModelError(f"the model has no output {name!r}; its outputs are {', '.join(self._places)}")
        indexes = tuple(self._places[name] for name in dict.fromkeys(wanted))
        tails = [self.outputs[index].shape[1:] for index in indexes]
        if any(not self.outputs[index].shape for index in indexes) or any(min(tail, default=0) < 0 for tail in tails):
            # The model does not say all sizes, so one row tells.
            tried = self.run({only.name: np.zeros((1, only.shape[1]), dtype=only.dtype)})
            tails = [tried[self.outputs[index].name].shape[1:] for index in indexes]
            for index in indexes:
                if not tried[self.outputs[index].name].ndim:
                    raise ModelError(f"output {self.outputs[index].name!r} is a scalar, so it has no rows to bind")
        made = []
        for index, tail in zip(indexes, tails, strict=True):
            spec = self.outputs[index]
            if spec.dtype == "object":
                raise ModelError(f"output {spec.name!r} holds strings, which cannot be bound; use run")
            made.append((spec.name, np.dtype(spec.dtype), tail))
        return _Plan(only.shape[1], np.dtype(only.dtype), indexes, tuple(made))


class _Plan(NamedTuple):
    """What bindings of one choice of outputs have in common."""

    width: int
    dtype: np.dtype[Any]
    indexes: tuple[int, ...]
    outputs: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]


def check_threads(threads: object) -> None:
    """Checks the option ``intra_op_threads``.

    Raises:
        ModelError: It is no integer from 1 to ``MAX_THREADS``.
    """
    if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
        raise ModelError(f"session option intra_op_threads must be an integer from 1 to {MAX_THREADS}, not {threads!r}")


def _check_options(options: Options) -> None:
    check_threads(options.intra_op_threads)
    for name in ("spinning", "arena", "memory_pattern"):
        _check_truth(name, getattr(options, name))


def _check_truth(name: str, value: object) -> None:
    if type(value) is not bool:
        raise ModelError(f"session option {name} must be true or false, not {value!r}")


def _checked(spec: TensorSpec, array: NDArray[Any] | None) -> NDArray[Any]:
    if array is None:
        raise ModelError(f"input {spec.name!r} is missing")
    if not isinstance(array, np.ndarray):
        raise ModelError(f"input {spec.name!r}: expected an array of {spec.dtype}, got {type(array).__name__}")
    if spec.dtype == "object" and array.dtype.kind == "U":
        array = array.astype(object)
    if array.dtype != np.dtype(spec.dtype):
        raise ModelError(f"input {spec.name!r}: expected {spec.dtype}, got {array.dtype}")
    if spec.shape and array.ndim != len(spec.shape):
        raise ModelError(f"input {spec.name!r}: expected {len(spec.shape)} dimensions, got {array.ndim}")
    if spec.dtype == "object":
        for text in array.flat:
            # ONNX Runtime takes strings that end at the first NUL, and would cut this one silently.
            if not isinstance(text, str) or "\0" in text:
                raise ModelError(f"input {spec.name!r}: expected strings without NUL, got {text!r:.40}")
    return array if array.flags.c_contiguous else array.copy(order="C")


def _encoded(name: str, array: NDArray[Any]) -> list[bytes]:
    try:
        return [text.encode() for text in array.ravel().tolist()]
    except UnicodeEncodeError as error:
        raise ModelError(f"input {name!r}: a string is not valid Unicode: {error.reason}") from error


# The C library


def find_library() -> str | None:
    """Path of ONNX Runtime's C library: what ``EDGEML_ORT_LIBRARY`` names, else the wheel's; None without one."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return named
    spec = importlib.util.find_spec("onnxruntime")  # finds the folder without importing the package
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        capi = Path(folder) / "capi"
        for pattern in ("libonnxruntime.so*", "libonnxruntime*.dylib"):
            for path in sorted(capi.glob(pattern)):
                if "providers" not in path.name:
                    return str(path)
    return None


_libraries: dict[str, Library] = {}
_opening = threading.Lock()


def _library() -> Library:
    """The library with its environment; opened once a process."""
    path = find_library()
    if path is None:
        raise ModelError(
            "ONNX Runtime's C library was not found; install onnxruntime, or name the file in " + LIBRARY_VARIABLE
        )
    with _opening:
        if path not in _libraries:
            try:
                _libraries[path] = Library(os.fsencode(path), ModelError)
            except ModelError as error:
                hint = f" ({LIBRARY_VARIABLE} names it)" if os.environ.get(LIBRARY_VARIABLE) else ""
                raise ModelError(f"{error}{hint}") from None
        return _libraries[path]


class _CLibrary:
    """The kernel's session, with numpy arrays."""

    def __init__(self, model: bytes, options: Options) -> None:
        self._session = Session(_library(), model, *options)
        self.inputs = tuple(TensorSpec(*spec) for spec in self._session.inputs)
        self.outputs = tuple(TensorSpec(*spec) for spec in self._session.outputs)

    def run(self, feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """See ``Backend.run``; the arrays given back are ONNX Runtime's own memory, which they keep alive."""
        given = tuple(
            (array.shape, _encoded(spec.name, array)) if spec.dtype == "object" else array
            for spec, array in zip(self.inputs, feeds, strict=True)
        )
        return [
            _text_array(*made) if isinstance(made, tuple) else np.asarray(made) for made in self._session.run(given)
        ]

    def bind(self, given: NDArray[Any], indexes: tuple[int, ...], made: tuple[NDArray[Any], ...]) -> Callable[[], None]:
        """See ``Backend.bind``."""
        return Bound(self._session, given, indexes, made).run


def _text_array(shape: tuple[int, ...], texts: list[str]) -> NDArray[Any]:
    array = np.empty(math.prod(shape), dtype=object)
    array[:] = texts
    return array.reshape(shape)


# The Python binding


class _PythonBinding:
    """ONNX Runtime's own InferenceSession, with ModelErrors."""

    def __init__(self, model: bytes, options: Options) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeMissingError(f"onnxruntime cannot be imported ({error}); install onnxruntime") from error
        chosen = onnxruntime.SessionOptions()
        chosen.intra_op_num_threads = options.intra_op_threads
        chosen.inter_op_num_threads = 1
        chosen.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        chosen.log_severity_level = 4  # errors are raised, so nothing goes to stderr
        chosen.enable_cpu_mem_arena = options.arena
        chosen.enable_mem_pattern = options.memory_pattern
        for kind in ("intra", "inter"):
            chosen.add_session_config_entry(f"session.{kind}_op.allow_spinning", str(int(options.spinning)))
        self._session = _call(
            onnxruntime.InferenceSession, model, sess_options=chosen, providers=["CPUExecutionProvider"]
        )
        self.inputs = tuple(map(_python_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_python_spec, self._session.get_outputs()))

    def run(self, feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """See ``Backend.run``."""
        given = {}
        for spec, array in zip(self.inputs, feeds, strict=True):
            if spec.dtype == "object":
                _encoded(spec.name, array)
            given[spec.name] = array
        return list(map(np.asarray, _call(self._session.run, None, given)))

    def bind(self, given: NDArray[Any], indexes: tuple[int, ...], made: tuple[NDArray[Any], ...]) -> Callable[[], None]:
        """See ``Backend.bind``."""
        session = self._session
        binding = session.io_binding()
        name = self.inputs[0].name
        _call(binding.bind_input, name, "cpu", 0, given.dtype, given.shape, given.ctypes.data)
        for index, array in zip(indexes, made, strict=True):
            _call(
                binding.bind_output,
                self.outputs[index].name,
                "cpu",
                0,
                array.dtype,
                array.shape,
                array.ctypes.data,
            )
        memory = (given, made)

        def run(memory: Any = memory) -> None:  # the binding knows only addresses, so the arrays are kept here
            _call(session.run_with_iobinding, binding)

        return run


def _python_spec(argument: Any) -> TensorSpec:
    dtype = _PYTHON_TYPES.get(argument.type, argument.type)
    sizes = (argument.shape or ()) if dtype in _DTYPES else ()
    return TensorSpec(argument.name, dtype, tuple(size if isinstance(size, int) else -1 for size in sizes))


def _call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Calls into onnxruntime, whose many exception classes have no common base but Exception."""
    try:
        return function(*args, **options)
    except Exception as error:
        raise ModelError(str(error).strip().partition("\n")[0] or type(error).__name__) from error
