"""Check-up of trust: the keyring and its expiry, the opt-out, whether what answers is still trusted, what is denied."""

from __future__ import annotations

from collections.abc import Iterator

from edgeml.bundles.keyring import Keyring, time_of
from edgeml.bundles.state import TRIES
from edgeml.errors import BundleError
from edgeml.supervisor.finding import Finding, Patient

SOON_S = 30 * 24 * 3600
_SUCCESSOR = "give the box its successor: edgeml keyring --after ... on a workstation, then edgeml trust KEYRING here"


def check_trust(patient: Patient) -> Iterator[Finding]:
    """Whom the box trusts, and until when."""
    store, state = patient.whole
    if state.allow_unsigned:
        yield Finding(
            "unsigned",
            "warning",
            "bundles need no signature on this box, as its operator has decided",
            "whoever can install a bundle decides what runs",
            "give it a keyring with 'edgeml trust KEYRING', then: edgeml settings --no-allow-unsigned",
        )
    try:
        keyring = store.trust.keyring(state)
    except (BundleError, OSError) as error:
        yield Finding(
            "keyring",
            "danger",
            f"it cannot be read: {error}",
            "nothing that is signed can be loaded or installed",
            "give the same keyring again: edgeml trust KEYRING",
        )
        return
    if keyring is None:
        return
    yield _dated(keyring, store.now(state))
    try:
        store.trust.check_answering(state, keyring, max_bytes=store.limits.bundle.manifest_bytes)
    except (BundleError, OSError) as error:
        yield Finding("trust", "danger", str(error), "it will not be loaded again", "edgeml install FILE, signed anew")
    if state.require_order and not state.device:
        yield Finding(
            "orders",
            "warning",
            "orders are required, and this box has no name",
            "only orders for all devices ('*') can be carried out",
            "edgeml settings --device NAME",
        )


def check_releases(patient: Patient) -> Iterator[Finding]:
    """What answers, what there is to go back to, deaths that were counted, what is denied."""
    _, state = patient.whole
    if not state.models:
        yield Finding("releases", "warning", "no bundle is installed", "nothing can answer", "edgeml install FILE")
    for name, model in sorted(state.models.items()):
        if model.active is None and model.candidate is None:
            given_up = model.releases.get(model.last_resort or "")
            yield Finding(
                "releases",
                "warning",
                f"{name}: no bundle is active" + (f"; {given_up.version} was given up" if given_up else ""),
                "its rules and fallback answer, without its model" if given_up else "nothing answers",
                "edgeml activate WHICH",
            )
            continue
        parts = [
            f"{word} {model.releases[digest].version}"
            for word, digest in (("active", model.active), ("on trial", model.candidate), ("before", model.previous))
            if digest is not None
        ]
        if model.deaths_left < TRIES:
            yield Finding(
                "releases",
                "warning",
                f"{name}: the process died {TRIES - model.deaths_left} times under the active bundle",
                f"after {TRIES} deaths it is gone back from",
                "see 'edgeml history' for how it died; 'edgeml rollback' goes back now",
            )
        else:
            yield Finding("releases", "ok", f"{name}: {', '.join(parts)}")
        if model.denied:
            versions = [model.releases[each].version for each in model.denied if each in model.releases]
            yield Finding(
                "denied",
                "ok",
                f"{name}: {len(model.denied)} denied" + (f" ({', '.join(sorted(versions))})" if versions else ""),
                remedy="a newer order, or 'edgeml deny --lift WHICH', lets one in again",
            )


def _dated(keyring: Keyring, now: float) -> Finding:
    text = f"version {keyring.version}, {keyring.threshold} of {len(keyring.keys)} keys must sign"
    if keyring.expires is None:
        return Finding("keyring", "ok", f"{text}, never expires")
    left = time_of(keyring.expires, "the keyring's expires") - now
    text += f", expires {keyring.expires}"
    if left <= 0:
        return Finding(
            "keyring", "warning", text, "nothing new is taken; what is installed goes on answering", _SUCCESSOR
        )
    if left < SOON_S:
        return Finding(
            "keyring", "warning", f"{text}: in {left / 86400:.0f} days", "then nothing new is taken", _SUCCESSOR
        )
    return Finding("keyring", "ok", text)
