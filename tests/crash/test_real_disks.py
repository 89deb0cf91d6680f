"""P1, P2 and P4 on real file systems of their own: full, without inodes, read-only, and cut off from power."""

import os
from contextlib import ExitStack

import pytest
from crash import mounts
from crash.full_disk import TEN
from crash.scenarios import NAMES, Box, bundle, digest, scenario, three

from edgeml.bundles import record
from edgeml.bundles.disk import Disk
from edgeml.bundles.installation import StoreLimits
from edgeml.errors import StorageError, StoreError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def mounted(tmp_path):
    """Mounts something for one test."""
    with ExitStack() as stack:

        def mount(what, **options):
            try:
                return stack.enter_context(what(**options))
            except mounts.MountError as error:
                pytest.skip(str(error))

        yield mount


@pytest.fixture(
    params=[
        "tmpfs, no bytes",
        "tmpfs, no inodes",
        pytest.param("ext4, no bytes", marks=pytest.mark.crash),
        pytest.param("ext4, no inodes", marks=pytest.mark.crash),
    ]
)
def full(request, mounted, tmp_path):
    """A box on a small disk, and what fills that disk to the last byte or inode."""
    kind, _, what = request.param.partition(", no ")
    if kind == "ext4":
        folder = mounted(mounts.ext4, folder=tmp_path).folder
    else:
        folder = mounted(mounts.tmpfs, folder=tmp_path / "tmpfs", size=8 * 1024**2, inodes=200)
    return Box(folder / "store"), lambda: mounts.fill(folder, inodes=what == "inodes")


def read_all(box):
    store = box.open()
    state = store.state()
    for model in state.models.values():
        for each in model.releases:
            store.read_bundle(each, state=state)
    return state


@pytest.mark.parametrize("urgent", TEN, ids=lambda each: each.name)
def test_ten_in_a_row_on_a_full_disk(urgent, full):
    box, fill = full
    urgent.prepare(box.create())
    for _ in range(10):
        fill()
        store = box.open()
        before = store.state().generation
        urgent.act(store)
        assert read_all(box).generation == before + 1


def test_a_full_disk_refuses_a_bundle_and_everything_goes_on(full):
    box, fill = full
    store = box.create()
    three(store)
    before = read_all(box)
    fill()
    with pytest.raises((StorageError, OSError)):
        box.open().install(bundle("5", 0, 300_000))
    assert read_all(box) == before
    box.open().roll_back("door", reason="x")
    after = read_all(box)
    assert after.models["door"].active == digest("1")
    # The way out of a full disk is on a full disk too.
    fill()
    box.open().collect(keep=0)
    assert set(read_all(box).models["door"].releases) == {digest("1")}


def test_without_a_reserve_a_full_disk_stops_going_back(mounted, tmp_path, monkeypatch, record_property):
    """What the tests above are worth: without the reserve they fail."""
    monkeypatch.setattr(record.Record, "_fill_reserve", lambda self: None)
    monkeypatch.setattr(record, "RESERVE_BYTES", 0)
    folder = mounted(mounts.tmpfs, folder=tmp_path / "tmpfs", size=8 * 1024**2, inodes=200)
    box = Box(folder / "store")
    three(box.create())
    mounts.fill(folder)
    stopped = ""
    try:
        box.open().roll_back("door", reason="x")
    except OSError as error:
        stopped = str(error)
    record_property("crash_variant", {"name": "no reserve", "where": "full tmpfs", "violations": int(bool(stopped))})
    assert stopped


def test_the_quota_bounds_what_is_kept(tmp_path):
    limits = StoreLimits(quota_bytes=100_000)
    box = Box(tmp_path / "store", limits=limits)
    store = box.create()
    for number in range(12):
        try:
            store.activate(store.install(bundle(f"q{number}", 0, 20_000)), now=True)
        except StoreError:
            break
        assert store.blobs.used() <= limits.quota_bytes
    read_all(box)


def test_a_disk_that_turns_read_only_goes_on_answering(mounted, tmp_path):
    disk = mounted(mounts.ext4, folder=tmp_path)
    box = Box(disk.folder / "store")
    three(box.create())
    before = read_all(box)
    store = box.open()
    disk.remount("ro")
    try:
        for act in (
            lambda: store.roll_back("door", reason="x"),
            lambda: store.install(bundle("5")),
            lambda: store.collect(keep=0),
        ):
            with pytest.raises(OSError):
                act()
            assert read_all(box) == before
        assert [each.digest for each in store.load()] == [digest("2")]
        assert not store.broken
        kinds = [each.event.kind for each in box.open().journal.entries()]
        assert kinds.count("activated") == 2, "what happened can be read"
    finally:
        disk.remount("rw")
    store.roll_back("door", reason="x")
    assert read_all(box).models["door"].active == digest("1")


class TestPowerCut:
    """The kernel's own switch: the file system stops, and what is not on the disk never gets there."""

    @pytest.fixture
    def disk(self, mounted, tmp_path):
        return mounted(mounts.ext4, folder=tmp_path)

    @pytest.fixture
    def cut(self, disk):
        def cut():
            try:
                disk.cut_the_power()
            except OSError as error:
                pytest.skip(f"this kernel's ext4 has no switch: {error}")
            disk.mount()

        return cut

    def test_the_switch_loses_what_is_not_synced(self, disk, cut):
        (disk.folder / "synced").write_bytes(b"x" * 5000)
        descriptor = os.open(disk.folder / "synced", os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        (disk.folder / "not").write_bytes(b"y" * 5000)
        cut()
        assert (disk.folder / "synced").read_bytes() == b"x" * 5000
        assert not (disk.folder / "not").exists() or (disk.folder / "not").read_bytes() != b"y" * 5000

    def check(self, scenario, disk, cut):
        # SQLite's own syncs would carry the record along, so the journal is kept in memory.
        box = Box(disk.folder / "store", limits=scenario.limits, silent=True)
        scenario.prepare(box.create())
        scenario.act(box.open())
        expected = box.open().state()
        cut()
        assert read_all(box) == expected

    def test_what_returned_success_is_there(self, disk, cut):
        self.check(scenario("install waiting"), disk, cut)

    @pytest.mark.crash
    @pytest.mark.parametrize("name", [each for each in NAMES if each != "create"])
    def test_whatever_returned_success_is_there(self, name, disk, cut):
        self.check(scenario(name), disk, cut)

    def test_the_reserve_is_there_too(self, disk, cut):
        box = Box(disk.folder / "store")
        three(box.create())
        cut()
        mounts.fill(disk.folder)
        box.open().roll_back("door", reason="x")
        cut()
        assert read_all(box).models["door"].active == digest("1")

    def test_a_store_that_does_not_sync_is_caught(self, disk, cut, monkeypatch, record_property):
        box = Box(disk.folder / "store", silent=True)
        three(box.create())
        os.sync()
        before = read_all(box)
        monkeypatch.setattr(Disk, "sync", lambda self, descriptor: None)
        monkeypatch.setattr(Disk, "sync_folder", lambda self, path: None)
        box.open().roll_back("door", reason="x")
        monkeypatch.undo()
        assert box.open().state() != before
        cut()
        lost = box.open().state() == before
        where = "power cut of ext4"
        record_property("crash_variant", {"name": "nothing is synced", "where": where, "violations": int(lost)})
        assert lost


def test_the_mounts_are_gone(tmp_path):
    try:
        with mounts.tmpfs(tmp_path / "tmpfs", size=1024**2) as folder:
            assert os.path.ismount(folder)
    except mounts.MountError as error:
        pytest.skip(str(error))
    assert not os.path.ismount(folder)
