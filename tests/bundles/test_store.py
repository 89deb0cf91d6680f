"""The store on a real disk: what is installed, what answers, what survives, what is refused."""

import json
import os
import stat

import pytest
from bundles.releases import installed, new_store, release
from data.generate_bundles import ALICE, BOB, MALLORY, ONE

from edgeml.bundles import Keyring, rotate, sign
from edgeml.bundles.order import Order
from edgeml.bundles.store import Store, StoreLimits, read_bundle
from edgeml.errors import (
    ConflictError,
    DigestError,
    NotInstalledError,
    OrderError,
    SignatureError,
    StateError,
    StorageError,
)


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


def model(store):
    return store.state().models["door"]


def order(digest, seq, **options):
    return Order("door", digest, seq, **options).sign(ALICE)


def test_first_bundle_is_installed_tried_and_confirmed(store):
    bundle = release("1")
    digest = store.install(bundle)
    assert store.state().models["door"].releases[digest].state == "installed"
    store.activate(digest)
    assert (model(store).candidate, model(store).active) == (digest, None)
    assert [each.digest for each in store.load()] == [digest]
    store.confirm("door")
    assert (model(store).active, model(store).candidate) == (digest, None)
    again = Store(store.root)
    assert again.read_bundle(digest).to_chunks and again.read_bundle(digest).digest == bundle.digest
    assert read_bundle(store.root, digest, keyring=ONE).signers == {ALICE.keyid}


def test_layout_on_the_disk(store):
    digest = store.install(release("1"))
    blob = store.blobs.folder / digest
    assert stat.S_IMODE(blob.stat().st_mode) == 0o444
    assert {path.name for path in store.root.iterdir()} >= {
        "blobs",
        "incoming",
        "journal.db",
        "reserve",
        "state.json",
        "state.json.bak",
    }
    document = json.loads((store.root / "state.json").read_text())
    assert document["generation"] == 2 and len((store.root / "state.json").read_bytes()) < 4096


def test_blobs_are_shared_between_versions(store):
    installed(store, "1")
    before = set(os.listdir(store.blobs.folder))
    installed(store, "2")
    after = set(os.listdir(store.blobs.folder))
    # config, model, manifest, envelope are new; the card is shared
    assert len(after - before) == 4


def test_rollback_goes_to_the_previous_one_and_denies_the_other(store):
    one, two, three = installed(store, "1", "2", "3")
    for digest in (one, two, three):
        store.activate(digest, now=True)
    assert (model(store).active, model(store).previous) == (three, two)
    store.roll_back("door", reason="bad answers")
    assert (model(store).active, model(store).previous) == (two, one)
    assert model(store).denied[three].reason == "bad answers"
    assert model(store).releases[three].state == "rejected"
    with pytest.raises(OrderError, match=r"denied on this box: bad answers; .* deny --lift"):
        store.activate(three)
    store.allow(three)
    store.activate(three, now=True)
    assert model(store).active == three


def test_rollback_from_trial_leaves_the_active_one(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two)
    store.roll_back("door", reason="slow", signal="deadline_burn")
    assert (model(store).active, model(store).candidate) == (one, None)
    assert store.journal.entries()[0].event.signal == "deadline_burn"


def test_rollback_to_any_confirmed_one(store):
    one, two, three = installed(store, "1", "2", "3")
    for digest in (one, two, three):
        store.activate(digest, now=True)
    store.roll_back("door", one, reason="both newer ones are bad")
    assert model(store).active == one
    assert set(model(store).denied) == {three}
    assert model(store).previous == two


