"""The store with one mistake in it, a dozen times over: what the harness must catch, or it proves nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from crash.examination import Examination, Patch
from crash.full_disk import KINDS, TEN, ten_in_a_row
from crash.memory_disk import MemoryDisk
from crash.scenarios import scenario

from edgeml.bundles import attempts, blobs, incoming, record, store, transitions
from edgeml.bundles.disk import Disk
from edgeml.bundles.files import forget, temporary_name


class SyncDoesNothing(MemoryDisk):
    def sync(self, descriptor: int) -> None:
        self._step("sync")


class FolderSyncDoesNothing(MemoryDisk):
    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder", path)


def written_in_place(self, state, before, *, spend_reserve):
    data = state.to_bytes()
    descriptor = self._disk.overwrite(self.root / "state.json")
    self._disk.write(descriptor, data)
    self._disk.truncate(descriptor, len(data))
    self._disk.sync(descriptor)
    self._disk.close(descriptor)
    self._sync(state)


def renamed_before_it_is_synced(self, state, before, *, spend_reserve):
    target = self.root / "state.json"
    temporary = temporary_name(target)
    descriptor = self._disk.create(temporary, 0o640)
    self._disk.write(descriptor, state.to_bytes())
    self._back_up(target)
    self._disk.rename(temporary, target)
    self._disk.sync(descriptor)
    self._disk.close(descriptor)
    self._sync(state)


def collected_before_the_record(self, keep, who, spare=()):
    state, _ = transitions.prune(self.state(), keep)
    removed = self.blobs.collect(self.reachable(state) | set(spare))
    self._record.change(lambda state: transitions.prune(state, keep), who=who)
    return removed


def synced_until_it_works(path, chunks, mode, *, disk: Disk):
    descriptor = disk.create(path, mode)
    try:
        for chunk in chunks:
            disk.write(descriptor, chunk)
        try:
            disk.sync(descriptor)
        except OSError:
            disk.sync(descriptor)
    except BaseException:
        forget(path, disk=disk)
        raise
    finally:
        disk.close(descriptor)


class _EqualToAll:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


KNOWN_TO_ALL = property(lambda self: _EqualToAll(), lambda self, value: None)


def settled_again(self):
    self._disk.sync_folder(self.folder)


@contextmanager
def _both(*patches: object) -> Iterator[None]:
    with patches[0], patches[1]:  # type: ignore[attr-defined]
        yield


def fills_nothing(self):
    """No reserve at all."""


def reserve_is_not_synced(self):
    path = self.root / "reserve"
    if self._disk.size(path) is None:
        descriptor = self._disk.create(path, 0o640)
        self._disk.allocate(descriptor, record.RESERVE_BYTES)
        self._disk.close(descriptor)


def emptied_and_written(self, state, before, *, spend_reserve):
    descriptor = self._disk.overwrite(self.root / "state.json")
    self._disk.truncate(descriptor, 0)
    self._disk.write(descriptor, state.to_bytes())
    self._disk.sync(descriptor)
    self._disk.close(descriptor)
    self._sync(state)


def written_as_far_as_it_goes(self, descriptor, data):
    with suppress(OSError):
        os.write(descriptor, data)


def attempt_not_counted(state, running=(), degraded=()):
    return state, (), attempts.answering(state)


def finished_twice(self, path):
    """A transfer whose sync has failed stays, to be gone on from."""


@dataclass(frozen=True)
class Variant:
    """One mistake.

    Attributes:
        name: What it is.
        scenario: The transition in which it shows.
        patch: Makes it.
        disk: The disk, where the mistake is in its use.
        faults: Whether it shows only when the disk fails.
    """

    name: str
    scenario: str
    patch: Patch = nullcontext
    disk: type[MemoryDisk] = MemoryDisk
    faults: bool = False

    def violations(self) -> list[str]:
        if self.scenario == "full disk":
            return ten_in_a_row(TEN[0], KINDS["neither"], self.patch)
        examination = Examination(scenario(self.scenario), self.disk, self.patch)
        if self.faults:
            examination.errors(errnos=lambda error: error == errno.EIO, first=True)
        else:
            examination.power_cuts(first=True)
        return examination.findings.violations


def _with(target: object, name: str, value: object) -> Callable[[], object]:
    return lambda: mock.patch.object(target, name, value)


VARIANTS = [
    Variant("files are not synced", "activate, now", disk=SyncDoesNothing),
    Variant("files are not synced", "install", disk=SyncDoesNothing),
    Variant("folders are not synced", "roll back, to previous", disk=FolderSyncDoesNothing),
    Variant("the record is written in place", "confirm", _with(record.Record, "_replace", written_in_place)),
    Variant(
        "the record is renamed before it is synced",
        "activate, now",
        _with(record.Record, "_replace", renamed_before_it_is_synced),
    ),
    Variant(
        "blobs are collected before the record is written",
        "collect",
        _with(store.Store, "_collect", collected_before_the_record),
    ),
    Variant(
        "the record names a bundle before its blobs are settled", "install", _with(blobs.Blobs, "settle", fills_nothing)
    ),
    Variant("the same for blobs that waited", "install waiting", _with(blobs.Blobs, "settle", fills_nothing)),
    Variant("a failed fsync is tried again", "deny", _with(record, "write_new", synced_until_it_works), faults=True),
    Variant("the same for a blob", "install", _with(blobs, "write_new", synced_until_it_works), faults=True),
    Variant(
        "the same for a transfer",
        "push and install",
        _with(incoming.Incoming, "_clear_up", finished_twice),
        faults=True,
    ),
    Variant("the same for the folder of blobs", "install", _with(blobs.Blobs, "settle", settled_again), faults=True),
    Variant(
        "no reserve",
        "full disk",
        lambda: _both(
            mock.patch.object(record.Record, "_fill_reserve", fills_nothing),
            mock.patch.object(record, "RESERVE_BYTES", 0),
        ),
    ),
    Variant("the reserve is not synced", "create", _with(record.Record, "_fill_reserve", reserve_is_not_synced)),
    Variant(
        "what is so already is success without a sync",
        "activate, now",
        lambda: mock.patch.object(record.Record, "_safe", KNOWN_TO_ALL, create=True),
    ),
    Variant(
        "blobs that are being installed are taken for garbage",
        "install half moved, quota spent",
        lambda: _spares_nothing(),
    ),
]


# Those of a real process that is killed, or whose system calls fail. What was not synced is not lost with a process.
KILLED = [
    Variant(
        "the record is emptied and then written",
        "roll back, to previous",
        _with(record.Record, "_replace", emptied_and_written),
    ),
    Variant(
        "blobs are collected before the record is written",
        "collect",
        _with(store.Store, "_collect", collected_before_the_record),
    ),
    Variant(
        "a write that failed is taken for done",
        "activate, now",
        _with(Disk, "write", written_as_far_as_it_goes),
        faults=True,
    ),
    Variant("an attempt is not counted", "load", _with(attempts, "load", attempt_not_counted)),
]


@contextmanager
def _spares_nothing() -> Iterator[None]:
    honest = store.Store._collect
    with mock.patch.object(store.Store, "_collect", lambda self, keep, who, spare=(): honest(self, keep, who)):
        yield
