"""A real box with both its ports: ``edgeml serve --store`` in a process of its own, as an operator has it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cli.shell import ROOT

from edgeml.supervisor.tokens import Tokens

ROW = {"bill_length_mm": 47.0, "bill_depth_mm": 18.5, "flipper_length_mm": 195.0, "body_mass_g": 3700}


class Service:
    """A box in a process of its own.

    Attributes:
        manage: Address of its management plane.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = Tokens(root).create("office", ("push", "release"))
        self.manage = ""
        self.start()

    def start(self, manage_port: int = 0) -> None:
        words = ["serve", "--store", str(self.root), "--port", "0", "--manage-port", str(manage_port)]
        log = self.root.parent / "service.log"
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeml", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"listens on (\S+), management on (\S+)$", line.strip())
        assert found, (line, log.read_text())
        self.data, self.manage = found.groups()

    def kill(self) -> None:
        """As the power does, but for its worker."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        with suppress(OSError, ValueError):
            worker = int((self.root / "worker.lock").read_text())
            if f"--store\0{self.root}\0".encode() in Path(f"/proc/{worker}/cmdline").read_bytes():
                os.kill(worker, signal.SIGKILL)

    def predict(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.data.partition("://")[2], timeout=60)
        try:
            body = json.dumps({"records": [ROW | {"island": "Biscoe", "sex": "male"}]})
            connection.request("POST", "/v1/predict", body, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
