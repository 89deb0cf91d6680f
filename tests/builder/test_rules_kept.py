"""Learning with a file of people's rules: what stands below the learned rules is not asked before them, names stay."""

import numpy as np
import pytest
import yaml

from edgeml.builder.rule_evidence import evidence, rule_documents
from edgeml.builder.rule_learning import Candidate, Learned, LearnOptions, Proof
from edgeml.builder.rule_lesson import kept_file, learn_options, lesson, lesson_of_build
from edgeml.builder.rule_source import parse_rules
from edgeml.builder.rule_writing import Kept, write_rules
from edgeml.errors import BuildError, EdgemlError
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Feature, Schema

SCHEMA = Schema((Feature(name="speed", kind="number"), Feature(name="load", kind="number")))
OPTIONS = LearnOptions(target=0.9, max_points=0)


@pytest.fixture(scope="module")
def belt():
    generator = np.random.default_rng(0)
    speed = generator.normal(50, 20, 900).round(1)
    frame = RecordReader(SCHEMA, max_rows=1000).new_frame(900)
    RecordReader(SCHEMA, max_rows=1000).read_columns(frame, {"speed": speed, "load": generator.normal(10, 4, 900)})
    return frame, list(np.where(speed + generator.normal(0, 3, 900) > 60, "stop", "go"))


TABLES = {
    "in the file": "tables:\n  slow: {hit: first, columns: [speed, label], rows: [['< 40', stop]]}\n",
    "beside it": "tables:\n  slow: {hit: first, file: slow.csv}\n",
}


@pytest.mark.parametrize("form", TABLES)
@pytest.mark.parametrize("placed", ["rules:\n  - {id: ours, when: load > 15, then: abstain}\n", "rules: []\n"])
def test_a_table_below_the_learned_rules_leaves_them_what_they_are_proven_on(tmp_path, belt, form, placed):
    frame, truth = belt
    (tmp_path / "slow.csv").write_text("speed,label\n< 40,stop\n")
    path = tmp_path / "rules.yaml"
    path.write_text(TABLES[form] + placed)
    made = lesson(SCHEMA, frame, truth, ("go", "stop"), options=OPTIONS, kept=kept_file(path, SCHEMA, ("go", "stop")))
    path.write_text(made.text)
    rules = parse_rules(path, SCHEMA, ("go", "stop"))
    found = np.full(frame.n_rows, -1, dtype=np.int32)
    rules.match(frame.capsule, found)
    ids = [rule.id for rule in rules.rules]
    assert ids[-1] == "slow.row-1" and made.documents
    for document in made.documents:
        rows = found[made.learned.proving] == ids.index(document["id"])
        assert rows.sum() == document["evidence"]["rows"]


def test_a_rule_that_somebody_has_edited_keeps_its_id_and_the_learned_one_gets_another(tmp_path, belt):
    frame, truth = belt
    labels = ("go", "stop")
    first = lesson(SCHEMA, frame, truth, labels, options=OPTIONS)
    name, when = first.documents[0]["id"], first.documents[0]["when"]
    path = tmp_path / "rules.yaml"
    path.write_text(first.text.replace(f"    {when}\n", "    load > 1000\n"))
    second = lesson(SCHEMA, frame, truth, labels, options=OPTIONS, kept=kept_file(path, SCHEMA, labels))
    ids = [rule["id"] for rule in yaml.safe_load(second.text)["rules"]]
    assert ids[0] == name and f"{name}-2" in ids and len(set(ids)) == len(ids)


def test_odd_labels_and_small_shares_are_read_back_as_they_were_written():
    labels = ("yes\nno", "a\u2028b", "#off")
    rows = np.zeros(4, dtype=bool)
    candidates = tuple(Candidate(f"speed > {at}", at, "conjunction", 1, rows) for at in range(3))
    proof = Proof(70, 70, 1e-9, 0.57, (0.5, 1.0), 1.0, 5e-05, True)
    learned = Learned(candidates, (proof,) * 3, np.arange(3), np.arange(2), {0: 3, 1: 4})
    options = LearnOptions(target=0.57)
    documents = rule_documents(learned, labels, options)
    read = yaml.safe_load(write_rules(documents, learned, labels, options, Kept.nothing()))["rules"]
    assert read == documents
    assert read[0]["evidence"]["coverage"] == 5e-05
    # 0.57 has no exact double, and is still what was promised.
    assert evidence(proof, 3, options)["lower"] == 0.57 == read[0]["then"]["score"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"learn": {}, "kepe": "rules.yaml"}, "unknown key 'kepe' beside 'learn'"),
        ({"learn": {}, "keep": None}, "keep None must be the path"),
        ({"learn": {}, "keep": "rules.yaml", "rules": []}, "put rules, lists"),
        ({"learn": {}, "rules": "rules.yaml"}, "expected a list of rules"),
        ({"learn": {"veto": "load"}}, "veto 'load' must be a list"),
    ],
)
def test_what_stands_beside_learn_is_looked_at(belt, given, said):
    with pytest.raises(EdgemlError, match=said):
        lesson_of_build(given, SCHEMA, belt[0], belt[1], ("go", "stop"), None)


@pytest.mark.parametrize(
    "given",
    [{"target": "0.9"}, {"seed": -1}, {"max_rules": 3.5}, {"max_points": None}, {"phrases": "no"}, {"aim": "x"}],
)
def test_options_of_another_type_are_refused_by_name(given):
    with pytest.raises(BuildError, match=f"rules: {next(iter(given))} "):
        learn_options(given)
