"""What a power cut may leave of a disk in memory.

Of the changes of names that no sync has covered, in each folder: every prefix, every one missing alone, the last alone
(the other folders' kept or lost), and every prefix of all of them in the order in which they were made. Of bytes that
no sync has covered: lost, kept, half of them, zeros in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from crash.memory_disk import Folder, Inode, MemoryDisk, Renaming, apply

UNSYNCED = ("lost", "kept", "half", "zeros")
Names = dict[int, list[Renaming]]
Print = frozenset[tuple[str, frozenset[tuple[str, bytes | None]]]]
# A folder's names and bytes, the folders in it, and whether some of its bytes are not synced.
_Part = tuple[frozenset[tuple[str, bytes | None]], list[tuple[str, Folder]], bool]

_RANDOM = re.compile(r"\.[0-9a-f]{12}\.tmp\Z|part-[0-9a-f]{32}\Z")


def crash_states(disk: MemoryDisk) -> Iterator[tuple[Print, Callable[[], MemoryDisk]]]:
    """Each different state that a power cut now may leave: its finger print, and what makes the disk."""
    seen: set[Print] = set()
    parts: dict[object, _Part] = {}
    tried: set[object] = set()
    for names in _choices(disk.root):
        choice = frozenset((where, tuple(each.serial for each in kept)) for where, kept in names.items())
        if choice in tried:
            continue
        tried.add(choice)
        for bytes_are in UNSYNCED:
            found, vague = _print_of(disk.root, names, bytes_are, parts)
            if found not in seen:
                seen.add(found)
                yield found, lambda names=names, bytes_are=bytes_are: _made(disk, names, bytes_are)  # type: ignore[misc]
            if not vague:
                break


def finger_print(disk: MemoryDisk) -> Print:
    """What readers see, with random parts of names left out."""
    found = []
    todo = [("", disk.root)]
    while todo:
        path, folder = todo.pop()
        part = _part(folder.names, "kept")
        found.append((path, part[0]))
        todo += [(f"{path}/{name}", each) for name, each in part[1]]
    return frozenset(found)


def _print_of(root: Folder, names: Names, bytes_are: str, parts: dict[object, _Part]) -> tuple[Print, bool]:
    found, vague = [], False
    todo = [("", root)]
    while todo:
        path, folder = todo.pop()
        kept = _kept(folder, names)
        key = (id(folder), bytes_are, tuple(each.serial for each in kept))
        if key not in parts:
            parts[key] = _part(_names(folder, kept), bytes_are)
        text, folders, some = parts[key]
        vague = vague or some
        found.append((path, text))
        todo += [(f"{path}/{name}", each) for name, each in folders]
    return frozenset(found), vague


def _part(names: Mapping[str, Inode | Folder], bytes_are: str) -> _Part:
    text: list[tuple[str, bytes | None]] = []
    folders: list[tuple[str, Folder]] = []
    vague = False
    for name, each in names.items():
        if isinstance(each, Folder):
            folders.append((name, each))
            text.append((name, None))
        else:
            vague = vague or each.safe != each.data
            text.append((_plain(name), _bytes(each, bytes_are)))
    return frozenset(text), folders, vague


@cache
def _plain(name: str) -> str:
    return _RANDOM.sub("*", name)


def _kept(folder: Folder, names: Names) -> list[Renaming]:
    """The changes of a folder that are kept; a name stays where the file's new one in another folder is lost."""
    kept = []
    for change in names.get(id(folder), []):
        if change.needs is not None:
            there, put = change.needs
            if put in there.waiting and put not in names.get(id(there), []):
                continue
        kept.append(change)
    return kept


def _names(folder: Folder, kept: list[Renaming]) -> dict[str, Inode | Folder]:
    found = dict(folder.safe)
    for change in kept:
        apply(found, change)
    return found


def _made(disk: MemoryDisk, names: Names, bytes_are: str) -> MemoryDisk:
    made = MemoryDisk()
    made.capacity, made.capacity_files = disk.capacity, disk.capacity_files
    made.root = _left(disk.root, names, bytes_are, {})
    return made


def _left(folder: Folder, names: Names, bytes_are: str, memo: dict[int, Inode]) -> Folder:
    left = Folder()
    for name, each in _names(folder, _kept(folder, names)).items():
        if isinstance(each, Folder):
            left.names[name] = _left(each, names, bytes_are, memo)
        else:
            if id(each) not in memo:
                data = _bytes(each, bytes_are)
                memo[id(each)] = Inode(data, data, each.mode)
            left.names[name] = memo[id(each)]
    left.safe = dict(left.names)
    return left


def _choices(root: Folder) -> Iterator[Names]:
    folders = [each for each in _folders(root) if each.waiting]
    yield {id(each): each.waiting for each in folders}
    if not folders:
        return
    serials = sorted(change.serial for each in folders for change in each.waiting)
    for last in (0, *serials):
        yield {id(each): [change for change in each.waiting if change.serial <= last] for each in folders}
    for folder in folders:
        waiting = folder.waiting
        parts = [waiting[:length] for length in range(len(waiting) + 1)]
        parts += [waiting[:at] + waiting[at + 1 :] for at in range(len(waiting))]
        parts.append(waiting[-1:])
        for others_kept in (True, False):
            others = {id(each): each.waiting if others_kept else [] for each in folders}
            for part in parts:
                yield others | {id(folder): part}


def _folders(root: Folder) -> list[Folder]:
    # Also those that only a change which is not covered yet leads to, or away from.
    found: dict[int, Folder] = {}
    todo = [root]
    while todo:
        folder = todo.pop()
        if id(folder) in found:
            continue
        found[id(folder)] = folder
        nodes = [*folder.names.values(), *folder.safe.values()]
        todo += [each for each in nodes if isinstance(each, Folder)]
    return list(found.values())


def _bytes(inode: Inode, bytes_are: str) -> bytes:
    if bytes_are == "kept" or inode.safe == inode.data:
        return inode.data
    return {
        "lost": inode.safe or b"",
        "half": inode.data[: len(inode.data) // 2],
        "zeros": bytes(len(inode.data)),
    }[bytes_are]
