"""What is kept of the traffic: how often, what of it, in what bounds, and that nothing of it stops an answer."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas
import pytest

from edgeml.monitor.capture import Capture
from edgeml.monitor.capture_export import columns
from edgeml.monitor.capture_file import CaptureFile
from edgeml.monitor.capture_policy import CapturePolicy, Sampler, is_hard
from edgeml.monitor.capture_source import JsonRecords, Origin
from edgeml.runtime.prediction import Prediction

ORIGIN = Origin("penguins", "sha256:" + "a" * 64, "1", frozenset({"island", "mass", "ring"}))
EASY = Prediction("model", "Adelie", None, {"Adelie": 0.9, "Gentoo": 0.1})
HARD = Prediction("model", "Adelie", None, {"Adelie": 0.55, "Gentoo": 0.45})
FALLBACK = Prediction("fallback", "Adelie", None, None, None, True, "the model gave a non-finite score")
RULE = Prediction("rule", "Gentoo", rule="heavy")
KEY = b"k" * 32


class Clock:
    def __init__(self, at=1_000_000.0):
        self.at = at

    def __call__(self):
        return self.at


def everything(**given):
    return CapturePolicy(**({"share": 1.0, "boost": 1.0} | given))


def capture(tmp_path, policy=None, *, now=None, seed=1):
    policy = policy or everything()
    file = CaptureFile(tmp_path / "capture.db", max_rows=policy.max_rows, max_bytes=policy.max_bytes)
    sampler = Sampler(policy, random.Random(seed).random)
    return Capture(file, policy, key=KEY, now=now or Clock(), sampler=sampler), file


def send(capturing, records, answers, ids=None):
    """As the data plane does."""
    capturing.sampler.left -= len(answers)
    if capturing.sampler.left < 0:
        body = json.dumps({"records": records}).encode()
        named = ids or [f"id{number}" for number in range(len(answers))]
        capturing.take(lambda: JsonRecords(body), answers, named.__getitem__, ORIGIN)


def test_a_record_its_answer_and_a_late_label_come_back(tmp_path):
    capturing, file = capture(tmp_path)
    send(capturing, [{"island": "Dream", "mass": 3700.5}], [EASY], ["p1"])
    capturing.flush()
    capturing.label("p1", "Chinstrap")
    capturing.label("never seen", "Chinstrap")
    capturing.flush()
    (row,) = file.rows()
    assert row.record == {"island": "Dream", "mass": 3700.5}
    assert row.prediction == {"label": "Adelie", "scores": {"Adelie": 0.9, "Gentoo": 0.1}}
    assert (row.id, row.model, row.bundle, row.version, row.tier) == ("p1", "penguins", ORIGIN.digest, "1", "model")
    assert (row.label, row.labelled_at, row.chance) == ("Chinstrap", 1_000_000.0, 1.0)
    assert capturing.document() == {"kept": 1, "dropped": 0, "labels": 1, "lost_labels": 0}
    assert capturing.failure == ""


def test_a_later_label_replaces_an_earlier_one(tmp_path):
    capturing, file = capture(tmp_path)
    send(capturing, [{"mass": 1}], [EASY], ["p1"])
    capturing.label("p1", "Gentoo")
    capturing.label("p1", "Adelie")
    capturing.flush()
    assert [row.label for row in file.rows()] == ["Adelie"]


def test_each_kind_is_kept_as_often_as_the_policy_says():
    policy = CapturePolicy(share=0.02, boost=10)
    sampler = Sampler(policy, random.Random(5).random)
    kept = Counter()
    n = 200_000
    for number in range(n):
        sampler.left -= 1
        if sampler.left < 0:
            for _, easy in sampler.choose(1):
                hard = number % 4 == 0
                if hard or easy:
                    kept[hard] += 1
    # Expected 10,000 of 50,000 hard ones and 3,000 of 150,000 easy ones; five standard deviations.
    assert abs(kept[True] - 10_000) < 5 * (50_000 * 0.2 * 0.8) ** 0.5
    assert abs(kept[False] - 3_000) < 5 * (150_000 * 0.02 * 0.98) ** 0.5


@pytest.mark.parametrize("sizes", [[1] * 3000, [3000], [7, 500, 1, 1, 91] * 5])
def test_a_batch_is_sampled_as_single_records_are(sizes):
    """The same numbers drawn choose the same records, however they are put into requests."""
    policy = CapturePolicy(share=0.05, boost=4)
    singles, batches = (Sampler(policy, random.Random(9).random) for _ in range(2))

    def chosen(sampler, parts):
        found, at = [], 0
        for n in parts:
            sampler.left -= n
            if sampler.left < 0:
                found += [at + row for row, _ in sampler.choose(n)]
            at += n
        return found

    assert chosen(singles, [1] * sum(sizes)) == chosen(batches, sizes)
    assert len(chosen(Sampler(policy, random.Random(9).random), sizes)) > 0


def test_weights_undo_the_preference(tmp_path):
    """The weighted share of hard records is the traffic's share, though the ring holds far more of them."""
    policy = CapturePolicy(share=0.05, boost=10, max_rows=10**6)
    capturing, file = capture(tmp_path, policy, seed=3)
    for _ in range(200):
        send(capturing, [{"mass": row} for row in range(50)], ([HARD] + [EASY] * 9) * 5)
        capturing.flush()
    rows = list(file.rows())
    hard = [row for row in rows if is_hard(row.tier, row.prediction["scores"])]
    weighted = sum(1 / row.chance for row in hard) / sum(1 / row.chance for row in rows)
    assert len(hard) / len(rows) > 0.4
    assert weighted == pytest.approx(0.1, abs=0.02)
    assert sum(1 / row.chance for row in rows) == pytest.approx(10_000, rel=0.15)


