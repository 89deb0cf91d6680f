"""Check-up of the box itself: its clock and its memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from edgeml.monitor.free_memory import free_memory_bytes
from edgeml.supervisor.finding import Answering, Finding, Patient, answering, size_in_words
from edgeml.supervisor.quarantine import RESERVE_BYTES

# Before edgeml was written no clock can have been right.
EARLIEST = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
BEHIND_S = 120.0


def check_clock(patient: Patient) -> Iterator[Finding]:
    """The clock against the latest time that was seen, and what keeps it while the power is off."""
    now = patient.clock
    last = 0.0 if patient.state is None else patient.state.last_time
    shown = datetime.fromtimestamp(max(now, 0.0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if now < last - BEHIND_S:
        seen = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield Finding(
            "clock",
            "warning",
            f"{shown}, and {seen} was seen before",
            "expiry is judged by the later one; times in the journal are wrong",
            "let the box find the time (NTP), or set it: date -s ...",
        )
    elif now < EARLIEST:
        yield Finding(
            "clock",
            "warning",
            shown,
            "what expires is taken for fresh; bundles answer all the same",
            "let the box find the time (NTP), or set it: date -s ...",
        )
    else:
        yield Finding("clock", "ok", shown)
    if not any((patient.system / "sys/class/rtc").glob("rtc*")):
        yield Finding(
            "rtc",
            "warning",
            "no clock that runs while the power is off",
            "after a power cut the box does not know the time until the network tells it; bundles answer all the same",
            "add a clock module, or let the system save the time at intervals (fake-hwclock, systemd-timesyncd)",
        )
    else:
        yield Finding("rtc", "ok", "a clock runs while the power is off")


def check_memory(patient: Patient) -> Iterator[Finding]:
    """Memory that is left, against what the bundles that answer need for a second copy while they are swapped."""
    free = free_memory_bytes(patient.system)
    sizes = _meminfo(patient)
    total, swap = sizes.get("MemTotal", 0), sizes.get("SwapTotal", 0)
    text = f"{size_in_words(free)} of {size_in_words(total)} free, swap {size_in_words(swap)}"
    need = _needed(patient)
    if not need:
        yield Finding("memory", "ok", text)
    elif free < RESERVE_BYTES:
        yield Finding(
            "memory",
            "danger",
            text,
            "the kernel may kill the worker at any time",
            "stop what else takes memory ('top'), or give the service more",
        )
    elif free < need + RESERVE_BYTES:
        yield Finding(
            "memory",
            "warning",
            f"{text}; another copy of the largest bundle takes {size_in_words(need)}",
            "the old bundle is dropped before the new one is loaded, and going back takes as long as loading",
            "stop what else takes memory ('top'), or give the service more",
        )
    else:
        yield Finding("memory", "ok", f"{text}; another copy of the largest bundle takes {size_in_words(need)}")


def _needed(patient: Patient) -> int:
    """Memory that another copy of the hungriest answering bundle takes, in bytes; 0 where nothing answers."""
    return max((_needs(each) for each in answering(patient)), default=0)


def _needs(each: Answering) -> int:
    asked = each.config["requires"].get("memory_bytes", 0)
    # Admission measured it; a bundle that was activated without is guessed at: its bytes, and the model made of them.
    return int(max(asked, each.release.peak_bytes or 3 * each.size))


def _meminfo(patient: Patient) -> dict[str, int]:
    with open(patient.system / "proc/meminfo") as stream:
        rows = (line.partition(":") for line in stream)
        return {name: int(value.split()[0]) * 1024 for name, _, value in rows if value.strip()}