def test_rollback_to_one_that_was_never_confirmed_is_refused(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    with pytest.raises(OrderError, match="never confirmed"):
        store.roll_back("door", two, reason="x")
    with pytest.raises(NotInstalledError, match="nothing|no earlier"):
        store.roll_back("door", reason="x")
    with pytest.raises(NotInstalledError, match="has no model 'gate'; it has door"):
        store.roll_back("gate", reason="x")


def test_asking_twice_changes_nothing(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two)
    for act in (
        lambda: store.activate(two),
        lambda: store.install(release("2")),
        lambda: (store.confirm("door", two), store.confirm("door", two)),
        lambda: store.roll_back("door", two, reason="x"),
    ):
        act()
        before = store.state()
        act()
        assert store.state() == before


def test_a_second_trial_is_a_conflict(store):
    one, two, three = installed(store, "1", "2", "3")
    store.activate(one, now=True)
    store.activate(two)
    with pytest.raises(ConflictError, match="door 2 is on trial"):
        store.activate(three)


def test_three_loads_on_trial_and_no_more(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two)
    assert [store.load()[0].digest for _ in range(4)] == [two, two, two, one]
    assert "loaded 3 times" in model(store).denied[two].reason
    assert store.load()[0] == store.load()[0]


def test_a_confirmed_bundle_that_kills_its_process_is_gone_back_from(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two, now=True)
    store.died("SIGSEGV")
    store.healthy()
    for _ in range(2):
        store.died("SIGSEGV")
    assert model(store).active == two
    store.died("SIGSEGV")
    assert model(store).active == one
    assert "died 3 times" in model(store).denied[two].reason
    for _ in range(3):
        store.died("SIGSEGV")
    assert model(store).active is None
    (load,) = store.load()
    assert (load.digest, load.without_model) == (one, True) and "given up its model: the process died" in load.reason


def test_what_may_not_be_gone_back_to_is_no_previous_one(store):
    low, high = store.install(release("1")), store.install(release("2", epoch=5))
    store.activate(low, now=True)
    store.activate(high, now=True)
    assert (model(store).active, model(store).previous) == (high, None)
    with pytest.raises(NotInstalledError, match="no earlier"):
        store.roll_back("door", reason="x")
    store.collect(keep=0)
    assert set(model(store).releases) == {high}
    higher = store.install(release("3", epoch=5))
    store.activate(higher, now=True)
    assert model(store).previous == high


class TestTrust:
    def test_unsigned_and_foreign_bundles_are_refused(self, store):
        with pytest.raises(SignatureError, match="not signed at all"):
            store.install(release("1", keys=()))
        with pytest.raises(SignatureError, match="unknown keys"):
            store.install(release("1", keys=(MALLORY,)))
        assert store.state().models == {}

    def test_opting_out_is_in_the_open(self, tmp_path):
        with pytest.raises(SignatureError, match="needs a keyring"):
            new_store(tmp_path / "store", keyring=None)
        store = new_store(tmp_path / "store", keyring=None, allow_unsigned=True)
        digest = store.install(release("1", keys=()))
        assert store.read_bundle(digest).name == "door"
        assert json.loads((store.root / "state.json").read_text())["allow_unsigned"] is True
        with pytest.raises(SignatureError, match="install a keyring first"):
            store.settings(allow_unsigned=False)

    def test_a_version_never_changes(self, store):
        installed(store, "1")
        with pytest.raises(ConflictError, match="versions never change"):
            store.install(release("1", size=1))

    def test_epoch_rises_at_confirm_only(self, store):
        low, high = store.install(release("1")), store.install(release("2", epoch=5))
        store.activate(low, now=True)
        store.activate(high)
        assert model(store).min_epoch == 0
        store.roll_back("door", reason="x")
        store.allow(high)
        store.activate(high)
        store.confirm("door")
        assert model(store).min_epoch == 5
        with pytest.raises(OrderError, match="security epoch 0"):
            store.roll_back("door", low, reason="x")
        with pytest.raises(OrderError, match="security epoch 4"):
            store.install(release("3", epoch=4))

    def test_orders_rise(self, store):
        one, two = installed(store, "1", "2")
        store.activate(one, order=order(one, 7), now=True)
        with pytest.raises(OrderError, match="order 7 is a replay"):
            store.activate(two, order=order(two, 7))
        store.activate(two, order=order(two, 8), now=True)
        with pytest.raises(OrderError, match="replay"):
            store.activate(one, order=order(one, 7))
        # the deliberate downgrade
        store.activate(one, order=order(one, 9), now=True)
        assert (model(store).active, model(store).deploy_seq) == (one, 9)

    def test_only_a_newer_order_lifts_a_denial(self, store):
        one, two = installed(store, "1", "2")
        store.activate(one, now=True)
        store.activate(two, order=order(two, 3))
        store.roll_back("door", reason="bad")
        with pytest.raises(OrderError, match="denied|replay"):
            store.activate(two, order=order(two, 3))
        store.activate(two, order=order(two, 4))
        assert model(store).candidate == two and two not in model(store).denied

    def test_orders_are_signed_named_and_dated(self, store):
        one, two = installed(store, "1", "2")
        with pytest.raises(SignatureError, match="unknown keys"):
            store.activate(one, order=Order("door", one, 1).sign(MALLORY))
        with pytest.raises(OrderError, match="names door"):
            store.activate(one, order=order(two, 1))
        with pytest.raises(OrderError, match="for device 'pi-2'"):
            store.activate(one, order=order(one, 1, device="pi-2"))
        with pytest.raises(OrderError, match="expired"):
            store.activate(one, order=order(one, 1, expires="2001-01-01T00:00:00Z"))
        store.settings(device="pi-2")
        store.activate(one, order=Order.from_bytes(order(one, 1, device="pi-2").to_bytes()))

    def test_an_order_is_still_expired_when_the_clock_starts_in_1970(self, tmp_path):
        new_store(tmp_path / "store", clock=lambda: 1.8e9)
        store = Store(tmp_path / "store", clock=lambda: 0.0)
        (one,) = installed(store, "1")
        with pytest.raises(OrderError, match="expired"):
            store.activate(one, order=order(one, 1, expires="2020-01-01T00:00:00Z"))

    def test_new_keys_must_trust_what_answers(self, store):
        (one,) = installed(store, "1")
        store.activate(one, now=True)
        successor = rotate(ONE, keys=[BOB.public], signers=[ALICE, BOB])
        with pytest.raises(SignatureError, match=r"door 1 would no longer be trusted .* sign it with the new keys"):
            store.change_keyring(successor)
        store.install(sign(release("1"), BOB))
        store.change_keyring(successor)
        assert store.read_bundle(one).signers == {BOB.keyid}
        with pytest.raises(SignatureError, match="unknown keys"):
            store.install(release("2"))

    def test_a_keyring_of_strangers_is_refused(self, store):
        stranger = Keyring((MALLORY.public,), version=2).sign(MALLORY)
        with pytest.raises(SignatureError, match="old keys"):
            store.change_keyring(stranger)

    def test_an_expired_keyring_takes_nothing_new_and_serves_on(self, tmp_path):
        now = [1.0e9]
        expiring = Keyring((ALICE.public,), expires="2010-01-01T00:00:00Z")
        store = new_store(tmp_path / "store", keyring=expiring, clock=lambda: now[0])
        (one,) = installed(store, "1")
        store.activate(one, now=True)
        now[0] = 1.5e9
        assert store.read_bundle(one).name == "door"
        with pytest.raises(SignatureError, match="expired"):
            installed(store, "2")


class TestDisk:
    def test_a_damaged_record_gives_way_to_its_backup(self, store):
        one, two = installed(store, "1", "2")
        store.activate(one, now=True)
        store.activate(two, now=True)
        (store.root / "state.json").write_bytes(b"\0" * 100)
        again = Store(store.root)
        assert again.state().models["door"].active == one
        again.activate(two, now=True)
        assert again.state().models["door"].active == two
        kinds = [entry.event.kind for entry in again.journal.entries(limit=3)]
        assert "recovered" in kinds

    def test_a_record_that_is_missing_gives_way_too(self, store):
        (one,) = installed(store, "1")
        store.activate(one, now=True)
        store.settings(device="box")
        (store.root / "state.json").unlink()
        assert Store(store.root).state().models["door"].active == one

    def test_both_lost_the_journal_knows(self, store):
        (one,) = installed(store, "1")
        store.activate(one, now=True)
        for name in ("state.json", "state.json.bak"):
            (store.root / name).write_bytes(b"")
        assert Store(store.root).state().models["door"].active == one
        (store.root / "journal.db").unlink()
        with pytest.raises(StateError, match="is lost"):
            Store(store.root).state()

    def test_one_flipped_bit_in_the_record_is_noticed(self, store):
        data = bytearray((store.root / "state.json").read_bytes())
        (store.root / "state.json.bak").unlink(missing_ok=True)
        (store.root / "journal.db").unlink()
        for position in range(0, len(data), 7):
            data[position] ^= 1
            (store.root / "state.json").write_bytes(data)
            data[position] ^= 1
            with pytest.raises(StateError):
                Store(store.root).state()

    def test_a_rotten_blob_is_not_loaded_and_is_replaced_by_installing_again(self, store):
        (one,) = installed(store, "1")
        target = next(path for path in store.blobs.folder.iterdir() if path.read_bytes().startswith(b"door 1"))
        target.chmod(0o644)
        target.write_bytes(b"rotten")
        with pytest.raises(DigestError, match="damaged"):
            store.read_bundle(one)
        store.install(release("1"))
        assert store.read_bundle(one).name == "door"

    def test_garbage_is_collected_and_nothing_else(self, store):
        digests = installed(store, *"123456")
        for digest in digests:
            store.activate(digest, now=True)
        (store.blobs.folder / ("a" * 64)).write_bytes(b"left over")
        files, size = store.collect(keep=1)
        assert files > 1 and size > 0
        left = store.state().models["door"].releases
        assert set(left) == {digests[5], digests[4], digests[3]}
        for digest in left:
            store.read_bundle(digest)
        assert set(os.listdir(store.blobs.folder)) == store.reachable(store.state())

    def test_quota(self, tmp_path):
        store = new_store(tmp_path / "store", limits=StoreLimits(quota_bytes=50_000))
        one, two, three = (store.install(release(version, size=12_000)) for version in "123")
        store.activate(one, now=True)
        four = store.install(release("4", size=12_000))  # makes room by removing 2 and 3
        assert set(model(store).releases) == {one, four}
        with pytest.raises(StorageError, match="of the quota's 50000"):
            store.install(release("5", size=60_000))
        store.activate(one)
        assert store.read_bundle(one).version == "1"

    def test_no_store(self, tmp_path):
        with pytest.raises(StateError, match="edgeml init"):
            Store(tmp_path)
        new_store(tmp_path / "store")
        with pytest.raises(ConflictError, match="is a store already"):
            new_store(tmp_path / "store")


def test_several_models_live_beside_each_other(store):
    one = store.install(release("1"))
    other = store.install(release("1", name="gate"))
    store.activate(one, now=True)
    store.activate(other)
    assert [(each.model, each.digest, each.trial) for each in store.load()] == [
        ("door", one, False),
        ("gate", other, True),
    ]
    store.roll_back("gate", reason="x")
    assert store.load()[1].reason


def test_the_journal_tells_the_story(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True, who="api:alice")
    store.activate(two)
    store.roll_back("door", reason="five of 200 answers were not finite", signal="invalid_outputs", who="supervisor")
    story = [(each.who, each.event.kind, each.event.signal) for each in reversed(store.journal.entries())]
    assert story == [
        ("cli", "settings", ""),
        ("cli", "installed", ""),
        ("cli", "installed", ""),
        ("api:alice", "activated", ""),
        ("cli", "activated", ""),
        ("supervisor", "rolled_back", "invalid_outputs"),
    ]
    assert [each.id for each in store.journal.entries(model="door", limit=2)] == [6, 5]


def test_a_journal_that_cannot_be_written_stops_nothing(store):
    path = store.root / "journal.db"
    path.unlink()
    path.mkdir()
    (one,) = installed(store, "1")
    store.activate(one, now=True)
    assert model(store).active == one and store.journal.failure
    path.rmdir()
    store.settings(device="box")
    assert [each.event.kind for each in reversed(store.journal.entries())] == ["installed", "activated", "settings"]


def test_what_runs_already_is_not_counted_again(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two)
    assert store.load()[0].digest == two
    for _ in range(5):
        assert store.load([two])[0].digest == two
    assert model(store).tries_left == 2


def test_a_trial_that_the_box_could_not_hold_is_withdrawn_and_may_be_tried_again(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two)
    store.withdraw("door", reason="the disk does not read")
    assert (model(store).active, model(store).candidate, model(store).denied) == (one, None, {})
    store.activate(two, peak_bytes=5)
    assert (model(store).candidate, model(store).releases[two].peak_bytes) == (two, 5)
