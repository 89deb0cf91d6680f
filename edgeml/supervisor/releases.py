"""What may be done about releases, for the management plane and for commands on the box alike.

1. What is refused is refused at once, by the same rules as on the disk (``transitions``), before any long work begins.
2. An activation is: admission in a throw-away process, one replacement of the record, and the worker follows. A bundle
   that admission refuses is denied, unless the box was at fault.
3. One change for each model at a time; a second one is a conflict. Asking for the same again gives the same operation.
4. Going back never waits. An activation that has not changed the record yet is called off by it.
5. Over the network an activation needs a signed order where the operator has said so (``require_order``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from edgeml.bundles import transitions
from edgeml.bundles.keyring import Keyring
from edgeml.bundles.lookup import find_release
from edgeml.bundles.order import Order
from edgeml.bundles.state import ModelState, State, bare
from edgeml.bundles.store import Store
from edgeml.errors import AdmissionError, ConflictError, NotInstalledError, OrderError, SignatureError, StoreError
from edgeml.supervisor.operations import DONE, RUNNING, Operation, Operations
from edgeml.supervisor.release_report import history_of, report_box, report_model

CARD = "CARD.md"
MOST_PULLS = 2


class Measured(Protocol):
    """What admission has measured."""

    @property
    def peak_bytes(self) -> int:
        """Memory that loading the bundle took, in bytes."""
        ...


Admit = Callable[[str], Measured]
Changed = Callable[[str], dict[str, Any]]
Live = Callable[[], dict[str, Any] | None]
Pull = Callable[[str, Callable[[str], None]], str]


class Releases:
    """The releases of one store.

    Args:
        store: The store.
        admit: Tries a bundle, by its hex digest; raises AdmissionError where the bundle is at fault and OSError where
            the box is.
        changed: Makes the worker follow the record; gives what it serves then, as ``live``.
        live: What the worker serves: ``{"models": {name: {"digest", "ready", "reason"}}, "trials": {name: ...}}``;
            None where none runs.
        pull: Fetches a bundle from a registry and installs it, telling its progress; gives its hex digest.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        *,
        admit: Admit,
        changed: Changed,
        live: Live,
        pull: Pull | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.operations = Operations(clock)
        self._admit = admit
        self._changed = changed
        self._live = live
        self._pull = pull

    # Reading

    def live(self) -> dict[str, Any]:
        """What the worker serves and how it is; empty where nobody knows. See ``Supervisor.live``."""
        return self._live() or {}

    def list(self) -> dict[str, Any]:
        """Every model, JSON-ready."""
        state, live = self.store.state(), self._live()
        return {name: report_model(model, name, live) for name, model in sorted(state.models.items())}

    def model(self, name: str) -> dict[str, Any]:
        """One model, JSON-ready.

        Raises:
            NotInstalledError: The box does not know it.
        """
        return report_model(_model(self.store.state(), name), name, self._live())

    def status(self) -> dict[str, Any]:
        """The box, JSON-ready."""
        return report_box(self.store, self._live())

    def history(self, name: str, limit: int = 100) -> Sequence[dict[str, Any]]:
        """What happened to a model, newest first, JSON-ready."""
        _model(self.store.state(), name)
        return history_of(self.store, name, limit)

    def card(self, name: str, wanted: str = "") -> bytes:
        """A model card.

        Args:
            name: Name of the model.
            wanted: Which release; empty for the one that answers.

        Raises:
            NotInstalledError: There is no such release, or it has no card.
        """
        state = self.store.state()
        model = _model(state, name)
        digest = find_release(state, wanted, name) if wanted else model.candidate or model.active
        if digest is None:
            raise NotInstalledError(f"{name}: no bundle is active; name one of its releases")
        member = self.store.manifest(digest).members.get(CARD)
        if member is None:
            raise NotInstalledError(f"{name} {model.releases[digest].version} has no card; build its bundle again")
        return self.store.blobs.read(bare(member.digest), max(member.size, 1))

    # Changing

    def activate(
        self,
        wanted: str,
        *,
        model: str | None = None,
        order: bytes | None = None,
        now: bool = False,
        who: str,
        over_network: bool = True,
    ) -> Operation:
        """Puts a release on trial, or with ``now`` makes it the active one.

        Args:
            wanted: Digest, version label, or ``name:version``.
            model: Only a release of this model.
            order: A signed order, as it was sent.
            now: Whether the trial is left out.
            who: For the journal.
            over_network: Whether the operator's wish for signed orders counts.

        Raises:
            NotInstalledError: There is no such release.
            OrderError: An order is missing, bad or replayed; the release is denied; its epoch is too low.
            SignatureError: Not enough trusted keys have signed the order.
            ConflictError: Another change is under way, or another release is on trial.
        """
        state = self.store.state()
        digest = find_release(state, wanted, model)
        name = state.find(digest) or ""
        key = ("activate", digest, now, order)
        with self.operations.lock:
            same = self.operations.latest(key)
            if same is not None and (same.state == RUNNING or (same.state == DONE and self._is_so(name, digest, now))):
                return same
            self.operations.refuse_beside(name)
            signed = self._checked(state, digest, order, now=now, over_network=over_network)
            operation = Operation("activate", name, digest, key)
            return self.operations.begin(operation, lambda each: self._activate(each, signed, now=now, who=who))

    def confirm(self, name: str, *, wanted: str = "", reason: str = "", who: str) -> Operation:
        """Ends the trial well; see ``transitions.confirm``."""
        digest = self._named(name, wanted) if wanted else None
        with self.operations.lock:
            self.operations.refuse_beside(name)
            self.store.confirm(name, digest, reason=reason, who=who)
            active = self.store.state().models[name].active or ""
            return self._followed("confirm", name, active)

    def roll_back(self, name: str, *, to: str = "", leave: str = "", reason: str = "", who: str) -> Operation:
        """Goes back, on the disk before this returns; see ``transitions.roll_back``.

        Where an activation is under way that has not changed the record, it is called off, and without ``to`` that is
        all.

        Args:
            name: Name of the model.
            to: Which release to go back to; empty for the one before.
            leave: Which release to go back from: where it does not answer any more, nothing is done. So whoever did
                not get the answer can ask again without going back twice.
            reason: For the journal.
            who: For the journal.

        Raises:
            StoreError: See ``transitions.roll_back``.
        """
        target = self._named(name, to) if to else None
        left = self._named(name, leave) if leave else None
        reason = reason or f"asked for by {who}"
        with self.operations.lock:
            other = self.operations.running(name, "activate")
            model = _model(self.store.state(), name)
            if other is not None and other.step in _BEFORE_CHANGE and left in (None, other.digest):
                other.cancelled = other.cancelled or f"called off by a rollback: {reason}"
                if target is None:
                    return self._followed("rollback", name, model.candidate or model.active or "")
            elif left is not None and left != (model.candidate or model.active):
                return self._followed("rollback", name, model.candidate or model.active or "")
            seen = left or model.candidate or model.active
            self.store.roll_back(name, target, leave=seen, reason=reason, who=who)
            return self._followed("rollback", name, self.store.state().models[name].active or "")

    def deny(self, name: str, wanted: str, *, reason: str, who: str) -> Operation:
        """Forbids a release that does not answer; see ``transitions.deny``."""
        digest = self._named(name, wanted)
        with self.operations.lock:
            self.operations.refuse_beside(name)
            self.store.deny(digest, reason=reason or f"denied by {who}", who=who)
            return self._followed("deny", name, "", digest)

    def allow(self, name: str, wanted: str, *, who: str, over_network: bool = True) -> Operation:
        """Lifts a denial; see ``transitions.allow``.

        Raises:
            OrderError: The operator wants signed orders, so over the network only a newer order lifts a denial.
        """
        digest = self._named(name, wanted)
        if over_network and self.store.state().require_order:
            raise OrderError("this box wants signed orders: a newer order lifts a denial, or a command on the box")
        with self.operations.lock:
            self.operations.refuse_beside(name)
            self.store.allow(digest, who=who)
            return self._followed("allow", name, "", digest)

    def pull(self, reference: str, *, who: str) -> Operation:
        """Fetches a bundle from a registry.

        Raises:
            ConflictError: Others are being fetched.
        """
        fetch = self._pull
        if fetch is None:
            raise NotInstalledError("this box fetches nothing from registries; push to it instead")
        key = ("pull", reference)
        with self.operations.lock:
            same = self.operations.latest(key)
            if same is not None and same.state == RUNNING:
                return same
            running = [each for each in self.operations.all() if each.kind == "pull" and each.state == RUNNING]
            if len(running) >= MOST_PULLS:
                raise ConflictError(f"{len(running)} bundles are being fetched already; wait for one of them")
            return self.operations.begin(Operation("pull", "", "", key), lambda each: _fetch(each, fetch, reference))

    def change_keyring(self, data: bytes, *, who: str) -> int:
        """Trusts the next keyring; gives its version.

        Raises:
            SignatureError: It may not follow, or the box has none yet: the first one is given on the box, since no
                signature could vouch for it.
        """
        if self.store.state().keyring is None:
            raise SignatureError("this box has no keyring; give it the first one on the box, with 'edgeml trust'")
        successor = Keyring.from_bytes(data)
        self.store.change_keyring(successor, who=who)
        return successor.version

    # Below the line

    def _checked(
        self, state: State, digest: str, order: bytes | None, *, now: bool, over_network: bool
    ) -> Order | None:
        """Asks the rules before anything is done; changes nothing."""
        if order is None and over_network and state.require_order:
            raise OrderError("this box activates nothing over the network without a signed order; send one with it")
        signed = None if order is None else Order.from_bytes(order)
        if signed is not None:
            self.store.trust.check_order(state, signed, now=self.store.now(state))
        transitions.activate(state, digest, order=signed, now=now)
        return signed

    def _activate(self, operation: Operation, order: Order | None, *, now: bool, who: str) -> dict[str, Any]:
        digest, name = operation.digest, operation.model
        model = self.store.state().model(name)
        peak_bytes = 0
        if digest not in (model.active, model.candidate):
            operation.step = "admission"
            peak_bytes = self._admitted(digest)
        with self.operations.lock:
            if operation.cancelled:
                raise ConflictError(operation.cancelled)
            operation.step = "record"
            self.store.activate(digest, order=order, now=now, peak_bytes=peak_bytes, who=who)
        return self._follow(operation)

    def _admitted(self, digest: str) -> int:
        try:
            return self._admit(digest).peak_bytes
        except AdmissionError as error:
            try:
                self.store.reject(digest, reason=str(error), signal=error.code)
            except (StoreError, OSError) as refusal:
                # It was not activated, which is what counts; that it is not denied either must be said.
                raise AdmissionError(
                    f"{error} (and the denial could not be kept: {refusal})", code=error.code
                ) from error
            raise

    def _followed(self, kind: str, name: str, answers: str, concerned: str = "") -> Operation:
        """The record has changed; the worker is told by an operation of its own."""
        digest = concerned or answers
        work = (lambda each: {}) if concerned else self._follow
        return self.operations.begin(Operation(kind, name, digest, (kind, name, object())), work)

    def _follow(self, operation: Operation) -> dict[str, Any]:
        operation.step = "swap"
        told = self._changed(operation.model)
        serves = told.get("models", {}).get(operation.model)
        if serves is None:
            why = told.get("reason") or "no worker runs"
            raise StoreError(f"the record has changed, and the worker has not followed yet: {why}")
        if operation.digest and bare(serves.get("digest") or "0" * 64) != operation.digest:
            release = self.store.state().model(operation.model).releases.get(operation.digest)
            why = serves.get("reason") or (release.reason if release else "") or "see the history"
            raise StoreError(f"the worker does not serve it: {why}")
        operation.step = "served"
        return {"serves": serves}

    def _is_so(self, name: str, digest: str, now: bool) -> bool:
        model = self.store.state().model(name)
        return model.active == digest and model.candidate is None or (not now and model.candidate == digest)

    def _named(self, name: str, wanted: str) -> str:
        state = self.store.state()
        _model(state, name)
        return find_release(state, wanted, name)


_BEFORE_CHANGE = ("accepted", "admission")


def _model(state: State, name: str) -> ModelState:
    found: Mapping[str, ModelState] = state.models
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise NotInstalledError(f"this box has no model {name[:80]!r}; it has {known}")
    return found[name]


def _fetch(operation: Operation, fetch: Pull, reference: str) -> dict[str, Any]:
    def told(step: str) -> None:
        operation.step = step

    operation.digest = fetch(reference, told)
    return {"installed": f"sha256:{operation.digest}"}
