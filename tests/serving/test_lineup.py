"""Which bundles are loaded, kept warm and let go of; and what a request meets while one takes another's place."""

import dataclasses
import errno
import threading
import time
from contextlib import contextmanager

import pytest
from supervisor import penguin_bundles as made
from supervisor.running_store import ROW, until

from edgeml.errors import BundleError, RequestError
from edgeml.runtime.engine import Engine
from edgeml.serving.data_plane import DataPlane
from edgeml.serving.limits import Limits
from edgeml.serving.lineup import RESERVE_BYTES, Lineup, Order
from edgeml.serving.warm_up import checked_engine, degraded_engine

MUCH = 100 * RESERVE_BYTES


class Tally:
    deadline_ns = 7


class Made:
    """An engine as far as a lineup looks at it."""

    def __init__(self, digest, name):
        self.digest, self.name, self.version, self.degraded = digest, name, "1", ""
        self.predictor, self.card, self.tally, self.drift = self, b"card", Tally(), None
        self.whole, self.disabled = self, ()

    def disable(self, rules):
        self.disabled = tuple(rules)


class Theatre:
    """A lineup with bundles of thin air, memory by word, and a stage that remembers what it showed."""

    def __init__(self):
        self.free = MUCH
        self.broken = {}
        self.read, self.shown, self.held = [], [], []
        self.begun = []
        self.lineup = Lineup(
            self._read, self._make, self._make_degraded, self, free=lambda: self.free, begins=self.begun.append
        )

    def _read(self, digest):
        self.read.append(digest)
        if digest in self.broken:
            raise self.broken[digest]
        return digest

    def _make(self, digest):
        assert self.lineup.loading is not None and self.lineup.loading[0] == digest
        return Made(digest, digest.rstrip("0123456789"))

    def _make_degraded(self, digest, reason):
        made = self._make(digest)
        if f"without {digest}" in self.broken:
            raise self.broken[f"without {digest}"]
        made.degraded = reason
        return made

    def show(self, engines, reasons):
        self.engines = dict(engines)
        self.shown.append(({name: engine.digest for name, engine in engines.items()}, dict(reasons)))

    @contextmanager
    def holding(self, model):
        self.held.append(model)
        yield
        self.held.append(f"not {model}")

    def follow(self, *orders):
        report = self.lineup.follow(orders)
        assert self.lineup.loading is None
        return report

    @property
    def loaded(self):
        return {digest for engines in self.lineup.engines().values() for digest in engines}

    @property
    def now(self):
        return self.shown[-1]


@pytest.fixture
def theatre():
    return Theatre()


def order(digest, previous=None, **more):
    return Order(digest.rstrip("0123456789"), digest, previous, **more)


def test_what_is_ordered_answers(theatre):
    report = theatre.follow(order("a1"), order("b1"))
    assert theatre.now == ({"a": "a1", "b": "b1"}, {}) and theatre.lineup.serving == {"a": "a1", "b": "b1"}
    assert report["a"]["digest"] == "a1" and not report["a"]["warm"] and "failed" not in report["a"]
    assert theatre.follow(order("a1"), order("b1"))["a"]["warm"] and theatre.read == ["a1", "b1"]


def test_the_one_before_stays_warm_and_going_back_reads_nothing(theatre):
    theatre.follow(order("a1"))
    theatre.follow(order("a2", "a1", trial=True))
    assert theatre.loaded == {"a1", "a2"}
    report = theatre.follow(order("a1"))
    assert report["a"]["warm"] and theatre.read == ["a1", "a2"] and theatre.now[0] == {"a": "a1"}
    assert theatre.loaded == {"a1"}


def test_rules_that_are_disabled_do_not_answer_from_the_first_question_on(theatre):
    report = theatre.follow(order("a1", disabled_rules=("x",)), order("b1"))
    assert report["a"]["disabled_rules"] == ["x"] and "disabled_rules" not in report["b"]
    assert theatre.engines["a"].disabled == ("x",)
    assert theatre.follow(order("a1", disabled_rules=("x", "y")))["a"]["disabled_rules"] == ["x", "y"]
    theatre.follow(order("a2", "a1"))
    assert theatre.engines["a"].disabled == ()
    assert theatre.follow(order("a1", disabled_rules=("z",)))["a"] | {"seconds": 0} == {
        **{"digest": "a1", "reason": "", "seconds": 0, "warm": True, "disabled_rules": ["z"]}
    }
    theatre.broken["a2"], theatre.free = BundleError("bad"), 0
    theatre.lineup._drop_spares()
    # Where there is no room for both, the old one is loaded again, without its rule.
    report = theatre.follow(order("a2", "a1", peak_bytes=1))
    assert report["a"]["digest"] == "a1" and theatre.engines["a"].disabled == ("z",)
    assert "disabled_rules" not in theatre.follow(order("a1"))["a"] and theatre.engines["a"].disabled == ()
    assert "disabled_rules" not in theatre.follow(order("a1", without_model=True, reason="r"))["a"]
    report = theatre.follow(order("a1", without_model=True, reason="r", disabled_rules=("x",)))
    assert report["a"]["disabled_rules"] == ["x"] and theatre.engines["a"].disabled == ("x",)


