"""What the operator grants: kept as a whole, checked name by name, read by whoever needs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from bundles.releases import new_store
from cli.shell import ROOT

from edgeml.bundles.box_settings import FILE, MOST_REGISTRIES, BoxSettings, change_settings
from edgeml.errors import StateError

MIB = 1024 * 1024


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


def test_a_new_box_has_the_defaults_and_keeps_what_is_changed(store):
    assert BoxSettings.read(store.root) == BoxSettings()
    after = change_settings(store, {"admission_memory_bytes": 64 * MIB}, who="cli")
    change_settings(
        store, {"pull_bytes_per_day": 5}, listed=["Registry.example", "http://10.0.0.1", "localhost"], who="cli"
    )
    found = BoxSettings.read(store.root)
    assert (after.admission_memory_bytes, found.admission_memory_bytes, found.pull_bytes_per_day) == (64 * MIB,) * 2 + (
        5,
    )
    assert found.pull_registries == ("registry.example:443", "10.0.0.1:80", "localhost:80")
    change_settings(store, {"pull_bytes_per_day": None}, unlisted=["http://10.0.0.1:80"], who="cli")
    found = BoxSettings.read(store.root)
    assert found.pull_bytes_per_day is None and found.pull_registries == ("registry.example:443", "localhost:80")
    assert change_settings(store, anew=True, who="cli") == BoxSettings.read(store.root) == BoxSettings()


def test_the_journal_says_who_changed_what(store):
    change_settings(store, {"admission_cpu_seconds": 5}, listed=["10.0.0.1:5000"], who="cli")
    entry = store.journal.entries()[0]
    assert (entry.event.kind, entry.who, entry.generation) == ("settings", "cli", store.state().generation)
    assert "admission_cpu_seconds 5" in entry.event.reason and "10.0.0.1:5000" in entry.event.reason
    before = len(store.journal.entries())
    change_settings(store, {"admission_cpu_seconds": 5}, who="cli")
    assert len(store.journal.entries()) == before
    # The record can still be had from the journal, whose newest line holds none now.
    for name in ("state.json", "state.json.bak"):
        (store.root / name).unlink(missing_ok=True)
    assert store.state().generation == entry.generation


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("admission_memory_bytes", 16 * MIB - 1),
        ("admission_memory_bytes", 64.0 * MIB),
        ("capture_share", 1.01),
        ("capture_share", -0.01),
        ("capture_share", True),
        ("capture_boost", 0.5),
        ("capture_rows", 0),
        ("capture_bytes", 1.5),
        ("capture_bytes_per_day", None),
        ("capture_exclude", (1,)),
        ("capture_hash", ("name", "")),
        ("false_alarm_days", 0.5),
        ("drift_min_effect", float("nan")),
        ("audit_share", 1.5),
        ("audit_share", None),
        ("audit_cpu_share", 0.0),
        ("audit_tolerance", -1.0),
        ("audit_tolerance", "wide"),
        ("disable_rules", "never"),
        ("disable_rules", True),
        ("admission_memory_bytes", None),
        ("admission_cpu_seconds", 0),
        ("admission_cpu_seconds", 1.5),
        ("admission_cpu_seconds", True),
        ("admission_cpu_seconds", 3601),
        ("admission_wall_seconds", 0.5),
        ("admission_wall_seconds", float("nan")),
        ("admission_wall_seconds", "9"),
        ("admission_load_seconds", 0.0),
        ("admission_load_seconds", 121.0),
        ("pull_bytes_per_day", 0),
        ("pull_registries", ("registry.example/name",)),
        ("pull_registries", ("me:secret@registry.example",)),
        ("pull_registries", ("ftp://registry.example",)),
        ("pull_registries", (7,)),
        ("pull_registries", tuple(f"r{number}" for number in range(MOST_REGISTRIES + 1))),
    ],
)
def test_a_value_that_is_none_is_named_and_changes_nothing(store, name, value):
    change_settings(store, {"admission_cpu_seconds": 7}, who="cli")
    before = (store.root / FILE).read_bytes()
    with pytest.raises(ValueError, match=name) as caught:
        change_settings(store, {name: value}, who="cli")
    assert "secret" not in str(caught.value) and (store.root / FILE).read_bytes() == before
    # Written into the file by hand, it is found as well.
    (store.root / FILE).write_text(json.dumps({name: value}))
    with pytest.raises(StateError, match=rf"{FILE} is damaged; .*--defaults"):
        BoxSettings.read(store.root)


def test_taking_off_what_is_not_listed(store):
    with pytest.raises(ValueError, match="pull_registries: a:443 is not listed"):
        change_settings(store, unlisted=["a"], who="cli")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"admission_memory":1}', '{"pull_registries":"a"}', '{"pull_registries":[1]}', "x" * 70_000],
)
def test_a_damaged_file_grants_nothing_until_it_is_mended(store, text):
    (store.root / FILE).write_text(text)
    with pytest.raises(StateError, match=rf"{FILE} is damaged; mend .*--defaults.* tried, pulled or captured"):
        BoxSettings.read(store.root)
    with pytest.raises(StateError, match="damaged"):
        change_settings(store, {"admission_cpu_seconds": 7}, who="cli")
    assert change_settings(store, {"admission_cpu_seconds": 7}, anew=True, who="cli").admission_cpu_seconds == 7
    assert BoxSettings.read(store.root).admission_cpu_seconds == 7


def test_processes_that_change_at_once_lose_nothing(store):
    program = (
        "import sys; from pathlib import Path; from edgeml.bundles.store import Store;"
        "from edgeml.bundles.box_settings import change_settings;"
        "store = Store(Path(sys.argv[1]));"
        "[change_settings(store, listed=[f'r{sys.argv[2]}-{each}'], who='cli') for each in range(8)]"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(store.root), str(number)], env=environment)
        for number in range(4)
    ]
    assert [each.wait() for each in processes] == [0] * 4
    expected = {f"r{number}-{each}:443" for number in range(4) for each in range(8)}
    assert set(BoxSettings.read(store.root).pull_registries) == expected


def test_a_field_is_private_in_one_way_at_a_time(store):
    change_settings(store, excluded=["name", "street"], hashed=["plate"], who="cli")
    found = change_settings(store, excluded=["plate"], hashed=["street"], who="cli")
    assert (found.capture_exclude, found.capture_hash) == (("name", "plate"), ("street",))
    found = change_settings(store, open_fields=["street", "name"], who="cli")
    assert (found.capture_exclude, found.capture_hash) == (("plate",), ()) and found == BoxSettings.read(store.root)
    with pytest.raises(ValueError, match="'age' stands in neither"):
        change_settings(store, open_fields=["age"], who="cli")
    with pytest.raises(ValueError, match="'age' stands in capture_exclude and in capture_hash"):
        change_settings(store, excluded=["age"], hashed=["age"], who="cli")
