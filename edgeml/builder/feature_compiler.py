"""From a fitted pipeline to a feature program and the rest of the pipeline, which goes to ONNX.

1. The walk takes each column as far as the core has operations for it: the longest compiled prefix per column.
2. Where a step has none, it and all that follow it for its columns stay in the ``remainder``: an estimator whose
   input is the program's output (behind it, as strings, the categories and texts that no compiled step took).
3. Inside a ColumnTransformer or FeatureUnion each branch goes as far as it can on its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

# Importing it registers the encoders beside the steps over numbers.
from edgeml.builder import feature_encoders
from edgeml.builder.feature_columns import Column, Levels, NotCompiled, RawNumber, Text, features_of, raw_columns
from edgeml.builder.feature_steps import compile_step
from edgeml.builder.feature_writer import ProgramWriter
from edgeml.errors import BuildError
from edgeml.runtime.features import FeatureProgram
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.schema import Schema

FAMILIES = (feature_encoders,)
SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")


@dataclass(frozen=True)
class CompiledPipeline:
    """What the core takes of a pipeline, and what it leaves.

    Attributes:
        program: From a Frame to the model's input; behind a picture, what makes rows of it.
        remainder: A fitted estimator over the program's output.
        compiled_steps: Path and class of each step in the program.
        exported_steps: Path and class of each step before the estimator that goes to ONNX.
        columns: Path of each exported step -> the features that reach it.
    """

    program: FeatureProgram | PictureProgram
    remainder: Any
    compiled_steps: tuple[str, ...]
    exported_steps: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]


def compile_features(pipeline: Any, schema: Schema, X: Any, *, door: str = "float32") -> CompiledPipeline:
    """Compiles the steps before a pipeline's estimator.

    Args:
        pipeline: A fitted estimator or Pipeline.
        schema: The schema inferred from X.
        X: The table that the pipeline was fitted on [n, d].
        door: Type of the model's input: ``float32`` or ``float64``.

    Raises:
        UnsupportedError: A column's dtype has no equivalent in the core.
        BuildError: The pipeline names a column that X does not have.
    """
    walk = _Walk(ProgramWriter(schema, door))
    steps, estimator = unfolded(pipeline)
    columns, rest = walk.prefix("", steps, raw_columns(schema, X))
    dense = [column for column in columns if not isinstance(column, (Levels, Text))]
    strings = [column for column in columns if isinstance(column, (Levels, Text))]
    if strings and any(column is not other for column, other in zip(columns, [*dense, *strings], strict=True)):
        # The model takes all numbers as one input, and each string as one more behind it.
        position = {id(column): at for at, column in enumerate([*dense, *strings])}
        first = Pipeline(rest) if rest else FunctionTransformer()
        rest = [("columns", _column_transformer([("all", first, [position[id(c)] for c in columns])], len(columns)))]
    remainder = Pipeline([*rest, ("estimator", estimator)]) if rest else estimator
    return CompiledPipeline(
        program=walk.writer.program(dense, [name for column in strings for name in column.features]),
        remainder=remainder,
        compiled_steps=tuple(walk.compiled),
        exported_steps=tuple(f"{path} ({name})" for path, name, _ in walk.exported),
        columns={path: features for path, _, features in walk.exported},
    )


def unfolded(pipeline: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The named steps before the estimator that answers, and that estimator."""
    name = type(pipeline).__name__
    if isinstance(pipeline, Pipeline):
        steps, estimator = unfolded(pipeline.steps[-1][1])
        return [*pipeline.steps[:-1], *steps], estimator
    if name in SEARCHES and hasattr(pipeline, "best_estimator_"):
        return unfolded(pipeline.best_estimator_)
    if name == "FrozenEstimator":
        return unfolded(pipeline.estimator)
    if getattr(pipeline, "_preprocessor", None) is not None and name.startswith("HistGradientBoosting"):
        # It encodes categories by a ColumnTransformer of its own; the trees behind it see the codes.
        encoded = copy.copy(pipeline)
        encoded.edgeml_encoded_ = True
        return [("categories", pipeline._preprocessor)], encoded
    return [], pipeline


Branch = tuple[str, Any, list[Column]]


