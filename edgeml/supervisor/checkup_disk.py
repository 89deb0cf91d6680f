"""Check-up of the disk under a store: what room is left, and whether it does what it is asked to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.files import forget, temporary_name, write_new
from edgeml.bundles.installation import SLACK_BYTES, SLACK_FILES
from edgeml.bundles.record import FULL, RESERVE_BYTES
from edgeml.bundles.state import State
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError
from edgeml.supervisor.finding import Finding, Patient, size_in_words

LOCK_S = 5.0

_PROBE = b"edgeml was here\n" * 256
_MAKE_ROOM = "make room, for example with 'edgeml gc --keep 0'"


def check_room(patient: Patient) -> Iterator[Finding]:
    """Free bytes and inodes, and the quota, against a bundle as large as the largest one here."""
    store, state = patient.whole
    room = store.blobs.room()
    size, files = _largest(store, state)
    text = f"{size_in_words(room.free_bytes)} free"
    text += "" if room.free_files is None else f", {room.free_files} inodes"
    short = room.free_bytes < size + SLACK_BYTES
    few = room.free_files is not None and room.free_files < files + SLACK_FILES
    if room.free_bytes < RESERVE_BYTES or room.free_files == 0:
        yield Finding("room", "danger", text, "the disk is full: only going back works, by the reserve", _MAKE_ROOM)
    elif short or few:
        like = f"{size_in_words(size)} in {files} files"
        yield Finding("room", "warning", text, f"a bundle like the largest one here ({like}) will not fit", _MAKE_ROOM)
    else:
        yield Finding("room", "ok", text)
    used, quota = store.blobs.used(), store.limits.quota_bytes
    text = f"{size_in_words(used)} of {size_in_words(quota)} used by bundles"
    if used + size > quota:
        yield Finding(
            "quota",
            "warning",
            text,
            "the next bundle pushes out superseded ones, or will not fit",
            "edgeml gc --keep 0",
        )
    else:
        yield Finding("quota", "ok", text)


def check_writing(patient: Patient) -> Iterator[Finding]:
    """One file written, synced, renamed, its name synced, read back: what every change of the store does."""
    try:
        ours = _written(patient.root)
    except OSError as error:
        full = error.errno in FULL
        yield Finding(
            "writing",
            "danger",
            f"write, sync, rename: {error.strerror or error}",
            "the disk is full: only going back works, by the reserve" if full else "no change can be made durable",
            _MAKE_ROOM if full else "see 'dmesg'; check who you are, the mount and the medium",
        )
        return
    if ours:
        yield Finding("writing", "ok", "write, sync, rename, sync of the folder")
    else:
        yield Finding(
            "writing",
            "danger",
            f"another process has held the store's lock for {LOCK_S:g} s",
            "nothing can be changed, not even gone back from",
            f"see who: fuser -v {patient.root / 'lock'}; and whether the medium still answers: dmesg",
        )


def _written(root: Path) -> bool:
    """Does what a change does, under the same lock and the same kind of name, which the next change sweeps away."""
    until = time.monotonic() + LOCK_S
    while True:
        with SYSTEM.lock(root / "lock", wait=False) as ours:
            if ours:
                _probe(root)
                return True
        if time.monotonic() > until:
            return False
        time.sleep(0.05)


def _probe(root: Path) -> None:
    first, second = (temporary_name(root / "state.json") for _ in range(2))
    try:
        write_new(first, [_PROBE], 0o640)
        SYSTEM.rename(first, second)
        SYSTEM.sync_folder(root)
        if SYSTEM.read(second, len(_PROBE)) != _PROBE:
            raise OSError("other bytes came back than were written")
    finally:
        for path in (first, second):
            forget(path)


def _largest(store: Store, state: State) -> tuple[int, int]:
    """Bytes and files of the largest bundle that is installed."""
    found = [(0, 4)]
    for model in state.models.values():
        for digest in model.releases:
            with suppress(OSError, EdgemlError):
                manifest = store.manifest(digest)
                found.append(
                    (
                        manifest.config.size + sum(each.size for each in manifest.members.values()),
                        len(manifest.members) + 3,
                    )
                )
    return max(found)
