"""Who is blamed when something goes wrong: confirmed bundles are not lost to somebody else's fault."""

from contextlib import suppress

import pytest
from bundles.releases import installed, new_store, release
from data.generate_bundles import ALICE

from edgeml.bundles import incoming
from edgeml.bundles.archive import digest_of
from edgeml.bundles.envelope import envelope_bytes
from edgeml.bundles.order import Order
from edgeml.bundles.state import bare
from edgeml.errors import OrderError, StorageError


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


class TestKnownCulprit:
    """The worker died while it loaded one bundle; others were tried in the same process."""

    @pytest.fixture
    def tried(self, store):
        """``door`` 1 and ``gate`` 1 are active, ``door`` 2 and ``gate`` 2 on trial, each with one attempt counted."""
        digests = {}
        for name in ("door", "gate"):
            digests[name] = installed(store, "1", "2", name=name)
            store.activate(digests[name][0], now=True)
        for name in ("door", "gate"):
            store.activate(digests[name][1])
        store.load()
        assert self.tries(store) == (2, 2)
        return digests

    def tries(self, store):
        models = store.state().models
        return models["door"].tries_left, models["gate"].tries_left

    def both(self, tried):
        return {tried["door"][1], tried["gate"][1]}

    def test_one_on_trial_costs_only_itself_an_attempt(self, store, tried):
        for left in (2, 1, 0):
            store.died("SIGSEGV", culprit=tried["door"][1], tried=self.both(tried))
            assert self.tries(store) == (left, 3)
            store.load()
        models = store.state().models
        assert models["door"].candidate is None and models["gate"].candidate == tried["gate"][1]
        assert [model.deaths_left for model in models.values()] == [3, 3]

    def test_one_that_is_confirmed_is_counted_though_others_are_on_trial(self, store, tried):
        old = tried["door"][0]
        for left in (2, 1):
            store.died("SIGSEGV", culprit=old, tried=self.both(tried))
            assert store.state().models["door"].deaths_left == left and self.tries(store) == (3, 3)
            store.load()
        store.died("SIGSEGV", culprit=old, tried=self.both(tried))
        door = store.state().models["door"]
        # There is nothing to go back to; the trial of the same model goes on.
        assert (door.active, door.candidate, door.tries_left) == (None, tried["door"][1], 3)
        assert old in door.denied and answers(store, "gate") == tried["gate"][0]
        store.confirm("door")
        assert answers(store) == tried["door"][1] and store.state().models["door"].last_resort is None

    def test_one_with_an_earlier_one_is_gone_back_from_and_its_models_trial_goes_on(self, store):
        one, two, three = installed(store, "1", "2", "3")
        store.activate(one, now=True)
        store.activate(two, now=True)
        store.activate(three)
        store.load()
        for _ in range(3):
            store.died("SIGSEGV", culprit=two, tried={three})
        door = store.state().models["door"]
        assert (door.active, door.candidate, door.tries_left) == (one, three, 3)
        assert set(door.denied) == {two}

    def test_no_more_is_given_back_than_was_there(self, store, tried):
        store.healthy()
        store.died("SIGSEGV", culprit=tried["door"][1], tried=self.both(tried))
        assert self.tries(store) == (3, 3)

    def test_where_nobody_knows_everybody_on_trial_keeps_what_was_counted(self, store, tried):
        store.died("SIGSEGV", tried=self.both(tried))
        assert self.tries(store) == (2, 2)
        assert [model.deaths_left for model in store.state().models.values()] == [3, 3]

    def test_one_that_is_gone_harms_nobody(self, store, tried):
        store.roll_back("door", reason="a person")
        store.died("SIGSEGV", culprit=tried["door"][1], tried=self.both(tried))
        models = store.state().models
        assert models["gate"].tries_left == 3 and [model.deaths_left for model in models.values()] == [3, 3]