@dataclass
class _Walk:
    """One walk through a pipeline."""

    writer: ProgramWriter
    compiled: list[str] = field(default_factory=list)
    exported: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)

    def prefix(
        self, path: str, steps: Sequence[tuple[str, Any]], columns: list[Column]
    ) -> tuple[list[Column], list[tuple[str, Any]]]:
        """Compiles steps until one is left over; gives the columns before it, and the steps from it on."""
        for at, (name, step) in enumerate(steps):
            columns, rest = self.split(_join(path, name), step, columns)
            if rest is not None:
                later = [(later_name, later_step) for later_name, later_step in steps[at + 1 :] if _is_step(later_step)]
                for later_name, later_step in later:
                    self._export(_join(path, later_name), later_step, columns)
                return columns, [(name, rest), *later]
        return columns, []

    def split(self, path: str, step: Any, columns: list[Column]) -> tuple[list[Column], Any]:
        """Compiles one step as far as it goes; gives its outputs and None, or its inputs and what is left."""
        if step is None or (isinstance(step, str) and step == "passthrough"):
            return columns, None
        if isinstance(step, str) and step == "drop":
            return [], None
        if isinstance(step, Pipeline):
            columns, rest = self.prefix(path, step.steps, columns)
            return columns, (Pipeline(rest) if len(rest) > 1 else rest[0][1]) if rest else None
        name = type(step).__name__
        if name == "ColumnTransformer":
            return self._branches(path, _column_branches(step, columns))
        if name == "FeatureUnion":
            return self._union(path, step, columns)
        try:
            out = compile_step(self.writer, step, columns)
        except NotCompiled:
            self._export(path, step, columns)
            return columns, step
        self.compiled.append(f"{path} ({name})")
        return out, None

    def _union(self, path: str, step: Any, columns: list[Column]) -> tuple[list[Column], Any]:
        branches: list[Branch] = [(name, inner, columns) for name, inner in step.transformer_list]
        weights = step.transformer_weights or {}
        marks = len(self.compiled), len(self.exported)
        if not weights:
            return self._branches(path, branches)
        out: list[Column] = []
        for name, inner, given in branches:
            made, rest = self.split(_join(path, name), inner, given)
            if rest is not None or any(isinstance(column, (Levels, Text)) for column in made):
                # Weights apply to what the whole branch gives, so the whole union has to stay together.
                del self.compiled[marks[0] :], self.exported[marks[1] :]
                self._export(path, step, columns)
                return columns, step
            by = [float(weights.get(name, 1.0))] * len(made)
            out += self.writer.along("multiply", made, by, partial(_times, by))
        return out, None

    def _branches(self, path: str, branches: Sequence[Branch]) -> tuple[list[Column], Any]:
        done = [
            (name, inner, *self.split(_join(path, name), inner, given))
            for name, inner, given in branches
            if not (isinstance(inner, str) and inner == "drop")
        ]
        everything = [column for _, _, columns, _ in done for column in columns]
        if all(rest is None for _, _, _, rest in done):
            return everything, None
        dense = [column for column in everything if not isinstance(column, (Levels, Text))]
        strings = list(dict.fromkeys(column for column in everything if isinstance(column, (Levels, Text))))
        left: list[tuple[str, Any, Any]] = []
        start = 0
        for name, inner, columns, rest in done:
            numbers = [column for column in columns if not isinstance(column, (Levels, Text))]
            positions = iter(range(start, start + len(numbers)))
            start += len(numbers)
            places = [
                len(dense) + strings.index(column) if isinstance(column, (Levels, Text)) else next(positions)
                for column in columns
            ]
            scalar = rest is not None and len(places) == 1 and _takes_one_string(inner)
            left.append((name, FunctionTransformer() if rest is None else rest, places[0] if scalar else places))
        return [*dense, *strings], _column_transformer(left, len(dense) + len(strings))

    def _export(self, path: str, step: Any, columns: Sequence[Column]) -> None:
        self.exported.append((path, type(step).__name__, features_of(columns)))


def _takes_one_string(step: Any) -> bool:
    """Whether a step (or the first one of a pipeline) takes a list of texts and not a table."""
    while isinstance(step, Pipeline):
        step = step.steps[0][1]
    return type(step).__name__ in ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")


def _times(by: list[float], x: Any, i: int) -> Any:
    return x * by[i]


def _is_step(step: Any) -> bool:
    return step is not None and not (isinstance(step, str) and step == "passthrough")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _column_branches(step: Any, columns: list[Column]) -> list[Branch]:
    """The branches of a fitted ColumnTransformer with the columns that each takes."""
    raw = all(
        isinstance(column, (RawNumber, Text)) or (isinstance(column, Levels) and column.raw) for column in columns
    )
    names = getattr(step, "feature_names_in_", None)
    by_name = {column.name: column for column in columns} if raw and names is not None else None
    branches = []
    for name, inner, _ in step.transformers_:
        taken = []
        for index in step._transformer_to_input_indices[name]:
            if by_name is None:
                taken.append(columns[index])
                continue
            wanted = str(names[index]) if names is not None else ""
            if wanted not in by_name:
                raise BuildError(
                    f"the pipeline uses column {wanted!r}, which X does not have; give the X it was fitted on"
                )
            taken.append(by_name[wanted])
        branches.append((str(name), inner, taken))
    return [branch for branch in branches if branch[2]]


def _column_transformer(branches: Sequence[tuple[str, Any, Any]], n_inputs: int) -> ColumnTransformer:
    """A fitted ColumnTransformer made of parts that are fitted already."""
    made = ColumnTransformer(list(branches), sparse_threshold=0.0)
    made.transformers_ = list(branches)
    made.n_features_in_ = n_inputs
    made.sparse_output_ = False
    made._columns = [columns for _, _, columns in branches]
    made._transformer_to_input_indices = {name: np.atleast_1d(columns).tolist() for name, _, columns in branches}
    return made
