"""Where uploads that were begun can be gone on with, for a push that was killed or gave up and is made again.

One small file for each blob on its way, named by the hash of registry, name and digest; so several pushes at a time do
not meet. Notes are a convenience: one that is lost, damaged or stale costs sending a blob from its beginning, and a
folder that cannot be written is no error.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from edgeml.bundles.disk import SYSTEM

_MAX_BYTES = 8192
# Registries throw away what nobody goes on with; a day to a week is usual.
_LIFE_SECONDS = 7 * 86_400


class UploadNotes:
    """Notes in one folder of this user.

    Args:
        folder: Made when the first note is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, origin: str, name: str, digest: str) -> str:
        """The location of an upload that was begun; empty where none is known."""
        path = self._path(origin, name, digest)
        try:
            if time.time() - os.stat(path).st_mtime > _LIFE_SECONDS:
                self.drop(origin, name, digest)
                return ""
            location = SYSTEM.read(path, _MAX_BYTES).decode("ascii")
        except (OSError, UnicodeDecodeError):
            return ""
        return location if location.isprintable() else ""

    def put(self, origin: str, name: str, digest: str, location: str) -> None:
        """Notes where an upload is; not synced, for a note that a power cut takes is no harm."""
        path = self._path(origin, name, digest)
        temporary = path.with_suffix(f".{os.urandom(4).hex()}")
        with suppress(OSError, UnicodeEncodeError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = SYSTEM.create(temporary, 0o600)
            try:
                SYSTEM.write(descriptor, location.encode("ascii"))
            finally:
                SYSTEM.close(descriptor)
            SYSTEM.rename(temporary, path)

    def drop(self, origin: str, name: str, digest: str) -> None:
        """Forgets an upload."""
        with suppress(OSError):
            SYSTEM.unlink(self._path(origin, name, digest))

    def tidy(self) -> None:
        """Forgets what is too old to be gone on with."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if time.time() - path.stat().st_mtime > _LIFE_SECONDS:
                    SYSTEM.unlink(path)

    def _path(self, origin: str, name: str, digest: str) -> Path:
        return self._folder / hashlib.sha256(f"{origin} {name} {digest}".encode()).hexdigest()
