"""The one mutable record of a store: which bundles there are, and which of them answer.

1. It is small, and it is always replaced as a whole, so that every transition is as atomic as one rename.
2. It carries a generation that rises by one with each change, and a checksum over everything else. A record whose
   checksum is wrong is no record.
3. Digests stand as 64 hex digits; the ``sha256:`` of the outside world is put on by the properties that need it.
4. Nothing here decides anything: the rules are in ``transitions``.

States of a bundle: ``installed -> trial -> confirmed -> superseded``, and ``rejected`` from trial or on rollback.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from edgeml.bundles.documents import canonical, parse_canonical
from edgeml.errors import StateError

FORMAT = 1
MAX_BYTES = 32 * 1024
TRIES = 3
STATES = ("installed", "trial", "confirmed", "superseded", "rejected")

_HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle that is installed.

    Attributes:
        version: Its version label.
        state: One of ``STATES``.
        epoch: Its security epoch.
        envelopes: Hex digests of the signature envelopes that came with it.
        installed: When, in seconds since 1970 by the box's clock; for people.
        confirmed: Generation in which it was last confirmed; 0 for never.
        reason: Why it is rejected; empty otherwise.
        peak_bytes: Memory that loading it took on this box, in bytes; 0 where nobody measured.
    """

    version: str
    state: str = "installed"
    epoch: int = 0
    envelopes: tuple[str, ...] = ()
    installed: float = 0.0
    confirmed: int = 0
    reason: str = ""
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Denial:
    """A bundle that must not be activated again until a newer order names it.

    Attributes:
        seq: The order's number that was in force; only a higher one lifts the denial.
        reason: Why.
    """

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class ModelState:
    """What one model's name stands for on this box.

    Attributes:
        active: The confirmed bundle that answers; None where there is none.
        previous: The one to go back to.
        candidate: The one on trial.
        tries_left: How often the candidate may still be loaded before it is rejected.
        deaths_left: How often the process may still die under the active bundle before it is abandoned.
        last_resort: A bundle that the box has given up while there was nothing to go back to: as long as nothing is
            active, its rules and fallback answer, without its model.
        last_resort_tries: How often that may still be loaded before it is abandoned entirely.
        withdrawn: The bundle whose trial the box withdrew for a fault of its own, until anything else is decided.
        min_epoch: Bundles below this security epoch are not loaded.
        deploy_seq: Number of the newest order carried out.
        releases: Installed bundles by hex digest.
        denied: Denied digests.
    """

    active: str | None = None
    previous: str | None = None
    candidate: str | None = None
    tries_left: int = 0
    deaths_left: int = TRIES
    last_resort: str | None = None
    last_resort_tries: int = 0
    withdrawn: str | None = None
    min_epoch: int = 0
    deploy_seq: int = 0
    releases: Mapping[str, Release] = field(default_factory=lambda: MappingProxyType({}))
    denied: Mapping[str, Denial] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def kept(self) -> frozenset[str]:
        """Hex digests that nothing may remove: active, previous, candidate, last resort."""
        names = (self.active, self.previous, self.candidate, self.last_resort)
        return frozenset(digest for digest in names if digest is not None)


@dataclass(frozen=True, slots=True)
class State:
    """The whole record.

    Attributes:
        generation: Rises by one with each change.
        keyring: Hex digest of the keyring that is trusted, kept among the blobs; None where there is none.
        allow_unsigned: Whether the operator has opted out of signatures.
        require_order: Whether activation over the network needs a signed order.
        device: This box's name in orders; empty where it has none.
        last_time: Latest time seen, in seconds since 1970: a clock that starts in 1970 must not make old orders new.
        models: By name.
    """

    generation: int = 0
    keyring: str | None = None
    allow_unsigned: bool = False
    require_order: bool = False
    device: str = ""
    last_time: float = 0.0
    models: Mapping[str, ModelState] = field(default_factory=lambda: MappingProxyType({}))

    def model(self, name: str) -> ModelState:
        """The state of a model, empty where the box does not know it."""
        return self.models.get(name, ModelState())

    def with_model(self, name: str, model: ModelState) -> State:
        """The same with one model replaced."""
        return replace(self, models=MappingProxyType(dict(self.models) | {name: model}))

    def find(self, digest: str) -> str | None:
        """Name of the model that has a bundle installed.

        Args:
            digest: Hex digest.
        """
        return next((name for name, model in self.models.items() if digest in model.releases), None)

    def to_bytes(self) -> bytes:
        """The record as it stands on the disk.

        Raises:
            StateError: It is larger than a record may be.
        """
        data = self._written()
        if len(data) > MAX_BYTES:
            raise StateError(
                f"the store's state has {len(data)} bytes, and at most {MAX_BYTES} are written; remove releases "
                "with 'edgeml gc --keep 0'"
            )
        return data

    @property
    def size(self) -> int:
        """Bytes that the record takes on the disk, also where that is more than it may."""
        return len(self._written())

    def _written(self) -> bytes:
        document = _document(self)
        document["check"] = _check(document)
        return canonical(document, "the store's state", error=StateError)

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """Reads a record.

        Raises:
            StateError: It is not a whole record, or one of a newer edgeml.
        """
        document = parse_canonical(data, "the store's state", error=StateError)
        check = document.pop("check", None)
        if check != _check(document):
            raise StateError("the store's state is damaged: its checksum does not fit")
        if document.get("format") != FORMAT:
            raise StateError(f"the store has format {document.get('format')!r}; this edgeml reads {FORMAT}")
        try:
            return _state(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"the store's state does not make sense: {error!r}") from error


