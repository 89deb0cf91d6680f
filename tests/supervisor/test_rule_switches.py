"""What was decided of rules: kept by digest, harmless where it is lost, and a person's word before the watch's."""

import errno
import json

import pytest
from supervisor.moved_rules import signs

import edgeml.supervisor.rule_switches as switching
from edgeml.bundles.store import Store
from edgeml.errors import NotInstalledError, RequestError
from edgeml.monitor.rule_promises import rule_promises
from edgeml.monitor.watch import Watch, WatchSettings
from edgeml.supervisor.rule_guard import RuleGuard
from edgeml.supervisor.rule_switches import SUFFIX, RuleSwitches

DIGEST, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def said():
    return []


@pytest.fixture
def switches(tmp_path, said):
    return RuleSwitches(tmp_path / "monitors", say=said.append)


def again(tmp_path, said=None):
    return RuleSwitches(tmp_path / "monitors", say=(said if said is not None else []).append)


def decide(switches, rule, disabled=True, digest=DIGEST):
    switches.decide(digest, rule, disabled, at=5.0, who="cli", reason="why")


def test_decisions_are_kept_by_digest(tmp_path, switches):
    decide(switches, "x"), decide(switches, "y"), decide(switches, "y", False), decide(switches, "z", digest=OTHER)
    assert switches.keep() == ""
    for each in (switches, again(tmp_path)):
        assert each.disabled(DIGEST) == ["x"] and each.disabled(OTHER) == ["z"] and each.disabled("c" * 64) == []
        assert each.of(DIGEST)["y"] == {"disabled": False, "at": 5.0, "who": "cli", "reason": "why"}
    orders = [{"digest": DIGEST, "model": "m"}, {"digest": None, "model": "n"}, {"digest": "c" * 64}]
    assert switches.added(orders) == [{**orders[0], "disabled_rules": ["x"]}, *orders[1:]]
    (tmp_path / "monitors" / f"{DIGEST}.watch").write_bytes(b"")
    switches.forget([OTHER])
    assert sorted(path.name[0] + path.suffix for path in (tmp_path / "monitors").iterdir()) == ["a.watch", f"b{SUFFIX}"]
    assert switches.disabled(DIGEST) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: data.replace(DIGEST.encode(), OTHER.encode()),
        lambda data: data.replace(b"true", b"1"),
        lambda data: data.replace(b'"at":5.0', b'"at":"x"'),
        lambda data: json.dumps({"digest": DIGEST, "rules": [1]}).encode(),
        lambda data: b"\xff" * 100,
        lambda data: b"[" * 10_000,
    ],
)
def test_a_damaged_file_lets_all_rules_answer(tmp_path, switches, said, change):
    decide(switches, "x")
    switches.keep()
    path = tmp_path / "monitors" / f"{DIGEST}{SUFFIX}"
    path.write_bytes(change(path.read_bytes()))
    assert RuleSwitches(tmp_path / "monitors", keeps=False, say=said.append).disabled(DIGEST) == [] and path.exists()
    assert again(tmp_path, said).disabled(DIGEST) == [] and not path.exists()
    assert "damaged, so all rules answer" in said[-1]


