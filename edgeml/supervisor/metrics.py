"""Everything that is counted, as Prometheus text.

1. Nothing is counted here: each scrape reads what the watch, the supervisor and the record say, and forgets it.
2. The registry is this object's own; the global one of ``prometheus_client`` has no part in it.
3. What is not known has no series: never NaN, never a 0 that nobody measured.
4. The number of series is bounded, whatever clients send and however many features a model has: of columns and fields
   the worst ``MOST`` have series, and ``edgeml_drift_columns`` and ``edgeml_violated_fields`` say how many there are.
   Digests stand in ``edgeml_release_info`` alone.
5. Texts that come from outside, such as names of unknown fields, are cut to ``LONGEST`` characters, and what cannot be
   encoded is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edgeml.bundles.state import STATES, State
from edgeml.errors import EdgemlError
from edgeml.supervisor.metric_names import METRICS
from edgeml.supervisor.rule_metrics import rule_series

# Columns, fields with their codes, and codes of requests that have series of their own.
MOST = 100
LONGEST = 120
TIERS = ("rule", "middle", "model", "fallback")
_LEVELS = {"none": 0, "small": 1, "drift": 2}
_MEASURES = ("accuracy", "precision", "recall", "f1")

Labels = tuple[str, ...]


class Metrics:
    """The metrics of one box.

    Args:
        reports: What is known of each model; see ``Watching.reports``.
        snapshots: What keeping that costs; see ``Watching.snapshots``.
        live: What the worker serves and how it is; see ``Supervisor.live``.
        state: Reads the record; may raise what ``Store.state`` does.
    """

    def __init__(
        self,
        *,
        reports: Callable[[], Mapping[str, Mapping[str, Any]]],
        snapshots: Callable[[], Mapping[str, Any]],
        live: Callable[[], Mapping[str, Any]],
        state: Callable[[], State],
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_BoxCollector(reports, snapshots, live, state))

    def text(self) -> bytes:
        """All series, as they are now, in the text format 0.0.4."""
        return generate_latest(self.registry)


class _BoxCollector(Collector):
    def __init__(
        self,
        reports: Callable[[], Mapping[str, Mapping[str, Any]]],
        snapshots: Callable[[], Mapping[str, Any]],
        live: Callable[[], Mapping[str, Any]],
        state: Callable[[], State],
    ) -> None:
        self._reports = reports
        self._snapshots = snapshots
        self._live = live
        self._state = state
        self._version = version("edgeml")

    def collect(self) -> Iterable[Metric]:
        series = _Series()
        series.put("edgeml_build_info", 1, self._version)
        live = self._live()
        _of_worker(series, live)
        try:
            state = self._state()
            broken = bool(live.get("degraded"))
        except (EdgemlError, OSError):
            state, broken = State(), True
        series.put("edgeml_store_degraded", broken)
        _of_record(series, state, live)
        _of_snapshots(series, self._snapshots())
        for model, report in self._reports().items():
            _of_report(series, model, report)
        return series.families()


class _Series:
    """Series by name of their metric, in the order of the table."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in METRICS}
        self._histograms: dict[Labels, tuple[list[tuple[str, float]], float]] = {}

    def put(self, name: str, value: float | None, *labels: str) -> None:
        """Adds a series; None, and what is no number, adds none. Counters of texts that are cut alike add up."""
        if value is None or not math.isfinite(value):
            return
        known, key = self._values[name], tuple(_clean(label) for label in labels)
        if METRICS[name].kind == "counter":
            known[key] = known.get(key, 0.0) + value
        else:
            known.setdefault(key, float(value))

    def put_histogram(self, buckets: Sequence[tuple[str, float]], total: float, *labels: str) -> None:
        self._histograms[tuple(_clean(label) for label in labels)] = list(buckets), total

    def families(self) -> Iterable[Metric]:
        for name, metric in METRICS.items():
            if metric.kind == "histogram":
                histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                for labels, (buckets, total) in self._histograms.items():
                    histogram.add_metric(labels, buckets, total)
                made: Metric = histogram
            else:
                family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                plain = family(name, metric.help, labels=metric.labels)
                for labels, value in self._values[name].items():
                    plain.add_metric(labels, value)
                made = plain
            if made.samples:
                yield made


def _clean(text: str) -> str:
    # Half a surrogate pair, which JSON can hold, has no place in UTF-8.
    whole = str(text).encode("utf-8", "replace").decode()
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"


