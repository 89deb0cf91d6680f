"""A box of which everything is known: the sources of all metrics, without a process."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeml.builder.drift_reference import category_reference, number_reference
from edgeml.bundles.state import ModelState, Release, State
from edgeml.errors import Violation
from edgeml.kernels.histogram import Histogram
from edgeml.monitor.audit_counts import AuditCounts
from edgeml.monitor.drift import DriftMonitor
from edgeml.monitor.drift_layout import Layout
from edgeml.monitor.feedback_counts import FeedbackCounts
from edgeml.monitor.rule_promises import rule_promises
from edgeml.monitor.validation import Validation
from edgeml.monitor.watch import Watch, WatchSettings
from edgeml.monitor.watch_report import watch_report
from edgeml.runtime.reader import RecordReader
from edgeml.runtime.schema import Schema
from edgeml.supervisor.metrics import Metrics

NOW = 1_790_000_000.0
ACTIVE, CANDIDATE, PREVIOUS = "a" * 64, "b" * 64, "c" * 64
LABELLED = {
    "labels": ["no", "yes"],
    "rows": 1000,
    "held_out": True,
    "calibration": {"scored": True, "rows": 1000, "error": 0.01, "calibrated_error": 0.01},
    "rules": [{"id": "door", "label": 0, "true": [90, 10]}],
    "prior": {"label": 0, "true": [600, 400]},
    "confusion": {"model,0,0": 540, "model,0,1": 60, "model,1,0": 40, "model,1,1": 360},
    "measures": {
        "overall": {
            "rows": 1000,
            "accuracy": 0.9,
            "by_label": {
                "no": {"precision": 0.9, "recall": 0.93, "f1": 0.915},
                "yes": {"precision": 0.9, "recall": None, "f1": 0.88},
            },
        }
    },
}
NUMBERS = {
    "labels": None,
    "rows": 1000,
    "held_out": True,
    "calibration": {"scored": False, "rows": 0, "error": None, "calibrated_error": None},
    "rules": [],
    "prior": {"label": None, "true": []},
    "errors": {"model": [1000, 2000.0, 9000.0]},
}


class Watched:
    """A bundle that is watched, and the process that counts its answers."""

    def __init__(self, schema: dict[str, Any], features: dict[str, Any], quality: dict[str, Any]) -> None:
        self.schema = {"features": schema}
        self.reference = {"format": 1, "rows": 1000, "features": features, "quality": quality}
        self.layout = Layout.of(self.reference, self.schema)
        objectives = {"p99_ms": 20.0, "deadline_ms": 100.0}
        self.now = NOW
        promises = rule_promises({"rules": quality["rules"]}, quality)
        self.watch = Watch(
            "d" * 64, self.layout, objectives, WatchSettings(), promises=promises, clock=lambda: self.now
        )
        self.audits = AuditCounts()
        self.switched: dict[str, Any] = {}
        self.latency = {"model": Histogram()}
        self.validation = Validation()
        self.unknown: dict[str, int] = {}
        self.capture: dict[str, Any] = {}
        self.missed = 0
        self.life = 1
        self.drift = DriftMonitor(self.layout)
        self.feedback = FeedbackCounts()
        self.labels = [[0, 0, 0] for _ in quality["labels"] or []]

    def answer(self, rows: dict[str, Any], *, ms: float = 1.0, tier: str = "model") -> None:
        """Counts answers to these columns, and reports."""
        count = len(next(iter(rows.values())))
        reader = RecordReader(Schema.from_dict(self.schema))
        frame = reader.new_frame(count)
        reader.read_columns(frame, {name: np.asarray(values) for name, values in rows.items()})
        self.drift.counters.observe(
            frame.capsule, tiers=np.ones(count, np.uint8), rule_index=np.full(count, -1, np.int32)
        )
        self.latency.setdefault(tier, Histogram()).record_many(int(ms * 1e6), count)
        self.missed += count * (ms > 100)
        for label in self.labels:
            label[0] += count
            label[1] += int(count * 0.9 * 2**30)
        self.report()

    def report(self) -> None:
        """What a worker sends every few seconds."""
        self.now += 60.0
        self.watch.take(
            self.life,
            {
                "birth": 1,
                "latency": {tier: b64encode(each.to_bytes()).decode() for tier, each in self.latency.items()},
                "missed": self.missed,
                "validation": self.validation.document(),
                "unknown": self.unknown,
                "capture": {key: value for key, value in self.capture.items() if key != "failure"},
                "quality": {
                    "labels": self.labels,
                    "unscored": 0,
                    "rules": [7] if self.labels else [],
                    "fallback": 0,
                    "feedback": self.feedback.document(),
                },
                "drift": self.drift.document(),
                "audit": self.audits.document(),
            },
            self.now,
            columns=len(self.layout.columns),
        )

    def told(self, model: str, version: str) -> dict[str, Any]:
        """As ``Watching.reports`` tells it."""
        report = watch_report(
            self.watch,
            now=self.now,
            columns=len(self.layout.columns),
            budget_days=30.0,
            schema=self.schema,
            reference=self.reference,
            switched=self.switched,
        )
        failure = {"failure": self.capture["failure"]} if "failure" in self.capture else {}
        own = {"model": model, "version": version, "monitors": {"state_bytes": self.watch.state_bytes}}
        return own | report | {"capture": report["capture"] | failure}


def doors() -> Watched:
    """A classifier of two columns."""
    rng = np.random.default_rng(1)
    countries = category_reference(rng.choice(3, 5000, p=[0.6, 0.3, 0.1]).astype(np.int32), ["DE", "FR", "AT"])
    return Watched(
        [
            {"name": "amount", "kind": "number", "missing": "allow"},
            {"name": "country", "kind": "category", "levels": ["DE", "FR", "AT"], "unseen": "allow"},
        ],
        {"amount": number_reference(rng.normal(40, 12, 5000)), "country": countries},
        LABELLED,
    )


def prices(columns: int = 1) -> Watched:
    """A regressor."""
    rng = np.random.default_rng(2)
    names = [f"x{place}" for place in range(columns)]
    return Watched(
        [{"name": name, "kind": "number", "missing": "allow"} for name in names],
        {name: number_reference(rng.normal(0, 1, 2000)) for name in names},
        NUMBERS,
    )


def normal(rows: int, mean: float, seed: int) -> dict[str, Any]:
    """Rows of ``doors``."""
    rng = np.random.default_rng(seed)
    country = rng.choice(["DE", "FR", "AT"], rows, p=[0.6, 0.3, 0.1]).astype(object)
    return {"amount": rng.normal(mean, 12, rows), "country": country}


@dataclass
class Facts:
    """The sources, to be changed by a test, and the metrics over them."""

    watched: dict[str, Watched] = field(default_factory=dict)
    snapshots: dict[str, Any] = field(
        default_factory=lambda: {"bytes_today": 10, "bytes_written": 30, "bytes_a_day": 1000, "failure": ""}
    )
    live: dict[str, Any] = field(default_factory=dict)
    state: State = State()

    def __post_init__(self) -> None:
        self.metrics = Metrics(
            reports=lambda: {name: each.told(name, "1.0") for name, each in self.watched.items()},
            snapshots=lambda: self.snapshots,
            live=lambda: self.live,
            state=lambda: self.state,
        )

    def text(self) -> str:
        """A scrape."""
        return self.metrics.text().decode()


def everything() -> Facts:
    """A box on which each metric has a series: two models, a trial, labels, violations, capture, drift."""
    door, price = doors(), prices()
    for seed in range(6):
        door.answer(normal(600, 40, seed), ms=1.0)
    for seed in range(12):
        door.answer(normal(600, 70, seed), ms=150.0)
    door.watch.acknowledge("amount", door.now)
    door.validation.refused([Violation(0, "amount", "wrong_type", "a number", "'a lot'")])
    door.validation.request_refused("invalid_json")
    door.unknown["Country"] = 3
    door.capture = {"kept": 7, "dropped": 2, "labels": 1, "failure": "the disk is full"}
    for place in range(200):
        door.feedback.label("model", 0, int(place % 4 == 0), chance=0.9)
    for place in range(100):
        door.feedback.label("rule", 0, int(place % 4 == 0), rule=0)
        door.audits.audited("rule", place % 4 == 0, rule=0)
    door.audits.dropped(3)
    door.audits.failed(2)
    door.switched = {"door": {"disabled": True, "at": NOW, "who": "cli", "reason": ""}}
    door.report()
    price.feedback.error("model", 2.0)
    price.answer({"x0": np.random.default_rng(3).normal(0, 1, 600)}, tier="fallback")
    releases = {
        ACTIVE: Release("1.0", "confirmed"),
        CANDIDATE: Release("1.1", "trial"),
        PREVIOUS: Release("0.9", "superseded"),
    }
    model = ModelState(ACTIVE, PREVIOUS, CANDIDATE, tries_left=2, releases=MappingProxyType(releases))
    live = {
        "models": {
            "door": {"digest": f"sha256:{CANDIDATE}", "ready": True, "reason": ""},
            "price": {"digest": f"sha256:{ACTIVE}", "ready": False, "reason": "no model", "degraded": True},
        },
        "worker": {"pid": 7, "deaths": 1, "seconds": 9.0, "rss_bytes": 123_000_000},
        "trials": {"door": {"signal": "ambiguous", "elapsed_seconds": 61.5}},
        "degraded": "",
    }
    return Facts({"door": door, "price": price}, live=live, state=State(models=MappingProxyType({"door": model})))