class TestLastResort:
    """A bundle that was given up, with nothing to go back to: rules and fallback alone, counted too."""

    @pytest.fixture
    def given_up(self, store):
        (one,) = installed(store, "1")
        store.activate(one, now=True)
        for _ in range(3):
            store.died("SIGSEGV")
        return one

    def door(self, store):
        return store.state().models["door"]

    def test_it_is_loaded_three_times_at_most(self, store, given_up):
        for left in (2, 1, 0):
            (load,) = store.load()
            assert (load.digest, load.without_model, load.trial) == (given_up, True, False)
            assert self.door(store).last_resort_tries == left
        (load,) = store.load()
        assert load.digest is None and "loaded 3 times without its model" in load.reason
        assert self.door(store).last_resort is None
        assert store.journal.entries()[0].event.kind == "abandoned"

    def test_while_it_answers_nothing_is_counted(self, store, given_up):
        store.load()
        generation = store.state().generation
        (load,) = store.load(degraded={given_up})
        assert load.without_model and store.state().generation == generation
        # The whole bundle answering is another matter.
        store.load(running={given_up})
        assert self.door(store).last_resort_tries == 1

    def test_good_answers_forget_attempts_and_revive_nothing(self, store, given_up):
        for _ in range(3):
            store.load()
        store.healthy()
        assert self.door(store).last_resort_tries == 3
        for _ in range(4):
            store.load()
        store.healthy()
        assert self.door(store).last_resort is None and store.load()[0].digest is None

    def test_it_is_suspected_before_what_is_confirmed(self, store, given_up):
        (gate,) = installed(store, "1", name="gate")
        store.activate(gate, now=True)
        for left in (2, 1, 0):
            store.load()
            store.died("SIGSEGV", tried={given_up})
            assert self.door(store).last_resort_tries == left
        store.load()
        assert self.door(store).last_resort is None and answers(store, "gate") == gate
        assert store.state().models["gate"].deaths_left == 3

    def test_a_first_trial_that_the_box_ends_leaves_it(self, store):
        (one,) = installed(store, "1")
        store.activate(one)
        for _ in range(4):
            loads = store.load()
        assert (loads[0].digest, loads[0].without_model) == (one, True)
        assert self.door(store).candidate is None and one in self.door(store).denied

    def test_a_first_trial_that_a_person_ends_leaves_nothing(self, store):
        (one,) = installed(store, "1")
        store.activate(one)
        store.roll_back("door", reason="I do not want it")
        assert self.door(store).last_resort is None and store.load()[0].digest is None

    def test_where_there_is_something_to_go_back_to_there_is_none(self, store):
        one, two = installed(store, "1", "2")
        store.activate(one, now=True)
        store.activate(two)
        store.roll_back("door", leave=two, reason="x", signal="process_deaths")
        assert self.door(store).last_resort is None

    def test_the_next_trial_takes_its_place_and_it_comes_back_where_that_fails(self, store, given_up):
        (two,) = installed(store, "2")
        store.activate(two)
        (load,) = store.load()
        assert (load.digest, load.trial, load.without_model) == (two, True, False)
        store.roll_back("door", leave=two, reason="x", signal="load_failed")
        (load,) = store.load()
        assert (load.digest, load.without_model) == (given_up, True)

    def test_the_next_active_one_ends_it(self, store, given_up):
        (two,) = installed(store, "2")
        store.activate(two, now=True)
        assert self.door(store).last_resort is None and answers(store) == two

    def test_a_person_may_deny_it(self, store, given_up):
        store.deny(given_up, reason="not even that")
        assert self.door(store).last_resort is None
        assert "not even that" in store.load()[0].reason

    def test_its_bytes_are_kept(self, store, given_up):
        installed(store, "2", "3")
        store.collect(keep=0)
        assert store.read_bundle(given_up).version == "1"

    def test_it_outlives_the_record_s_way_to_the_disk(self, store, given_up):
        store.load()
        state = store.state()
        assert type(state).from_bytes(state.to_bytes()) == state and state.models["door"].last_resort == given_up


def test_a_record_without_last_resort_and_withdrawal_is_written_as_before(store):
    one, two = installed(store, "1", "2")
    store.activate(one, now=True)
    store.activate(two)
    data = store.state().to_bytes()
    assert b"last_resort" not in data and b"withdrawn" not in data


class TestWithdrawnOrder:
    """The trial that an order asked for was withdrawn because the box was at fault: the order is not used up."""

    @pytest.fixture
    def digests(self, store):
        one, two, three = installed(store, "1", "2", "3")
        store.activate(one, now=True)
        store.activate(two, order=self.order(two, 7))
        store.withdraw("door", reason="the disk did not read")
        return one, two, three

    def order(self, digest, seq):
        return Order("door", digest, seq).sign(ALICE)

    def candidate(self, store):
        return store.state().models["door"].candidate

    def test_it_may_be_given_again(self, store, digests):
        store.activate(digests[1], order=self.order(digests[1], 7))
        assert self.candidate(store) == digests[1] and store.state().models["door"].tries_left == 3

    def test_and_again_where_the_box_withdraws_again(self, store, digests):
        for _ in range(2):
            store.activate(digests[1], order=self.order(digests[1], 7))
            store.withdraw("door", reason="the disk did not read")
        store.activate(digests[1], order=self.order(digests[1], 7))
        assert self.candidate(store) == digests[1]

    def test_once_the_trial_went_on_and_failed_it_is_a_replay(self, store, digests):
        store.activate(digests[1], order=self.order(digests[1], 7))
        store.roll_back("door", reason="x", signal="error_rate")
        store.allow(digests[1])
        with pytest.raises(OrderError, match="replay"):
            store.activate(digests[1], order=self.order(digests[1], 7))

    def test_an_older_order_or_one_that_names_another_bundle_is_refused(self, store, digests):
        for digest, seq in ((digests[1], 6), (digests[2], 7)):
            with pytest.raises(OrderError, match="replay"):
                store.activate(digest, order=self.order(digest, seq))

    def test_a_newer_order_supersedes_it(self, store, digests):
        store.activate(digests[2], order=self.order(digests[2], 8))
        store.roll_back("door", reason="x")
        with pytest.raises(OrderError, match="replay"):
            store.activate(digests[1], order=self.order(digests[1], 7))

    @pytest.mark.parametrize("now", [False, True])
    def test_what_a_person_on_the_box_decides_supersedes_it(self, store, digests, now):
        store.activate(digests[2], now=now)
        store.roll_back("door", reason="x")
        with pytest.raises(OrderError, match="replay"):
            store.activate(digests[1], order=self.order(digests[1], 7))

    def test_a_denial_by_a_person_supersedes_it_also_when_it_is_lifted(self, store, digests):
        store.deny(digests[1], reason="no")
        store.allow(digests[1])
        with pytest.raises(OrderError, match="replay"):
            store.activate(digests[1], order=self.order(digests[1], 7))

    def test_going_back_supersedes_it(self, store):
        one, two, three = installed(store, "1", "2", "3")
        store.activate(one, now=True)
        store.activate(two, now=True)
        store.activate(three, order=self.order(three, 7))
        store.withdraw("door", reason="the disk did not read")
        store.roll_back("door", reason="a person")
        with pytest.raises(OrderError, match="replay"):
            store.activate(three, order=self.order(three, 7))


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
