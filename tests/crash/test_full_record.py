"""A record at the brim: what must happen happens, and only what adds something is refused."""

import os
from dataclasses import replace

import pytest
from crash.examination import ROOT, started
from crash.memory_disk import MemoryDisk
from crash.scenarios import SCENARIOS, Box, bundle, digest, scenario, three

from edgeml.bundles.fitting import ADDING_BYTES, DENIED_BYTES, FORGOTTEN, added, fitted
from edgeml.bundles.state import MAX_BYTES, Denial, Release
from edgeml.errors import StateError

URGENT = [each.name for each in SCENARIOS if each.urgent]
# how many strange bundles the record has, how many denials for each of three models, how long their reasons are
CROWDS = {"bundles and denials": (100, 32, 300), "denials alone": (0, 32, 300), "bundles alone": (200, 0, 0)}
ANY_BYTES = 10**6


def number(prefix, count):
    return [f"{prefix}{each:063x}" for each in range(count)]


def crowded(state, crowd, max_bytes=MAX_BYTES):
    """The same record with as much more of that as it can hold, and then to the last byte."""
    releases, denials, length = CROWDS[crowd]
    more = [("door", each, Release("o" + each[-3:], state="rejected")) for each in number("a", releases)]
    more += [
        (name, each, Denial(0, "r" * length)) for each in number("b", denials) for name in ("door", "gate", "lamp")
    ]
    for name, each, what in more:
        model = state.model(name)
        kind = "releases" if isinstance(what, Release) else "denied"
        larger = state.with_model(name, replace(model, **{kind: dict(getattr(model, kind)) | {each: what}}))
        if larger.size > max_bytes:
            return replace(state, device="d" * (max_bytes - state.size))
        state = larger
    return state


def write(disk, state):
    descriptor = disk.overwrite(ROOT / "state.json")
    disk.write(descriptor, state.to_bytes())
    disk.truncate(descriptor, len(state.to_bytes()))
    disk.sync(descriptor)
    disk.close(descriptor)


def essence(state):
    """What a record says about the bundles of the scenarios."""
    model = state.models["door"]
    real = {each: release.state for each, release in model.releases.items() if not strange(each)}
    denied = {each for each in model.denied if not strange(each)}
    return model.kept, model.active, model.previous, model.tries_left, model.deaths_left, model.min_epoch, real, denied


def strange(each):
    return each in (*number("a", 200), *number("b", 32))


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("name", URGENT)
def test_a_full_record_stops_nothing_urgent(name, crowd):
    chosen = scenario(name)
    disk = started(chosen).copy()
    plain = Box(ROOT, disk.copy(), chosen.limits).open()
    store = Box(ROOT, disk, chosen.limits).open()
    write(disk, crowded(store.state(), crowd))
    assert disk.size(ROOT / "state.json") == MAX_BYTES
    for _ in range(3 if chosen.again else 1):
        chosen.act(plain)
        chosen.act(store)
    found = Box(ROOT, disk, chosen.limits).open().state()
    assert essence(found) == essence(plain.state())
    assert found.size <= MAX_BYTES


def test_a_crash_loop_ends_with_a_full_record_on_a_full_disk():
    disk = started(scenario("died")).copy()
    store = Box(ROOT, disk).open()
    write(disk, crowded(store.state(), "bundles and denials"))
    disk.fill()
    for _ in range(6):
        store.died("SIGSEGV")
    assert store.state().models["door"].active is None
    assert {digest("1"), digest("2")} <= store.state().models["door"].denied.keys()


def test_words_go_before_denials_and_denials_before_bundles():
    state = crowded(Box(ROOT, started(scenario("died")).copy()).open().state(), "bundles and denials")
    assert fitted(state, max_bytes=ANY_BYTES)[1] == ()
    spared = number("b", 1)[0]
    small, events = fitted(state, [spared], max_bytes=MAX_BYTES - 4000)
    assert not events and small.models["door"].denied[spared].reason == "r" * 300
    assert {len(each.reason) for each in small.models["gate"].denied.values()} == {40, 300}
    smaller, events = fitted(state, [spared], max_bytes=MAX_BYTES - 10_500)
    assert {each.kind for each in events} == {"allowed"} and {each.reason for each in events} == {FORGOTTEN}
    assert spared in smaller.models["door"].denied
    smallest, events = fitted(state, [spared], max_bytes=8000)
    assert {each.kind for each in events} == {"allowed", "removed"}
    assert smallest.size <= 8000 and smallest.models["door"].kept <= smallest.models["door"].releases.keys()


def test_of_denials_the_oldest_goes_first():
    state = Box(ROOT, started(scenario("died")).copy()).open().state()
    model = state.models["door"]
    denied = {digest("1"): Denial(5, ""), digest("3"): Denial(4, "")} | {each: Denial(9, "") for each in number("b", 9)}
    state = state.with_model("door", replace(model, denied=denied))
    left, events = fitted(state, max_bytes=state.size - 780)
    assert [each.digest for each in events] == number("b", 9)
    assert left.models["door"].denied.keys() == {digest("1"), digest("3")}
    left, events = fitted(left, max_bytes=left.size - 1)
    assert left.models["door"].denied.keys() == {digest("1")}


def test_what_was_gone_back_from_is_not_gone_back_to_when_its_denial_is_forgotten():
    disk = started(scenario("died")).copy()
    store = Box(ROOT, disk).open()
    store.activate(digest("3"), now=True)
    store.roll_back("door", reason="x")
    state = store.state()
    write(disk, state.with_model("door", replace(state.models["door"], denied={})))
    store.roll_back("door", reason="x")
    assert (store.state().models["door"].active, store.state().models["door"].previous) == (digest("1"), None)


def test_denials_of_all_models_share_one_bound():
    store = Box(ROOT, started(scenario("died")).copy()).open()
    state, _ = fitted(crowded(store.state(), "denials alone", ANY_BYTES))
    assert state.size < DENIED_BYTES + 3000
    assert added(state, state) == (state, ())


def test_a_full_record_refuses_what_adds_to_it():
    disk = started(scenario("died")).copy()
    store = Box(ROOT, disk).open()
    write(disk, crowded(store.state(), "bundles alone"))
    before = store.state()
    for act in (
        lambda: store.deny(digest("3"), reason="x"),
        lambda: store.settings(device=before.device + "d" * 100),
    ):
        with pytest.raises(StateError, match=r"above 24576 nothing is added; .*gc --keep 0"):
            act()
    assert store.state() == before
    store.activate(digest("3"))
    store.confirm("door")
    store.collect(keep=0)
    store.settings(device="box")
    assert store.state().models["door"].active == digest("3")


def test_installing_goes_on_for_ever():
    disk = MemoryDisk()
    disk.make_folder(ROOT.parent)
    store = Box(ROOT, disk).create()
    three(store)
    kept = [digest("1"), digest("2")]
    for version in range(120):
        store.install(bundle(f"many{version}"))
        assert store.state().size <= ADDING_BYTES
    found = store.state().models["door"]
    assert (found.previous, found.active) == tuple(kept)
    assert digest("many119") in found.releases and digest("3") not in found.releases
    for each in found.releases:
        store.read_bundle(each)
    assert set(os.fspath(each) for each in disk.names(store.blobs.folder)) == store.reachable(store.state())
