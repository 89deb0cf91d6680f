"""Which rules are found out, by labels and by audits, and what is told of them."""

import random

import pytest

from edgeml.kernels.histogram import Histogram
from edgeml.monitor.audit_counts import AuditCounts
from edgeml.monitor.confidence_sequence import ALPHA, confidence_sequence
from edgeml.monitor.counted import Answered
from edgeml.monitor.feedback_counts import FeedbackCounts
from edgeml.monitor.quality import Quality
from edgeml.monitor.rule_promises import RulePromise, rule_promises
from edgeml.monitor.rule_report import MOST, rule_report
from edgeml.monitor.rule_watch import ENOUGH_LABELS, LEAST, RuleWatch
from edgeml.monitor.watch import Watch, WatchSettings


def listed(*rules):
    return {
        "rules": [
            {"id": f"r{place}", "when": "x > 1", "then": {"label": "a"}} | rule for place, rule in enumerate(rules)
        ]
    }


QUALITY = {
    "rules": [{"id": "r0", "label": 0, "true": [180, 20]}],
    "confusion": {"model,0,0": 800, "model,1,0": 100, "model,1,1": 100, "rule,0,0": 5, "rule,0,1": 500},
}


class TestPromises:
    def test_a_target_comes_first_then_the_evidence_then_what_was_measured(self):
        evidence = {"rows": 100, "right": 99, "lower": 0.93, "agreement": 0.98}
        target, learned, measured, unknown = rule_promises(
            listed(
                {"id": "t", "target": 0.95, "evidence": evidence}, {"id": "e", "evidence": evidence}, {"id": "r0"}, {}
            ),
            QUALITY,
        )
        assert (target.precision, target.source) == (0.95, "target")
        assert (learned.precision, learned.source) == (0.93, "evidence")
        assert target.agreement == learned.agreement == confidence_sequence(98, 100)[0]
        assert (measured.precision, measured.source) == (confidence_sequence(180, 200)[0], "measured")
        assert measured.agreement == pytest.approx(measured.precision + confidence_sequence(900, 1000)[0] - 1)
        assert (unknown.precision, unknown.agreement, unknown.source) == (None, None, "")

    def test_rules_that_abstain_promise_nothing(self):
        made = rule_promises(listed({"then": {"abstain": True}, "target": 0.9}, {"then": "abstain"}, {}))
        assert [each.answers for each in made] == [False, False, True]

    @pytest.mark.parametrize(
        "rule",
        [
            {"target": value, "evidence": {"lower": value, "agreement": value, "rows": value}}
            for value in ("0.9", 1.5, -0.1, True, None, [], {}, float("nan"), 10**400)
        ]
        + [{"evidence": 3}, {"then": None}, {"id": 5}],
    )
    def test_what_is_no_share_is_passed_over(self, rule):
        (made,) = rule_promises(listed(rule), {"rules": [None, {"id": "r0", "label": 9, "true": [1]}], "confusion": 4})
        assert (made.precision, made.agreement) == (None, None)

    @pytest.mark.parametrize("document", [{}, {"rules": 3}, {"rules": [1]}, {"rules": {}}])
    def test_what_is_no_list_of_rules_is_refused(self, document):
        with pytest.raises(ValueError, match="no list of rules"):
            rule_promises(document)

    @pytest.mark.parametrize("true", [["a", 1], [1.5, 2], [-1, 2], "12"])
    def test_counts_that_are_none_are_passed_over(self, true):
        (made,) = rule_promises(listed({}), {"rules": [{"id": "r0", "label": 0, "true": true}]})
        assert made.precision is None


def made_of(count, precision=0.9, agreement=0.9):
    return RuleWatch([RulePromise(f"r{place}", True, precision, agreement, "target") for place in range(count)])


