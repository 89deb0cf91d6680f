"""Check-up of the file system under a store: whether its type and its mount options keep what edgeml promises.

edgeml writes, syncs, renames and syncs the folder. That is enough where the file system renames as one step, comes
through a power cut by its journal, and where a flush reaches the medium. The table names the mounts where one of these
is not so.

Sources: the kernel's documentation of ext4, f2fs and overlayfs; ostreedev/ostree PR 1967 for vfat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeml.monitor.mounts import Mount, mount_of
from edgeml.supervisor.finding import Finding, Level, Patient

SOUND = ("ext4", "ext3", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "ubifs")

_MOVE = "make a store on ext4, xfs, btrfs or f2fs and move the bundles there"
_TYPES: dict[str, tuple[Level, str, str]] = {
    "tmpfs": ("danger", "it is memory: everything is gone after a power cut", _MOVE),
    "ramfs": ("danger", "it is memory: everything is gone after a power cut", _MOVE),
    "vfat": ("danger", "a rename is several steps there, so a power cut can leave half a record", _MOVE),
    "msdos": ("danger", "a rename is several steps there, so a power cut can leave half a record", _MOVE),
    "exfat": ("danger", "a rename is several steps there, so a power cut can leave half a record", _MOVE),
    "ext2": ("danger", "it has no journal, so a power cut can leave it unreadable", _MOVE),
    "nfs": ("danger", "it is elsewhere: without the network nothing can be loaded or rolled back", _MOVE),
    "nfs4": ("danger", "it is elsewhere: without the network nothing can be loaded or rolled back", _MOVE),
    "cifs": ("danger", "it is elsewhere: without the network nothing can be loaded or rolled back", _MOVE),
    "smb3": ("danger", "it is elsewhere: without the network nothing can be loaded or rolled back", _MOVE),
    "overlay": (
        "warning",
        "it is the writable layer of a container or of a live system, and goes with it",
        "mount a volume of the box where the store is",
    ),
}
_NO_FLUSH: tuple[Level, str, str] = (
    "danger",
    "flushes do not reach the medium: a power cut can undo what was reported as done",
    "mount it without {option}",
)
# (types, option, its value or None for a flag or any) -> level, meaning, remedy
_OPTIONS: tuple[tuple[tuple[str, ...], str, str | None, tuple[Level, str, str]], ...] = (
    (("overlay",), "volatile", None, ("danger", "it leaves out every sync", "mount it without volatile")),
    (("ext3", "ext4"), "nobarrier", None, _NO_FLUSH),
    (("ext3", "ext4"), "barrier", "0", _NO_FLUSH),
    (("xfs", "btrfs", "f2fs"), "nobarrier", None, _NO_FLUSH),
    (("f2fs",), "fsync_mode", "nobarrier", _NO_FLUSH),
    (
        ("f2fs",),
        "fsync_mode",
        "posix",
        (
            "warning",
            "renames are kept less strictly than on ext4; edgeml's own names are never used twice, so its record holds",
            "mount it with fsync_mode=strict",
        ),
    ),
    (
        ("ext3", "ext4"),
        "data",
        "writeback",
        (
            "warning",
            "files that nobody synced may hold old bytes after a power cut; edgeml syncs its own",
            "mount it with data=ordered",
        ),
    ),
    (
        ("ext4",),
        "noauto_da_alloc",
        None,
        (
            "warning",
            "files that nobody synced may be empty after a power cut; edgeml syncs its own",
            "mount it without noauto_da_alloc",
        ),
    ),
    (
        ("ext3", "ext4"),
        "noload",
        None,
        ("danger", "the journal is not replayed after a power cut", "mount it without noload"),
    ),
)


def check_mount(patient: Patient) -> Iterator[Finding]:
    """Type and options of the file system that the store is on."""
    try:
        mount = mount_of(patient.root.resolve(), patient.system)
    except OSError as error:
        yield Finding("mount", "warning", f"nobody can say what the store lies on: {error}", "not judged")
        return
    where = f"{mount.kind} on {mount.point} ({mount.source})"
    worries = list(_worries(mount))
    for level, what, meaning, remedy in worries:
        yield Finding("mount", level, f"{where}: {what}" if what else where, meaning, remedy)
    if not worries:
        yield Finding("mount", "ok", where)


def _worries(mount: Mount) -> Iterator[tuple[Level, str, str, str]]:
    if mount.read_only:
        yield (
            "danger",
            "read-only",
            "what answers goes on answering, and nothing can be changed, not even rolled back",
            "see 'dmesg' for the error that made it so; check the medium, then mount it with rw",
        )
    if mount.kind in _TYPES:
        level, meaning, remedy = _TYPES[mount.kind]
        yield level, "", meaning, remedy
    elif mount.kind not in SOUND:
        yield (
            "warning",
            "",
            "edgeml was never tried on it: nobody knows whether it renames as one step and keeps what is synced",
            _MOVE,
        )
    for kinds, option, value, (level, meaning, remedy) in _OPTIONS:
        if mount.kind in kinds and _has(mount.options, option, value):
            word = option if value is None else f"{option}={value}"
            yield level, word, meaning, remedy.format(option=word)


def _has(options: Mapping[str, str], option: str, value: str | None) -> bool:
    return option in options and value in (None, options[option])
