"""The store of a box: installed bundles, and the one record that says which of them answer.

::

    <store>/
      state.json, state.json.bak      the record (``state``), and the one before
      blobs/sha256/<hex>              immutable, 0444, named by content, shared between bundles
      incoming/                       transfers and blobs that no bundle owns yet (``incoming``)
      journal.db                      what happened and why (``journal``)
      reserve                         blocks that are given up so that going back works on a full disk
      lock, install.lock              held among processes; never removed
      supervisor.lock, worker.lock    held by the one supervisor and by the worker that answers
      supervisor.sock                 where that supervisor is asked (``monitor.link``); another name on some systems
      pull.lock, budget.json          one pull at a time; bytes pulled today (``store_pull``, ``byte_budget``)
      tokens.json                     hashes of the management plane's tokens (``supervisor.tokens``)
      trials.json                     what trials have counted so far (``supervisor.trials``)
      settings.json                   what bundles and pulls are granted (``box_settings``)

1. Every transition is one replacement of ``state.json`` (``record``).
2. Bytes first, names after: a record names a bundle only when all its blobs are synced, and blobs are removed only when
   no record names them any more.
3. Rules of order and trust are in ``transitions``; this file is the shell around them.
4. ``lock`` is held for one replacement of the record, ``install.lock`` while blobs are added or collected; so going
   back never waits for a large bundle that is being installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from edgeml.bundles import attempts, transitions
from edgeml.bundles.archive import digest_of
from edgeml.bundles.blobs import Blobs
from edgeml.bundles.bundle import Bundle
from edgeml.bundles.disk import SYSTEM, Disk
from edgeml.bundles.event import Event, Load
from edgeml.bundles.incoming import Incoming
from edgeml.bundles.installation import Installation, StoreLimits
from edgeml.bundles.journal import Journal
from edgeml.bundles.keyring import Keyring
from edgeml.bundles.manifest import MANIFEST_TYPE, Manifest
from edgeml.bundles.order import Order
from edgeml.bundles.record import Record
from edgeml.bundles.signing import Signature
from edgeml.bundles.state import State, bare
from edgeml.bundles.transitions import Change
from edgeml.bundles.trust import NEVER_EXPIRED, Trust
from edgeml.errors import NotInstalledError, SignatureError, StateError


class Store:
    """The store in one folder. Many processes may open it; changes take turns.

    Args:
        root: The folder; made by ``Store.create``.
        disk: Where.
        clock: Seconds since 1970.
        limits: What it may hold.
        journal: Where events go; None opens ``journal.db``.

    Raises:
        StateError: There is no store in the folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        disk: Disk = SYSTEM,
        clock: Callable[[], float] = time.time,
        limits: StoreLimits | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.root = root
        self.limits = limits or StoreLimits()
        self.blobs = Blobs(root / "blobs" / "sha256", disk)
        self._disk = disk
        self._clock = clock
        if not disk.is_folder(self.blobs.folder):
            raise StateError(f"{root} is no store; make one with 'edgeml init {root}'")
        self.journal = journal or Journal(root / "journal.db")
        self.incoming = Incoming(root / "incoming", quota_bytes=self.limits.incoming_bytes, disk=disk)
        self.trust = Trust(self.blobs, self.incoming)
        self._record = Record(root, disk=disk, clock=clock, journal=self.journal)
        self._installation = Installation(
            record=self._record,
            blobs=self.blobs,
            incoming=self.incoming,
            trust=self.trust,
            limits=self.limits,
            clock=clock,
            collect=lambda spare, keep: self._collect(keep, "store", spare),
        )

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        keyring: Keyring | None,
        allow_unsigned: bool = False,
        require_order: bool = False,
        device: str = "",
        disk: Disk = SYSTEM,
        clock: Callable[[], float] = time.time,
        limits: StoreLimits | None = None,
        journal: Journal | None = None,
    ) -> Store:
        """Makes a store, or finishes one whose making was cut off.

        Args:
            root: The folder; its parent exists.
            keyring: The keys to trust.
            allow_unsigned: Whether bundles need no signature: an opt-out, in the open.
            require_order: Whether activation over the network needs a signed order.
            device: This box's name in orders.
            disk: Where.
            clock: Seconds since 1970.
            limits: What it may hold.
            journal: Where events go.

        Raises:
            SignatureError: There is neither a keyring nor the opt-out.
            ConflictError: A store is there already.
            OSError: The disk refused.
        """
        if keyring is None and not allow_unsigned:
            raise SignatureError(
                "a store needs a keyring to trust, or the operator's word that unsigned bundles may run"
            )
        for folder in (root, root / "blobs", root / "blobs" / "sha256", root / "incoming"):
            if not disk.is_folder(folder):
                disk.make_folder(folder)
            # Also where it was there: an earlier attempt may have been cut off before this step.
            disk.sync_folder(folder.parent)
        store = cls(root, disk=disk, clock=clock, limits=limits, journal=journal)
        with store._record.locked("install.lock"):
            held = None if keyring is None else store.trust.keep(keyring)
            store._record.begin(
                State(
                    generation=1,
                    keyring=held,
                    allow_unsigned=allow_unsigned,
                    require_order=require_order,
                    device=device,
                    last_time=clock(),
                )
            )
        return store

    # Reading

    def state(self) -> State:
        """The record as it stands now.

        Raises:
            StateError: Record, backup and journal are all lost or damaged.
            OSError: The disk cannot be read.
        """
        return self._record.read()[0]

    def stamp(self) -> tuple[int, float]:
        """Changes whenever the record is replaced: far cheaper to look at than the record."""
        return self._disk.stamp(self.root / "state.json")

    def read_bundle(self, digest: str, *, state: State | None = None) -> Bundle:
        """Reads an installed bundle into memory and verifies every byte of it, signatures too.

        Args:
            digest: Digest.
            state: The record, where the caller has it.

        Raises:
            NotInstalledError: It is not installed.
            BundleError: Some bytes are not those that were installed, or the box does not trust it any more.
            OSError: The disk cannot be read.
        """
        state = state or self.state()
        digest = bare(digest)
        name = state.find(digest)
        if name is None:
            raise NotInstalledError(f"sha256:{digest[:12]} is not installed; install or push it first")
        manifest = self.blobs.read(digest, self.limits.bundle.manifest_bytes)
        signatures = self.trust.signatures(manifest, state.models[name].releases[digest].envelopes)
        # An expired keyring takes nothing new, but what was installed in time goes on answering.
        return Bundle.from_blobs(
            manifest,
            signatures,
            lambda each: self.blobs.read(bare(each.digest), each.size),
            keyring=None if state.allow_unsigned else self.trust.keyring(state),
            limits=self.limits.bundle,
            now=NEVER_EXPIRED,
        )

    def manifest(self, digest: str) -> Manifest:
        """The manifest of an installed bundle."""
        data = self.blobs.read(bare(digest), self.limits.bundle.manifest_bytes)
        return Manifest.from_bytes(data, self.limits.bundle)

    def now(self, state: State | None = None) -> float:
        """The latest time known, in seconds since 1970: the clock's, or the latest one seen where that is later."""
        return max(self._clock(), (state or self.state()).last_time)

    @property
    def broken(self) -> str:
        """Why this process takes no more changes; empty while it does."""
        return self._record.broken or self.blobs.broken

    # Bundles in and out

    # Bundles in

    def install(self, bundle: Bundle, *, who: str = "cli") -> str:
        """Installs a bundle that is in memory; gives its hex digest. See ``Installation.from_memory``."""
        return self._installation.from_memory(bundle, who=who)

    def install_waiting(self, digest: str, *, who: str) -> str:
        """Installs a bundle whose blobs wait in ``incoming``. See ``Installation.from_waiting``."""
        return self._installation.from_waiting(digest, who=who)

    def check_waiting(self, digest: str) -> Manifest:
        """Checks a manifest that waits. See ``Installation.check_waiting``."""
        return self._installation.check_waiting(digest)

    def accept(self, manifest_bytes: bytes, signatures: Sequence[Signature]) -> Manifest:
        """Decides about a bundle before any of its blobs is fetched. See ``Installation.accept``."""
        return self._installation.accept(manifest_bytes, signatures)

    # Transitions

    def activate(
        self, digest: str, *, order: Order | None = None, now: bool = False, peak_bytes: int = 0, who: str = "cli"
    ) -> State:
        """Puts a bundle on trial, or with ``now`` makes it active; see ``transitions.activate``.

        Admission (``supervisor.quarantine``) is the caller's business and comes before.

        Raises:
            SignatureError: The order is not signed by enough trusted keys.
            StoreError: See ``transitions.activate``.
            OSError: The disk refused.
        """
        if order is not None:
            state = self.state()
            self.trust.check_order(state, order, now=self.now(state))
        return self._record.change(
            lambda state: transitions.activate(state, digest, order=order, now=now, peak_bytes=peak_bytes, who=who),
            who=who,
        )

    def confirm(
        self, model: str, digest: str | None = None, *, reason: str = "", signal: str = "", who: str = "cli"
    ) -> State:
        """Makes the bundle on trial the active one; see ``transitions.confirm``."""
        return self._record.change(
            lambda state: transitions.confirm(state, model, digest, reason=reason, signal=signal), who=who
        )

    def roll_back(
        self,
        model: str,
        to: str | None = None,
        *,
        leave: str | None = None,
        reason: str,
        signal: str = "",
        who: str = "cli",
    ) -> State:
        """Goes back; works on a full disk. See ``transitions.roll_back``."""
        return self._record.change(
            lambda state: transitions.roll_back(state, model, to, leave=leave, reason=reason, signal=signal),
            who=who,
            spend_reserve=True,
        )

    def deny(self, digest: str, *, reason: str, who: str = "cli") -> State:
        """Forbids a bundle that does not answer now; see ``transitions.deny``."""
        return self._record.change(lambda state: transitions.deny(state, digest, reason=reason), who=who, adds=True)

    def allow(self, digest: str, *, who: str = "cli") -> State:
        """Lifts a denial; see ``transitions.allow``."""
        return self._record.change(lambda state: transitions.allow(state, digest), who=who)

    def reject(self, digest: str, *, reason: str, signal: str, who: str = "supervisor") -> State:
        """Denies a bundle that admission refused; see ``transitions.reject``."""
        return self._record.change(
            lambda state: transitions.reject(state, digest, reason=reason, signal=signal), who=who, spend_reserve=True
        )

    def load(self, running: Collection[str] = (), degraded: Collection[str] = ()) -> tuple[Load, ...]:
        """Says what a worker is to load. The attempt is counted on the disk before the answer is given.

        Args:
            running: Hex digests that the worker answers with already.
            degraded: ... and those of which rules and fallback answer already.
        """
        answer: tuple[Load, ...] = ()

        def counted(state: State) -> Change:
            nonlocal answer
            state, events, answer = attempts.load(state, running, degraded)
            return state, events

        self._record.change(counted, who="supervisor", spend_reserve=True)
        return answer

    def withdraw(self, model: str, *, leave: str | None = None, reason: str) -> State:
        """Ends a trial for which the box was at fault; see ``transitions.withdraw``."""
        return self._record.change(
            lambda state: transitions.withdraw(state, model, leave=leave, reason=reason),
            who="supervisor",
            spend_reserve=True,
        )

    def abandon_last_resort(self, model: str, digest: str, *, reason: str, signal: str) -> State:
        """Gives up even rules and fallback of a bundle; see ``transitions.abandon_last_resort``."""
        return self._record.change(
            lambda state: transitions.abandon_last_resort(state, model, digest, reason=reason, signal=signal),
            who="supervisor",
            spend_reserve=True,
        )

    def died(self, how: str, *, culprit: str = "", tried: Collection[str] = ()) -> State:
        """Counts a death of the worker; see ``attempts.died``."""
        return self._record.change(
            lambda state: attempts.died(state, how=how, culprit=culprit, tried=tried),
            who="supervisor",
            spend_reserve=True,
        )

    def give_back(self, digests: Collection[str]) -> State:
        """Gives attempts back that another bundle has cost; see ``attempts.give_back``."""
        return self._record.change(lambda state: attempts.give_back(state, digests), who="supervisor")

    def healthy(self) -> State:
        """Forgets earlier deaths; see ``attempts.healthy``."""
        return self._record.change(attempts.healthy, who="supervisor")

    def settings(
        self,
        *,
        allow_unsigned: bool | None = None,
        require_order: bool | None = None,
        device: str | None = None,
        who: str = "cli",
    ) -> State:
        """Changes what the operator decides; None leaves a setting as it is.

        Raises:
            SignatureError: Signatures are asked for, and there is no keyring.
        """

        def changed(state: State) -> Change:
            fresh = replace(
                state,
                allow_unsigned=state.allow_unsigned if allow_unsigned is None else allow_unsigned,
                require_order=state.require_order if require_order is None else require_order,
                device=state.device if device is None else device,
            )
            if fresh.keyring is None and not fresh.allow_unsigned:
                raise SignatureError("install a keyring first: without one nothing could be trusted")
            if fresh == state:
                return state, ()
            self.trust.check_answering(fresh, self.trust.keyring(fresh), max_bytes=self.limits.bundle.manifest_bytes)
            word = f"unsigned {fresh.allow_unsigned}, orders {fresh.require_order}, device {fresh.device!r}"
            return fresh, (Event("settings", reason=word),)

        return self._record.change(changed, who=who, adds=True)

    def note(self, event: Event, *, who: str) -> None:
        """Writes an event into the journal that has changed nothing in the record.

        Args:
            event: What happened.
            who: For the journal.
        """
        generation = self.state().generation
        self.journal.append([event], at=self._clock(), who=who, generation=generation, state=None)

    def change_keyring(self, successor: Keyring, *, who: str = "cli") -> State:
        """Puts the next keyring in the place of the one that is trusted.

        Args:
            successor: Signed by the threshold of the old and of the new keys; the first one needs no signature.
            who: For the journal.

        Raises:
            SignatureError: It may not follow, or a bundle that answers would no longer be trusted.
            OSError: The disk refused.
        """
        with self._record.locked("install.lock"):
            state = self.state()
            # The very keyring that is trusted needs nobody's word: given again, it mends one that the disk has damaged.
            if state.keyring != bare(digest_of(successor.to_bytes())):
                present = self.trust.keyring(state)
                if present is not None:
                    present.accept(successor)
            held = self.trust.keep(successor)

            def changed(state: State) -> Change:
                if state.keyring == held:
                    return state, ()
                self.trust.check_answering(state, successor, max_bytes=self.limits.bundle.manifest_bytes)
                return replace(state, keyring=held), (Event("keyring", reason=f"version {successor.version}"),)

            return self._record.change(changed, who=who)

    def collect(self, *, keep: int | None = None, who: str = "cli") -> tuple[int, int]:
        """Removes old bundles from the record, and then every blob that no bundle needs.

        Args:
            keep: Superseded bundles that stay for each model; None as the limits say.
            who: For the journal.

        Returns:
            Number of files removed, and their bytes.

        Raises:
            ConflictError: A bundle is being installed.
        """
        with self._record.locked("install.lock"):
            return self._collect(self.limits.keep if keep is None else keep, who)

    def reachable(self, state: State) -> set[str]:
        """Hex digests of all blobs that a record needs.

        Raises:
            BundleError, OSError: A manifest cannot be read, so nobody can say.
        """
        found = set() if state.keyring is None else {state.keyring}
        for model in state.models.values():
            for digest, release in model.releases.items():
                manifest = self.manifest(digest)
                found |= {digest, *release.envelopes, bare(manifest.config.digest)}
                found |= {bare(each.digest) for each in manifest.members.values()}
        return found

    # Below the line

    def _collect(self, keep: int, who: str, spare: Collection[str] = ()) -> tuple[int, int]:
        # With the reserve: a full disk must not stop what makes room on it.
        state = self._record.change(lambda state: transitions.prune(state, keep), who=who, spend_reserve=True)
        return self.blobs.collect(self.reachable(state) | set(spare))


def read_bundle(root: Path, digest: str, *, keyring: Keyring | None = None) -> Bundle:
    """Reads an installed bundle without changing anything; see ``Store.read_bundle``.

    Args:
        root: Folder of the store.
        digest: Digest of the bundle.
        keyring: Keys that must have signed as well; None asks only for those that the store trusts.
    """
    bundle = Store(root, journal=Journal(None)).read_bundle(digest)
    if keyring is not None:
        keyring.check(MANIFEST_TYPE, bundle.manifest_bytes, bundle.signatures)
    return bundle