class TestFindings:
    def test_a_rule_is_found_out_where_its_upper_end_is_below_what_it_promises(self):
        """The martingale that is looked at, and the ends that are shown, never contradict each other."""
        draw = random.Random(1)
        for _ in range(400):
            rows = draw.randrange(1, 400)
            good, rules, least = draw.randrange(rows + 1), draw.choice([1, 10, 1000]), draw.uniform(0.05, 0.999)
            watch = made_of(rules, precision=least)
            found = bool(watch.look({0: [rows, good]}, {}, 1.0))
            low, high = confidence_sequence(good, rows, alpha=ALPHA / 2 / rules)
            assert found == (high < least and rows >= LEAST), (rows, good, rules, least)

    def test_each_kind_is_told_once_and_stays(self):
        watch = made_of(2)
        assert watch.look({0: [10, 9], 7: [100, 0]}, {1: [3, 0]}, 1.0) == []
        (labels,) = watch.look({0: [300, 150]}, {1: [3, 0]}, 2.0)
        assert (labels.rule, labels.kind, labels.since) == ("r0", "precision", 2.0)
        assert "rule r0: live precision is below its target: 50.0% of 300 (at most 6" in labels.text
        assert labels.text.endswith("its target is 90.0%")
        (audits,) = watch.look({0: [400, 250]}, {1: [300, 100]}, 3.0)
        assert (audits.rule, audits.kind) == ("r1", "agreement") and "the model contradicts it" in audits.text
        assert watch.look({0: [900, 700]}, {1: [600, 300]}, 4.0) == []
        assert set(watch.wrong({})) == {"r0", "r1"}

    def test_labels_that_speak_for_a_rule_keep_it_though_the_model_contradicts_it(self):
        watch = made_of(1)
        watch.look({}, {0: [300, 100]}, 1.0)
        assert set(watch.wrong({0: [ENOUGH_LABELS, ENOUGH_LABELS - 2]})) == set()
        assert set(watch.wrong({0: [ENOUGH_LABELS - 1, ENOUGH_LABELS - 1]})) == {"r0"}
        assert set(watch.wrong({0: [100, 80]})) == {"r0"}
        watch.look({0: [400, 100]}, {}, 2.0)
        assert watch.wrong({0: [400, 100]})["r0"].kind == "precision"

    def test_nothing_is_found_out_without_a_promise_or_of_a_rule_that_abstains(self):
        watch = RuleWatch([RulePromise("a"), RulePromise("b", False, 0.9, 0.9)])
        assert watch.look({0: [500, 0], 1: [500, 0]}, {0: [500, 0], 1: [500, 0]}, 1.0) == []

    def test_good_rules_are_hardly_ever_found_out_however_often_one_looks(self):
        """200 bundles of 5 rules that are right as often as they promise: 2.5 % of them, 5, may be found out."""
        draw, mistaken = random.Random(3), 0
        for _ in range(200):
            watch, counts = made_of(5, precision=0.9), [[0, 0] for _ in range(5)]
            for _ in range(40):
                for pair in counts:
                    for _ in range(5):
                        pair[0] += 1
                        pair[1] += draw.random() < 0.9
                watch.look(dict(enumerate(counts)), {}, 1.0)
            mistaken += bool(watch.findings)
        assert mistaken <= 8

    def test_findings_outlive_a_restart(self):
        watch, other = made_of(3), made_of(3)
        watch.look({1: [300, 100]}, {2: [300, 100]}, 5.0)
        other.restore(watch.to_document())
        assert other.findings == watch.findings
        assert other.look({1: [300, 100]}, {2: [300, 100]}, 6.0) == []
        fewer = made_of(2)
        fewer.restore(watch.to_document())
        assert [each.rule for each in fewer.findings.values()] == ["r1"]

    @pytest.mark.parametrize("document", [3, [3], [{}], [{"rule": "r0", "kind": "x", "since": 1, "text": ""}]])
    def test_what_are_no_findings_is_refused(self, document):
        with pytest.raises(ValueError):
            made_of(1).restore(document)


def answered(rules, audits=None, feedback=None):
    latency = {"rule": Histogram(), "model": Histogram()}
    latency["rule"].record_many(1000, sum(rules))
    latency["model"].record_many(1000, 100)
    quality = Quality.from_document(
        {
            "labels": [],
            "unscored": 100,
            "rules": list(rules),
            "fallback": 0,
            "feedback": (feedback or FeedbackCounts()).document(),
        }
    )
    return Answered(latency, quality=quality, audit=(audits or AuditCounts()).document())


