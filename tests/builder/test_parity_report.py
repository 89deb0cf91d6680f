"""What counts as a difference: flips, ties, tolerances, answers that are no numbers, and how it is reported."""

import json

import numpy as np
import pytest

from edgeml.builder.parity_report import Answers, check_parity, joined, single_answer
from edgeml.builder.parity_rows import ParityRows
from edgeml.errors import BuildError, ParityError
from edgeml.runtime.predictor import Predictor

SUMMARY = {"rows", "kinds", "flips", "ties", "undefined", "refused", "max_difference"}


def labelled(labels, scores=None, *, relative=False):
    """Answers with labels."""
    made = None if scores is None else np.array(scores, dtype=np.float64)
    return Answers(labels=np.array(labels, dtype=np.int64), scores=made, relative=relative)


def valued(*rows):
    """Answers with values."""
    return Answers(values=np.array(rows, dtype=np.float64).reshape(len(rows), -1))


def test_equal_answers_pass():
    answers = labelled([0, 1], [[0.6, 0.4], [0.1, 0.9]])
    report = check_parity(answers, answers, refused=3)
    assert report.passed and report.worst == [] and report.require() is report
    assert report.summary() == {
        "rows": 2, "kinds": {"held_out": 2}, "flips": 0, "ties": 0, "undefined": 0, "refused": 3, "max_difference": 0.0,
    }  # fmt: skip
    assert set(report.to_dict()) == SUMMARY | {"tolerance", "worst"}


def test_no_rows_at_all():
    assert check_parity(labelled([]), labelled([])).passed


def test_a_flip_is_refused_however_near_the_scores_are():
    expected = labelled([0, 1], [[0.5 + 1e-12, 0.5 - 1e-12], [0.2, 0.8]])
    got = labelled([1, 1], [[0.5, 0.5], [0.2, 0.8]])
    report = check_parity(expected, got)
    assert (report.flips, report.ties) == (1, 0) and report.max_difference < 1e-11
    with pytest.raises(ParityError, match="1 labels differ") as refusal:
        report.require("forest")
    assert "answers differently from the forest on 2 rows" in str(refusal.value)
    assert refusal.value.report["worst"][0]["flip"] is True


def test_exactly_equal_scores_are_a_tie_and_no_flip():
    expected = labelled([0, 0, 2], [[0.5, 0.5, 0.0], [0.4, 0.2, 0.4], [0.1, 0.1, 0.8]])
    report = check_parity(expected, labelled([1, 1, 2], expected.scores))
    assert (report.flips, report.ties) == (1, 1)


def test_a_pipeline_that_contradicts_itself_makes_a_tie():
    expected, got = labelled([0, 1, 0]), labelled([1, 0, 0])
    assert check_parity(expected, got).flips == 2
    report = check_parity(expected, got, otherwise=[labelled([1, 1, 0]), Answers(values=np.zeros((3, 1)))])
    assert (report.flips, report.ties) == (1, 1)


def test_a_label_that_the_bundle_does_not_know_is_a_flip():
    expected = labelled([-1, 0], [[0.0, 0.0], [1.0, 0.0]])
    report = check_parity(expected, labelled([1, 0], expected.scores), labels=["no", "yes"])
    assert (report.flips, report.ties) == (1, 0)
    assert report.worst[0]["expected"]["label"] is None and report.worst[0]["got"]["label"] == "yes"


@pytest.mark.parametrize(("difference", "passed"), [(0.9e-5, True), (1.1e-5, False)])
def test_probabilities_are_compared_as_they_are(difference, passed):
    expected = labelled([0], [[0.7, 0.3]])
    report = check_parity(expected, labelled([0], [[0.7 - difference, 0.3]]))
    assert report.passed is passed and report.max_difference == pytest.approx(difference)


def test_decisions_and_values_are_compared_relative_to_their_size():
    expected = labelled([1], [[-4e6, 4e6]], relative=True)
    assert check_parity(expected, labelled([1], [[-4e6, 4e6 + 30]], relative=True)).passed
    assert not check_parity(expected, labelled([1], [[-4e6, 4e6 + 50]], relative=True)).passed
    assert check_parity(valued([1e9], [0.0]), valued([1e9 + 5e3], [0.9e-5])).passed
    # Below one the measure is absolute: nothing asks for more digits than the tolerance.
    assert check_parity(valued([1e-9]), valued([5e-6])).passed
    report = check_parity(
        valued(
            [1e9],
            [
                3.0,
            ],
        ),
        valued([1e9], [3.1]),
    )
    assert report.max_difference == pytest.approx(0.1 / 3.0) and not report.passed


