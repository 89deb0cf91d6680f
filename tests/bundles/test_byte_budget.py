"""Bytes a day: no more than granted, whatever restarts, whatever the clock says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.bundles.byte_budget import FILE, ByteBudget
from edgeml.errors import StateError, TransferError

DAY = 86_400
MIB = 1024 * 1024
NOON = 20_000 * DAY + DAY // 2


def budget(folder, per_day=10 * MIB, now=NOON) -> ByteBudget:
    return ByteBudget(folder, per_day, now=lambda: now)


def spent(folder) -> int:
    return json.loads((folder / FILE).read_text())["bytes"]


def test_what_was_fetched_is_remembered(tmp_path):
    with budget(tmp_path) as first:
        first.check()
        first.spend(3 * MIB)
    assert spent(tmp_path) == 3 * MIB
    with budget(tmp_path) as second:
        assert second.left == 7 * MIB
        second.spend(7 * MIB)
        with pytest.raises(TransferError, match="budget of 10485760 bytes for 2024-10-04 .* used up") as caught:
            second.spend(1)
        assert caught.value.code == "budget" and second.left == 0
    with pytest.raises(TransferError, match="used up"):
        budget(tmp_path).check()
    budget(tmp_path, per_day=11 * MIB).check()


def test_a_power_cut_forgets_nothing(tmp_path):
    cut = budget(tmp_path)
    for _ in range(40):
        cut.spend(65_536)
    # Not closed: what is on the disk is never less than what came, and not much more.
    assert 40 * 65_536 <= spent(tmp_path) <= 40 * 65_536 + MIB


def test_the_disk_is_not_written_for_every_piece(tmp_path):
    stamps = set()
    with budget(tmp_path, per_day=100 * MIB) as counting:
        for _ in range(320):
            counting.spend(65_536)
            stamps.add((tmp_path / FILE).stat().st_ino)
    assert len(stamps) <= 16


def test_the_next_day_begins_anew_and_an_earlier_one_does_not(tmp_path):
    now = NOON
    with ByteBudget(tmp_path, MIB, now=lambda: now) as counting:
        counting.spend(MIB)
        now = 5.0  # 1970
        assert counting.left == 0
        now = NOON + DAY
        assert counting.left == MIB
        counting.spend(1)
    assert budget(tmp_path, MIB, now=5.0).left == MIB - 1
    assert budget(tmp_path, MIB, now=NOON).left == MIB - 1


@pytest.mark.parametrize(
    "text", ["", "[]", '{"bytes":1}', '{"bytes":-1,"day":1}', '{"bytes":true,"day":1}', '{"bytes":1e3,"day":1}']
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StateError, match=r"budget.json is damaged .*remove it"):
        budget(tmp_path)


@given(st.lists(st.tuples(st.integers(0, MIB), st.booleans(), st.integers(0, 2)), max_size=30))
def test_no_day_ever_gets_more(tmp_path_factory, steps):
    folder, day, per_day = tmp_path_factory.mktemp("budget"), 20_000, 2 * MIB
    taken: dict[int, int] = {}
    now = [float(day * DAY)]
    counting = ByteBudget(folder, per_day, now=lambda: now[0])
    for size, cut, days in steps:
        now[0] += days * DAY
        today = int(now[0] // DAY)
        try:
            counting.check()
            counting.spend(size)
            taken[today] = taken.get(today, 0) + size
        except TransferError:
            pass
        if cut:
            counting = ByteBudget(folder, per_day, now=lambda: now[0])
    assert all(total <= per_day for total in taken.values())


def test_without_a_limit_it_is_counted_and_a_limit_that_is_set_later_counts_it(tmp_path):
    with budget(tmp_path, per_day=None) as counting:
        counting.check()
        for _ in range(5):
            counting.spend(MIB)
        assert counting.left is None and spent(tmp_path) >= 5 * MIB
    assert spent(tmp_path) == 5 * MIB and budget(tmp_path, per_day=8 * MIB).left == 3 * MIB
    # What nobody asks for stops nobody.
    (tmp_path / FILE).write_text("{")
    with budget(tmp_path, per_day=None) as counting:
        counting.spend(7)
    assert spent(tmp_path) == 7