@pytest.mark.parametrize(
    ("answer", "hard"),
    [(EASY, False), (HARD, True), (FALLBACK, True), (RULE, False), (Prediction("model", None, 3.5), False)],
)
def test_what_is_hard(answer, hard):
    assert is_hard(answer.tier, answer.scores) is hard


def test_private_fields_are_left_out_or_hashed(tmp_path):
    policy = everything(exclude=frozenset({"mass"}), hashed=frozenset({"ring"}))
    capturing, file = capture(tmp_path, policy)
    send(capturing, [{"mass": 1, "ring": "DE-1", "island": "Dream", "customer": "x"}] * 2, [EASY, EASY])
    send(capturing, [{"ring": "DE-2"}, {"ring": None}], [EASY, EASY])
    capturing.flush()
    records = [row.record for row in file.rows()]
    assert records[0].keys() == {"ring", "island"}
    assert records[0]["ring"] == records[1]["ring"] != records[2]["ring"]
    assert records[0]["ring"].startswith("hash:")
    assert records[3] == {"ring": None}
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"DE-1" not in written and b"customer" not in written and b"Dream" in written
    other = Capture(file, policy, key=b"o" * 32, sampler=Sampler(policy))
    send(other, [{"ring": "DE-1"}], [EASY])
    other.flush()
    assert list(file.rows())[-1].record["ring"] != records[0]["ring"]


def test_the_refused_records_of_a_request_are_not_taken_for_answered_ones(tmp_path):
    capturing, file = capture(tmp_path)
    capturing.sampler.left -= 2
    body = json.dumps({"records": [{"mass": 1}, {"mass": "no"}, {"mass": 3}]}).encode()
    capturing.take(lambda: JsonRecords(body, refused=[1]), [EASY, EASY], "ab".__getitem__, ORIGIN)
    capturing.sampler.left -= 1
    capturing.take(lambda: JsonRecords(b'{"mass": 4}', alone=True), [EASY], "c".__getitem__, ORIGIN)
    capturing.flush()
    assert [(row.id, row.record) for row in file.rows()] == [("a", {"mass": 1}), ("b", {"mass": 3}), ("c", {"mass": 4})]


