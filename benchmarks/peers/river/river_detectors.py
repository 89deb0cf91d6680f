"""Streams from river and sktime, and where river's detectors alarm on them.

``python river_detectors.py OUT.json SEEDS`` writes, for each stream: its values, how many rows are reference, where it
changes, and by detector the rows at which it alarmed. Detectors see the reference rows too, so that they are warm.
"""

import json
import random
import sys

import sktime.datasets as real
from river import drift, naive_bayes
from river.datasets import synth

REFERENCE, HEALTHY, CHANGED = 5_000, 5_000, 5_000


def mistakes(rows, after):
    """1 where a model that was trained before the reference is wrong; ``after(i)`` is told each row's number."""
    model = naive_bayes.GaussianNB()
    out = []
    for i, (x, y) in enumerate(rows):
        after(i)
        if i < REFERENCE:
            model.learn_one(x, y)
        else:
            out.append(float(model.predict_one(x) != y))
        if len(out) == REFERENCE + HEALTHY + CHANGED:
            return out


def sea(seed):
    """The concept changes at once, from variant 2 to variant 3; what comes in stays as it was."""

    def rows():
        yield from synth.SEA(variant=2, seed=seed, noise=0.1).take(2 * REFERENCE + HEALTHY)
        yield from synth.SEA(variant=3, seed=seed + 1_000, noise=0.1)

    return mistakes(rows(), lambda i: None)


def hyperplane(seed):
    """The concept turns, a little with each row from the change on; what comes in stays as it was."""
    plane = synth.Hyperplane(seed=seed, n_features=10, n_drift_features=5, mag_change=0.0, noise_percentage=0.05)

    def after(i):
        plane.mag_change = 0.001 if i >= 2 * REFERENCE + HEALTHY else 0.0

    return mistakes(iter(plane), after)


def normal(shift):
    """A feature with normal values whose mean moves."""

    def make(seed):
        rng = random.Random(seed)
        return [
            rng.gauss(shift if i >= REFERENCE + HEALTHY else 0.0, 1.0) for i in range(REFERENCE + HEALTHY + CHANGED)
        ]

    return make


def electric_devices():
    """Each annotated change of the ElectricDevices series: half of the segment before it is reference."""
    series, _, changes = real.load_electric_devices_segmentation()
    values = [float(value) for value in series]
    ends = [0, *(int(change) for change in changes), len(values)]
    for start, change, end in zip(ends, ends[1:], ends[2:], strict=False):
        half = (change - start) // 2
        yield values[start:end], half, change - start


def detectors(seed):
    """river's, with their defaults."""
    return {"ADWIN": drift.ADWIN(), "PageHinkley": drift.PageHinkley(), "KSWIN": drift.KSWIN(seed=seed)}


def alarms(values, reference, seed):
    """Rows at which each detector alarmed, behind the reference."""
    found = {}
    for name, detector in detectors(seed).items():
        found[name] = []
        for i, value in enumerate(values):
            detector.update(value)
            if detector.drift_detected and i >= reference:
                found[name].append(i)
    return found


def main(out, seeds):
    """Writes all streams."""
    kinds = {
        "normal feature, mean moves by 0.3 sd": normal(0.3),
        "normal feature, mean moves by 0.5 sd": normal(0.5),
        "SEA, mistakes of a model": sea,
        "Hyperplane, mistakes of a model": hyperplane,
    }
    streams = []
    for kind, make in kinds.items():
        for seed in range(seeds):
            values = make(seed)
            streams.append({"kind": kind, "values": values, "reference": REFERENCE, "change": REFERENCE + HEALTHY})
    for values, reference, change in electric_devices():
        kind = "ElectricDevices, measured"
        streams.append({"kind": kind, "values": values, "reference": reference, "change": change})
    for number, stream in enumerate(streams):
        stream["alarms"] = alarms(stream["values"], stream["reference"], number)
    with open(out, "w") as file:
        json.dump(streams, file)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
