"""Runs a fitted pipeline's compiled steps over a table, as the runtime would: whole, in part and one row at a time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline

from edgeml.builder.feature_compiler import CompiledPipeline, compile_features
from edgeml.builder.schema_inference import InferredSchema, infer_schema
from edgeml.runtime.reader import Frame, RecordReader

Array = NDArray[np.float64]


def compiled(
    steps: list[tuple[str, Any]], X: Any, *, door: str = "float64", **schema: Any
) -> tuple[CompiledPipeline, InferredSchema]:
    """Compiles fitted steps before an estimator that does not matter."""
    estimator = DummyRegressor().fit(np.zeros((2, 1)), [0, 0])
    inferred = infer_schema(X, **schema)
    return compile_features(Pipeline([*steps, ("model", estimator)]), inferred.schema, X, door=door), inferred


def frame_of(inferred: InferredSchema, rows: Any) -> Frame:
    """A table as a Frame."""
    reader = RecordReader(inferred.schema)
    frame = reader.new_frame(len(rows))
    reader.read_columns(frame, inferred.values(rows))
    return frame


def encoded(made: CompiledPipeline, inferred: InferredSchema, rows: Any) -> Array:
    """The program's output, after checking that batch, chosen rows and single rows agree to the last bit."""
    program = made.program
    frame = frame_of(inferred, rows)
    encoder = program.encoder()
    whole = np.full((len(rows), program.n_outputs), 77.0, dtype=program.dtype)
    assert encoder.encode(frame.capsule, whole) == 0 and encoder.refused == []
    chosen = np.arange(len(rows) - 1, -1, -2, dtype=np.int64)
    some = np.full((len(chosen), program.n_outputs), 77.0, dtype=program.dtype)
    encoder.encode(frame.capsule, some, chosen)
    np.testing.assert_array_equal(some, whole[chosen])
    one = np.full((1, program.n_outputs), 77.0, dtype=program.dtype)
    encoder.bind(one)
    reader = RecordReader(inferred.schema)
    single = reader.new_frame()
    for at, record in enumerate(inferred.records(rows)[:20]):
        reader.read(single, record)
        assert encoder.encode_bound(single.capsule) == 0
        np.testing.assert_allclose(one[0], whole[at], rtol=1e-15)
    return whole


def expected(steps: list[tuple[str, Any]], rows: Any) -> Array:
    """scikit-learn's own output."""
    made = rows
    for _, step in steps:
        made = step.transform(made)
    made = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
    return made.astype(np.float64)