def test_several_values_are_compared_one_by_one():
    report = check_parity(valued([1.0, 2.0], [3.0, 4.0]), valued([1.0, 2.0], [3.0, 4.4]))
    assert report.max_difference == pytest.approx(0.1) and len(report.worst) == 1


def test_no_finite_number_from_scikit_learn_wants_a_fallback_or_the_same_label():
    expected = labelled([0, 0, 0], [[np.nan, np.nan]] * 3)
    got = labelled([-1, 0, 1], [[np.nan, np.nan], [0.5, 0.5], [0.5, 0.5]])
    report = check_parity(expected, got)
    assert (report.undefined, report.flips, report.max_difference) == (3, 1, 0.0)
    assert check_parity(valued([np.nan], [np.inf]), valued([np.nan], [np.nan])).passed


def test_no_answer_where_scikit_learn_has_one_is_refused():
    for expected, got in (
        (labelled([0], [[0.9, 0.1]]), labelled([-1], [[np.nan, np.nan]])),
        (labelled([0], [[0.9, 0.1]]), labelled([0], [[np.nan, 0.1]])),
        (valued([1.0]), valued([np.nan])),
        (valued([1.0]), valued([np.inf])),
    ):
        report = check_parity(expected, got)
        assert not report.passed and report.max_difference == np.inf
        # The report goes into files: no infinity, no NaN.
        told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert told["max_difference"] is None and told["worst"][0]["difference"] is None
        assert "inf" in report.sentence()


def test_the_worst_rows_come_first_with_their_records():
    n = 9
    expected = labelled([0] * n, [[0.8, 0.2]] * n)
    scores = np.array([[0.8, 0.2]] * n)
    scores[:8, 0] -= np.arange(8) * 1e-3
    got = labelled([0] * 4 + [1] + [0] * 4, scores)
    rows = ParityRows([{"a": row} for row in range(n)], ["held_out"] * 4 + ["edge"] * 5)
    report = check_parity(expected, got, rows=rows, labels=["no", "yes"])
    assert [worst["record"]["a"] for worst in report.worst] == [4, 7, 6, 5, 3]
    assert report.worst[0] == {
        "kind": "edge",
        "record": {"a": 4},
        "expected": {"label": "no", "scores": [0.8, 0.2]},
        "got": {"label": "yes", "scores": pytest.approx([0.796, 0.2])},
        "difference": pytest.approx(4e-3),
        "flip": True,
    }
    assert report.rows == {"held_out": 4, "edge": 5}
    assert "worst: edge row {'a': 4}: expected {'label': 'no'" in report.sentence()


def test_a_wide_record_is_cut_short_in_the_sentence_only():
    record = {f"x{index}": index for index in range(30)}
    report = check_parity(valued([1.0]), valued([2.0]), rows=ParityRows([record], ["edge"]))
    assert "'x7': 7, ... 22 more}" in report.sentence() and report.worst[0]["record"] == record


def test_answers_of_another_shape_are_an_error():
    with pytest.raises(BuildError, match="2 rows were asked, 1 were answered"):
        check_parity(valued([1.0], [2.0]), valued([1.0]))
    with pytest.raises(BuildError, match=r"shape \(1, 2\), got \(1, 3\)"):
        check_parity(labelled([0], [[0.5, 0.5]]), labelled([0], [[0.5, 0.3, 0.2]]))


def test_an_answer_of_the_fallback_says_so_and_why():
    failed = Answers(labels=np.array([-1]), unanswered={0: "fallback: the model has no input 'x'"})
    got = joined([labelled([0]), failed])
    report = check_parity(labelled([0, 1]), got, labels=["no", "yes"])
    assert report.worst[0]["got"] == {"answered_by": "fallback: the model has no input 'x'"}
    with pytest.raises(ParityError, match="expected {'label': 'yes'}, got .*fallback: the model has no input"):
        report.require()
    assert got.rows(np.array([1])).unanswered == {0: "fallback: the model has no input 'x'"}


def test_both_ways_of_asking_hand_on_the_reason(penguins_bundle):
    predictor = Predictor.from_bundle(penguins_bundle)
    fallback = predictor._fallback(predictor._take(), "it is broken")
    assert single_answer(fallback, predictor.outputs).unanswered == {0: "fallback: it is broken"}
