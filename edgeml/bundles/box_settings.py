"""What the operator decides of trials of bundles, pulls, capture, audits and alarms: ``settings.json`` of the store.

1. Whoever tries or pulls a bundle reads it at that moment: a command and a running service never go by two numbers,
   and a change counts from the next bundle on, without a restart.
2. A file that is missing grants the defaults. One that is damaged grants nothing: nothing is tried, pulled or captured
   until it is mended. What answers goes on answering, and going back never reads it.
3. What decides which bundle may answer (device, orders, signatures) is not here but in the record.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgeml.bundles.disk import SYSTEM, Disk
from edgeml.bundles.documents import canonical, parse_object
from edgeml.bundles.event import Event
from edgeml.bundles.files import replace_file
from edgeml.bundles.oci_reference import Reference
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError, StateError, TransferError

FILE = "settings.json"
MOST_REGISTRIES = 64

_MIB = 1024 * 1024
_MAX_BYTES = 64 * 1024
# What a setting may be; below the least no bundle at all could be tried.
_WHOLE = {
    "admission_memory_bytes": (16 * _MIB, 1024**4),
    "admission_cpu_seconds": (1, 3600),
    "pull_bytes_per_day": (1, 1024**5),
    "capture_rows": (1, 10**9),
    "capture_bytes": (1, 1024**5),
    "capture_bytes_per_day": (1, 1024**5),
}
_NUMBERS = {
    "admission_wall_seconds": (1.0, 3600.0),
    "admission_load_seconds": (0.1, 3600.0),
    "capture_share": (0.0, 1.0),
    "capture_boost": (1.0, 1e6),
    "false_alarm_days": (1.0, 36_500.0),
    "drift_min_effect": (0.0, 100.0),
    "audit_share": (0.0, 1.0),
    "audit_cpu_share": (0.001, 1.0),
    "audit_tolerance": (0.0, 1e300),
}
# Settings that may be None: no limit, or what each bundle says.
_OPTIONAL = ("pull_bytes_per_day", "audit_tolerance")
# What is done with a rule that does not keep what it promises.
REPORT, DISABLE = "report", "disable"
# Lists, by name; what of one setting is said twice stands once.
_LISTS = ("pull_registries", "capture_exclude", "capture_hash")
MOST_FIELDS = 1000


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """What the operator grants.

    Attributes:
        admission_memory_bytes: Memory that a bundle may take while it is tried, in bytes, beyond a process without one.
        admission_cpu_seconds: Processor time of the trial in a process of its own.
        admission_wall_seconds: Its time on the wall.
        admission_load_seconds: Longest time until its model can be asked; not more than that on the wall.
        pull_bytes_per_day: Bytes that may be pulled in a day; None for no limit.
        pull_registries: ``host:port`` of the registries from which the management plane may let the box pull; empty for
            any that is not at an address of this machine or its link (``registry_gate``).
        capture_share: Share of easy records that are captured; 0 captures nothing.
        capture_boost: How many times as often a hard one is.
        capture_rows: Captured records that are kept at most.
        capture_bytes: Bytes of captured records and answers that are kept at most.
        capture_bytes_per_day: Bytes that capture writes to the disk in a day (UTC).
        capture_exclude: Fields that are never captured.
        capture_hash: Fields of which only a keyed hash is captured.
        false_alarm_days: At most one false alarm of drift on this box in so many days.
        drift_min_effect: Population stability index from which drift that is certain is an alarm.
        audit_share: Share of the answers of rules that the model is asked about too, in the background; 0 for none.
        audit_cpu_share: Share of one core that this may take.
        audit_tolerance: Numbers that are this close agree; None for what each bundle says.
        disable_rules: ``report`` says so where a rule does not keep what it promises, ``disable`` disables it too.

    Raises:
        ValueError: A value is none of these; the message names the setting.
    """

    admission_memory_bytes: int = 512 * _MIB
    admission_cpu_seconds: int = 60
    admission_wall_seconds: float = 120.0
    admission_load_seconds: float = 30.0
    pull_bytes_per_day: int | None = None
    pull_registries: tuple[str, ...] = ()
    capture_share: float = 0.0
    capture_boost: float = 10.0
    capture_rows: int = 100_000
    capture_bytes: int = 64 * _MIB
    capture_bytes_per_day: int = 256 * _MIB
    capture_exclude: tuple[str, ...] = ()
    capture_hash: tuple[str, ...] = ()
    false_alarm_days: float = 30.0
    drift_min_effect: float = 0.1
    audit_share: float = 0.01
    audit_cpu_share: float = 0.05
    audit_tolerance: float | None = None
    disable_rules: str = REPORT

    def __post_init__(self) -> None:
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            if name in _OPTIONAL and value is None:
                continue
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
        for name, (shortest, longest) in _NUMBERS.items():
            value = getattr(self, name)
            if name in _OPTIONAL and value is None:
                continue
            if type(value) not in (int, float) or not math.isfinite(value) or not shortest <= value <= longest:
                raise ValueError(f"{name} must be a number from {shortest:g} to {longest:g}, not {value!r}")
        if self.disable_rules not in (REPORT, DISABLE):
            raise ValueError(f"disable_rules must be {REPORT} or {DISABLE}, not {self.disable_rules!r}")
        if self.admission_load_seconds > self.admission_wall_seconds:
            raise ValueError(
                f"admission_load_seconds ({self.admission_load_seconds:g}) must not be more than "
                f"admission_wall_seconds ({self.admission_wall_seconds:g}): set both"
            )
        if len(self.pull_registries) > MOST_REGISTRIES:
            raise ValueError(f"pull_registries must be at most {MOST_REGISTRIES}, not {len(self.pull_registries)}")
        object.__setattr__(self, "pull_registries", tuple(dict.fromkeys(map(_registry, self.pull_registries))))
        for name in ("capture_exclude", "capture_hash"):
            names = tuple(dict.fromkeys(getattr(self, name)))
            if len(names) > MOST_FIELDS or not all(type(each) is str and each for each in names):
                raise ValueError(f"{name} must be at most {MOST_FIELDS} names of fields")
            object.__setattr__(self, name, names)
        both = [name for name in self.capture_exclude if name in self.capture_hash]
        if both:
            raise ValueError(f"{both[0][:80]!r} stands in capture_exclude and in capture_hash; choose one")

    @classmethod
    def read(cls, root: Path, *, disk: Disk = SYSTEM) -> BoxSettings:
        """Reads the settings of a store.

        Args:
            root: Folder of the store.
            disk: Where.

        Raises:
            StateError: The file is damaged, or of a newer edgeml.
            OSError: It cannot be read.
        """
        path = root / FILE
        try:
            data = disk.read(path, _MAX_BYTES)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise _damaged(path, error.strerror) from error
            raise
        try:
            document = parse_object(data, FILE, error=StateError)
            known = {each.name for each in fields(cls)}
            for key in document:
                if key not in known:
                    raise ValueError(f"unknown setting {key[:80]!r}")
            lists = {name: document.get(name, []) for name in _LISTS}
            for name, value in lists.items():
                if type(value) is not list:
                    raise ValueError(f"{name} must be a list")
            return cls(**document | {name: tuple(value) for name, value in lists.items()})
        except (EdgemlError, ValueError) as error:
            raise _damaged(path, error) from error

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {name: list(getattr(self, name)) for name in _LISTS}


def change_settings(
    store: Store,
    changes: Mapping[str, Any] | None = None,
    *,
    listed: Sequence[str] = (),
    unlisted: Sequence[str] = (),
    excluded: Sequence[str] = (),
    hashed: Sequence[str] = (),
    open_fields: Sequence[str] = (),
    anew: bool = False,
    who: str,
    disk: Disk = SYSTEM,
) -> BoxSettings:
    """Changes settings of a store, durably; those that are not named stay as they are.

    Args:
        store: The store.
        changes: New values by name.
        listed: Registries that are added to the list.
        unlisted: Registries that are taken off it.
        excluded: Fields that are never to be captured from now on.
        hashed: Fields of which only a hash is to be captured from now on.
        open_fields: Fields that are to be captured as they are from now on.
        anew: Whether to begin with the defaults; so a damaged file is mended.
        who: For the journal.
        disk: Where.

    Raises:
        ValueError: A value is none, or a registry is not listed; the message names the setting.
        StateError: The file is damaged.
        OSError: The disk refused.
    """
    # The record's lock: held for moments only, and by nobody who would ask for settings meanwhile.
    with disk.lock(store.root / "lock", wait=True):
        before = None if anew else BoxSettings.read(store.root, disk=disk)
        after = replace(before or BoxSettings(), **changes or {})
        registries = [*after.pull_registries, *listed]
        for each in map(_registry, unlisted):
            if each not in registries:
                raise ValueError(f"pull_registries: {each} is not listed")
            registries.remove(each)
        for each in open_fields:
            if each not in (*after.capture_exclude, *after.capture_hash):
                raise ValueError(f"capture_exclude, capture_hash: {each[:80]!r} stands in neither")
        after = replace(
            after,
            pull_registries=tuple(registries),
            capture_exclude=_moved(after.capture_exclude, excluded, {*hashed, *open_fields}),
            capture_hash=_moved(after.capture_hash, hashed, {*excluded, *open_fields}),
        )
        if after == before:
            return after
        data = canonical(after.to_dict(), FILE, error=StateError)
        replace_file(store.root / FILE, [data], mode=0o640, disk=disk)
    old = {} if before is None else before.to_dict()
    word = ", ".join(f"{name} {value}" for name, value in after.to_dict().items() if value != old.get(name, ()))
    store.note(Event("settings", reason=word[:400]), who=who)
    return after


def _moved(there: Sequence[str], more: Sequence[str], gone: Container[str]) -> tuple[str, ...]:
    """A list of fields with more of them, and without those that were asked for elsewhere."""
    return (*(each for each in there if each not in gone), *more)


def _registry(text: object) -> str:
    """A registry as the list holds it, ``host:port``."""
    try:
        found = Reference.parse(text) if isinstance(text, str) else None
    except TransferError as error:
        raise ValueError(f"pull_registries: {error}") from error
    if found is None or found.name:
        raise ValueError(f"pull_registries: {str(text)[:80]!r} must be host:port and no more")
    return found.registry


def _damaged(path: Path, error: object) -> StateError:
    # What to do comes first: who asks over the network is shown only the beginning.
    return StateError(
        f"{path} is damaged; mend it with 'edgeml settings --defaults': until then nothing is tried, pulled or "
        f"captured ({error})"
    )
