"""``edgeml inspect`` and ``card``: for people and for machines, and never a tool of the bundle they show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from data.generate_bundles import ALICE, CONFIG, GOOD, MEMBERS, ONE, TWO

from edgeml.bundles import Bundle, sign
from edgeml.cli import main


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sign(GOOD, ALICE).save("door.edgeml")
    ONE.save("keyring.json")


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == status, result.output
    return result


def saved(config: dict[str, Any], **members: bytes) -> str:
    Bundle.create(CONFIG | config, MEMBERS | members).save("other.edgeml")
    return "other.edgeml"


def test_for_machines() -> None:
    report = json.loads(run("inspect", "door.edgeml", "--json").stdout)
    assert report["digest"] == GOOD.digest and report["config"] == CONFIG
    assert (report["name"], report["version"], report["trusted"]) == ("door", "1.0.0", False)
    assert report["file_bytes"] == Path("door.edgeml").stat().st_size
    assert report["signatures"] == [{"keyid": ALICE.keyid, "good": None}]
    assert [(member["name"], member["bytes"]) for member in report["members"]] == [("CARD.md", 7), ("model.onnx", 100)]
    checked = json.loads(run("inspect", "door.edgeml", "--json", "--keyring", "keyring.json").stdout)
    assert checked["trusted"] and checked["signatures"] == [{"keyid": ALICE.keyid, "good": True}]


def test_for_people() -> None:
    shown = run("inspect", "door.edgeml").stdout
    for word in (GOOD.digest, ALICE.keyid, "not checked", "nobody vouches", "no, yes", "model.onnx", "edgeml >=0.1"):
        assert word in shown
    assert "good" in run("inspect", "door.edgeml", "--keyring", "keyring.json").stdout


def test_a_keyring_that_is_not_met_refuses() -> None:
    TWO.save("two.json")
    for command in ("inspect", "card"):
        result = run(command, "door.edgeml", "--keyring", "two.json", status=1)
        assert "2 of 2 trusted keys" in result.stderr and not result.stdout


def test_features_are_listed() -> None:
    features = [
        {"name": "age", "kind": "number", "unit": "years", "min": 0, "max": 120, "missing": "allow"},
        {"name": "site", "kind": "category", "levels": [f"s{number}" for number in range(12)]},
        {"name": "note", "kind": "text"},
    ]
    shown = run("inspect", saved({"schema": {"features": features}})).stdout
    for words in ("age", "years", "0 .. 120", "allow", "s7 ... (12)", "note"):
        assert words in shown


@pytest.mark.parametrize(
    "config",
    [
        {"schema": {"features": "many"}, "outputs": {"labels": 7}},
        {"schema": {"features": [1, None, {"name": 5, "levels": 3, "min": [1]}]}},
        {"schema": {"inputs": [{"name": "x"}]}, "task": "tensors", "x": {"y": {"z": list(range(1000))}}},
    ],
)
def test_strange_but_valid_configs_are_shown(config: dict[str, Any]) -> None:
    path = saved(config)
    assert "door" in run("inspect", path).stdout
    assert json.loads(run("inspect", path, "--json").stdout)["config"] == CONFIG | config


def test_card() -> None:
    assert run("card", "door.edgeml").stdout == "# door\n\n"
    Bundle.create(CONFIG, {"model.onnx": b"x"}).save("bare.edgeml")
    assert "has no model card" in run("card", "bare.edgeml", status=1).stderr


def test_a_bundles_words_are_shown_and_never_obeyed() -> None:
    """Neither escape sequences for the terminal nor rich's markup get through."""
    evil = "\x1b[2J[bold red]boo[/]"
    path = saved({"schema": {"features": [{"name": evil}]}, "note": evil}, **{"CARD.md": evil.encode()})
    for output in (run("inspect", path).stdout, run("card", path).stdout, run("inspect", path, "--json").stdout):
        assert "\x1b" not in output and "[bold red]boo[/]" in output
