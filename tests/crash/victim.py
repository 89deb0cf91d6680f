"""The process that is killed: waits for orders, and carries each out in a child that stops before it begins.

``victim.py`` reads lines ``<scenario>\\t<store>`` from its standard input, and for each writes the child's process id.
The child stops itself, so that a tracer can take hold of it; when it goes on, everything it does is the transition.
What came of it is written to the descriptor named on the command line: ``done`` and the answer, or the error. The
second word there may name a mistake of ``broken_variants.KILLED``, which every child makes.
Everything is imported and has run once before the first child, so no child imports anything.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from crash.broken_variants import KILLED  # noqa: E402
from crash.scenarios import NAMES, Box, scenario  # noqa: E402

from edgeml.errors import EdgemlError  # noqa: E402

TOLD = int(sys.argv[1])


def carry_out(name: str, root: Path) -> str:
    """One transition, on the real disk."""
    found = scenario(name)
    try:
        box = Box(root, limits=found.limits)
        store = box.create() if name == "create" else box.open()
        answer = found.act(store)
        return f"done {answer if name.startswith('load') else ''}"
    except (OSError, EdgemlError) as error:
        return f"refused {error!r}"
    except BaseException as error:
        return f"broken {error!r}"


def rehearse() -> None:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for number, name in enumerate(NAMES):
            root = Path(folder) / str(number)
            if name != "create":
                scenario(name).prepare(Box(root, limits=scenario(name).limits).create())
            carry_out(name, root)


def main() -> None:
    rehearse()
    mistakes = [each.patch() for each in KILLED if each.name == sys.argv[2]]
    with mistakes[0] if mistakes else nullcontext():
        obey()


def obey() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        name, _, root = line.rstrip("\n").partition("\t")
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGSTOP)
                told = carry_out(name, Path(root))
                os.write(TOLD, told.replace("\n", " ").encode() + b"\n")
            finally:
                os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