def test_the_ring_is_bounded_in_rows_and_bytes(tmp_path):
    capturing, file = capture(tmp_path, everything(max_rows=10))
    for number in range(4):
        send(capturing, [{"mass": number * 5 + row} for row in range(5)], [EASY] * 5)
        capturing.flush()
    assert [row.record["mass"] for row in file.rows()] == list(range(10, 20))
    small, file = capture(tmp_path / "..", everything(max_bytes=1_000))
    for number in range(20):
        send(small, [{"island": "x" * 100, "mass": number}], [EASY])
        small.flush()
    held = file.held(day=11)
    assert 0 < held.bytes <= 1_000
    assert [row.record["mass"] for row in file.rows()][-1] == 19


def test_a_full_queue_drops_and_counts(tmp_path):
    capturing, file = capture(tmp_path, everything(max_rows=10**6))
    for _ in range(5):
        send(capturing, [{"mass": 1}] * 1000, [EASY] * 1000)
    assert capturing.dropped.total() == 5000 - 4096
    capturing.flush()
    assert file.held(day=11).rows == 4096
    send(capturing, [{"island": "x" * (9 * 1024 * 1024)}], [EASY])
    assert capturing.dropped.total() == 5000 - 4096 + 1


def test_the_days_bytes_are_bounded_over_restarts_and_counted_truly(tmp_path):
    clock = Clock(86_400 * 100)
    policy = everything(bytes_per_day=300_000, max_rows=10**6)
    batches = 0
    before = written_bytes()
    while True:
        capturing, file = capture(tmp_path, policy, now=clock)  # a new process each time
        send(capturing, [{"island": "x" * 2000, "mass": row} for row in range(10)], [EASY] * 10)
        capturing.flush()
        if capturing.failure:
            break
        batches += 1
        assert batches < 100
    real = written_bytes() - before
    assert "tomorrow" in capturing.failure and capturing.dropped.total() == 10
    held = file.held(day=100)
    assert 300_000 <= held.written_today <= 450_000  # one batch beyond
    assert held.written_today == pytest.approx(real, rel=0.1)  # what the system counted
    clock.at += 86_400
    send(capturing, [{"mass": 1}], [EASY])
    capturing.flush()
    assert (capturing.failure, capturing.kept.total()) == ("", 1)
    assert file.held(day=101).written_today < 50_000


def written_bytes():
    counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counted["wchar"])


def test_bytes_are_counted_truly_while_somebody_reads(tmp_path):
    """A reader keeps SQLite from beginning its log anew; what stands there from before is not counted again."""
    capturing, file = capture(tmp_path, everything(max_rows=10**6))
    send(capturing, [{"mass": 0}] * 1000, [EASY] * 1000)
    capturing.flush()
    counted, before = file.held(day=11).written_today, written_bytes()
    reader = file.rows()
    next(reader)
    for number in range(8):
        send(capturing, [{"island": "x" * 2000, "mass": number}] * 10, [EASY] * 10)
        capturing.flush()
    assert sum(1 for _ in reader) == 999  # as it was when reading began
    assert file.held(day=11).written_today - counted == pytest.approx(written_bytes() - before, rel=0.1)


def test_labels_have_bytes_of_their_own(tmp_path):
    """The last eighth of a day's bytes is for labels: they cannot be had again."""
    policy = everything(bytes_per_day=400_000)
    capturing, file = capture(tmp_path, policy)
    number = 0
    while not capturing.failure:
        send(capturing, [{"island": "x" * 200, "mass": number}], [EASY], [f"p{number}"])
        capturing.flush()
        number += 1
        assert number < 100
    kept = file.held(day=11).rows
    capturing.label("p0", "Gentoo")
    capturing.flush()
    assert 0 < kept == number - 1 and file.held(day=11).labelled == 1
    while not capturing.lost_labels:
        capturing.label("p1", "Gentoo")
        capturing.flush()
    assert "tomorrow" in capturing.failure and file.held(day=11).written_today < 500_000


