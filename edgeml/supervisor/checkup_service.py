"""Check-up of the service: whether one runs, whether its worker serves what the record says, trials left over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeml.supervisor.channel import live
from edgeml.supervisor.finding import Finding, Patient
from edgeml.supervisor.held import held
from edgeml.supervisor.left_behind import ALONE, runs_alone

ANSWER_S = 5.0
_START = "edgeml serve --store {root}, or: systemctl start edgeml"


def check_service(patient: Patient) -> Iterator[Finding]:
    """The supervisor, its worker, and bundles on trial."""
    _, state = patient.whole
    told = live(patient.root, timeout_s=ANSWER_S)
    if told is None:
        alone = runs_alone(patient.root)
        yield Finding(
            "service",
            "warning",
            "the worker is alone: " + ALONE if alone else "no supervisor runs on this store",
            "nobody tells it of a change, or starts it again when it dies" if alone else "nothing answers",
            _START.format(root=patient.root),
        )
        for name, model in sorted(state.models.items()):
            if model.candidate is not None:
                yield Finding(
                    "trial",
                    "warning",
                    f"{name} {model.releases[model.candidate].version} is on trial, {model.tries_left} attempts left",
                    "nobody watches it, so nobody will confirm it or go back",
                    "start the service, or decide yourself: edgeml confirm, edgeml rollback",
                )
        return
    if told.get("degraded"):
        yield Finding(
            "service",
            "danger",
            f"its store is degraded: {told['degraded']}",
            "what is in memory goes on answering; changes are refused, or not written down",
            "see to the disk, then start the service again",
        )
    if told.get("reason"):
        yield Finding("service", "danger", str(told["reason"]), "nobody can say what answers", "see the service's log")
        return
    deaths = told.get("worker", {}).get("deaths", 0)
    if deaths:
        yield Finding(
            "service",
            "warning",
            f"the worker died {deaths} times",
            "it is started again each time, later and later",
            "see 'edgeml history' and the service's log for how it died",
        )
    for name, reason in held(told).items():
        yield Finding(
            "trial",
            "warning",
            f"the trial of {name} is held: {reason}",
            "it may not be the bundle's fault, so nobody confirms it or goes back by itself",
            f"see what is wrong, then decide yourself: edgeml confirm {name}, edgeml rollback {name}",
        )
    for name, model in sorted(state.models.items()):
        wanted = model.candidate or model.active or model.last_resort
        if wanted is not None:
            yield _served(name, f"sha256:{wanted}", told.get("models", {}).get(name))


def _served(name: str, wanted: str, found: dict[str, Any] | None) -> Finding:
    if found is not None and found.get("degraded"):
        return Finding(
            "service",
            "danger",
            f"{name} {str(found.get('digest'))[:19]} answers without its model: {found.get('reason')}",
            "its rules answer, and for everything else its fallback, marked as degraded",
            "install and activate a bundle that works on this box; see 'edgeml history' and the service's log",
        )
    if found is None or not found.get("ready"):
        reason = (found or {}).get("reason") or "it has not loaded it"
        return Finding(
            "service",
            "danger",
            f"the worker does not serve {name}: {reason}",
            "requests for it are refused",
            "edgeml rollback, where an earlier bundle answered; see the service's log",
        )
    if found.get("digest") != wanted:
        return Finding(
            "service",
            "warning",
            f"the worker serves {name} {str(found.get('digest'))[:19]}, and the record says {wanted[:19]}",
            "a swap is under way, or the bundle of the record cannot be loaded",
            "look again in a moment; then see the service's log",
        )
    return Finding("service", "ok", f"the worker serves {name} {wanted[:19]}")
