"""A box on a desk: a folder with signed bundle files and keys, and the command line as a person uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from bundles.releases import release
from click.testing import CliRunner, Result
from data.generate_bundles import ALICE, ONE

from edgeml.bundles.store import Store
from edgeml.cli import main

ROOT = Path(__file__).resolve().parents[2]


class Box:
    """Commands for the store ``store`` in a folder.

    Attributes:
        folder: With ``1.edgeml`` to ``3.edgeml`` of the model ``door``, ``key.pem``, ``keyring.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for version in "123":
            release(version).save(folder / f"{version}.edgeml")
        (folder / "key.pem").write_bytes(ALICE.to_pem(None))
        (folder / "key.pem").chmod(0o600)
        ONE.save(folder / "keyring.json")

    @property
    def store(self) -> Store:
        """The store, opened anew."""
        return Store(self.folder / "store")

    def run(self, *words: str, status: int = 0) -> Result:
        """Runs a command in this process."""
        result = CliRunner().invoke(main, words, env={"EDGEML_STORE": str(self.folder / "store")})
        assert result.exit_code == status, result.output
        return result

    def json(self, *words: str, status: int = 0) -> Any:
        """Runs a command with ``--json``."""
        return json.loads(self.run(*words, "--json", status=status).stdout)

    def shell(self, *words: str, python: str = sys.executable, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Runs a command as the shell does.

        Args:
            words: The command.
            python: The Python to run it with.
            path: Where that finds edgeml.
        """
        return subprocess.run(
            [python, "-m", "edgeml", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            env={
                **os.environ,
                # The packages of this Python serve another one of the same version.
                "PYTHONPATH": os.pathsep.join([str(path), sysconfig.get_path("purelib")]),
                "EDGEML_STORE": str(self.folder / "store"),
            },
        )

    def with_releases(self, *versions: str) -> list[str]:
        """Makes the store and installs versions; each is active in its turn. Gives the digests."""
        self.run("init", str(self.folder / "store"), "--keyring", str(self.folder / "keyring.json"))
        digests = []
        for version in versions:
            digests.append(self.store.install(release(version)))
            self.store.activate(digests[-1], now=True)
        return digests
