"""``edgeml status`` of a trial that waits for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli.boxes import Box

from edgeml.supervisor import channel

WARNINGS = [
    {"signal": "error_rate", "reason": "9 of 500 answers failed"},
    {"signal": "fallback_rate", "reason": "300 of 500 answers are the fallback, more than half"},
]


@pytest.mark.parametrize(
    ("trial", "held"),
    [
        ({"verdict": "hold", "signal": "ambiguous", "warnings": WARNINGS}, True),
        ({"verdict": "hold", "signal": "collecting", "warnings": WARNINGS}, False),
        ({"verdict": "roll_back", "signal": "stall", "warnings": WARNINGS}, False),
    ],
)
def test_a_trial_that_is_held_is_shown_with_its_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: dict[str, Any], held: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    box = Box(tmp_path)
    box.with_releases("1")
    monkeypatch.setattr(channel, "live", lambda root: {"models": {}, "worker": {}, "trials": {"door": trial}})
    said = box.run("status").stderr
    line = "warning: the trial of door is held: error_rate: 9 of 500 answers failed; fallback_rate: 300 of 500"
    assert (line in said) is held and ("edgeml rollback door" in said) is held
