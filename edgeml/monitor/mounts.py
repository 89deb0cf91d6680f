"""Which file system a folder lives on, and how it is mounted: ``/proc/self/mountinfo``, read and nothing more.

Source: proc(5), "/proc/pid/mountinfo"; octal escapes as the kernel writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

ROOT = Path("/")

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system.

    Attributes:
        point: Where it is mounted.
        kind: Type, such as ``ext4``.
        source: Device or whatever else stands behind it.
        options: Options of the mount and of the file system together; a flag has the value ''.
        read_only: Whether the mount or the file system takes no writes.
    """

    point: Path
    kind: str
    source: str
    options: Mapping[str, str]
    read_only: bool


def mounts(root: Path = ROOT) -> list[Mount]:
    """All mounts that this process sees, in the kernel's order.

    Args:
        root: Where ``proc`` is.

    Raises:
        OSError: This system has no ``/proc/self/mountinfo``.
    """
    text = (root / "proc/self/mountinfo").read_text(errors="surrogateescape")
    return [found for line in text.splitlines() if (found := _mount(line)) is not None]


def mount_of(path: Path, root: Path = ROOT) -> Mount:
    """The mount that a path lies on.

    Args:
        path: Absolute, without symbolic links.
        root: Where ``proc`` is.

    Raises:
        OSError: The kernel does not say.
    """
    over = [mount for mount in mounts(root) if path.is_relative_to(mount.point)]
    if not over:
        raise OSError(f"/proc/self/mountinfo names no mount over {path}")
    deepest = max(len(mount.point.parts) for mount in over)
    # Of several at one point the last one covers the others.
    return [mount for mount in over if len(mount.point.parts) == deepest][-1]


def _mount(line: str) -> Mount | None:
    own, dash, behind = line.partition(" - ")
    fields, rest = own.split(" "), behind.split(" ")
    if not dash or len(fields) < 6 or len(rest) < 2:
        return None
    of_mount = _options(fields[5])
    of_file_system = _options(rest[2]) if len(rest) > 2 else {}
    return Mount(
        point=Path(_plain(fields[4])),
        kind=rest[0],
        source=_plain(rest[1]),
        options=MappingProxyType(of_file_system | of_mount),
        # After an I/O error the file system turns read-only while the mount still says rw.
        read_only="ro" in of_mount or "ro" in of_file_system,
    )


def _options(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition("=") for part in text.split(",")) if name}


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found.group(1), 8)), text)
