"""Check-up of what a store holds: the record, its backup, the journal, the blobs, the reserve, what was left over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgeml.bundles.box_settings import BoxSettings
from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.record import RESERVE_BYTES
from edgeml.bundles.state import MAX_BYTES, State, bare
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError, StateError
from edgeml.supervisor.finding import Finding, Patient, size_in_words

_AGAIN = "install the bundle's file again: edgeml install FILE"
_DAY_S = 24 * 3600


def check_record(root: Path) -> Iterator[Finding]:
    """The record and its backup, as files.

    Args:
        root: Folder of the store.
    """
    record, backup = _read(root / "state.json"), _read(root / "state.json.bak")
    if isinstance(record, State):
        yield Finding("record", "ok", f"generation {record.generation}")
    elif isinstance(backup, State):
        yield Finding(
            "record",
            "danger",
            f"state.json {record}",
            f"its backup (generation {backup.generation}) is read in its place; the last change may be undone",
            "the next change writes it anew; look for the cause with 'dmesg', then see 'edgeml status'",
        )
    else:
        yield Finding(
            "record",
            "danger",
            f"state.json {record}, and its backup {backup}",
            "what the journal saw last is read in their place, if it can be",
            "see 'edgeml status'; where it refuses, move the folder away, make a new store and install again",
        )
    if isinstance(backup, State):
        yield Finding("backup", "ok", f"generation {backup.generation}")
    elif not isinstance(record, State) or record.generation > 1:
        # The first record has none; a change on a full disk, or on a disk without links, does without.
        yield Finding(
            "backup",
            "warning",
            f"state.json.bak {backup}",
            "nothing but the journal could take the record's place",
            "the next change writes it, where the disk has room for one more name",
        )


def check_settings(patient: Patient) -> Iterator[Finding]:
    """What bundles and pulls are granted."""
    try:
        BoxSettings.read(patient.root)
    except StateError as error:
        found, _, remedy = str(error).partition("; ")
        yield Finding("settings", "warning", found, "what answers goes on answering; nothing new is let in", remedy)
    else:
        yield Finding("settings", "ok", "they can be read")


def check_journal(patient: Patient) -> Iterator[Finding]:
    """The journal, and whether it has seen a later record than the one that is there."""
    store, state = patient.whole
    damage = store.journal.damage()
    if damage:
        yield Finding(
            "journal",
            "warning",
            f"journal.db: {damage}",
            "what happened is not written down; changes are made all the same",
            "make room if the disk is full; otherwise move journal.db, -wal and -shm away: a new one is begun",
        )
        return
    data = store.journal.last_state()
    try:
        seen = State.from_bytes(data).generation if data else 0
    except StateError:
        seen = 0
    if seen > state.generation:
        yield Finding(
            "journal",
            "danger",
            f"it has seen generation {seen}, and the record is generation {state.generation}",
            "a change that was reported as done is gone: the disk did not keep what was synced, or a copy was put back",
            "check the medium and the mount options; then make the change again ('edgeml history' names it)",
        )
    else:
        yield Finding("journal", "ok", f"generation {seen}" if seen else "no events yet")


def check_blobs(patient: Patient) -> Iterator[Finding]:
    """The files of every installed bundle: there, of the right size, and (deep) of the right bytes."""
    store, state = patient.whole
    checked: dict[str, str] = {}
    sound = 0
    for name, model in sorted(state.models.items()):
        for digest, release in sorted(model.releases.items(), key=lambda item: item[1].installed):
            harm = _harm(store, digest, release.envelopes, checked, deep=patient.deep)
            if not harm:
                sound += 1
                continue
            needed = digest in model.kept
            yield Finding(
                "blobs",
                "danger" if needed else "warning",
                f"{name} {release.version}: {harm}",
                "it answers, or is the one to go back to, and cannot be loaded" if needed else "it cannot be loaded",
                _AGAIN if needed else f"{_AGAIN}, or let it go: edgeml gc",
            )
    if state.keyring is not None and (harm := _blob_harm(store, state.keyring, None, checked, deep=True)):
        yield Finding(
            "blobs",
            "danger",
            f"the keyring: {harm}",
            "nothing that is signed can be loaded",
            "give the same keyring again: edgeml trust KEYRING",
        )
    how = "every byte was read" if patient.deep else "sizes only; --deep reads every byte"
    yield Finding("blobs", "ok", f"whole bundles: {sound} ({how})")


def check_reserve(patient: Patient) -> Iterator[Finding]:
    """The blocks that are given up so that going back works on a full disk."""
    remedy = "make room, for example with 'edgeml gc'; the next change takes the blocks again"
    meaning = "on a full disk going back might fail"
    try:
        found = os.lstat(patient.root / "reserve")
    except OSError as error:
        yield Finding("reserve", "danger", f"reserve: {error.strerror}", meaning, remedy)
        return
    # st_blocks counts 512 bytes. File systems that compress or inline tell less; only an empty promise is a danger.
    if found.st_size < MAX_BYTES or found.st_blocks == 0:
        held = min(found.st_size, found.st_blocks * 512)
        yield Finding("reserve", "danger", f"reserve holds {size_in_words(held)}", meaning, remedy)
    elif found.st_size < RESERVE_BYTES:
        yield Finding("reserve", "warning", size_in_words(found.st_size), "it is smaller than it should be", remedy)
    else:
        yield Finding("reserve", "ok", size_in_words(found.st_size))


def check_leftovers(patient: Patient) -> Iterator[Finding]:
    """What transfers and interrupted work have left behind."""
    store, state = patient.whole
    names = SYSTEM.names(store.incoming.folder)
    size = sum(SYSTEM.size(store.incoming.folder / name) or 0 for name in names)
    oldest = min((SYSTEM.changed(store.incoming.folder / name) for name in names), default=patient.clock)
    waiting = f"{len(names)} files wait in incoming ({size_in_words(size)})"
    if names and (patient.clock - oldest > _DAY_S or size > store.incoming.quota_bytes // 2):
        yield Finding(
            "incoming",
            "warning",
            waiting,
            "transfers that nobody finished, or blobs whose bundle never came; new ones push them out",
            f"finish them; or, with no transfer under way, empty {store.incoming.folder}",
        )
    else:
        yield Finding("incoming", "ok", waiting)
    try:
        needed = store.reachable(state)
    except (OSError, EdgemlError):
        return  # told by check_blobs
    orphans = [name for name in SYSTEM.names(store.blobs.folder) if name not in needed]
    halves = [name for name in SYSTEM.names(store.root) if name.startswith(".") and name.endswith(".tmp")]
    if orphans or halves:
        size = sum(SYSTEM.size(store.blobs.folder / name) or 0 for name in orphans)
        yield Finding(
            "leftovers",
            "warning",
            f"{len(orphans)} blobs that no bundle needs ({size_in_words(size)}), {len(halves)} temporary files",
            "an installation was cut off, or is under way now; nothing is wrong but the space",
            "edgeml gc; temporary files go with the next change",
        )
    else:
        yield Finding("leftovers", "ok", "none")


def _read(path: Path) -> State | str:
    """The record in a file, or what is wrong with it."""
    try:
        return State.from_bytes(SYSTEM.read(path, MAX_BYTES))
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except StateError as error:
        return f"is no record ({error})"


def _harm(store: Store, digest: str, envelopes: tuple[str, ...], checked: dict[str, str], *, deep: bool) -> str:
    """What is wrong with the first broken blob of a bundle; empty where none is."""
    try:
        manifest = store.manifest(digest)
    except (OSError, EdgemlError) as error:
        return f"manifest: {error}"
    parts = {"config": manifest.config} | dict(manifest.members)
    for where, descriptor in parts.items():
        if harm := _blob_harm(store, bare(descriptor.digest), descriptor.size, checked, deep=deep):
            return f"{where}: {harm}"
    for envelope in envelopes:
        if harm := _blob_harm(store, envelope, None, checked, deep=True):
            return f"a signature: {harm}"
    return ""


def _blob_harm(store: Store, digest: str, size: int | None, checked: dict[str, str], *, deep: bool) -> str:
    # Blobs are shared between bundles: each is read once.
    if digest not in checked:
        checked[digest] = _looked_at(store, digest, size, deep=deep)
    return checked[digest]


def _looked_at(store: Store, digest: str, size: int | None, *, deep: bool) -> str:
    found = store.blobs.size(digest)
    if found is None:
        return f"blob {digest[:12]} is missing"
    if size is not None and found != size:
        return f"blob {digest[:12]} has {found} bytes, not {size}"
    if deep:
        try:
            if store.blobs.verified_size(digest) is None:
                return f"blob {digest[:12]} is damaged"
        except OSError as error:
            return f"blob {digest[:12]} cannot be read ({error.strerror})"
    return ""