def test_a_file_of_another_release_is_put_aside(tmp_path):
    database = sqlite3.connect(tmp_path / "capture.db")
    database.execute("PRAGMA user_version=7")
    database.close()
    capturing, file = capture(tmp_path)
    with pytest.raises(sqlite3.DatabaseError, match="another release"):
        file.held(day=11)
    send(capturing, [{"mass": 1}], [EASY])
    capturing.flush()
    assert file.held(day=11).rows == 1 and file.aside.exists()
    assert file.clear() == 1 and not file.aside.exists()


def test_an_answer_that_was_read_over_wakes_the_thread_when_the_queue_fills(tmp_path):
    """Nobody waits for the next batch when there is much: it begins when the queue is half full."""
    capturing, file = capture(tmp_path)
    capturing.begin(flush_s=10_000.0)
    send(capturing, [{"mass": row} for row in range(3000)], [EASY] * 3000)
    for _ in range(3000):
        if file.held(day=11).rows:
            break
        time.sleep(0.01)
    capturing.end()
    assert [row.record["mass"] for row in file.rows()] == list(range(3000))


@pytest.mark.parametrize("damage", ["head", "middle"])
def test_a_damaged_file_is_put_aside_and_capture_goes_on(tmp_path, damage):
    capturing, file = capture(tmp_path)
    send(capturing, [{"island": "x" * 3000, "mass": row} for row in range(50)], [EASY] * 50)
    capturing.flush()
    path = tmp_path / "capture.db"
    content = bytearray(path.read_bytes())
    start = 0 if damage == "head" else 4096
    content[start : start + 60_000] = b"\xff" * 60_000
    path.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"capture.db{suffix}").unlink(missing_ok=True)
    for _ in range(2):
        send(capturing, [{"mass": 7}], [EASY])
        capturing.flush()
    assert (tmp_path / "capture.db.damaged").read_bytes() == bytes(content)
    assert [row.record for row in file.rows()] == [{"mass": 7}] * 2
    assert (capturing.failure, capturing.dropped.total()) == ("", 0)


def test_a_disk_that_cannot_be_written_costs_captured_records_and_nothing_else(tmp_path):
    capturing, file = capture(tmp_path / "missing")
    send(capturing, [{"mass": 1}], [EASY])
    capturing.flush()
    assert capturing.dropped.total() == 1 and "unable to open" in capturing.failure
    (tmp_path / "missing").mkdir()
    send(capturing, [{"mass": 2}], [EASY])
    capturing.flush()
    assert (capturing.failure, [row.record for row in file.rows()]) == ("", [{"mass": 2}])


def test_a_kill_while_writing_leaves_whole_batches(tmp_path):
    """A process that writes batches is killed; what is there is whole, and the next one goes on from it."""
    program = f"""
import sys; sys.path[:0] = {sys.path!r}
from monitor.test_capture import *
capturing, file = capture(Path({str(tmp_path)!r}))
print("ready", flush=True)
for number in range(10_000):
    send(capturing, [{{"mass": number}}] * 5, [EASY] * 5)
    capturing.flush()
    print(number, flush=True)
"""
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.strip() == "9":
                    break
            process.kill()
        file = CaptureFile(tmp_path / "capture.db")
        counts = Counter(row.record["mass"] for row in file.rows())
        assert all(count % 5 == 0 for count in counts.values()) and len(counts) >= 10
    database = sqlite3.connect(tmp_path / "capture.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_columns_make_a_table(tmp_path):
    capturing, file = capture(tmp_path)
    send(capturing, [{"mass": 1.5}, {"island": "Dream"}], [EASY, FALLBACK], ["a", "b"])
    send(capturing, [{"mass": 2}], [Prediction("model", None, 7.25)], ["c"])
    capturing.label("b", "Gentoo")
    capturing.flush()
    table = pandas.DataFrame(columns(file.rows()))
    assert list(table["record.mass"].fillna(-1)) == [1.5, -1, 2]
    assert list(table["predicted"]) == ["Adelie", "Adelie", 7.25]
    assert list(table["label"].fillna("")) == ["", "Gentoo", ""]
    assert len(table) == 3


def test_rows_are_chosen_by_model_time_and_label(tmp_path):
    clock = Clock()
    capturing, file = capture(tmp_path, now=clock)
    send(capturing, [{"mass": 1}], [EASY], ["a"])
    clock.at += 100
    send(capturing, [{"mass": 2}], [EASY], ["b"])
    capturing.label("a", "Gentoo")
    capturing.flush()
    assert [row.id for row in file.rows(since=1_000_050.0)] == ["b"]
    assert [row.id for row in file.rows(labelled=True)] == ["a"]
    assert [row.id for row in file.rows(model="other")] == []
    assert file.held(day=11).labelled == 1
    assert file.clear() == 2
    assert list(file.rows()) == [] and file.held(day=11).rows == 0


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"share": 0.1, "boost": 0.5}, "boost"),
        ({"share": 0.1, "max_rows": 0}, "max_rows"),
        ({"share": 0.1, "max_bytes": 0}, "max_bytes"),
        ({"share": 0.1, "bytes_per_day": 0}, "bytes_per_day"),
        ({"share": 0.1, "exclude": frozenset("a"), "hashed": frozenset("a")}, "'a'"),
    ],
)
def test_a_policy_out_of_range_is_refused(given, named):
    with pytest.raises(ValueError, match=named):
        CapturePolicy(**given)


