"""How much memory this box can still give: what the kernel calls available, less where a control group grants less."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

ROOT = Path("/")


def free_memory_bytes(root: Path = ROOT) -> int:
    """Memory in bytes that may still be taken without swapping.

    Pages that only cache files count as free, on the box and in the control groups (version 2) alike.

    Args:
        root: Where ``proc`` and ``sys`` are.

    Raises:
        OSError: ``/proc/meminfo`` cannot be read or does not say.
    """
    return max(0, min([_available(root), *_granted(root)]))


def _available(root: Path) -> int:
    with open(root / "proc/meminfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    raise OSError(f"{root / 'proc/meminfo'} does not say MemAvailable")


def _granted(root: Path) -> list[int]:
    """What is left in each control group that this process is in, from its own to the outermost."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    path = PurePosixPath(own)
    return [left for group in (path, *path.parents) if (left := _left(root, group)) is not None]


def _left(root: Path, group: PurePosixPath) -> int | None:
    """What one group may still take; None where it has no limit or cannot be read."""
    folder = root / "sys/fs/cgroup" / str(group).lstrip("/")
    try:
        most = (folder / "memory.max").read_text().strip()
        if most == "max":
            return None
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(most) - used + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return None
