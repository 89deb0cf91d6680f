"""What a check-up looks at, and what it finds."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgeml.bundles.bundle import config_of
from edgeml.bundles.state import Release, State, bare
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError

Level = Literal["ok", "warning", "danger"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: Stable word for it, such as ``record``.
        level: ``danger`` where a promise is endangered, ``warning`` where something is worse than it should be.
        found: What was found.
        meaning: What follows from it; empty where all is well.
        remedy: What to do; empty where there is nothing to do.
    """

    check: str
    level: Level
    found: str
    meaning: str = ""
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """The finding, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Patient:
    """A store and the box that it is on, as far as they can be opened.

    Attributes:
        root: Folder of the store.
        system: Where ``proc`` and ``sys`` are; ``/`` but in tests.
        clock: Seconds since 1970 by the box's clock.
        deep: Whether to read every byte.
        store: The store; None where there is none.
        state: Its record; None where it is lost.
    """

    root: Path
    system: Path
    clock: float
    deep: bool = False
    store: Store | None = None
    state: State | None = None

    @property
    def whole(self) -> tuple[Store, State]:
        """Store and record, for the checks that are made only where both can be opened."""
        assert self.store is not None and self.state is not None
        return self.store, self.state


@dataclass(frozen=True, slots=True)
class Answering:
    """A bundle that answers, or would if a worker ran.

    Attributes:
        name: Name of the model.
        release: What the record says of it.
        config: Its config.
        size: Bytes of its members.
        native: Whether it brings a kernel of its own, so that it needs no ONNX Runtime.
    """

    name: str
    release: Release
    config: dict[str, Any]
    size: int
    native: bool


def answering(patient: Patient) -> list[Answering]:
    """What answers for each model; what cannot be read is left out, and told by the check of the blobs."""
    if patient.store is None or patient.state is None:
        return []
    found = []
    for name, model in sorted(patient.state.models.items()):
        digest = model.candidate or model.active
        if digest is not None:
            with suppress(OSError, EdgemlError):
                manifest = patient.store.manifest(digest)
                data = patient.store.blobs.read(bare(manifest.config.digest), manifest.config.size)
                size = sum(each.size for each in manifest.members.values())
                native = "kernel.json" in manifest.members
                found.append(Answering(name, model.releases[digest], config_of(manifest, data), size, native))
    return found


def size_in_words(size: int) -> str:
    """A number of bytes as people read it."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