def test_a_report_tells_shares_intervals_and_what_is_wrong_first():
    audits, feedback = AuditCounts(), FeedbackCounts()
    for place in range(300):
        audits.audited("rule", place % 3 == 0, rule=2)
        feedback.label("rule", 0, place % 2, rule=0)
    audits.dropped(4)
    audits.failed(1)
    found = answered([300, 500, 100], audits, feedback)
    watch = made_of(3)
    watch.look(found.quality.labelled_rules, {2: [300, 100]}, 1.0)
    report = rule_report(watch, found, {"r1": {"disabled": True, "at": 1.0, "who": "cli", "reason": "no"}})
    assert [each["id"] for each in report["rules"]] == ["r0", "r2", "r1"]
    first, second, third = report["rules"]
    assert first["share"] == 0.3 and first["precision"]["value"] == 0.5 and set(first["findings"]) == {"precision"}
    assert second["agreement"]["rows"] == 300 and set(second["findings"]) == {"agreement"}
    assert third["disabled"] and third["decided"]["who"] == "cli"
    assert report["audit"] == {"dropped": 4, "failed": 1} and report["below"] == {"precision": 1, "agreement": 1}
    assert report["tiers"]["rule"]["share"] == 0.9 and report["tiers"]["rule"]["agreement"]["rows"] == 300
    assert report["tiers"]["model"]["agreement"] is None
    assert report["disabled"] == ["r1"] and report["count"] == 3 and report["others"] == {"rules": 0, "answers": 0}


def test_of_thousands_of_rules_those_that_matter_are_told():
    counts = [place % 7 for place in range(10_000)]
    watch = made_of(10_000)
    watch.look({9_999: [300, 10]}, {}, 1.0)
    report = rule_report(watch, answered(counts), {"r5": {"disabled": False, "at": 1.0, "who": "cli", "reason": ""}})
    assert len(report["rules"]) == MOST and [each["id"] for each in report["rules"][:2]] == ["r9999", "r5"]
    assert sum(each["answers"] for each in report["rules"]) + report["others"]["answers"] == sum(counts)


class TestCounts:
    """Audits on their way: from the worker into the watch, over restarts."""

    def document(self, audits, birth=1):
        return {
            "birth": birth,
            "latency": {},
            "missed": 0,
            "validation": {},
            "unknown": {},
            "capture": {},
            "quality": None,
            "drift": None,
            "audit": audits,
        }

    def watch(self):
        promises = [RulePromise("r0", True, 0.9, 0.9, "target")]
        return Watch("d" * 64, None, {}, WatchSettings(), promises=promises)

    def test_they_add_up_over_processes_and_raise_events(self):
        watch = self.watch()
        audits = {"tiers": {"rule": [100, 60]}, "rules": {"0": [100, 60]}, "dropped": 1, "failed": 0}
        (event,) = watch.take(1, self.document(audits), 10.0, columns=1)
        assert (event.kind, event.subject) == ("rule", "r0")
        assert watch.take(2, self.document(audits), 11.0, columns=1) == []
        assert watch.answered.now.audit["rules"] == {"0": [200, 120]} and watch.answered.now.audit["dropped"] == 2
        other = self.watch()
        other.restore(watch.to_document())
        assert other.answered.now.audit == watch.answered.now.audit and set(other.wrong_rules()) == {"r0"}
        assert other.take(3, self.document(audits), 12.0, columns=1) == []

    def test_what_an_older_edgeml_has_counted_and_kept_has_none(self):
        watch, other = self.watch(), self.watch()
        document = self.document({})
        del document["audit"]
        watch.take(1, document, 10.0, columns=1)
        kept = watch.to_document()
        del kept["rules"], kept["answered"]["running"]["audit"]
        other.restore(kept)
        assert other.answered.now.audit == {} and other.wrong_rules() == {}

    @pytest.mark.parametrize(
        "audits",
        [
            {"tiers": {"rule": [1]}},
            {"rules": {"0": [1, 2]}},
            {"rules": {"0": [1.5, 1]}},
            {"rules": {"0": [1, -1]}},
            {"rules": {"0": 3}},
            {"dropped": -1},
            [],
        ],
    )
    def test_counts_that_are_none_are_refused(self, audits):
        watch = self.watch()
        with pytest.raises((ValueError, TypeError)):
            watch.take(1, self.document(audits), 10.0, columns=1)
        assert watch.answered.now.audit == {}
