"""The check-up of a box: everything that could endanger a promise, looked at once, changing nothing.

1. Each check yields findings: ok, warning, danger; what was found, what it means, what to do.
2. Danger is what endangers a promise: that a change is whole and lasts, that something can be gone back to, that only
   what is trusted is loaded, that requests are answered. Everything else that is not as it should be is a warning.
3. A check that cannot be made is a finding, never an end of the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError, StateError
from edgeml.supervisor.checkup_access import check_access
from edgeml.supervisor.checkup_disk import check_room, check_writing
from edgeml.supervisor.checkup_machine import check_clock, check_memory
from edgeml.supervisor.checkup_mount import check_mount
from edgeml.supervisor.checkup_onnxruntime import check_onnxruntime
from edgeml.supervisor.checkup_service import check_service
from edgeml.supervisor.checkup_store import (
    check_blobs,
    check_journal,
    check_leftovers,
    check_record,
    check_reserve,
    check_settings,
)
from edgeml.supervisor.checkup_trust import check_releases, check_trust
from edgeml.supervisor.finding import Finding, Patient

SYSTEM_ROOT = Path("/")

Check = Callable[[Patient], Iterator[Finding]]

# Those that need a folder only, those that need a record that can be read, and those of the box itself.
_OF_FOLDER: tuple[Check, ...] = (check_settings, check_reserve, check_mount, check_writing, check_access)
_OF_RECORD: tuple[Check, ...] = (
    check_journal,
    check_blobs,
    check_leftovers,
    check_room,
    check_trust,
    check_releases,
    check_service,
)
_OF_BOX: tuple[Check, ...] = (check_clock, check_memory, check_onnxruntime)


def check_up(
    root: Path, *, deep: bool = False, system: Path = SYSTEM_ROOT, clock: Callable[[], float] = time.time
) -> list[Finding]:
    """Looks at a store and the box that it is on.

    Args:
        root: Folder of the store.
        deep: Whether to read every byte of every bundle.
        system: Where ``proc`` and ``sys`` are.
        clock: Seconds since 1970.
    """
    found: list[Finding] = []
    patient = Patient(root, system, clock(), deep)
    try:
        store = Store(root, clock=clock)
    except (StateError, OSError) as error:
        found.append(_lost("store", str(error), "nothing can be installed or loaded"))
    else:
        found += check_record(root)
        patient = Patient(root, system, patient.clock, deep, store)
        try:
            patient = Patient(root, system, patient.clock, deep, store, store.state())
        except (StateError, OSError) as error:
            found.append(_lost("store", str(error), "nobody knows what is installed and what answers"))
        found += _made(_OF_FOLDER, patient)
    if patient.state is not None:
        found += _made(_OF_RECORD, patient)
    found += _made(_OF_BOX, patient)
    return found


def _made(checks: tuple[Check, ...], patient: Patient) -> list[Finding]:
    found: list[Finding] = []
    for check in checks:
        try:
            found.extend(check(patient))
        except (EdgemlError, OSError, ValueError) as error:
            name = check.__name__.removeprefix("check_")
            found.append(Finding(name, "warning", f"it could not be looked at: {error}", "nobody knows"))
    return found


def _lost(check: str, what: str, meaning: str) -> Finding:
    remedy = "edgeml init DIR makes a store; --store DIR or EDGEML_STORE says where it is"
    with suppress(ValueError):
        what, remedy = what.rsplit("; ", 1)  # the store's errors end in what to do
    return Finding(check, "danger", what, meaning, remedy)
