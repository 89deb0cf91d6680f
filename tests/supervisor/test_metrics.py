"""The metrics of a box: each of them, what has none, what is bounded, and what a collector reads of a running one."""

import math
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from sklearn.linear_model import LogisticRegression
from supervisor.metric_facts import Facts, doors, everything, normal, prices
from supervisor.running_store import running, until

from edgeml.builder import build
from edgeml.bundles.state import ModelState, State
from edgeml.bundles.store import Store
from edgeml.errors import StateError, Violation
from edgeml.supervisor.metric_names import METRICS
from edgeml.supervisor.metrics import LONGEST, MOST
from edgeml.supervisor.tokens import Tokens

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def read(text):
    """Families by name, as the table has it; a name that stands twice, or a series that does, is an error."""
    families, seen = {}, set()
    for family in parse(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name not in families, f"{name} stands twice"
        families[name] = family
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in seen, f"{key} stands twice"
            seen.add(key)
    return families


def value(families, name, **labels):
    """The one series that has these labels, among others; None where there is none."""
    for family in families.values():
        found = [each for each in family.samples if each.name == name and labels.items() <= each.labels.items()]
        if found:
            (sample,) = found
            return sample.value
    return None


@pytest.fixture(scope="module")
def full():
    return everything().text()


def test_each_metric_of_the_table_has_a_series_with_its_kind_labels_and_help(full):
    families = read(full)
    assert list(families) == list(METRICS)
    for name, named in METRICS.items():
        family = families[name]
        assert (family.type, family.documentation) == (named.kind, named.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(named.labels), sample
            assert math.isfinite(sample.value), sample


def test_the_series_say_what_the_sources_say(full):
    families = read(full)
    door = {"model": "door", "version": "1.0"}
    assert value(families, "edgeml_answers_total", **door, tier="model") == 18 * 600
    assert value(families, "edgeml_answers_total", model="price", tier="fallback") == 600
    assert value(families, "edgeml_missed_deadlines_total", **door) == 12 * 600
    assert value(families, "edgeml_refused_records_total", **door) == 1
    assert value(families, "edgeml_field_violations_total", **door, field="amount", code="wrong_type") == 1
    assert value(families, "edgeml_rejected_requests_total", **door, code="invalid_json") == 1
    assert value(families, "edgeml_unknown_values_total", **door) == 3
    assert value(families, "edgeml_objective_limit_seconds", **door, objective="p99") == 0.02
    assert value(families, "edgeml_objective_burn_rate", **door, objective="p99", window="5m") == pytest.approx(100)
    assert value(families, "edgeml_objective_burning", **door, objective="p99", speed="fast") == 1
    assert value(families, "edgeml_objective_burning", **door, objective="p99", speed="slow") == 0
    assert value(families, "edgeml_objective_budget_left_ratio", model="price", objective="p99") == 1
    assert value(families, "edgeml_drift_alarm", **door, column="amount") == 1
    assert value(families, "edgeml_drift_alarm_acknowledged", **door, column="amount") == 1
    assert value(families, "edgeml_drift_alarm", **door, column="country") == 0
    assert value(families, "edgeml_drift_level", **door, column="amount") == 2
    assert value(families, "edgeml_drift_alarms", **door, state="acknowledged") == 1
    assert value(families, "edgeml_drift_evidence_log10", **door, column="amount") > value(
        families, "edgeml_drift_evidence_threshold_log10", **door
    )
    assert value(families, "edgeml_quality_realised_ratio", **door, measure="accuracy") == 0.75
    low, high = (
        value(families, f"edgeml_quality_realised_{end}_ratio", **door, measure="accuracy") for end in ("low", "high")
    )
    assert low < 0.75 < high < value(families, "edgeml_quality_reference_ratio", **door, measure="accuracy") == 0.9
    assert value(families, "edgeml_quality_reference_ratio", **door, measure="recall") == 0.93  # one label has none
    assert value(families, "edgeml_quality_estimate_agrees", **door) == 0
    assert value(families, "edgeml_quality_realised_mean_absolute_error", model="price", tier="model") == 2
    assert value(families, "edgeml_quality_reference_root_mean_squared_error", model="price", tier="model") == 3
    assert value(families, "edgeml_capture_kept_records_total", **door) == 7
    assert value(families, "edgeml_capture_failing", **door) == 1
    assert value(families, "edgeml_snapshot_written_bytes_total") == 30
    assert value(families, "edgeml_worker_resident_memory_bytes") == 123_000_000
    assert value(families, "edgeml_model_degraded", model="price") == 1
    assert value(families, "edgeml_trial_held", model="door") == 1
    assert value(families, "edgeml_release_info", role="candidate", version="1.1", digest="sha256:" + "b" * 64) == 1
    assert value(families, "edgeml_releases", model="door", state="trial") == 1


def test_the_latency_is_a_histogram_that_adds_up(full):
    families = read(full)
    name = "edgeml_answer_duration_seconds"
    labels = {"model": "door", "tier": "model"}
    buckets = [
        (float(each.labels["le"]), each.value)
        for each in families[name].samples
        if each.name == f"{name}_bucket" and labels.items() <= each.labels.items()
    ]
    assert [end for end, _ in buckets] == sorted(end for end, _ in buckets)
    assert (buckets[0][0], buckets[-2][0], buckets[-1][0], len(buckets)) == (50e-6, 10.0, math.inf, 17)
    counts = dict(buckets)
    assert counts[0.0005] == 0 and counts[0.0025] == counts[0.1] == 3600 and counts[0.25] == 10_800
    assert value(families, f"{name}_count", **labels) == counts[math.inf] == 10_800
    assert value(families, f"{name}_sum", **labels) == pytest.approx(3600 * 0.001 + 7200 * 0.15)


def test_what_is_not_known_has_no_series():
    families = read(Facts({"door": doors()}).text())
    for name in (
        *("edgeml_worker_up", "edgeml_worker_resident_memory_bytes", "edgeml_watched_since_timestamp_seconds"),
        *("edgeml_answer_duration_seconds_bucket", "edgeml_drift_evidence_log10", "edgeml_drift_effect"),
        *("edgeml_column_psi", "edgeml_column_missing_ratio", "edgeml_drift_design_effect"),
        *("edgeml_quality_estimated_ratio", "edgeml_quality_realised_ratio", "edgeml_quality_estimate_agrees"),
        *("edgeml_capture_kept_records_total", "edgeml_capture_failing", "edgeml_trial_active"),
    ):
        assert [each for family in families.values() for each in family.samples if each.name == name] == [], name
    assert {each.value for each in families["edgeml_answers_total"].samples} == {0}
    assert "nan" not in Facts({"door": doors()}).text().lower()


def test_a_record_that_cannot_be_read_is_told_and_hides_nothing_else():
    def lost():
        raise StateError("record, backup and journal are lost")

    facts = everything()
    facts.metrics = type(facts.metrics)(
        reports=lambda: {"door": facts.watched["door"].told("door", "1.0")},
        snapshots=lambda: facts.snapshots,
        live=lambda: facts.live,
        state=lost,
    )
    families = read(facts.text())
    assert value(families, "edgeml_store_degraded") == 1
    assert value(families, "edgeml_answers_total", tier="model") == 18 * 600
    assert "edgeml_release_info" not in families


def test_a_store_that_takes_no_changes_is_told():
    facts = Facts(live={"degraded": "the disk is full"})
    assert value(read(facts.text()), "edgeml_store_degraded") == 1
    assert value(read(Facts().text()), "edgeml_store_degraded") == 0


def test_between_two_workers_there_is_none():
    facts = Facts(live={"worker": {"pid": None, "deaths": 3, "seconds": 0.0, "rss_bytes": 0}})
    families = read(facts.text())
    assert value(families, "edgeml_worker_up") == 0
    assert value(families, "edgeml_worker_recent_deaths") == 3
    assert value(families, "edgeml_worker_resident_memory_bytes") is None


HOSTILE = ['quo"te', "back\\slash", "new\nline", "", "\ud800 half", "\x00\r", "naïve 名前", '{a="b"} 1\n# HELP x']


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_outside_are_escaped(name):
    facts = Facts({name: doors()}, state=State(models=MappingProxyType({name: ModelState()})))
    door = facts.watched[name]
    door.validation.refused([Violation(0, name, "unknown_field", "a known field", "1")])
    door.validation.request_refused(name)
    door.report()
    families = read(facts.text())
    assert set(families) <= set(METRICS)
    (sample,) = families["edgeml_field_violations_total"].samples
    wanted = name.encode("utf-8", "replace").decode()
    assert sample.labels == {"model": wanted, "version": "1.0", "field": wanted, "code": "unknown_field"}
    (sample,) = families["edgeml_rejected_requests_total"].samples
    assert sample.labels["code"] == wanted


def test_long_names_are_cut_and_those_that_are_cut_alike_are_one():
    facts = Facts({"door": doors()})
    door = facts.watched["door"]
    for end in ("a", "b"):
        door.validation.refused([Violation(0, "x" * 1000 + end, "unknown_field", "a known field", "1")])
        door.validation.request_refused("x" * 1000 + end)
    door.report()
    families = read(facts.text())
    for name, label in (("edgeml_field_violations_total", "field"), ("edgeml_rejected_requests_total", "code")):
        (sample,) = families[name].samples
        assert sample.value == 2 and len(sample.labels[label]) == LONGEST


def test_however_many_fields_clients_make_up_the_series_are_bounded():
    facts = Facts({"door": doors()})
    door = facts.watched["door"]
    for place in range(3000):
        repeats = 5 if place == 250 else 1
        for _ in range(repeats):
            door.validation.refused([Violation(0, f"made up {place}", "unknown_field", "a known field", "1")])
        door.validation.request_refused(f"code {place}")
    door.report()
    families = read(facts.text())
    shown = families["edgeml_field_violations_total"].samples
    assert len(shown) == MOST and len(families["edgeml_rejected_requests_total"].samples) == MOST
    assert {each.value for each in shown if each.labels["field"] == "made up 250"} == {5}
    assert value(families, "edgeml_violations_total", code="unknown_field") == 3004
    assert value(families, "edgeml_violated_fields") == 501  # of which one stands for all further ones


def test_of_many_columns_the_worst_have_series_and_their_number_is_told():
    price = prices(columns=150)
    rng = np.random.default_rng(1)
    for _ in range(4):
        rows = {f"x{place}": rng.normal(0, 1, 600) for place in range(150)}
        price.answer(rows | {"x140": rng.normal(9, 1, 600)})
    families = read(Facts({"price": price}).text())
    assert value(families, "edgeml_drift_columns") == 150
    for name in ("edgeml_drift_alarm", "edgeml_drift_level", "edgeml_drift_evidence_log10", "edgeml_column_psi"):
        assert len(families[name].samples) == MOST, name
    assert value(families, "edgeml_drift_alarm", column="x140") == 1
    assert value(families, "edgeml_drift_alarms", state="new") == 1


def test_counters_go_on_when_another_process_counts():
    facts = Facts({"door": doors()})
    door = facts.watched["door"]
    door.answer(normal(600, 40, 1))
    first = read(facts.text())
    again = doors()
    door.life, door.latency, door.drift, door.labels = 2, again.latency, again.drift, again.labels
    door.answer(normal(100, 40, 2))
    then = read(facts.text())
    for name in ("edgeml_answers_total", "edgeml_answer_duration_seconds_count"):
        assert (value(first, name, tier="model"), value(then, name, tier="model")) == (600, 700)


def test_nothing_of_it_is_in_the_global_registry(full):
    facts = everything()
    assert facts.metrics.registry is not prometheus_client.REGISTRY
    assert facts.text() == full
    assert b"edgeml_" not in prometheus_client.generate_latest(prometheus_client.REGISTRY)
    assert "python_info" not in full and "process_" not in full.replace("worker process", "")


def test_the_supervisor_loads_the_library_with_the_first_scrape_only():
    code = (
        "import sys, edgeml.supervisor.box, edgeml.supervisor.metrics_plane as plane\n"
        "class Watching:\n    reports = staticmethod(dict)\n"
        "    def snapshots(self): return dict(bytes_today=0, bytes_written=0, bytes_a_day=1, failure='')\n"
        "from edgeml.bundles.state import State\n"
        "made = plane.MetricsPlane(Watching(), dict, State)\n"
        "print('prometheus_client' in sys.modules)\n"
        "print(made.scrape(None)[2].decode().splitlines()[2].split('{')[0])\n"
        "print('prometheus_client' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "edgeml_build_info", "True"]


def test_the_page_lists_each_metric_as_it_is():
    rows = re.findall(r"^\| `(edgeml_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", DOCS.read_text(), re.M)
    assert [(name, kind, re.findall(r"`(\w+)`", labels), text) for name, kind, labels, text in rows] == [
        (name, named.kind, list(named.labels), named.help) for name, named in METRICS.items()
    ]


def test_the_names_follow_the_conventions():
    for name, named in METRICS.items():
        assert re.fullmatch(r"edgeml_[a-z0-9]+(_[a-z0-9]+)*", name)
        assert name.endswith("_total") == (named.kind == "counter"), name
        assert named.help.endswith(".") and "\n" not in named.help
        assert not re.search(r"_(ms|us|milliseconds|kb|mb|percent)(_|$)", name), f"{name} has no base unit"


# A running box


@pytest.fixture(scope="module")
def bundle():
    rng = np.random.default_rng(1)

    def table(rows):
        X = pd.DataFrame({"amount": rng.normal(40, 12, rows).round(3), "age": rng.integers(18, 80, rows)})
        return X, np.where(X["amount"] / 12 + rng.normal(0, 1, rows) > 3.5, "late", "paid")

    X, y = table(2000)
    return build(
        LogisticRegression(max_iter=1000).fit(X, y),
        X,
        y,
        name="invoices",
        version="1",
        held_out=table(2000),
        slo={"p99_ms": 50.0, "deadline_ms": 200.0},
    )


def scrape(box, token="", accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"):
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(urllib.request.Request(f"{box.manage}/metrics", headers=headers)) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return answer.read().decode()


def test_a_running_box_is_scraped(tmp_path, bundle):
    root = tmp_path / "store"
    store = Store.create(root, keyring=None, allow_unsigned=True)
    digest = store.install(bundle)
    store.activate(digest, now=True)
    with running(root, manage_port=0) as box:
        for token in ("", "edgeml_wrong"):
            with (
                pytest.raises(urllib.error.HTTPError) as refused,
                urllib.request.urlopen(
                    urllib.request.Request(
                        f"{box.manage}/metrics", headers={"Authorization": f"Bearer {token}"} if token else {}
                    )
                ),
            ):
                pass
            assert refused.value.code == 401
        token = Tokens(root).create("prometheus", scopes=("read",))
        before = read(scrape(box, token))
        assert value(before, "edgeml_worker_up") == 1 and value(before, "edgeml_model_ready", model="invoices") == 1
        assert value(before, "edgeml_release_info", model="invoices", role="active", version="1") == 1
        rng = np.random.default_rng(5)
        rows = [{"amount": float(rng.normal(40, 12)), "age": int(rng.integers(18, 80))} for _ in range(900)]
        status, given = box.post("/v1/predict", {"records": rows})
        assert status == 200
        assert box.post("/v1/predict", {"records": [{"amount": "much", "age": 30}]})[0] == 400
        assert box.post("/v1/predict", b"{no json")[0] == 400
        told = [{"id": each["id"], "label": each["label"]} for each in given["predictions"][:100]]
        assert box.post("/v1/feedback", {"feedback": told})[0] == 200

        def counted():
            text = scrape(box, token)
            families = read(text)
            so = (
                value(families, "edgeml_answers_total", tier="model"),
                value(families, "edgeml_refused_records_total"),
                value(families, "edgeml_quality_realised_rows"),
            )
            return (text, families) if so == (900, 1, 100) else None

        text, families = until(counted, why="everything is counted")
        assert "nan" not in text.lower() and set(families) <= set(METRICS)
        assert digest.removeprefix("sha256:") in text and text.count(digest.removeprefix("sha256:")) == 1
        assert value(families, "edgeml_field_violations_total", field="amount", code="wrong_type") == 1
        assert value(families, "edgeml_rejected_requests_total", code="invalid_json") == 1
        assert value(families, "edgeml_answer_duration_seconds_count", tier="model") == 900
        assert value(families, "edgeml_quality_realised_ratio", measure="accuracy") == 1
        estimated = value(families, "edgeml_quality_estimated_ratio", measure="accuracy")
        assert estimated == pytest.approx(
            value(families, "edgeml_quality_reference_ratio", measure="accuracy"), abs=0.1
        )
        assert value(families, "edgeml_objective_budget_ratio", objective="deadline") == 0.001
        assert value(families, "edgeml_drift_alarm", column="amount") == 0
        assert value(families, "edgeml_worker_resident_memory_bytes") > 10_000_000
        assert value(families, "edgeml_watch_state_bytes", model="invoices") > 0
        head = urllib.request.Request(
            f"{box.manage}/metrics", method="HEAD", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(head) as answer:
            assert answer.status == 200 and answer.read() == b""
        written = value(families, "edgeml_snapshot_written_bytes_total")
        assert written == value(families, "edgeml_snapshot_today_bytes") == 0