def _of_worker(series: _Series, live: Mapping[str, Any]) -> None:
    worker = live.get("worker", {})
    if worker:
        series.put("edgeml_worker_up", worker["pid"] is not None)
        series.put("edgeml_worker_recent_deaths", worker["deaths"])
        series.put("edgeml_worker_resident_memory_bytes", worker["rss_bytes"] or None)
    for model, serves in live.get("models", {}).items():
        series.put("edgeml_model_ready", serves["ready"], model)
        series.put("edgeml_model_degraded", serves.get("degraded", False), model)


def _of_record(series: _Series, state: State, live: Mapping[str, Any]) -> None:
    for name, model in sorted(state.models.items()):
        series.put("edgeml_trial_active", model.candidate is not None, name)
        if model.candidate is not None:
            series.put("edgeml_trial_tries_left", model.tries_left, name)
        trial = live.get("trials", {}).get(name)
        if trial is not None:
            series.put("edgeml_trial_elapsed_seconds", trial["elapsed_seconds"], name)
            series.put("edgeml_trial_held", trial["signal"] == "ambiguous", name)
        for role in ("active", "candidate", "previous"):
            digest = getattr(model, role)
            if digest in model.releases:
                series.put("edgeml_release_info", 1, name, model.releases[digest].version, f"sha256:{digest}", role)
        states = [each.state for each in model.releases.values()]
        for each in STATES:
            series.put("edgeml_releases", states.count(each), name, each)


def _of_snapshots(series: _Series, snapshots: Mapping[str, Any]) -> None:
    series.put("edgeml_snapshot_today_bytes", snapshots["bytes_today"])
    series.put("edgeml_snapshot_written_bytes_total", snapshots["bytes_written"])
    series.put("edgeml_snapshot_daily_limit_bytes", snapshots["bytes_a_day"])
    series.put("edgeml_snapshot_failing", bool(snapshots["failure"]))


def _of_report(series: _Series, model: str, report: Mapping[str, Any]) -> None:
    which = (model, report["version"])
    series.put("edgeml_watched_since_timestamp_seconds", report["since"] or None, *which)
    series.put("edgeml_watch_state_bytes", report["monitors"]["state_bytes"], *which)
    for tier in TIERS:
        series.put("edgeml_answers_total", report["tiers"].get(tier, 0), *which, tier)
    for tier, figures in report["latency"].items():
        buckets = [(f"{end / 1e6:g}", float(count)) for end, count in figures["buckets"]]
        buckets.append(("+Inf", float(figures["count"])))
        series.put_histogram(buckets, figures["sum_us"] / 1e6, *which, tier)
    series.put("edgeml_missed_deadlines_total", report["missed"], *which)
    _of_validation(series, which, report["refused"], report["validation"])
    for standing in report["objectives"]:
        _of_objective(series, which, standing)
    _of_drift(series, which, report["drift"])
    _of_quality(series, which, report["quality"])
    for name, value, labels in rule_series(report["rules"]):
        series.put(name, value, *which, *labels)
    capture = report["capture"]
    for metric, counter in (("kept_records", "kept"), ("dropped_records", "dropped"), ("joined_labels", "labels")):
        series.put(f"edgeml_capture_{metric}_total", capture.get(counter), *which)
    if "failure" in capture:
        series.put("edgeml_capture_failing", bool(capture["failure"]), *which)


def _of_validation(series: _Series, which: Labels, refused: int, validation: Mapping[str, Any]) -> None:
    series.put("edgeml_refused_records_total", refused, *which)
    requests = validation["requests"].items()
    for code, count in sorted(requests, key=lambda each: (-each[1], each[0]))[:MOST]:
        series.put("edgeml_rejected_requests_total", count, *which, code)
    fields: dict[tuple[str, str], int] = {}
    codes: dict[str, int] = {}
    for field, counts in validation["fields"].items():
        for code, count in counts.items():
            key = _clean(field), code
            fields[key] = fields.get(key, 0) + count
            codes[code] = codes.get(code, 0) + count
    for code, count in sorted(codes.items(), key=lambda each: (-each[1], each[0]))[:MOST]:
        series.put("edgeml_violations_total", count, *which, code)
    for (field, code), count in sorted(fields.items(), key=lambda each: (-each[1], each[0]))[:MOST]:
        series.put("edgeml_field_violations_total", count, *which, field, code)
    series.put("edgeml_violated_fields", len(validation["fields"]), *which)
    series.put("edgeml_unknown_values_total", sum(validation["unknown"].values()), *which)