@pytest.mark.parametrize("without_model", [False, True])
def test_rules_that_cannot_be_switched_now_hold_up_no_other_order(theatre, without_model, capsys):
    first = order("a1", without_model=without_model, reason="it killed its process")
    theatre.follow(first)

    def no_memory(rules):
        raise MemoryError

    theatre.engines["a"].disable = no_memory
    report = theatre.follow(dataclasses.replace(first, disabled_rules=("x",)), order("b1"))
    assert theatre.now[0] == {"a": "a1", "b": "b1"} and report["b"]["digest"] == "b1"
    assert report["a"]["digest"] == "a1" and "disabled_rules" not in report["a"] and "failed" not in report["a"]
    assert "rules are not switched" in capsys.readouterr().err


def test_a_model_without_an_order_or_a_bundle_answers_no_more(theatre):
    theatre.follow(order("a1"), order("b1"))
    theatre.follow(order("b1"))
    assert theatre.now == ({"b": "b1"}, {}) and theatre.loaded == {"b1"}
    report = theatre.follow(Order("b", None, reason="nothing is active"))
    assert report["b"] == {"digest": None, "reason": "nothing is active"}
    assert theatre.now == ({}, {"b": "nothing is active"}) and theatre.loaded == set()
    theatre.follow(order("b1"))
    assert theatre.now == ({"b": "b1"}, {})


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (BundleError("golden rows differ"), "bundle"),
        (ValueError("odd"), "bundle"),
        (OSError(errno.EIO, "the disk fails"), "box"),
        (MemoryError(), "box"),
    ],
)
def test_one_that_cannot_be_loaded_changes_nothing(theatre, error, fault):
    theatre.follow(order("a1"), order("b1"))
    theatre.broken["a2"] = error
    report = theatre.follow(order("a2", "a1"), order("b2", "b1"))
    assert report["a"]["digest"] == "a1" and report["a"]["failed"] == "a2" and report["a"]["fault"] == fault
    assert report["b"]["digest"] == "b2" and theatre.now == ({"a": "a1", "b": "b2"}, {})
    theatre.broken.clear()
    assert theatre.follow(order("a2", "a1"), order("b2", "b1"))["a"]["digest"] == "a2"


def test_the_only_one_that_cannot_be_loaded_leaves_its_reason(theatre):
    theatre.broken["a1"] = BundleError("golden rows differ")
    assert theatre.follow(order("a1"))["a"]["digest"] is None
    why = theatre.now[1]["a"]
    assert theatre.now[0] == {} and why.count("golden rows differ") == 2 and "and without it" in why


def test_where_memory_is_short_spares_go_first(theatre):
    theatre.follow(order("a1"))
    theatre.follow(order("a2", "a1"))
    theatre.free = 0
    free_now = iter([0, MUCH, MUCH])
    theatre.lineup._free = lambda: next(free_now, MUCH)
    theatre.follow(order("a3", "a2", peak_bytes=1000))
    assert theatre.held == [] and theatre.now[0] == {"a": "a3"} and theatre.loaded == {"a2", "a3"}


def test_where_memory_is_shorter_the_old_one_goes_first_and_requests_wait(theatre):
    theatre.follow(order("a1"), order("b1"))
    theatre.free = RESERVE_BYTES
    before = len(theatre.shown)
    theatre.follow(order("a2", "a1", peak_bytes=1000), order("b1"))
    assert theatre.held == ["a", "not a"]
    assert [engines for engines, _ in theatre.shown[before:]][0] == {"b": "b1"}
    assert theatre.now[0] == {"a": "a2", "b": "b1"} and theatre.loaded == {"a2", "b1"}


def test_where_memory_is_short_and_the_new_one_fails_the_old_one_is_loaded_again(theatre):
    theatre.follow(order("a1"))
    theatre.free, theatre.broken["a2"] = RESERVE_BYTES, BundleError("bad")
    report = theatre.follow(order("a2", "a1", peak_bytes=1000))
    assert report["a"] == {"digest": "a1", "reason": "bad", "failed": "a2", "fault": "bundle"}
    assert theatre.now == ({"a": "a1"}, {}) and theatre.read == ["a1", "a2", "a1"]