def bare(digest: str) -> str:
    """The 64 hex digits of a digest that may carry ``sha256:`` in front.

    Raises:
        StateError: It is no sha256.
    """
    found = digest.removeprefix("sha256:")
    if not _HEX.match(found):
        raise StateError(f"{digest[:80]!r} is no digest; give sha256: and 64 hex digits")
    return found


def _check(document: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(document, "the store's state", error=StateError)).hexdigest()


def _document(state: State) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "generation": state.generation,
        "keyring": state.keyring,
        "allow_unsigned": state.allow_unsigned,
        "require_order": state.require_order,
        "device": state.device,
        "last_time": state.last_time,
        "models": {name: _model_document(model) for name, model in state.models.items()},
    }


def _model_document(model: ModelState) -> dict[str, Any]:
    # What few boxes ever have stands there only where it is: records stay small, and as earlier edgemls wrote them.
    seldom = {
        name: value
        for name, value in (
            ("last_resort", model.last_resort),
            ("last_resort_tries", model.last_resort_tries if model.last_resort else None),
            ("withdrawn", model.withdrawn),
        )
        if value is not None
    }
    return seldom | {
        "active": model.active,
        "previous": model.previous,
        "candidate": model.candidate,
        "tries_left": model.tries_left,
        "deaths_left": model.deaths_left,
        "min_epoch": model.min_epoch,
        "deploy_seq": model.deploy_seq,
        "releases": {
            digest: {
                "version": release.version,
                "state": release.state,
                "epoch": release.epoch,
                "envelopes": list(release.envelopes),
                "installed": release.installed,
                "confirmed": release.confirmed,
                "reason": release.reason,
                "peak_bytes": release.peak_bytes,
            }
            for digest, release in model.releases.items()
        },
        "denied": {digest: {"seq": denial.seq, "reason": denial.reason} for digest, denial in model.denied.items()},
    }


def _state(document: dict[str, Any]) -> State:
    return State(
        generation=int(document["generation"]),
        keyring=_digest(document["keyring"]),
        allow_unsigned=bool(document["allow_unsigned"]),
        require_order=bool(document["require_order"]),
        device=str(document["device"]),
        last_time=float(document["last_time"]),
        models=MappingProxyType({name: _model(found) for name, found in document["models"].items()}),
    )


def _model(document: dict[str, Any]) -> ModelState:
    releases = {}
    for digest, found in document["releases"].items():
        if found["state"] not in STATES:
            raise ValueError(f"state {found['state']!r}")
        releases[bare(digest)] = Release(**found | {"envelopes": tuple(map(bare, found["envelopes"]))})
    model = ModelState(
        active=_digest(document["active"]),
        previous=_digest(document["previous"]),
        candidate=_digest(document["candidate"]),
        tries_left=int(document["tries_left"]),
        deaths_left=int(document["deaths_left"]),
        last_resort=_digest(document.get("last_resort")),
        last_resort_tries=int(document.get("last_resort_tries", 0)),
        withdrawn=_digest(document.get("withdrawn")),
        min_epoch=int(document["min_epoch"]),
        deploy_seq=int(document["deploy_seq"]),
        releases=MappingProxyType(releases),
        denied=MappingProxyType({bare(digest): Denial(**found) for digest, found in document["denied"].items()}),
    )
    missing = model.kept - releases.keys()
    if missing:
        raise ValueError(f"{min(missing)[:12]} is named and not installed")
    return model


def _digest(value: str | None) -> str | None:
    return None if value is None else bare(value)