def _of_objective(series: _Series, which: Labels, standing: Mapping[str, Any]) -> None:
    which = (*which, standing["name"].removesuffix("_ms"))
    series.put("edgeml_objective_limit_seconds", standing["limit_ms"] / 1e3, *which)
    series.put("edgeml_objective_budget_ratio", standing["budget"], *which)
    series.put("edgeml_objective_budget_left_ratio", standing["left"], *which)
    for seconds, rate in standing["burn"].items():
        series.put("edgeml_objective_burn_rate", rate, *which, _duration(int(seconds)))
    for speed in ("fast", "slow"):
        series.put("edgeml_objective_burning", standing["level"] == speed, *which, speed)


def _duration(seconds: int) -> str:
    """A length of time as Prometheus writes it, in the largest unit that is whole."""
    unit, length = next(
        (unit, length) for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % length == 0
    )
    return f"{seconds // length}{unit}"


def _of_drift(series: _Series, which: Labels, drift: Mapping[str, Any]) -> None:
    columns = drift["columns"]
    series.put("edgeml_drift_columns", len(columns), *which)
    series.put("edgeml_drift_unwatched_features", drift["unwatched"], *which)
    series.put("edgeml_drift_rows", drift["rows"], *which)
    series.put("edgeml_drift_evidence_threshold_log10", drift["threshold"], *which)
    series.put("edgeml_drift_design_effect", drift.get("design_effect"), *which)
    alarms = [each["acknowledged"] for each in columns if each["latched"]]
    series.put("edgeml_drift_alarms", alarms.count(False), *which, "new")
    series.put("edgeml_drift_alarms", alarms.count(True), *which, "acknowledged")
    for column in columns[:MOST]:  # the worst come first
        here = (*which, column["name"])
        if column["watched"]:
            series.put("edgeml_drift_evidence_log10", column["evidence"] if column["rows"] else None, *here)
            series.put("edgeml_drift_effect", column["effect"], *here)
            series.put("edgeml_drift_level", _LEVELS[column["level"]], *here)
            series.put("edgeml_drift_alarm", column["latched"], *here)
            series.put("edgeml_drift_alarm_acknowledged", column["acknowledged"], *here)
        series.put("edgeml_column_psi", column["psi"] if column["rows"] else None, *here)
        if column["feature"] is not None and column["rows"]:
            series.put("edgeml_column_missing_ratio", column["missing"], *here)


def _of_quality(series: _Series, which: Labels, quality: Mapping[str, Any]) -> None:
    if not quality:
        return
    for kind in ("estimated", "realised"):
        found = quality[kind] or {}
        series.put(f"edgeml_quality_{kind}_rows", found.get("rows"), *which)
        for measure, figure in _measures(found).items():
            for suffix, end in (("", "value"), ("_low", "low"), ("_high", "high")):
                series.put(f"edgeml_quality_{kind}{suffix}_ratio", figure[end], *which, measure)
    for tier, errors in (quality["realised"] or {}).get("by_tier", {}).items():
        _of_errors(series, "realised", (*which, tier), errors)
    if quality["agreement"] is not None:
        series.put("edgeml_quality_estimate_agrees", quality["agreement"]["agrees"], *which)
    reference = quality["reference"] or {}
    for measure, value in _of_reference(reference.get("measures", {}).get("overall")).items():
        series.put("edgeml_quality_reference_ratio", value, *which, measure)
    for tier, errors in reference.get("by_tier", {}).items():
        _of_errors(series, "reference", (*which, tier), errors)


def _of_errors(series: _Series, kind: str, which: Labels, errors: Mapping[str, float]) -> None:
    for name in ("mean_absolute_error", "root_mean_squared_error"):
        series.put(f"edgeml_quality_{kind}_{name}", errors.get(name), *which)


def _measures(found: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    known: dict[str, Any] = {"accuracy": found.get("accuracy")} | found.get("macro", {})
    return {name: known[name] for name in _MEASURES if known.get(name) is not None}


def _of_reference(overall: Mapping[str, Any] | None) -> dict[str, float]:
    """Accuracy and the means over labels of a bundle's reference, as ``quality_report`` takes them of what is new."""
    if overall is None:
        return {}
    found = {"accuracy": float(overall["accuracy"])}
    for name in _MEASURES[1:]:
        known = [each[name] for each in overall["by_label"].values() if each[name] is not None]
        if known:
            found[name] = sum(known) / len(known)
    return found
