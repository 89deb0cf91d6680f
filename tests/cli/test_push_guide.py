"""Every command of docs/push-and-pull.md that needs no other machine is run, in order, on one box."""

import json
import re
import shutil
import signal
import subprocess

import pytest
from cli.boxes import ROOT, Box
from cli.test_releases_guide import environment, shell, wait_for
from data.generate_bundles import ALICE

from edgeml.bundles import Bundle, sign

GUIDE = (ROOT / "docs/push-and-pull.md").read_text()
BLOCKS = re.findall(r"(?:<!-- run: ([a-z]+) -->\n)?```sh\n(.*?)```", GUIDE, re.S)


@pytest.fixture
def folder(tmp_path, penguins_bundle, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Box(tmp_path).run("init", str(tmp_path / "store"), "--keyring", str(tmp_path / "keyring.json"))
    for version in "123":
        config = dict(penguins_bundle.config) | {"name": "iris", "version": version}
        sign(Bundle.create(config, penguins_bundle.members), ALICE).save(tmp_path / f"iris-{version}.edgeml")
    (tmp_path / "usb").mkdir()
    shutil.copy(tmp_path / "iris-3.edgeml", tmp_path / "usb")
    return tmp_path


def test_every_block_is_marked():
    assert BLOCKS and all(kind in ("sh", "background", "no") for kind, _ in BLOCKS)


def test_the_guide_is_right(folder, free_ports):
    data, management = free_ports
    service = None
    try:
        for kind, code in BLOCKS:
            code = code.replace("8080", str(data)).replace("8081", str(management))
            if kind == "background":
                words = code.replace("/var/lib/edgeml", str(folder / "store")).split()
                service = subprocess.Popen(
                    words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
                wait_for(management)
            elif kind == "sh":
                shell(folder, code)
        state = json.loads(shell(folder, "edgeml status --json"))["models"]["iris"]
        assert (state["active"]["version"], state["on_trial"]["version"]) == ("1", "2")
        listed = json.loads(shell(folder, "edgeml releases --json"))["releases"]
        assert {each["version"] for each in listed} == {"1", "2", "3"}
    finally:
        if service is not None:
            service.send_signal(signal.SIGTERM)
            service.communicate(timeout=60)


@pytest.fixture
def free_ports():
    import socket

    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def test_messages_of_the_guide_are_those_of_the_program():
    sources = "".join(path.read_text() for path in (ROOT / "edgeml").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    for message in (
        "give credentials",
        "has no scope",
        "waits until more of the keys",
        "is a replay",
        "make room on its disk",
        "another bundle is being fetched",
        "the registry does not resume",
    ):
        assert message in joined and message.split("...")[0] in GUIDE, message
