"""A client of a box that asks for one change once, and what there is to ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bundles.registry_peers import QUICK
from supervisor.running_store import PATIENCE_S

from edgeml.bundles import Bundle
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.upload_notes import UploadNotes
from edgeml.errors import EdgemlError
from edgeml.fleet.device_client import DeviceClient, RemoteOperation

MODEL = "penguins"
# Told of every broken link, it decides itself what to ask again.
ONCE = replace(QUICK, attempts=1)
_BEFORE_SWAP = ("accepted", "admission")


class Asking(threading.Thread):
    """A client that asks for one change once, and watches it.

    Attributes:
        begun: Set when the part begins in which the box is to be killed.
        kept: Whether the box has acknowledged the change.
        failure: Why it came to no end, as the client sees it; empty where it did.
        began: When that part began, by the monotonic clock ...
        ended: ... and when the client had its last answer.
    """

    def __init__(self, device: DeviceClient, act: Callable[[Asking, DeviceClient], None]) -> None:
        super().__init__(daemon=True)
        self._device = device
        self._act = act
        self.begun = threading.Event()
        self.kept = False
        self.failure = ""
        self.began = self.ended = 0.0

    def run(self) -> None:
        try:
            with self._device as device:
                self._act(self, device)
        except EdgemlError as error:
            self.failure = str(error)
        finally:
            self.begin()
            self.ended = time.monotonic()

    def begin(self) -> None:
        """The part begins in which the box is to be killed."""
        if not self.begun.is_set():
            self.began = time.monotonic()
            self.begun.set()

    def watch(self, device: DeviceClient, found: RemoteOperation) -> None:
        """Asks how far an operation is until it is over."""
        while found.state == "running":
            if found.step not in _BEFORE_SWAP:
                self.begin()
            time.sleep(0.001)
            found = device.operation(found.id)
        self.failure = found.reason if found.state != "done" else ""


@dataclass(frozen=True)
class Change:
    """One change that is going to be asked for.

    Attributes:
        bundle: What it is about.
        act: Asks for it.
        before: Active and candidate as they are ...
        after: ... and as they shall be.
        again: Asks for it once more, told how many bytes of the bundle were there after the kill; gives what is wrong.
    """

    bundle: Bundle
    act: Callable[[Asking, DeviceClient], None]
    before: tuple[str | None, str | None]
    after: tuple[str | None, str | None]
    again: Callable[[DeviceClient, int], str]


def pushing(bundle: Bundle, notes: UploadNotes) -> Callable[[Asking, DeviceClient], None]:
    def act(asking: Asking, device: DeviceClient) -> None:
        asking.begin()
        push(device.registry, BundleSource(bundle), MODEL, notes=notes)
        asking.kept = True

    return act


def resumed(bundle: Bundle, notes: UploadNotes, device: DeviceClient, here: int) -> str:
    """Pushes once more; what was there when the box died must not be sent again."""
    total = sum(each.size for each in BundleSource(bundle).descriptors)
    report = push(device.registry, BundleSource(bundle), MODEL, notes=notes)
    if report.bytes_sent > total - here:
        return f"{here} of {total} bytes were there, and {report.bytes_sent} were sent again"
    return ""


def activating(digest: str, *, now: bool, from_start: bool) -> Callable[[Asking, DeviceClient], None]:
    def act(asking: Asking, device: DeviceClient) -> None:
        if from_start:
            asking.begin()
        asking.watch(device, device.activate(MODEL, digest, now=now))
        asking.kept = not asking.failure

    return act


def activated(digest: str, now: bool, device: DeviceClient, here: int) -> str:
    device.finish(lambda: device.activate(MODEL, digest, now=now), seconds=PATIENCE_S)
    return ""


def going_back(digest: str) -> Callable[[Asking, DeviceClient], None]:
    def act(asking: Asking, device: DeviceClient) -> None:
        asking.begin()
        found = device.roll_back(MODEL, leaving=digest)
        asking.kept = True  # it is on the disk when the answer comes, whatever becomes of the swap
        asking.watch(device, found)

    return act


def gone_back(digest: str, device: DeviceClient, here: int) -> str:
    device.finish(lambda: device.roll_back(MODEL, leaving=digest), seconds=PATIENCE_S)
    return ""
