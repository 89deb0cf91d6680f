"""Who is blamed when something goes wrong: confirmed bundles are not lost to somebody else's fault."""

from contextlib import suppress

import pytest
from bundles.releases import installed, new_store, release

from edgeml.bundles import incoming
from edgeml.bundles.archive import digest_of
from edgeml.bundles.envelope import envelope_bytes
from edgeml.bundles.state import bare
from edgeml.errors import StorageError


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


def answers(store, name="door"):
    return store.state().models[name].active


def test_whoever_goes_back_second_changes_nothing(store):
    """A person and the trial react to the same bundle at the same moment; both have looked at the record before."""
    one, two, three = installed(store, "1", "2", "3")
    store.activate(one, now=True)
    store.activate(two, now=True)
    store.activate(three)
    store.roll_back("door", leave=three, reason="a person")
    store.roll_back("door", leave=three, reason="the trial", signal="error_rate")
    assert answers(store) == two
    assert set(store.state().models["door"].denied) == {three}


def test_a_withdrawal_that_comes_late_ends_no_other_trial(store):
    one, two, three = installed(store, "1", "2", "3")
    store.activate(one, now=True)
    store.activate(two)
    store.roll_back("door", leave=two, reason="a person")
    store.activate(three)
    store.withdraw("door", leave=two, reason="the disk did not read")
    assert store.state().models["door"].candidate == three


def test_deaths_that_one_model_causes_do_not_use_up_another(store):
    gate = store.install(release("1", name="gate"))
    store.activate(gate, now=True)
    one, two, three = installed(store, "1", "2", "3")
    for digest in (one, two, three):
        store.activate(digest, now=True)
    for _ in range(3):
        store.died("SIGSEGV")
    assert (answers(store), answers(store, "gate")) == (two, gate)
    for _ in range(3):
        store.died("SIGSEGV")
    # The door had nothing to do with it, and loses no more than one.
    assert (answers(store), answers(store, "gate")) == (two, None)


def test_gone_back_to_is_not_confirmed_anew(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    at = store.state().models["door"].releases[one].confirmed
    store.activate(two, now=True)
    store.roll_back("door", reason="x")
    assert store.state().models["door"].releases[one].confirmed == at


def test_a_blob_that_another_bundle_has_stays_where_it_is(store, monkeypatch):
    """Sent once more, and the folder cannot be synced: what answers keeps its bytes."""
    (one,) = installed(store, "1")
    store.activate(one, now=True)
    other = release("2")
    for digest, data in other.blobs.items():
        store.incoming.put(bare(digest), data)
    envelope = envelope_bytes(other.manifest_bytes, other.signatures[0])
    store.incoming.put(bare(digest_of(envelope)), envelope)
    store.incoming.remember_signature(bare(other.digest), bare(digest_of(envelope)))
    store.incoming.put(bare(other.digest), other.manifest_bytes)

    def refused():
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(store.blobs, "settle", refused)
        with pytest.raises(OSError):
            store.install_waiting(bare(other.digest), who="test")
    assert store.read_bundle(one).version == "1"


def test_transfers_side_by_side_stay_within_the_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(incoming, "RECOUNT_BYTES", 100)
    folder = tmp_path / "incoming"
    folder.mkdir()
    here = incoming.Incoming(folder, quota_bytes=1000)
    first, second = here.start(), here.start()

    def slowly():
        for _ in range(9):
            yield bytes(100)
        here.append(second, [bytes(100)] * 5)
        yield bytes(100)
        yield bytes(100)

    with suppress(StorageError):
        here.append(first, slowly())
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1000
