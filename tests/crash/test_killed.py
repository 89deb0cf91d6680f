"""P1, P2 and P5 with a real process on a real disk: killed at system calls, and system calls that fail.

``make test`` tries some places, ``make test-crash`` every one.
"""

import shutil
import subprocess

import pytest
from crash.broken_variants import KILLED
from crash.examination import Examination
from crash.scenarios import NAMES, Box, scenario
from crash.tracer import TracerError, places, tracing

from edgeml.bundles.state import TRIES, State
from edgeml.errors import EdgemlError, StateError, StorageError, StoreError

ERRNOS = ("EIO", "ENOSPC", "EROFS")
SAMPLE = ("install waiting", "activate, now", "roll back, to previous")


@pytest.fixture(scope="module")
def tracer(request):
    thorough = "not crash" not in (request.config.option.markexpr or "")
    if thorough and shutil.which("strace") is None and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "strace"], capture_output=True, check=False)
    try:
        with tracing() as found:
            yield found
    except TracerError as error:
        pytest.skip(str(error))


class Traced:
    """One transition of a real process, from the same start over and over again."""

    def __init__(self, tracer, name, folder):
        self.scenario = scenario(name)
        self.records = Examination(self.scenario).records
        self.violations = []
        self.runs = 0
        self._tracer = tracer
        self._start = folder / "start"
        self._box = Box(folder / "store", limits=self.scenario.limits)
        self._making = name == "create"
        if not self._making:
            self.scenario.prepare(Box(self._start, limits=self.scenario.limits).create())
        self.places = places(self._run("").calls)

    def hurt(self, place, how):
        """Carries it out with one call killed or failing, and writes down what is wrong then."""
        call, number = place
        end = self._run(f"{call}:{how}:when={number}")
        self.runs += 1
        problem = f"it raised {end.told}" if end.told.startswith("broken") else self._judge(end.told)
        if problem:
            self.violations.append(f"{self.scenario.name}: {call} {number} {how}: {problem}")

    def _run(self, inject):
        shutil.rmtree(self._box.root, ignore_errors=True)
        if not self._making:
            shutil.copytree(self._start, self._box.root)
        try:
            return self._tracer.run(self.scenario.name, self._box.root, inject)
        except TracerError as error:
            pytest.skip(f"strace cannot trace here: {error}")

    def _judge(self, told):
        done = told.startswith("done")
        unchanged = told.startswith("refused") and "StorageError" not in told and self.scenario.single
        try:
            store = self._box.open()
            state = store.state()
        except StateError as error:
            if done or not self._making:
                return f"the store does not open: {error}"
            return self._again(None)
        allowed = self.records[-1:] if done else self.records[:1] if unchanged else self.records
        if state not in allowed:
            return f"told {told!r}, and the record is generation {state.generation}"
        if damage := store.journal.damage():
            return f"the journal is damaged: {damage}"
        return self._read_all(store, state) or self._again(state)

    def _read_all(self, store, state):
        try:
            for model in state.models.values():
                for digest in model.releases:
                    store.read_bundle(digest, state=state)
        except (OSError, EdgemlError) as error:
            return f"a bundle that the record names cannot be read: {error!r}"
        return ""

    def _again(self, state: State | None):
        if self._making and state is not None:
            return ""
        try:
            self.scenario.act(self._box.create() if self._making else self._box.open())
        except (OSError, EdgemlError) as error:
            if not isinstance(error, StoreError) or isinstance(error, StorageError) or self.scenario.again:
                return f"asked again, it raised {error!r}"
            return ""
        if self.scenario.again and self._box.open().state() != self.records[-1]:
            return "asked again, it did not come to the same"
        return ""


def tell(record_property, traced, *, kills=0, failures=0):
    record_property(
        "crash",
        {
            "name": traced.scenario.name,
            "kills": kills,
            "failures": failures,
            "violations": len(traced.violations),
        },
    )
    assert not traced.violations, "\n".join(traced.violations[:10])


@pytest.mark.parametrize("name", SAMPLE)
def test_some_system_calls(name, tracer, tmp_path, record_property):
    traced = Traced(tracer, name, tmp_path)
    assert len(traced.places) > 40
    some = traced.places[3::9]
    for place in some:
        traced.hurt(place, "signal=KILL")
        traced.hurt(place, "error=EIO")
    tell(record_property, traced, kills=len(some), failures=len(some))


@pytest.mark.crash
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_every_system_call(name, tracer, tmp_path, record_property):
    traced = Traced(tracer, name, tmp_path)
    for place in traced.places:
        traced.hurt(place, "signal=KILL")
    tell(record_property, traced, kills=traced.runs)


@pytest.mark.crash
@pytest.mark.parametrize("error", ERRNOS)
@pytest.mark.parametrize("name", NAMES)
def test_every_system_call_fails(name, error, tracer, tmp_path, record_property):
    traced = Traced(tracer, name, tmp_path)
    for place in traced.places:
        traced.hurt(place, f"error={error}")
    tell(record_property, traced, failures=traced.runs)


def test_a_bundle_that_kills_its_process_is_abandoned_after_three_starts(tracer, tmp_path):
    assert starts_on_trial(tracer, tmp_path) == TRIES


def starts_on_trial(tracer, folder):
    """How often a bundle is tried that kills its process each time: more than may be, where that does not end."""
    box = Box(folder / "store")
    scenario("load").prepare(box.create())
    trial = box.open().state().models["door"].candidate
    for starts in range(TRIES + 1):
        undisturbed = on_a_copy(tracer, box)
        if trial not in undisturbed.told.split("previous=")[0]:
            assert tracer.run("load", box.root).told == undisturbed.told
            assert trial in box.open().state().models["door"].denied
            return starts
        # The answer is worked out, and the process is dead before anybody hears it.
        last = undisturbed.calls.count("write")
        assert tracer.run("load", box.root, f"write:signal=KILL:when={last}").told == ""
    return TRIES + 1


def on_a_copy(tracer, box):
    """What a load does that nobody disturbs; the box itself stays as it is."""
    copy = box.root.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(box.root, copy)
    end = tracer.run("load", copy)
    assert end.told.startswith("done")
    return end


@pytest.mark.parametrize("variant", KILLED, ids=lambda each: f"{each.name} ({each.scenario})")
def test_the_kills_catch(variant, tracer, tmp_path, record_property):
    with tracing(variant.name) as broken:
        if variant.scenario == "load":
            found = starts_on_trial(broken, tmp_path) - TRIES
        else:
            traced = Traced(broken, variant.scenario, tmp_path)
            for place in traced.places:
                traced.hurt(place, "error=EIO" if variant.faults else "signal=KILL")
                if traced.violations:
                    break
            found = len(traced.violations)
    where = f"system calls: {variant.scenario}"
    record_property("crash_variant", {"name": variant.name, "where": where, "violations": found})
    assert found
