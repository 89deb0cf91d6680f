import subprocess
import sys
import threading

import pytest

from edgeml.kernels.histogram import Histogram
from edgeml.monitor import LatencyMonitor
from edgeml.monitor.latency import BUCKETS_US, distribution


def test_the_summary_gives_the_figures_of_each_tier():
    monitor = LatencyMonitor()
    for microseconds in range(1, 1001):
        monitor.observe("model", microseconds * 1_000)
    monitor.observe_many("rule", 2_000, 7)
    summary = monitor.summary()
    assert list(summary) == ["rule", "middle", "model", "fallback"]
    model = summary["model"]
    assert list(model) == ["count", "mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"]
    assert model["count"] == 1000 and model["mean_us"] == pytest.approx(500.5) and model["max_us"] == 1000
    for name, exact in (("p50_us", 500), ("p90_us", 900), ("p99_us", 990), ("p999_us", 999)):
        assert exact <= model[name] <= exact * 1.01
    assert summary["rule"] == {"count": 7} | dict.fromkeys(list(model)[1:], 2.0)
    assert set(summary["fallback"].values()) == {0}


def test_no_percentile_exceeds_the_maximum():
    monitor = LatencyMonitor()
    monitor.observe("rule", 300)
    figures = monitor.summary()["rule"]
    assert figures["p50_us"] == figures["p999_us"] == figures["max_us"] == 0.3


def test_the_histogram_of_a_tier_is_the_live_one():
    monitor = LatencyMonitor()
    histogram = monitor.histogram("fallback")
    monitor.observe("fallback", 5_000)
    assert histogram.count == 1
    histogram.reset()
    assert monitor.summary()["fallback"]["count"] == 0


def test_an_unknown_tier_is_refused():
    monitor = LatencyMonitor()
    for call in (
        lambda: monitor.observe("models", 1),
        lambda: monitor.observe_many("models", 1, 1),
        lambda: monitor.histogram("models"),
    ):
        with pytest.raises(KeyError, match="models"):
            call()


def test_a_negative_duration_is_refused():
    monitor = LatencyMonitor()
    with pytest.raises(ValueError, match="negative"):
        monitor.observe("rule", -1)
    with pytest.raises(ValueError, match="negative"):
        monitor.observe_many("rule", 1, -1)


def test_threads_lose_nothing():
    monitor = LatencyMonitor()

    def work():
        for ns in range(1_000, 6_000):
            monitor.observe("model", ns)
            monitor.observe_many("rule", ns, 2)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        figures = monitor.summary()["model"]
        assert figures["p50_us"] <= figures["p999_us"] <= figures["max_us"]
    for thread in threads:
        thread.join()
    assert monitor.histogram("model").count == 20_000
    assert monitor.histogram("rule").count == 40_000


def test_the_room_needs_no_numpy():
    code = "import sys, edgeml.monitor; assert 'numpy' not in sys.modules; print(edgeml.monitor.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LatencyMonitor" in done.stdout


def test_the_distribution_counts_what_is_within_each_end():
    histogram = Histogram()
    for microseconds in (10, 49, 60, 900, 1100, 9_000_000, 20_000_000):
        histogram.record(microseconds * 1000)
    found = distribution(histogram)
    counts = dict(map(tuple, found["buckets"]))
    assert tuple(counts) == BUCKETS_US
    assert (counts[50], counts[100], counts[500], counts[1000], counts[2500]) == (2, 3, 3, 4, 5)
    assert counts[2_500_000] == 5 and counts[10_000_000] == 6 < histogram.count
    assert found["sum_us"] == pytest.approx(29_002_119)
    nothing = distribution(Histogram())
    assert nothing["sum_us"] == 0 and {count for _, count in nothing["buckets"]} == {0}