def test_what_the_disk_refuses_counts_all_the_same_and_is_tried_again(tmp_path, switches, said, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(switching, "replace_file", full)
        decide(switches, "x")
        for _ in range(3):
            assert "no space left" in switches.keep()
        assert len(said) == 1  # once
    assert switches.disabled(DIGEST) == ["x"] and again(tmp_path).disabled(DIGEST) == []
    assert switches.keep() == "" and again(tmp_path).disabled(DIGEST) == ["x"]


def test_no_more_rules_are_disabled_than_an_order_can_name(switches):
    for place in range(switching.MOST_DISABLED):
        decide(switches, f"r{place}")
    with pytest.raises(RequestError, match="500 rules of this bundle are disabled already"):
        decide(switches, "one-more")
    decide(switches, "r3")  # it is already
    decide(switches, "r3", False)
    decide(switches, "one-more")


class Box:
    """A store with a bundle, what watches it, and what the supervisor would be told."""

    def __init__(self, root, bundle):
        self.store = Store.create(root, keyring=None, allow_unsigned=True)
        self.digest = self.store.install(bundle)
        self.store.activate(self.digest, now=True)
        self.switches = RuleSwitches(root / "monitors")
        self.guard = RuleGuard(self.store, self.switches)
        self.told = []
        self.live = {"models": {"signs": {"digest": f"sha256:{self.digest}"}}}
        self.guard.nudges(self.nudge)
        promises = rule_promises(json.loads(bundle.members["rules.json"]), None)
        assert [each.precision for each in promises] == [None, None]
        promises = [type(each)(each.id, True, 0.9, 0.9, "target") for each in promises]
        self.watch = Watch(self.digest, None, {}, WatchSettings(), promises=promises)

    def nudge(self, event):
        self.told.append(event[0])
        disabled = self.switches.disabled(self.digest)
        self.live["models"]["signs"]["disabled_rules"] = disabled
        event[1](self.live)

    @property
    def events(self):
        return [(each.event.signal, each.who) for each in self.store.journal.entries() if each.event.kind == "rule"]


@pytest.fixture(scope="module")
def bundle():
    return signs()


@pytest.fixture
def box(tmp_path, bundle):
    return Box(tmp_path / "store", bundle)


def test_the_watch_disables_what_was_found_out_where_it_may(box):
    box.guard.look("signs", box.watch, True)
    box.watch.rules.look({0: [100, 10]}, {1: [100, 10]}, 1.0)
    box.guard.look("signs", box.watch, False)
    assert box.switches.disabled(box.digest) == [] and box.told == []
    for _ in range(3):
        box.guard.look("signs", box.watch, True)
    assert box.switches.disabled(box.digest) == ["kept", "moved"]
    assert box.told == ["nudge"] and sorted(box.events) == [("kept", "supervisor"), ("moved", "supervisor")]
    assert again(box.store.root).disabled(box.digest) == ["kept", "moved"]


def test_what_a_person_has_enabled_stays_so(box):
    box.watch.rules.look({0: [100, 10]}, {}, 1.0)
    box.guard.look("signs", box.watch, True)
    said = box.guard.switch("signs", "kept", False, who="anna", reason="it is the labels that are wrong")
    assert said["followed"] and not said["disabled"]
    box.guard.look("signs", box.watch, True)
    assert box.switches.disabled(box.digest) == [] and box.events == [("kept", "anna"), ("kept", "supervisor")]
    assert again(box.store.root).of(box.digest)["kept"]["who"] == "anna"


def test_the_watch_stops_where_too_many_are_disabled(box, monkeypatch):
    monkeypatch.setattr(switching, "MOST_DISABLED", 1)
    box.watch.rules.look({0: [100, 10], 1: [100, 10]}, {}, 1.0)
    said = []
    guard = RuleGuard(box.store, box.switches, say=said.append)
    guard.nudges(box.nudge)
    for _ in range(3):
        guard.look("signs", box.watch, True)
    assert box.switches.disabled(box.digest) == ["kept"]
    # The worker is told once, and people as well.
    assert box.told == ["nudge"] and [line for line in said if "moved is not disabled" in line] == said[:1]


def test_a_disk_that_refuses_lets_no_wrong_rule_answer(box, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.EIO, "input/output error")

    box.watch.rules.look({0: [100, 10]}, {}, 1.0)
    monkeypatch.setattr(box.store, "note", full)
    monkeypatch.setattr(switching, "replace_file", full)
    with pytest.raises(OSError):
        box.guard.look("signs", box.watch, True)
    assert box.told == ["nudge"] and box.live["models"]["signs"]["disabled_rules"] == ["kept"]


def test_what_is_not_there_is_refused_by_name(box):
    with pytest.raises(RequestError, match="signs has no rule 'nobody' that answers"):
        box.guard.switch("signs", "nobody", True, who="cli")
    with pytest.raises(NotInstalledError, match="nothing answers for 'other'"):
        box.guard.switch("other", "kept", True, who="cli")
    assert box.told == [] and box.events == []


def test_a_worker_that_has_not_followed_is_told_of(box):
    box.guard.nudges(lambda event: event[1]({"models": {}, "reason": "not in time"}))
    assert not box.guard.switch("signs", "kept", True, who="cli")["followed"]