def test_where_both_fail_the_model_says_so_and_can_be_ordered_again(theatre):
    theatre.follow(order("a1"), order("b1"))
    theatre.free, theatre.broken = RESERVE_BYTES, {"a2": BundleError("bad"), "a1": OSError(errno.EIO, "no disk")}
    report = theatre.follow(order("a2", "a1", peak_bytes=1000), order("b1"))
    assert report["a"]["digest"] is None and report["a"]["fault"] == "box"
    assert theatre.now[0] == {"b": "b1"} and "no disk" in theatre.now[1]["a"]
    theatre.broken = {}
    theatre.follow(order("a1"), order("b1"))
    assert theatre.now == ({"a": "a1", "b": "b1"}, {})


def test_nothing_is_kept_warm_where_memory_is_short(theatre):
    theatre.follow(order("a1"))
    theatre.free = RESERVE_BYTES
    theatre.follow(order("a2", "a1"))
    assert theatre.loaded == {"a2"}


def test_a_trial_of_a_bundle_that_is_warm_begins_at_nought(penguins_bundle):
    one, two = (made.version(penguins_bundle, word) for word in "12")
    bundles = {bundle.digest: bundle for bundle in (one, two)}
    theatre = Theatre()
    lineup = Lineup(
        bundles.__getitem__,
        lambda each: checked_engine(each, max_rows=10),
        lambda each, reason: degraded_engine(each, reason, max_rows=10),
        theatre,
        free=lambda: MUCH,
    )
    lineup.follow([Order("penguins", one.digest)])
    first = lineup.engines()["penguins"][one.digest]
    first.predict(ROW)
    first.tally.failed(invalid=True)
    lineup.follow([Order("penguins", two.digest, one.digest)])
    lineup.follow([Order("penguins", one.digest, two.digest, trial=True)])
    again = lineup.engines()["penguins"][one.digest]
    assert isinstance(again, Engine) and again.predictor is first.predictor and again.card == first.card
    assert again.counters()["requests"] == 0 and again.counters()["invalid_outputs"] == 0
    again.predict(ROW)
    lineup.follow([Order("penguins", one.digest, two.digest, trial=True)])
    assert lineup.engines()["penguins"][one.digest].counters()["requests"] == 1


def test_orders_of_a_newer_supervisor_are_read_as_far_as_they_are_known():
    read = Order.of({"model": "a", "digest": "a1", "trial": True, "colour": "red"})
    assert read == Order("a", "a1", trial=True)


@pytest.fixture(scope="module")
def engines(penguins_bundle):
    return [checked_engine(made.version(penguins_bundle, word), max_rows=10) for word in "12"]


class TestPlane:
    """The stage itself: what a request meets."""

    @pytest.fixture
    def plane(self, engines):
        return DataPlane({"penguins": engines[0]}, pages=lambda _: None, limits=Limits(hold_s=30))

    @pytest.mark.parametrize("name", [None, "penguins"])
    def test_requests_wait_while_a_bundle_is_exchanged(self, plane, engines, name):
        found = []
        threads = [threading.Thread(target=lambda: found.append(plane.engine(name))) for _ in range(8)]
        with plane.holding("penguins"):
            plane.show({}, {})
            for thread in threads:
                thread.start()
            time.sleep(0.05)
            assert found == []
            plane.show({"penguins": engines[1]}, {})
        for thread in threads:
            thread.join(30)
        assert found == [engines[1]] * 8

    def test_no_request_falls_between_the_steps_of_an_exchange(self, plane, engines):
        ends, wrong = threading.Event(), []

        def ask():
            while not ends.is_set():
                try:
                    plane.engine("penguins")
                    plane.engine()
                except RequestError as error:
                    wrong.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(300):
            with plane.holding("penguins"):
                plane.show({}, {})
                plane.show({"penguins": engines[turn % 2]}, {})
        ends.set()
        for thread in threads:
            thread.join(30)
        assert wrong == []

    def test_an_exchange_that_takes_too_long_is_told(self, engines):
        plane = DataPlane({}, pages=lambda _: None, limits=Limits(hold_s=0.01))
        with plane.holding("penguins"), pytest.raises(RequestError, match="is being exchanged") as caught:
            plane.engine("penguins")
        assert caught.value.code == "not_ready"

    def test_an_exchange_that_fails_leaves_the_reason(self, plane):
        with plane.holding("penguins"):
            plane.show({}, {"penguins": "the disk fails"})
        with pytest.raises(RequestError, match="the disk fails"):
            plane.engine("penguins")

    def test_a_question_that_does_not_come_back_is_seen_after_its_bundle_answers_no_more(self, plane, engines):
        class Slow:
            name, version, digest = "penguins", "0", "sha256:0"

            def predict(self, record):
                came.set()
                leaves.wait(30)

        came, leaves = threading.Event(), threading.Event()
        slow = Engine(Slow())
        plane._seen.add(slow)
        thread = threading.Thread(target=slow._ask, args=(slow.predictor.predict, None))
        thread.start()
        assert came.wait(30)
        plane.show({"penguins": engines[1]}, {})
        until(lambda: plane.stuck()[0] > 0, why="seen")
        assert plane.stuck()[1] == "sha256:0"
        leaves.set()
        thread.join(30)
        assert plane.stuck() == (0.0, "")


