"""What systemd hears over a real socket."""

import os
import socket

import pytest

from edgeml.supervisor.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        name = str(tmp_path / "notify") if request.param == "path" else f"@edgeml-test-{os.getpid()}"
        made.bind("\0" + name[1:] if name.startswith("@") else name)
        made.settimeout(10)
        yield made, name


def test_what_is_said(systemd):
    made, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000"})
    assert notifier.watchdog_s == 3.0
    notifier.ready("serving on x")
    notifier.alive()
    notifier.status("killed\rby")
    notifier.stopping()
    said = [made.recv(1000) for _ in range(4)]
    assert said == [b"READY=1\nSTATUS=serving on x", b"WATCHDOG=1", b"STATUS=killed by", b"STOPPING=1"]


@pytest.mark.parametrize(
    "environment", [{"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_for_nobody_or_for_another_process_is_not_fed(systemd, environment):
    made, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name} | environment)
    assert notifier.watchdog_s is None
    notifier.alive()
    notifier.stopping()
    assert made.recv(100) == b"STOPPING=1"


def test_a_watchdog_for_this_process_is():
    assert Notifier({"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 5.0


def test_where_systemd_does_not_listen_nothing_happens(tmp_path):
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier(environment)
        notifier.ready("x")
        notifier.alive()
        notifier.stopping()
