"""Every command of docs/capture.md is run, in order, on one box that serves."""

import json
import re
import subprocess
import sys

import pytest
from cli.boxes import ROOT
from cli.test_releases_guide import environment, shell
from data.generate_bundles import ALICE
from supervisor.running_store import ROW, running, store_of

from edgeml.bundles import sign
from edgeml.monitor.capture_file import CaptureFile

GUIDE = (ROOT / "docs/capture.md").read_text()
BLOCKS = re.findall(r"(?:<!-- run: ([a-z]+) -->\n)?```(sh|python)\n(.*?)```", GUIDE, re.S)


def test_every_block_is_marked():
    assert BLOCKS and all(kind == language for kind, language, _ in BLOCKS)


@pytest.fixture
def folder(tmp_path, penguins_bundle):
    store_of(tmp_path / "store", sign(penguins_bundle, ALICE))
    return tmp_path


def test_the_guide_is_right(folder):
    def traffic():
        with running(folder / "store") as box:
            said = box.post("/v1/predict", {"records": [ROW] * 3000})[1]["predictions"]
            items = [{"id": each["id"], "label": "Adelie"} for each in said]
            assert box.post("/v1/feedback", {"feedback": items})[0] == 200

    told = []
    for kind, _, code in BLOCKS:
        if "capture status" in code:
            traffic()
        if kind == "sh":
            told.append(shell(folder, code))
        else:
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            told.append(done.stdout)
    kept = list(CaptureFile(folder / "store" / "capture.db").rows())
    assert kept and all(each.label == "Adelie" and "sex" not in each.record for each in kept)
    lines = (folder / "captured.ndjson").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [each.id for each in kept]
    assert (folder / "captured.csv").read_text().count("\n") == len(kept) + 1
    right = sum(each.prediction["label"] == "Adelie" for each in kept) / len(kept)
    # All of them had one and the same chance.
    assert float(told[-1].split()[0]) == pytest.approx(right)


def test_the_defaults_are_those_of_the_settings():
    from edgeml.bundles.box_settings import BoxSettings

    given = BoxSettings()
    for option, shown in (
        ("--capture-boost N", f"{given.capture_boost:g}"),
        ("--capture-rows N", f"{given.capture_rows:,}"),
        ("--capture-size SIZE", f"{given.capture_bytes / 1024**2:g} MiB"),
        ("--capture-size-per-day SIZE", f"{given.capture_bytes_per_day / 1024**2:g} MiB"),
    ):
        assert f"| `{option}` | {shown} |" in GUIDE
