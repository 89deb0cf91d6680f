"""Lists, definitions, cards and units come through a bundle: built, packed, read again by a box."""

import json

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import edgeml

RULES = """
lists:
  warm: [red, yellow]
define:
  fast: speed > 30 [mph]
rules:
  - id: card
    when: points(2 if fast, 1 if colour in warm) >= 3
    then: {label: stop}
    target: 0.9
    pinned: true
"""


def test_names_come_through_a_bundle(tmp_path):
    draw = np.random.default_rng(3)
    X = pd.DataFrame({"speed": draw.uniform(0, 100, 80), "colour": draw.choice(["red", "yellow", "green"], 80)})
    y = np.where(X.speed > 50, "stop", "go")
    pipeline = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough"), LogisticRegression()
    )
    features = {"speed": {"unit": "km/h"}}
    bundle = edgeml.build(pipeline.fit(X, y), X, y, name="named", version="1", features=features, rules=RULES)
    document = json.loads(bundle.members["rules.json"].decode())
    assert document["lists"] == {"warm": ["red", "yellow"]}
    assert document["define"] == {"fast": "speed > 48.28032 [km/h]"}
    rule = document["rules"][0]
    assert rule["target"] == 0.9 and rule["pinned"] is True and 0 < rule["coverage"] < 1
    path = tmp_path / "named.edgeml"
    bundle.save(path)
    predictor = edgeml.load(path)
    records = [{"speed": 49.0, "colour": "red"}, {"speed": 48.0, "colour": "red"}, {"speed": 49.0, "colour": "green"}]
    assert [predictor.predict(record).rule for record in records] == ["card", None, None]