def test_the_thread_writes_by_itself_and_the_end_writes_the_rest(tmp_path):
    capturing, file = capture(tmp_path)
    capturing.begin(flush_s=0.01)
    send(capturing, [{"mass": 1}], [EASY])
    for _ in range(1000):
        if file.held(day=11).rows:
            break
        time.sleep(0.01)
    assert file.held(day=11).rows == 1
    capturing.end()
    send(capturing, [{"mass": 2}], [EASY])
    capturing.end()
    assert file.held(day=11).rows == 2


@pytest.mark.parametrize("count", [1, 500])
def test_what_json_has_and_utf8_and_float64_do_not_is_kept(tmp_path, count):
    """Half a surrogate pair and numbers beyond 64 bits, in a short body and in a long one."""
    capturing, file = capture(tmp_path)
    body = b",".join([b'{"island":"\\ud800 \\u20ac","mass":36893488147419103232,"ring":1e999}'] * count)
    body = b'{"records":[%b]}' % body
    capturing.sampler.left -= count
    capturing.take(lambda: JsonRecords(body), [EASY] * count, str, ORIGIN)
    capturing.flush()
    rows = list(file.rows())
    assert len(rows) == count and capturing.document()["dropped"] == 0
    assert rows[-1].record == {"island": "\ud800 \u20ac", "mass": 2**65, "ring": float("inf")}


def test_easy_candidates_that_pass_at_once_are_the_ones_that_would_not_be_kept():
    """The same numbers drawn keep the same records, whether they are let go at once or looked at under the lock."""
    policy = CapturePolicy(share=0.02, boost=10)
    quick, slow = (Sampler(policy, random.Random(4).random) for _ in range(2))
    passed = 0

    def kept(sampler, number, at_once):
        nonlocal passed
        scores = HARD.scores if number % 4 == 0 else EASY.scores
        sampler.left -= 1
        if sampler.left >= 0:
            return False
        if at_once and sampler.passes("model", scores):
            passed += 1
            return False
        ((_, easy),) = sampler.choose(1)
        return easy or is_hard("model", scores)

    found = [(kept(quick, number, True), kept(slow, number, False)) for number in range(20_000)]
    assert all(a == b for a, b in found) and sum(a for a, _ in found) > 500
    assert passed > 1500


def test_nothing_passes_at_once_while_somebody_chooses():
    sampler = Sampler(CapturePolicy(share=0.02, boost=10), random.Random(4).random)
    sampler.left = -1
    with sampler.lock:
        assert not sampler.passes("model", EASY.scores) and sampler.left == -1
    sampler.left = -2  # two threads have taken off one each
    assert not sampler.passes("model", EASY.scores) and sampler.left == -2
