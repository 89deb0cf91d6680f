"""Environments of the peers: one venv each, from pinned requirements, never the main one.

1. ``benchmarks/peers/<peer>/requirements.txt`` pins what the peer is; its venv is ``benchmarks/envs/<peer>``.
2. A venv is whole when its stamp says which requirements and which Python made it. The stamp is written last, so an
   interrupted installation is begun again; changed requirements make the venv anew.
3. A peer that cannot be installed (no wheel for this Python, no network) is a gap in the table, with the reason; the
   others are measured.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PEERS = ROOT / "peers"
ENVS = ROOT / "envs"


class PeerUnavailable(Exception):
    """A peer cannot be installed or started here."""


def ensure(peer: str, say: Callable[[str], None]) -> Path:
    """Makes the environment of a peer, or takes the one that is there.

    Args:
        peer: Folder name under ``benchmarks/peers``.
        say: Told what takes long.

    Returns:
        The environment's Python.

    Raises:
        PeerUnavailable: The installation failed; carries the last lines of pip.
    """
    requirements = PEERS / peer / "requirements.txt"
    folder = ENVS / peer
    python = folder / "bin" / "python"
    stamp = folder / "stamp"
    wanted = fingerprint(requirements)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"installing {peer} in benchmarks/envs (once)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    # Settings for the main environment must not leak into the peer's.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, "install", "--quiet", "--requirement", str(requirements)],
    ):
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise PeerUnavailable(f"{peer} cannot be installed: {' / '.join(lines[-3:])}")
    frozen = subprocess.run([*pip, "freeze"], env=clean, capture_output=True, text=True, check=True)
    (folder / "freeze.txt").write_text(frozen.stdout)
    stamp.write_text(wanted)
    return python


def fingerprint(requirements: Path) -> str:
    """Says which requirements and which Python an environment was made from."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return f"{digest} {platform.python_implementation()} {platform.python_version()}\n"


def versions(peer: str) -> list[str]:
    """Everything installed in the peer's environment, as ``name==version``."""
    frozen = ENVS / peer / "freeze.txt"
    return frozen.read_text().split("\n")[:-1] if frozen.exists() else []
