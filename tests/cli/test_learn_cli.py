"""edgeml rules learn: records with labels in, a file of proven rules out, which a bundle is then built with."""

import csv

import numpy as np
import pandas as pd
import pytest
import yaml
from cli.shell import run
from sklearn.linear_model import LogisticRegression

import edgeml
from edgeml.builder.rule_learning import LearnOptions
from edgeml.builder.rule_lesson import lesson_of_records
from edgeml.errors import BuildError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn")
    generator = np.random.default_rng(0)
    X = pd.DataFrame({"speed": generator.normal(50, 20, 900).round(1), "load": generator.normal(10, 4, 900).round(1)})
    y = pd.Series(np.where(X.speed + generator.normal(0, 3, 900) > 60, "stop", "go"))
    edgeml.build(LogisticRegression().fit(X, y), X, y, name="belt", version="1").save(folder / "belt.edgeml")
    with (folder / "belt.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["speed", "load", "outcome"])
        writer.writerows([*map(float, row), label] for row, label in zip(X.to_numpy(), y, strict=True))
        writer.writerow(["fast", 1.0, "stop"])
    return folder


def learned(folder, *options):
    words = ("--bundle", "belt.edgeml", "--data", "belt.csv", "--max-points", "2", "--target", "0.9", *options)
    done = run("rules", "learn", *words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_rules_are_learned_and_learned_again_where_nobody_has_touched_them(folder):
    done = learned(folder, "--label", "outcome", "-o", "rules.yaml")
    assert "proven" in done.stdout and "1 records do not fit" in done.stdout
    rules = yaml.safe_load((folder / "rules.yaml").read_text())["rules"]
    assert {rule["then"]["label"] for rule in rules if "target" in rule} == {"go", "stop"}
    learned(folder, "--label", "outcome", "--keep", "rules.yaml", "-o", "again.yaml")
    assert (folder / "again.yaml").read_bytes() == (folder / "rules.yaml").read_bytes()


@pytest.fixture(scope="module")
def predictor(folder):
    return edgeml.load(folder / "belt.edgeml")


RECORDS = [{"speed": float(at % 100), "load": 3.0} for at in range(400)]


def test_without_a_label_the_model_is_what_is_learned(predictor):
    options = LearnOptions(target=0.9, max_points=3, veto=("load",))
    made, refused = lesson_of_records(predictor, RECORDS, None, options=options)
    assert refused == 0 and made.documents
    assert "by the model's answers" in made.text and "load" not in made.text
    assert all(proof.agreement == proof.right / proof.rows for proof in made.learned.proofs)


def test_a_label_that_the_model_does_not_know_is_named(predictor):
    records = [record | {"outcome": "go" if at else "halt"} for at, record in enumerate(RECORDS)]
    with pytest.raises(BuildError, match="record 0: outcome is 'halt', and the model's labels are go, stop"):
        lesson_of_records(predictor, records, "outcome", options=LearnOptions())


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "holds no record"),
        ([1, 2], "record 0: expected an object"),
        (
            [{"speed": 1.0, "load": 3.0, "outcom": "go"}],
            "there is no 'outcome', which --label names; it has speed, load",
        ),
    ],
)
def test_records_of_which_nothing_can_be_learned_are_refused(predictor, records, said):
    with pytest.raises(BuildError, match=said):
        lesson_of_records(predictor, records, "outcome", options=LearnOptions())


def test_columns_that_are_no_features_are_passed_over(predictor):
    records = [record | {"outcome": "go", "customer": at} for at, record in enumerate(RECORDS)]
    _, refused = lesson_of_records(predictor, records, "outcome", options=LearnOptions(max_points=0))
    assert refused == 0


def test_a_folder_that_is_not_there_is_told_before_anything_is_learned(folder):
    done = run("rules", "learn", "--bundle", "belt.edgeml", "--data", "belt.csv", "-o", "no/rules.yaml", cwd=folder)
    assert done.returncode == 2 and "there is no folder no" in done.stderr
