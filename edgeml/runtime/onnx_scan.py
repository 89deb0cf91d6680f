"""What is in an ONNX model, before ONNX Runtime sees its bytes: a signed model is still another's program.

1. Refused always: operators outside the list of ``onnx_operators``, weights kept in other files or at addresses in
   memory, models in ONNX Runtime's own format (which this cannot read, and which would carry anything), training
   graphs. Libraries of custom operators are never loaded from a bundle, so there is nothing to refuse.
2. Refused unless the bundle's config says otherwise in its ``session``: ``control_flow`` (If, Loop, Scan) and
   ``functions`` (operators that the model defines itself).
3. Graphs inside nodes and bodies of functions are looked through like the graph itself.
4. The work is bounded by numbers of fields and nodes, and by depth; weights are skipped by their length.

No protobuf library is needed. Where protobuf would take the last of several values, a second one is refused, so that
what is checked is what ONNX Runtime reads.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeml.errors import ModelError
from edgeml.runtime.onnx_operators import CONTROL_FLOW, DENIED, OPERATORS
from edgeml.runtime.onnx_wire import BYTES, NUMBERS, VARINT, Purse, fields

MAX_FIELDS = 8_000_000
MAX_NODES = 100_000
MAX_DEPTH = 16

# ONNX Runtime reads weights from an address in memory where a tensor's location ends like this.
_ADDRESS_MARKER = b"_ORT_MEM_ADDR_"
# Bytes 4 to 8 of ONNX Runtime's own format, which it recognises before it tries ONNX.
_OWN_FORMAT = b"ORTM"

# Field numbers of onnx.proto
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 3, 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN, _FUNCTION_DEFAULT = 1, 7, 10, 11
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_SPARSE_VALUES = (1, 2)

_Span = tuple[int, int]
_Operator = tuple[str, str]


class Contents(NamedTuple):
    """What a model consists of.

    Attributes:
        nodes: Number of nodes, those of graphs inside nodes too, and of functions as often as they are called.
        operators: Domain and name of each operator that is used; the standard domain is ``""``.
        control_flow: Whether there is an If, a Loop or a Scan.
        functions: Whether the model defines operators itself.
    """

    nodes: int
    operators: frozenset[_Operator]
    control_flow: bool
    functions: bool


def scan(model: bytes, *, control_flow: bool = False, functions: bool = False) -> Contents:
    """Looks through a model and refuses what a box must not run.

    Args:
        model: The bytes of an ONNX file.
        control_flow: Whether If, Loop and Scan are allowed.
        functions: Whether the model may define operators itself.

    Raises:
        ModelError: The bytes are no ONNX model, or there is something in them that is refused; the message names the
            node and what to do.
    """
    if model[4:8] == _OWN_FORMAT:
        raise ModelError(
            "the model is in ONNX Runtime's own format (.ort), which cannot be checked; ship the .onnx file"
        )
    return _Scan(model, control_flow, functions).contents()


class _Scan:
    def __init__(self, model: bytes, control_flow: bool, functions: bool) -> None:
        self._model = model
        self._control_flow = control_flow
        self._functions_allowed = functions
        self._purse = Purse(MAX_FIELDS)
        self._nodes = 0
        self._operators: set[_Operator] = set()
        # The functions that the model defines -> their own nodes, and the functions that those call.
        self._functions: dict[_Operator, _Body] = {}
        self._body = _Body()

    def contents(self) -> Contents:
        graphs: list[_Span] = []
        functions: list[_Span] = []
        for field, wire, start, end in fields(self._model, 0, len(self._model), self._purse):
            if wire != BYTES:
                continue
            if field == _MODEL_GRAPH:
                graphs.append((start, end))
            elif field == _MODEL_FUNCTIONS:
                functions.append((start, end))
            elif field == _MODEL_TRAINING:
                raise ModelError("the ONNX model holds a training graph; export it for inference")
        if not graphs:
            raise ModelError("the bytes are not an ONNX model: there is no graph in them")
        # Before the graph, so that a node is known to call a function. Inside them the same holds: names first.
        named = [(self._named(span), span) for span in functions]
        self._functions = {name: _Body() for name, _ in named}
        if len(self._functions) != len(named):
            raise ModelError("the ONNX model defines a function twice; export it again")
        for name, span in named:
            self._body = self._functions[name]
            self._function(span, _quoted(name[1]))
        self._body = main = _Body()
        for span in graphs:
            self._graph(span, 1)
        nodes = self._expanded(main, (), {})
        if _ADDRESS_MARKER in self._model:
            # Asked last: the walk names the tensor. This is for a place where a newer ONNX Runtime may look.
            raise ModelError("the ONNX model points to addresses in memory; save it as a single file")
        used = bool({op for domain, op in self._operators if domain == ""} & CONTROL_FLOW)
        return Contents(nodes, frozenset(self._operators), used, bool(functions))

    # Functions

    def _named(self, span: _Span) -> _Operator:
        texts = {_FUNCTION_NAME: "", _FUNCTION_DOMAIN: ""}
        for field, wire, start, end in fields(self._model, *span, self._purse):
            if wire == BYTES and field in texts:
                texts[field] = self._text(start, end, texts[field])
        domain, name = texts[_FUNCTION_DOMAIN], texts[_FUNCTION_NAME]
        if not self._functions_allowed:
            raise ModelError(
                f"the ONNX model defines the operator {_quoted(name)} itself; export it with functions inlined, or "
                'allow them in the bundle with session={"functions": true}'
            )
        if domain in OPERATORS:
            raise ModelError(
                f"the ONNX model defines {_quoted(name)} in the domain {_quoted(domain)}, which is not its own"
            )
        return domain, name

    def _function(self, span: _Span, name: str) -> None:
        for field, wire, start, end in fields(self._model, *span, self._purse):
            if wire != BYTES:
                continue
            if field == _FUNCTION_NODE:
                self._node((start, end), 1)
            elif field == _FUNCTION_DEFAULT:
                self._attribute((start, end), 1, f"function {name}")

    def _expanded(self, body: _Body, above: tuple[_Operator, ...], known: dict[_Operator, int]) -> int:
        """Nodes after each call is replaced by the function's body, as ONNX Runtime does."""
        nodes = body.nodes
        for called, times in body.calls.items():
            if called not in known:
                if called in above:
                    raise ModelError(f"the function {_quoted(called[1])} of the ONNX model calls itself")
                if len(above) >= MAX_DEPTH:
                    raise ModelError(f"the functions of the ONNX model call each other more than {MAX_DEPTH} deep")
                known[called] = self._expanded(self._functions[called], (*above, called), known)
            nodes += known[called] * times
        if nodes > MAX_NODES:
            raise ModelError(f"the ONNX model has more than {MAX_NODES} nodes; make it smaller")
        return nodes

    # Graphs

    def _graph(self, span: _Span, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ModelError(f"the ONNX model has graphs more than {MAX_DEPTH} deep in each other")
        for field, wire, start, end in fields(self._model, *span, self._purse):
            if wire != BYTES:
                continue
            if field == _GRAPH_NODE:
                self._node((start, end), depth)
            elif field == _GRAPH_INITIALIZER:
                self._tensor((start, end), "")
            elif field == _GRAPH_SPARSE_INITIALIZER:
                self._sparse((start, end), "")

    def _node(self, span: _Span, depth: int) -> None:
        self._nodes += 1
        self._body.nodes += 1
        if self._nodes > MAX_NODES:
            raise ModelError(f"the ONNX model has more than {MAX_NODES} nodes; make it smaller")
        texts = {_NODE_NAME: "", _NODE_OP: "", _NODE_DOMAIN: ""}
        attributes: list[_Span] = []
        for field, wire, start, end in fields(self._model, *span, self._purse):
            if wire != BYTES:
                continue
            if field in texts:
                texts[field] = self._text(start, end, texts[field])
            elif field == _NODE_ATTRIBUTE:
                attributes.append((start, end))
        name = f"node {_quoted(texts[_NODE_NAME])}" if texts[_NODE_NAME] else f"node {self._nodes - 1}"
        where = f"{name} ({_quoted(texts[_NODE_OP])})"
        self._operator(texts[_NODE_DOMAIN], texts[_NODE_OP], name)
        for attribute in attributes:
            self._attribute(attribute, depth, where)

    def _operator(self, domain: str, op: str, name: str) -> None:
        if (domain, op) in self._functions:
            self._body.calls[domain, op] = self._body.calls.get((domain, op), 0) + 1
            return
        if op in DENIED:
            raise ModelError(f"{name}: the operator {op} is refused: {DENIED[op]}; export the model without it")
        if domain not in OPERATORS:
            raise ModelError(
                f"{name}: the operator {_quoted(op)} is of the domain {_quoted(domain)}; export the model with the "
                "operators of ai.onnx and ai.onnx.ml only, and not as ONNX Runtime has optimised it"
            )
        standard = "" if domain == "ai.onnx" else domain
        if standard == "" and op in CONTROL_FLOW:
            if not self._control_flow:
                raise ModelError(
                    f"{name}: the operator {op} may run for ever; export the model without it, or allow it in the "
                    'bundle with session={"control_flow": true}'
                )
        elif op not in OPERATORS[domain]:
            raise ModelError(
                f"{name}: {_quoted(op)} is not an operator of {domain or 'ai.onnx'} that edgeml knows; export the "
                "model with a lower opset, or update edgeml"
            )
        self._operators.add((standard, op))

    def _attribute(self, span: _Span, depth: int, where: str) -> None:
        for field, wire, start, end in fields(self._model, *span, self._purse, skipping=NUMBERS):
            if wire != BYTES:
                continue
            if field in _ATTRIBUTE_TENSORS:
                self._tensor((start, end), where)
            elif field in _ATTRIBUTE_GRAPHS:
                self._graph((start, end), depth + 1)
            elif field in _ATTRIBUTE_SPARSE:
                self._sparse((start, end), where)

    # Tensors

    def _sparse(self, span: _Span, where: str) -> None:
        for field, wire, start, end in fields(self._model, *span, self._purse):
            if wire == BYTES and field in _SPARSE_VALUES:
                self._tensor((start, end), where)

    def _tensor(self, span: _Span, where: str) -> None:
        name, elsewhere = "", False
        for field, wire, start, end in fields(self._model, *span, self._purse):
            if field == _TENSOR_NAME and wire == BYTES:
                name = self._text(start, end, "")
            # Any number but 0: protobuf keeps 32 bits of it, and may read EXTERNAL where this would not.
            elif (field == _TENSOR_EXTERNAL and wire == BYTES) or (
                field == _TENSOR_LOCATION and wire == VARINT and start != 0
            ):
                elsewhere = True
        if elsewhere:
            of = f" of {where}" if where else ""
            raise ModelError(
                f"tensor {_quoted(name)}{of} is kept outside of the ONNX model, in another file or in memory (external "
                "data); save the model as a single file"
            )

    def _text(self, start: int, end: int, before: str) -> str:
        if before:
            raise ModelError(f"the ONNX model is damaged at byte {start}: a name stands twice; export it again")
        return self._model[start:end].decode(errors="replace")


class _Body:
    """A function's, or the main graph's."""

    def __init__(self) -> None:
        self.nodes = 0
        self.calls: dict[_Operator, int] = {}


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
