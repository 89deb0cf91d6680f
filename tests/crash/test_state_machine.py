"""Any order of transitions and power cuts, against an oracle of the rules."""

import copy

import pytest
from crash.crash_states import crash_states
from crash.examination import ROOT, settle
from crash.memory_disk import MemoryDisk
from crash.scenarios import Box, bundle, digest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from oracles.store_oracle import Oracle, Refused

from edgeml.bundles.store import Store
from edgeml.errors import StateError, StoreError

# The version and its security epoch.
EPOCHS = {"m1": 0, "m2": 0, "m3": 0, "m4": 1, "m5": 1, "m6": 0}
VERSIONS = st.sampled_from(sorted(EPOCHS))


class PowerCut(BaseException):
    """The process ends here; nothing may catch it."""


def digest_of(version):
    return digest(version, EPOCHS[version])


NAMES = {digest_of(version): version for version in EPOCHS}

# name of the operation -> what the store does, what the oracle does
OPERATIONS = {
    "install": (lambda s, v: s.install(bundle(v, EPOCHS[v])), lambda o, v: o.install(v, EPOCHS[v])),
    "try": (lambda s, v: s.activate(digest_of(v)), lambda o, v: o.activate(v, now=False)),
    "activate": (lambda s, v: s.activate(digest_of(v), now=True), lambda o, v: o.activate(v, now=True)),
    "confirm": (lambda s, v: s.confirm("door"), lambda o, v: o.confirm()),
    "withdraw": (lambda s, v: s.withdraw("door", reason="x"), lambda o, v: o.withdraw()),
    "roll back": (lambda s, v: s.roll_back("door", reason="x"), lambda o, v: o.roll_back()),
    "roll back to": (lambda s, v: s.roll_back("door", digest_of(v), reason="x"), lambda o, v: o.roll_back(v)),
    "deny": (lambda s, v: s.deny(digest_of(v), reason="x"), lambda o, v: o.deny(v)),
    "allow": (lambda s, v: s.allow(digest_of(v)), lambda o, v: o.allow(v)),
    "load": (lambda s, v: s.load(), lambda o, v: o.load()),
    "died": (lambda s, v: s.died("x"), lambda o, v: o.died()),
    "healthy": (lambda s, v: s.healthy(), lambda o, v: o.healthy()),
    "collect": (lambda s, v: s.collect(keep=0), lambda o, v: o.collect()),
}
ACTS = st.sampled_from(sorted(OPERATIONS))


class StoreMachine(RuleBasedStateMachine):
    """A store on a disk in memory, an oracle, and somebody who pulls the plug."""

    @initialize()
    def begin(self):
        self.disk = MemoryDisk()
        self.disk.make_folder(ROOT.parent)
        self.box = Box(ROOT, self.disk)
        self.store = self.box.create()
        self.store.install(bundle("m1", 0))
        settle(self.disk)
        self.oracle = Oracle()
        self.oracle.install("m1", 0)
        # What was there before changes of which nobody was told success: a power cut may still bring it back.
        self.before = []

    @rule(act=ACTS, version=VERSIONS)
    def act(self, act, version):
        does, says = OPERATIONS[act]
        after = self._expected(says, version)
        if after is None:
            with pytest.raises(StoreError):
                does(self.store, version)
        else:
            does(self.store, version)
            self.oracle, self.before = after, []

    # A bundle that others are gone back from is reached by few orders of rules; this is one of them.
    @precondition(lambda self: len(self.oracle.confirmed) < 3)
    @rule(version=VERSIONS)
    def get_on(self, version):
        self.act("install", version)
        self.act("activate", version)

    @rule(act=ACTS, version=VERSIONS, at=st.integers(1, 60), choice=st.integers(0, 10_000))
    def pull_the_plug(self, act, version, at, choice):
        does, says = OPERATIONS[act]
        after = self._expected(says, version)
        left = []
        last = self.disk.count + at

        def look(number, kind):
            if number >= last:
                if not left:
                    left.append(self._left(choice))
                raise PowerCut

        self.disk.hook = look
        try:
            does(self.store, version)
        except (PowerCut, StoreError):
            pass
        self.disk.hook = None
        done = not left and after is not None
        self.disk = left[0] if left else self._left(choice)
        self.box = Box(ROOT, self.disk)
        self.store = self.box.open()
        if done:
            self.oracle, self.before = after, []
            return
        found = seen(self.store)
        may_be = [each for each in (after, self.oracle, *self.before) if each is not None]
        self.oracle = next((each for each in may_be if known(each) == found), self.oracle)
        self.before = [each for each in may_be if each is not self.oracle] if choice % 4 == 0 else []

    @invariant()
    def the_store_is_as_the_oracle_says(self):
        if not hasattr(self, "store"):
            return
        assert seen(self.store) == known(self.oracle)
        state = self.store.state()
        for each in state.model("door").releases:
            self.store.read_bundle(each, state=state)

    def _expected(self, says, version):
        after = copy.deepcopy(self.oracle)
        try:
            says(after, version)
        except Refused:
            return None
        return after

    def _left(self, choice):
        """One of the states that a power cut, or the end of the process alone, may leave."""
        states = [make for _, make in crash_states(self.disk)]
        if choice % 4 == 0:
            return self.disk.copy()
        return states[choice % len(states)]()


def seen(store: Store):
    """What the record says, in the oracle's words."""
    model = store.state().model("door")
    return {
        "installed": {NAMES[each] for each in model.releases},
        "denied": {NAMES[each] for each in model.denied},
        "active": NAMES.get(model.active or ""),
        "previous": NAMES.get(model.previous or ""),
        "candidate": NAMES.get(model.candidate or ""),
        "tries": model.tries_left,
        "deaths": model.deaths_left,
        "resort": NAMES.get(model.last_resort or ""),
        "resort_tries": model.last_resort_tries,
        "floor": model.min_epoch,
        "order": [
            NAMES[each]
            for each in sorted(model.releases, key=lambda each: model.releases[each].confirmed)
            if model.releases[each].confirmed
        ],
    }


def known(oracle: Oracle):
    names = ("denied", "active", "previous", "candidate", "tries", "deaths", "resort", "resort_tries", "floor")
    return {name: getattr(oracle, name) for name in names} | {
        "installed": set(oracle.installed),
        "order": sorted(oracle.confirmed, key=lambda each: oracle.confirmed[each]),
    }


def chosen(examples, steps, **more):
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=slow, **more)


class TestSome(StoreMachine.TestCase):
    settings = chosen(40, 25)


@pytest.mark.crash
class TestMany(StoreMachine.TestCase):
    settings = chosen(600, 40)


MISTAKES = {
    "denials are forgotten": ("edgeml.bundles.transitions._denied", lambda model, digest, reason: model),
    "the record's folder is not synced": ("edgeml.bundles.record.Record._sync", lambda self, state: None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_machine_catches(mistake, monkeypatch, record_property):
    monkeypatch.setattr(*MISTAKES[mistake])
    with pytest.raises((AssertionError, StateError, Flaky)):
        run_state_machine_as_test(StoreMachine, settings=chosen(200, 25, phases=[Phase.generate], database=None))
    record_property("crash_variant", {"name": mistake, "where": "state machine", "violations": 1})
