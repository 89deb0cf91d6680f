"""Releases, history and the box as JSON-ready documents. Every state carries its reason."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from edgeml.bundles.state import ModelState, Release
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError

MOST_ENTRIES = 1000


def report_model(model: ModelState, name: str, live: dict[str, Any] | None) -> dict[str, Any]:
    """One model.

    Args:
        model: What the record says.
        name: Its name.
        live: What the worker says; None where none runs.
    """
    newest_first = sorted(model.releases.items(), key=lambda each: (each[1].installed, each[0]), reverse=True)
    return {
        "name": name,
        "active": _full(model.active),
        "previous": _full(model.previous),
        "candidate": _full(model.candidate),
        "tries_left": model.tries_left if model.candidate else None,
        "trial": (live or {}).get("trials", {}).get(name) if model.candidate else None,
        "serves": (live or {}).get("models", {}).get(name),
        "min_epoch": model.min_epoch,
        "deploy_seq": model.deploy_seq,
        "releases": [_release(model, digest, release) for digest, release in newest_first],
    }


def report_box(store: Store, live: dict[str, Any] | None) -> dict[str, Any]:
    """The box: who it trusts, what it holds, what is served.

    Args:
        store: The store.
        live: What the worker says; None where none runs.
    """
    state = store.state()
    keyring: dict[str, Any] | None = None
    # A keyring that cannot be read must not hide everything else.
    with suppress(EdgemlError, OSError):
        found = store.trust.keyring(state)
        if found is not None:
            keyring = {
                "version": found.version,
                "threshold": found.threshold,
                "expires": found.expires,
                "keys": sorted(key.keyid for key in found.keys),
            }
    room = store.blobs.room()
    return {
        "generation": state.generation,
        "device": state.device,
        "allow_unsigned": state.allow_unsigned,
        "require_order": state.require_order,
        "keyring": keyring,
        "storage": {
            "used_bytes": store.blobs.used(),
            "quota_bytes": store.limits.quota_bytes,
            "incoming_bytes": sum(store.incoming.waiting().values()),
            "incoming_quota_bytes": store.limits.incoming_bytes,
            "free_bytes": room.free_bytes,
            "free_files": room.free_files,
        },
        "problems": [each for each in (store.broken, store.journal.failure) if each],
        "models": {
            name: {"active": _full(model.active), "candidate": _full(model.candidate)}
            for name, model in sorted(state.models.items())
        },
        "live": live,
    }


def history_of(store: Store, name: str, limit: int) -> list[dict[str, Any]]:
    """Newest first."""
    return [
        {
            "id": entry.id,
            "at": entry.at,
            "who": entry.who,
            "kind": entry.event.kind,
            "digest": _full(entry.event.digest),
            "reason": entry.event.reason,
            "signal": entry.event.signal,
            "generation": entry.generation,
        }
        for entry in store.journal.entries(model=name, limit=max(1, min(limit, MOST_ENTRIES)))
    ]


def _release(model: ModelState, digest: str, release: Release) -> dict[str, Any]:
    denial = model.denied.get(digest)
    return {
        "digest": f"sha256:{digest}",
        "version": release.version,
        "state": release.state,
        "reason": denial.reason if denial is not None else release.reason,
        "denied": denial is not None,
        "security_epoch": release.epoch,
        "installed": release.installed,
        "confirmed": bool(release.confirmed),
        "peak_bytes": release.peak_bytes or None,
        "signatures": len(release.envelopes),
    }


def _full(digest: str | None) -> str | None:
    return f"sha256:{digest}" if digest else None
