"""Random schemas and values for the frame kernel, and short ways to fill a frame."""

import math

from hypothesis import strategies as st

from edgeml.runtime.reader import _CODES, RecordReader
from edgeml.runtime.schema import Feature, Schema

NAMES = ["a", "b", "c", "d", 'q"uote', "tab\t", "naïve", "long_name_of_a_feature", ""]


@st.composite
def features(draw, name):
    kind = draw(st.sampled_from(["number", "integer", "boolean", "category", "text"]))
    members = {"name": name, "kind": kind, "missing": draw(st.sampled_from(["error", "allow"]))}
    if kind in ("number", "integer") and draw(st.booleans()):
        low, high = sorted(draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9))))
        members |= {"min": float(low), "max": float(high)}
    if kind == "category":
        members["levels"] = tuple(draw(st.lists(st.sampled_from(LEVELS), min_size=1, unique=True)))
        members["unseen"] = draw(st.sampled_from(["error", "allow"]))
    if kind == "text":
        members["max_bytes"] = draw(st.sampled_from([0, 3, 20, 65536]))
    return Feature(**members)


LEVELS = [
    "",
    "x",
    "y",
    "red",
    "green",
    "blå",
    "日本",
    "\U0001f600",
    "with\nline",
    "level_12",
    "level_123",
    'q"',
    "\x7f",
]


@st.composite
def schemas(draw):
    names = draw(st.lists(st.sampled_from(NAMES[:-1]), min_size=1, max_size=5, unique=True))
    built = tuple(draw(features(name)) for name in names)
    return Schema(built, unknown_fields=draw(st.sampled_from(["reject", "count"])))


integers = st.integers(-10, 10) | st.integers(-(2**54), 2**54) | st.sampled_from([2**53 - 1, 2**53, -(2**53), 10**400])
floats = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0, 2.5, 2.0**53, math.nan, math.inf])
scalars = st.none() | st.booleans() | integers | floats | st.sampled_from(LEVELS) | st.text(max_size=6)
json_scalars = st.none() | st.booleans() | integers | floats.filter(math.isfinite) | st.sampled_from(LEVELS)
json_inner = json_scalars | st.lists(json_scalars, max_size=2)
json_values = (
    json_inner | st.lists(json_inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), json_inner, max_size=2)
)


def fresh(schema, **more):
    reader = RecordReader(schema, max_violations=10_000, **more)
    return reader._kernel, reader.new_frame()


def violations_of(schema, frame):
    return {
        (row, schema.names[field] if isinstance(field, int) else field, _CODES[code])
        for row, field, code, _ in frame.violations
    }


def columns(kernel, frame, values):
    kernel.begin_columns(frame, len(values))
    kernel.fill_list(frame, 0, values)
    return kernel.end_columns(frame)


MUTATED = Schema(
    (
        Feature(name="a", kind="number", missing="allow"),
        Feature(name="b", kind="category", levels=("x", "\U0001f600"), missing="allow", unseen="allow"),
        Feature(name="c", kind="boolean", missing="allow"),
        Feature(name="t", kind="text", missing="allow"),
    ),
    unknown_fields="count",
)

PEOPLE = Schema(
    (
        Feature(name="age", kind="integer", min=0, max=150),
        Feature(name="weight", kind="number", missing="allow"),
        Feature(name="smoker", kind="boolean", missing="allow"),
        Feature(name="colour", kind="category", levels=("red", "blå"), missing="allow"),
        Feature(name="note", kind="text", max_bytes=5, missing="allow"),
    )
)
GOOD = {"age": 41, "weight": 70.5, "smoker": True, "colour": "blå", "note": "naïf"}
