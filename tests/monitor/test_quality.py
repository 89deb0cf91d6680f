"""Counts of quality as a document: read, added, subtracted, refused."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.monitor.feedback_counts import FeedbackCounts
from edgeml.monitor.quality import Quality

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["rule", "middle", "model", "fallback"]),
        st.integers(0, 70),
        st.integers(0, 70),
        st.one_of(st.none(), st.integers(0, 3)),
        st.one_of(st.none(), st.floats(0, 1)),
    ),
    max_size=30,
)


def document_of(events):
    feedback = FeedbackCounts()
    for tier, given_label, true, rule, chance in events:
        feedback.label(tier, given_label, true, rule=rule, chance=chance)
        feedback.error(tier, float(given_label - true))
    n = len(events)
    counts = {
        "labels": [[n, n << 30, 1], [0, 0, 5 * n]],
        "unscored": n,
        "rules": [n, 0],
        "fallback": n,
        "middle": {"1": n},
    }
    return json.loads(json.dumps(counts | {"feedback": feedback.document()}))


@given(EVENTS, EVENTS)
def test_the_sum_of_two_is_what_one_would_have_counted(first, second):
    one, other = (Quality.from_document(document_of(events)) for events in (first, second))
    both = document_of(first + second)
    both["labels"][0][2] = 2  # the constant of the two documents
    assert one.add(other).to_document() == both
    assert other.add(one).to_document() == both
    rest = Quality.from_document(both).since(one)
    assert rest.unscored == other.unscored and sum(n for n, _ in rest.tiers.values()) == len(second)
    assert Quality.from_document(rest.to_document()).labels == other.labels


def test_labels_beyond_the_confusion_table_are_one_and_right_ones_still_count():
    feedback = FeedbackCounts()
    feedback.label("model", 70, 70)
    feedback.label("model", 70, 69)
    feedback.label("rule", 3, 69, rule=2)
    document = feedback.document()
    assert document["confusion"] == {"model,64,64": 2, "rule,3,64": 1}
    assert document["tiers"] == {"model": [2, 1], "rule": [1, 0]}
    assert document["rules"] == {"2": [1, 0]}


def test_reliability_is_by_tenths():
    feedback = FeedbackCounts()
    for chance, true in ((0.0, 1), (0.99, 0), (1.0, 0), (0.55, 0), (0.5, 1)):
        feedback.label("model", 0, true, chance=chance)
    found = feedback.document()["reliability"]
    assert found[0] == [1, 0, 0]
    assert found[5] == [2, 1, round(0.55 * 2**30) + 2**29]
    assert found[9] == [2, 2, round(0.99 * 2**30) + 2**30]
    assert sum(n for n, _, _ in found) == 5


def test_counts_of_another_bundle_are_not_added():
    one, other = document_of([]), document_of([])
    other["rules"].append(0)
    with pytest.raises(ValueError, match="different bundles"):
        Quality.from_document(one).add(Quality.from_document(other))


BREAKS = [
    (lambda d: d.pop("labels"), "labels"),
    (lambda d: d.update(more=1), "must be an object of"),
    (lambda d: d.update(unscored=-1), "unscored"),
    (lambda d: d.update(fallback=True), "fallback"),
    (lambda d: d.update(fallback=1.5), "fallback"),
    (lambda d: d.update(rules={}), "rules must be a list"),
    (lambda d: d.update(labels=[[1, 2]]), "labels must hold 3"),
    (lambda d: d.update(feedback=[]), "feedback"),
    (lambda d: d["feedback"].update(tiers=[]), "tiers must be an object"),
    (lambda d: d["feedback"].update(tiers={"judge": [1, 1]}), "knows no 'judge'"),
    (lambda d: d["feedback"].update(rules={"x": [1, 1]}), "knows no 'x'"),
    (lambda d: d["feedback"].update(confusion=[]), "confusion must be an object"),
    (lambda d: d["feedback"].update(confusion={"model,1": 1}), "knows no 'model,1'"),
    (lambda d: d["feedback"].update(confusion={"model,1,-1": 1}), "knows no"),
    (lambda d: d["feedback"].update(confusion={"model,1,1": "1"}), "confusion must hold counts"),
    (lambda d: d["feedback"].update(reliability=[[0, 0, 0]] * 9), "10 parts"),
    (lambda d: d["feedback"].update(errors={"model": [1, float("inf"), 0.0]}), "finite"),
    (lambda d: d["feedback"].update(errors={"model": [1.5, 1.0, 0.0]}), "counts"),
]


@pytest.mark.parametrize(("breaks", "said"), BREAKS)
def test_what_is_no_document_is_refused_by_name(breaks, said):
    document = copy.deepcopy(document_of([("model", 1, 1, 0, 0.5)]))
    Quality.from_document(document)
    breaks(document)
    with pytest.raises(ValueError, match=said):
        Quality.from_document(document)


@pytest.mark.parametrize("given_document", [None, [], 7, "x"])
def test_what_is_no_object_is_refused(given_document):
    with pytest.raises(ValueError, match="must be an object"):
        Quality.from_document(given_document)
