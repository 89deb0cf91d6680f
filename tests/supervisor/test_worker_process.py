"""A worker as a process: started, watched, adopted, ended; and how long a new one is waited for."""

import os
import queue
import signal
import socket
import subprocess
import sys

import pytest

from edgeml.supervisor import worker_process
from edgeml.supervisor.worker_process import WorkerProcess, address_of, is_reachable, pause_s

SLEEPER = "import time; time.sleep(60)"


@pytest.fixture
def start(monkeypatch):
    """Starts any Python in the place of a worker."""
    real, started = subprocess.Popen, []

    def begin(code, descriptor=None):
        def replaced(command, **options):
            return real([sys.executable, "-c", code, *command[3:]], **options)

        monkeypatch.setattr(subprocess, "Popen", replaced)
        monkeypatch.setattr(worker_process, "_has_descriptor", lambda _: False)
        started.append(WorkerProcess.start(["--x"], descriptor, 1))
        return started[-1]

    yield begin
    for each in started:
        each.signal(signal.SIGKILL)


def ended(process):
    said = queue.SimpleQueue()
    process.watch(lambda each, how: said.put((each, how)))
    each, how = said.get(timeout=30)
    assert each is process
    return how


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("pass", "ended with status 0"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),
    ],
)
def test_how_it_ended_is_told(start, code, how):
    process = start(code)
    assert ended(process) == how
    process.signal(signal.SIGKILL)  # nobody is there any more: nothing happens
    assert process.wait(0)
    process.close()


def test_it_can_be_ended_and_waited_for(start):
    process = start(SLEEPER)
    assert not process.wait(0)
    process.signal(signal.SIGTERM)
    assert process.wait(30) and ended(process) == "killed by SIGTERM"
    process.close()


def test_another_supervisors_worker_is_adopted(start):
    first = start(SLEEPER)
    second = WorkerProcess.adopt(first.pid, 7)
    assert (second.pid, second.life, second.status) == (first.pid, 7, None)
    second.signal(signal.SIGKILL)
    assert "nobody knows how" in ended(second) and ended(first) == "killed by SIGKILL"
    second.close()
    first.close()
    with pytest.raises(OSError):
        WorkerProcess.adopt(first.pid, 8)


def test_no_handle_is_kept(start):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        process = start("pass")
        ended(process)
        process.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_inherits_the_listening_socket_and_nothing_else(start, tmp_path):
    code = f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(' '.join(sorted(os.listdir('/proc/self/fd'))))"
    with socket.create_server(("127.0.0.1", 0)) as listening, open(os.devnull) as secret:
        os.set_inheritable(secret.fileno(), True)
        held, other = str(listening.fileno()), str(secret.fileno())
        process = start(code, listening.fileno())
        ended(process)
        seen = (tmp_path / "seen").read_text().split()
    assert held in seen and other not in seen
    process.close()


def test_pauses_grow_and_end():
    pauses = [pause_s(n) for n in range(12)]
    assert pauses[:4] == [0.0, 0.2, 0.4, 0.8] and pauses == sorted(pauses)
    assert pauses[-1] == pause_s(10**9) == 30.0


def test_addresses_are_for_clients(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as v4:
        assert address_of(v4) == f"http://127.0.0.1:{v4.getsockname()[1]}" and is_reachable(v4)
    if socket.has_ipv6:
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6) as v6:
                assert address_of(v6) == f"http://[::1]:{v6.getsockname()[1]}"
        except OSError:
            pass
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert address_of(unix) == str(tmp_path / "s") and is_reachable(unix)
        (tmp_path / "s").unlink()
        assert not is_reachable(unix)
