"""Hundreds of swaps under load: nothing is lost, nothing grows. With 'make test-crash', whose table has the figures."""

import time

import pytest
from supervisor import penguin_bundles as made
from supervisor.running_store import Load, known, running, store_of, until

MODEL = "penguins"
GROWTH_BYTES = 8 * 1024 * 1024

pytestmark = pytest.mark.crash


def swap(store, box, second, back):
    """There and back again; gives how long going back took until the worker answered with it."""
    store.activate(second, now=True)
    box.follow()
    start = time.perf_counter()
    store.roll_back(MODEL, reason="a test")
    box.follow()
    took = time.perf_counter() - start
    store.allow(second)
    return took


def resident(box):
    """Memory of worker and supervisor in bytes."""
    found = []
    for pid in (box.worker, box.process.pid):
        with open(f"/proc/{pid}/statm") as file:
            found.append(int(file.read().split()[1]) * 4096)
    return found


def handles(box):
    import os

    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (box.worker, box.process.pid)]


def test_a_hundred_swaps_under_load_lose_nothing_and_grow_nothing(tmp_path, penguins_bundle, record_property):
    # Without a native kernel, so that each swap opens an ONNX Runtime session.
    bundles = [made.version(penguins_bundle, word) for word in "12"]
    one, two = (
        made.signed(each.config, {name: data for name, data in each.members.items() if not name.startswith("kernel.")})
        for each in bundles
    )
    store, (first, second) = store_of(tmp_path / "store", one, two)
    with running(tmp_path / "store") as box, Load(box, known(one, two), clients=8) as load:
        for _ in range(10):
            swap(store, box, second, first)
        before, open_before = resident(box), handles(box)
        times = sorted(swap(store, box, second, first) for _ in range(50))
        after, open_after = resident(box), handles(box)
        load.wait_for(50, first)
        assert load.failures == [] and set(load.answers) == {first, second}
        grown = [late - early for early, late in zip(before, after, strict=True)]
        record_property(
            "crash_figure",
            f"100 swaps under load: {load.asked} answers, {len(load.failures)} failed; worker "
            f"{before[0] / 2**20:.1f} MB, grew by {grown[0] / 2**20:.2f} MB, supervisor by {grown[1] / 2**20:.2f} MB; "
            f"going back (warm, command to answer) median {times[25] * 1000:.1f} ms, largest {times[-1] * 1000:.1f} ms",
        )
        assert all(each < GROWTH_BYTES for each in grown)
        assert all(late <= early + 4 for early, late in zip(open_before, open_after, strict=True))


def test_going_back_cold(tmp_path, penguins_bundle, record_property):
    one, two = (made.version(penguins_bundle, word) for word in "12")
    store, (first, second) = store_of(tmp_path / "store", one, two)
    store.activate(second, now=True)
    times = []
    for _ in range(5):
        with running(tmp_path / "store") as box:
            start = time.perf_counter()
            store.roll_back(MODEL, reason="a test")
            box.follow()
            assert box.predict()[1]["version"] == "1"
            times.append(time.perf_counter() - start)
        store.allow(second)
        store.activate(second, now=True)
    record_property(
        "crash_figure", f"going back (cold, command to first answer): median {sorted(times)[2] * 1000:.1f} ms"
    )


def test_idle_both_processes_rest(tmp_path, penguins_bundle, record_property):
    """Reported, not bounded in time: only that neither spins."""
    store_of(tmp_path / "store", made.version(penguins_bundle, "1"))

    def ticks(pid):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with running(tmp_path / "store") as box:
        box.predict()
        until(lambda: box.live()["worker"]["seconds"] > 3)
        pids = box.worker, box.process.pid
        start, before = time.monotonic(), [ticks(pid) for pid in pids]
        time.sleep(10)
        spent, seconds = [ticks(pid) - early for pid, early in zip(pids, before, strict=True)], time.monotonic() - start
        shares = [f"{each / seconds:.2f} %" for each in spent]
        figure = f"idle for {seconds:.0f} s: worker {shares[0]}, supervisor {shares[1]} of a core"
        record_property("crash_figure", figure)
        assert all(each < 50 * seconds for each in spent)
