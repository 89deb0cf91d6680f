"""One test for each mistake that the harness found in the store and that no other test names."""

import errno
import os

import pytest
from crash.crash_states import crash_states
from crash.examination import ROOT, Examination, settle
from crash.memory_disk import Fault, MemoryDisk
from crash.scenarios import LIMITS_WITHOUT_ROOM, Box, bundle, digest, half_moved, on_trial, push, scenario, three
from data.generate_bundles import ALICE

from edgeml.bundles import Bundle, sign
from edgeml.bundles.files import forget
from edgeml.bundles.record import RESERVE_BYTES
from edgeml.errors import StorageError


def memory_box(prepare, **options):
    disk = MemoryDisk()
    disk.make_folder(ROOT.parent)
    box = Box(ROOT, disk, **options)
    prepare(box.create())
    settle(disk)
    return box


def test_success_without_a_change_outlives_a_power_cut():
    """The process before was killed between the rename and the sync of the folder."""
    box = memory_box(three)
    disk = box.disk

    class Killed(BaseException):
        pass

    def kill(number, kind):
        if kind == "sync_folder":
            raise Killed

    disk.hook = kill
    with pytest.raises(Killed):
        box.open().activate(digest("3"), now=True)
    disk.hook = None
    box.open().activate(digest("3"), now=True)
    assert {Box(ROOT, make()).open().state().models["door"].active for _, make in crash_states(disk)} == {digest("3")}


def test_a_power_cut_leaves_the_reserve_whole():
    disk = MemoryDisk()
    disk.make_folder(ROOT.parent)
    Box(ROOT, disk).create()
    disk.sync_folder(ROOT.parent.parent)
    assert all((make().size(ROOT / "reserve") or 0) == RESERVE_BYTES for _, make in crash_states(disk))


def test_the_reserve_comes_back_when_there_is_room_again():
    box = memory_box(on_trial)
    box.disk.fill()
    box.open().load()
    assert box.disk.size(ROOT / "reserve") is not None
    box.disk.capacity = None
    box.open().load()
    assert box.disk.size(ROOT / "reserve") == RESERVE_BYTES


def test_a_full_disk_can_be_collected_on():
    box = memory_box(three)
    box.disk.fill()
    assert box.open().collect(keep=0)[0] > 0


def test_an_installation_that_fails_gives_the_room_back():
    box = memory_box(three)
    before = box.disk.used()
    box.disk.fault = Fault(box.disk.count + 55, errno.ENOSPC)
    with pytest.raises(OSError):
        box.open().install(bundle("5", 0, 50_000))
    box.disk.fault = None
    assert box.disk.used() == before


def test_what_is_being_installed_is_no_garbage():
    """The quota is spent, and some blobs of the bundle are here already and in no record."""
    box = memory_box(half_moved, limits=LIMITS_WITHOUT_ROOM)
    box.open().install_waiting(digest("5"), who="api")
    box.open().read_bundle(digest("5"))


def test_blobs_shared_with_an_old_bundle_stay_when_it_goes():
    """A client does not send what the box has; the quota takes the bundle away that had it."""
    box = memory_box(three, limits=LIMITS_WITHOUT_ROOM)
    store = box.open()
    old = bundle("3")
    same_model = sign(Bundle.create(old.config | {"version": "5"}, old.members), ALICE)
    push(store, same_model)
    assert len(store.incoming.waiting()) == 3  # config, manifest and signature: the members are here
    store.install_waiting(same_model.digest, who="api")
    assert digest("3") not in box.open().state().models["door"].releases
    box.open().read_bundle(same_model.digest)


def test_a_folder_of_blobs_that_could_not_be_synced_is_not_asked_again():
    box = memory_box(three)
    store = box.open()
    kinds = Examination(scenario("install")).kinds
    box.disk.fault = Fault(box.disk.count + kinds.index("sync_folder"), errno.EIO)
    with pytest.raises(OSError):
        store.install(bundle("5"))
    box.disk.fault = None
    assert store.broken
    with pytest.raises(StorageError, match="until its process is started again"):
        store.install(bundle("5"))
    store.roll_back("door", reason="what is there can still be gone back to")
    box.open().install(bundle("5"))


def test_no_free_descriptor_is_no_sick_disk():
    box = memory_box(three)
    store = box.open()
    for _ in range(3):
        at = box.disk.count + Examination(scenario("deny")).kinds.index("create")
        box.disk.fault = Fault(at, errno.EMFILE)
        with pytest.raises(OSError):
            store.deny(digest("1"), reason="x")
    box.disk.fault = None
    assert not store.broken
    store.deny(digest("1"), reason="x")


def test_an_error_after_the_record_was_replaced_is_no_failure():
    kinds = Examination(scenario("deny")).kinds
    box = memory_box(three)
    after = len(kinds) - 1 - kinds[::-1].index("rename") + 1
    box.disk.fault = Fault(box.disk.count + after + 1, errno.EIO)
    box.open().deny(digest("1"), reason="x")


def test_closing_the_lock_cannot_undo_what_was_done(tmp_path, monkeypatch):
    box = Box(tmp_path / "store")
    three(box.create())
    store = box.open()
    close, open_, locks = os.close, os.open, set()

    def opened(path, flags, *rest, **options):
        descriptor = open_(path, flags, *rest, **options)
        if str(path).endswith("lock"):
            locks.add(descriptor)
        return descriptor

    def closed(descriptor):
        close(descriptor)
        if descriptor in locks:
            locks.discard(descriptor)
            raise OSError(errno.EIO, "closing failed")

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "close", closed)
    store.activate(digest("3"), now=True)
    assert store.state().models["door"].active == digest("3")


def test_temporary_files_of_changes_that_were_cut_off_do_not_pile_up():
    box = memory_box(three)
    for number in range(5):
        box.disk.close(box.disk.create(ROOT / f".state.json.{number:012x}.tmp", 0o640))
    box.open().settings(device="pi")
    assert not [name for name in box.disk.names(ROOT) if name.endswith(".tmp")]


def test_a_backup_that_is_the_record_already_leaves_no_name_behind():
    """A change was cut off between its backup and its rename: both names are one file, and renaming does nothing."""
    box = memory_box(three)
    forget(ROOT / "state.json.bak", disk=box.disk)
    box.disk.link(ROOT / "state.json", ROOT / "state.json.bak")
    box.open().settings(device="pi")
    box.open().settings(device="pi-2")
    assert not [name for name in box.disk.names(ROOT) if name.endswith(".tmp")]
    assert box.open().state().device == "pi-2"
