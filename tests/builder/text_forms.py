"""A vectorizer as scikit-learn runs it and as the core does, over the same texts."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from edgeml.builder.feature_compiler import compile_features
from edgeml.builder.schema_inference import infer_schema
from edgeml.runtime.reader import RecordReader


class Nothing(LinearRegression):
    """An estimator that is never asked."""

    def __init__(self):
        self.n_features_in_ = 1


def compiled(steps, texts, door="float64"):
    """The compiled program of fitted steps over one list of texts, with the schema."""
    table = pd.DataFrame({"text": list(texts)})
    overrides = {"text": {"kind": "text", "missing": "allow"}}
    found = infer_schema(table, overrides=overrides)
    columns = ColumnTransformer([("text", steps, "text")], sparse_threshold=1.0)
    columns.transformers_ = [("text", steps, "text")]
    columns.feature_names_in_ = np.array(["text"], dtype=object)
    columns._transformer_to_input_indices = {"text": [0]}
    pipeline = Pipeline([("columns", columns), ("estimator", Nothing())])
    return compile_features(pipeline, found.schema, table, door=door), found.schema


def by_the_core(steps, texts):
    """What the core makes of texts [n, d]: all at once, checked against one by one."""
    made, schema = compiled(steps, texts)
    assert not made.exported_steps, made.exported_steps
    reader = RecordReader(schema)
    frame = reader.new_frame(len(texts))
    reader.read_columns(frame, {"text": list(texts)})
    encoder = made.program.encoder()
    out = np.full((len(texts), made.program.n_outputs), 77.0)
    assert encoder.encode(frame.capsule, out) == 0
    alone, single = np.full((1, made.program.n_outputs), 77.0), reader.new_frame(1)
    encoder.bind(alone)
    for row, text in enumerate(texts[:50]):
        reader.read(single, {"text": text})
        assert encoder.encode_bound(single.capsule) == 0
        np.testing.assert_array_equal(alone[0], out[row])
    return out


def assert_alike(steps, texts, fit_on=None):
    """The core and scikit-learn give the same columns."""
    steps.fit(texts if fit_on is None else fit_on)
    np.testing.assert_allclose(by_the_core(steps, texts), steps.transform(texts).toarray(), rtol=1e-12, atol=1e-15)