class TestWithoutItsModel:
    """Rules and fallback of a bundle answer while the whole of it cannot."""

    def ordered(self, digest):
        return order(digest, without_model=True, reason="given up")

    def test_the_only_one_that_cannot_be_loaded_answers_without_it_until_it_can(self, theatre):
        whole, fails = theatre.lineup._make, {"a1"}

        def make(digest):
            if digest in fails:
                raise BundleError("golden rows differ")
            return whole(digest)

        theatre.lineup._make = make
        report = theatre.follow(order("a1"))["a"]
        assert report["digest"] == "a1" and report["degraded"] and report["failed"] == "a1"
        assert report["fault"] == "bundle" and "without_model" not in report
        engine = theatre.engines["a"]
        assert engine.degraded == "its model could not be loaded: golden rows differ"
        assert theatre.lineup.serving == {} and theatre.lineup.degraded == {"a": "a1"} and theatre.now[1] == {}
        # Asked again it is the same engine that goes on, and its counters are no model's.
        theatre.follow(order("a1"))
        assert theatre.engines["a"] is engine and theatre.lineup.engines() == {}
        fails.clear()
        assert theatre.follow(order("a1"))["a"]["digest"] == "a1"
        assert theatre.engines["a"].degraded == "" and theatre.lineup.degraded == {}
        assert theatre.lineup.serving == {"a": "a1"}

    def test_ordered_so_nothing_of_the_model_is_made(self, theatre):
        theatre.lineup._make = None
        report = theatre.follow(self.ordered("a1"))
        assert report == {"a": {"digest": "a1", "degraded": True, "reason": "given up"}}
        assert theatre.begun == ["a1"] and theatre.engines["a"].degraded == "given up"
        theatre.follow(self.ordered("a1"))
        assert theatre.begun == ["a1"]

    def test_where_nobody_says_why_the_model_is_left_out_all_the_same(self, theatre):
        theatre.lineup._make = None
        theatre.follow(order("a1", without_model=True))
        assert theatre.engines["a"].degraded

    def test_ordered_so_the_whole_one_is_let_go_of(self, theatre):
        theatre.follow(order("a1"))
        theatre.follow(self.ordered("a1"))
        assert theatre.engines["a"].degraded and theatre.lineup.serving == {} and theatre.loaded == set()

    def test_one_that_cannot_even_do_that_leaves_its_reason(self, theatre):
        theatre.broken["without a1"] = BundleError("no rules")
        report = theatre.follow(self.ordered("a1"))["a"]
        assert (report["digest"], report["failed"], report["without_model"]) == (None, "a1", True)
        assert theatre.now == ({}, {"a": "given up; and without it: no rules"})

    def test_one_on_trial_that_cannot_be_loaded_leaves_what_answers(self, theatre):
        theatre.follow(self.ordered("a1"))
        theatre.broken["a2"] = BundleError("golden rows differ")
        report = theatre.follow(order("a2", trial=True))["a"]
        assert (report["digest"], report["failed"], report["degraded"]) == ("a1", "a2", True)
        assert theatre.now == ({"a": "a1"}, {})

    def test_one_that_is_not_ordered_any_more_does_not_answer(self, theatre):
        theatre.follow(self.ordered("a1"), order("b1"))
        theatre.follow(order("b1"))
        assert theatre.now == ({"b": "b1"}, {}) and theatre.lineup.degraded == {}

    def test_each_load_is_told_before_it_begins(self, theatre):
        seen = []
        make = theatre.lineup._make
        theatre.lineup._make = lambda digest: seen.append([*theatre.begun]) or make(digest)
        theatre.follow(order("a1"), order("b1"))
        assert seen == [["a1"], ["a1", "b1"]]
