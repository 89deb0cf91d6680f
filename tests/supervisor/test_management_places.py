"""Whatever one address does to the management plane, status, health and going back find a thread.

Nothing here ends by itself: heads may take as long as they like, and whoever waits or hashes goes on until the test
lets it. So a plane whose threads can all be held would never answer, and the test would fail by its client's patience.
"""

from __future__ import annotations

import contextlib
import select
import threading

import pytest
from bundles.releases import installed, release
from data.generate_bundles import ALICE, CONFIG, MEMBERS
from supervisor.boxes import Wire
from supervisor.test_management_tls import Authority, trusting

from edgeml.bundles import Bundle, sign
from edgeml.errors import RequestError
from edgeml.fleet import device_client
from edgeml.supervisor import management
from edgeml.supervisor.management import Doors, Tls
from edgeml.supervisor.management_app import AppPlaces
from edgeml.supervisor.pace import Patience
from edgeml.supervisor.places import Places, WaitingRoom

# Longer than any test takes.
PATIENT = Patience(idle_seconds=600, head_seconds=600, request_seconds=600, rest_seconds=600, grace_seconds=600)
DOORS = Doors(patience=PATIENT)
MOST = DOORS.connections - 8


@pytest.fixture
def crowd():
    """Connections that are closed when the test is over."""
    with contextlib.ExitStack() as closing:
        yield closing


@pytest.fixture
def box(new_box):
    """With version 1 active and version 2 on top of it, so that there is something to go back to."""
    go_on = threading.Event()

    def pull(reference, progress):
        assert go_on.wait(600)
        return "0" * 64

    box = new_box(doors=DOORS, pull=pull)
    box.go_on = go_on
    for version in ("1", "2"):
        installed(box.store, version)
        assert box.post("/v1/models/door/activate?wait=30", version=version, now=True).status == 200
    yield box
    go_on.set()


def goes_back(box) -> None:
    """What must always be possible."""
    assert box.ask("GET", "/healthz").json == {"live": True}
    assert box.ask("GET", "/v1/status").status == 200
    said = box.post("/v1/models/door/rollback", reason="flooded")
    assert said.status in (200, 202), said.body
    model = box.store.state().models["door"]
    assert model.releases[model.active].version == "1"


def flood(box, crowd, data: bytes, count: int = MOST) -> list[Wire]:
    wires = []
    for _ in range(count):
        wires.append(crowd.enter_context(Wire(box.port, box.context)))
        # One that was driven out already cannot be sent to.
        with contextlib.suppress(OSError):
            wires[-1].send(data)
    return wires


def head(box, method, path, **headers) -> bytes:
    return Wire.head(None, method, path, token=box.token, **headers)  # type: ignore[arg-type]


SLOW = {
    "heads": lambda box: b"GET /healthz HT",
    "documents": lambda box: head(box, "POST", "/v1/models/door/deny", Content_Length=100) + b"{",
    "manifests": lambda box: head(box, "PUT", "/v2/door/manifests/3", Content_Length=100) + b"{",
    "chunks": lambda box: head(box, "POST", "/v1/pulls", Transfer_Encoding="chunked") + b"5\r\n{",
    "rests": lambda box: b"POST /v1/pulls HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients(box, crowd, kind):
    flood(box, crowd, SLOW[kind](box))
    goes_back(box)


def test_bodies_that_nobody_wants(box, crowd, monkeypatch):
    """Answered at once; then the connection lingers, so that the answer is not lost."""
    monkeypatch.setattr(management, "_LINGER_SECONDS", 600.0)
    flood(box, crowd, b"POST /v1/pulls HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n{")
    goes_back(box)


def test_readers_that_do_not_read(box, crowd):
    """A blob is a transfer; a card is not, and four of them are larger than what a kernel keeps."""
    made = Bundle.create(CONFIG | {"version": "3"}, MEMBERS | {"CARD.md": b"a line of it\n" * 300_000})
    digest = box.store.install(sign(made, ALICE))
    flood(box, crowd, head(box, "GET", f"/v1/models/door/card?digest={digest}") * 4)
    goes_back(box)


def test_waits(box, crowd):
    identity = box.post("/v1/pulls", **{"from": "registry.example/door:1"}).json["id"]
    wires = flood(box, crowd, head(box, "GET", f"/v1/operations/{identity}?wait=30"))
    goes_back(box)
    # Whoever found no place is told how far it is, and not to come back at once.
    answered, waiting = [], wires
    while len(waiting) > AppPlaces().waits:
        ready, _, _ = select.select([wire.socket for wire in waiting], [], [], 20)
        assert ready
        answered += [wire for wire in waiting if wire.socket in ready]
        waiting = [wire for wire in waiting if wire.socket not in ready]
    assert len(waiting) == AppPlaces().waits
    for wire in answered:
        said = wire.answer()
        assert (said.status, said.json["state"], said.headers["retry-after"]) == (200, "running", "1")
    box.go_on.set()
    for wire in waiting:
        said = wire.answer()
        assert said.json["state"] == "done" and "retry-after" not in said.headers


def test_hashing(box, crowd, monkeypatch):
    """A disk that takes its time: whoever asks whether a blob is here, and whoever brings a manifest, waits for it."""
    hashing, over = threading.Semaphore(0), threading.Event()
    blobs, install = box.store.blobs, box.store.install_waiting

    def slow(work):
        def worked(*words, **more):
            hashing.release()
            assert over.wait(600)
            return work(*words, **more)

        return worked

    bundle = release("3")
    box.push_blobs(bundle)
    box.push_signatures(bundle)
    monkeypatch.setattr(blobs, "verified_size", slow(blobs.verified_size))
    monkeypatch.setattr(box.store.incoming, "verified_size", slow(box.store.incoming.verified_size))
    monkeypatch.setattr(box.store, "install_waiting", slow(install))
    digest = next(iter(bundle.blobs))
    asked = flood(box, crowd, head(box, "HEAD", f"/v2/door/blobs/{digest}"), MOST // 3)
    flood(box, crowd, head(box, "POST", f"/v2/door/blobs/uploads/?mount={digest}", Content_Length=0), MOST // 3)
    manifest = head(box, "PUT", "/v2/door/manifests/3", Content_Length=len(bundle.manifest_bytes))
    flood(box, crowd, manifest + bundle.manifest_bytes, MOST // 3)
    for _ in range(AppPlaces().hashing):
        assert hashing.acquire(timeout=60)
    goes_back(box)
    said = box.push_manifest(bundle.manifest_bytes, "3")
    assert (said.status, said.code, said.headers["retry-after"]) == (429, "TOOMANYREQUESTS", "1")
    assert not hashing.acquire(blocking=False)
    over.set()
    # Those that had a place are answered; the places come free.
    statuses = [wire.answer("HEAD").status for wire in asked]
    assert set(statuses) <= {200, 429} and statuses.count(200) <= AppPlaces().hashing
    while box.push_manifest(bundle.manifest_bytes, "3").status == 429:
        pass
    assert box.store.state().find(bundle.digest.removeprefix("sha256:")) is not None
    # A blob that is not here costs nothing to say so.
    assert box.ask("HEAD", f"/v2/door/blobs/sha256:{'0' * 64}").status == 404


def test_all_at_once(box, crowd):
    identity = box.post("/v1/pulls", **{"from": "registry.example/door:1"}).json["id"]
    floods = [make(box) for make in SLOW.values()] + [head(box, "GET", f"/v1/operations/{identity}?wait=30")]
    locations = [box.begin_upload() for _ in range(AppPlaces().transfers)]
    for location in locations:
        flood(box, crowd, head(box, "PATCH", location, Content_Length=10**6) + b"a", 1)
    left = MOST - len(locations)
    for data in floods:
        flood(box, crowd, data, left // len(floods))
    goes_back(box)
    # A slow upload is no slow client: as many as may are under way, and nobody has driven them out.
    said = box.ask("PATCH", box.begin_upload(), b"b")
    assert (said.status, said.code) == (429, "TOOMANYREQUESTS")


def test_handshakes(new_box, tmp_path, crowd):
    authority = Authority(tmp_path, "root")
    box = new_box(tls=Tls(*authority.certificate("box")), doors=DOORS)
    box.context = trusting(authority)
    flooded = [crowd.enter_context(Wire(box.port)) for _ in range(MOST)]
    for wire in flooded:
        with contextlib.suppress(OSError):
            wire.send(b"\x16\x03\x01")
    assert box.ask("GET", "/healthz").json == {"live": True}
    assert box.ask("GET", "/v1/status").status == 200


def test_the_places_leave_threads():
    places = AppPlaces()
    held = places.transfers + places.hashing + places.waits + Doors().waiting
    assert held < Doors().threads


def test_a_client_that_is_told_at_once_does_not_ask_at_once(new_box, monkeypatch):
    go_on = threading.Event()

    def pull(reference, progress):
        assert go_on.wait(60)
        return "0" * 64

    box = new_box(pull=pull, places=AppPlaces(waits=0))
    paused = []

    def sleep(seconds):
        paused.append(seconds)
        if len(paused) == 3:
            go_on.set()

    monkeypatch.setattr(device_client.time, "sleep", sleep)
    with device_client.DeviceClient(f"http://127.0.0.1:{box.port}", token=box.token) as device:
        done = device.finish(lambda: device.pull("registry.example/door:1"), seconds=60)
    assert done.state == "done" and paused[:3] == [1.0] * 3


class Slow:
    def __init__(self, address, since):
        self.address, self.since, self.over = address, since, threading.Event()

    def cut(self):
        self.over.set()


def test_who_has_been_slow_for_longest_gives_way_at_the_address_that_has_most():
    room = WaitingRoom(3)
    far, one, two, new = Slow("far", 1.0), Slow("near", 2.0), Slow("near", 3.0), Slow("other", 4.0)
    with room.place(far), room.place(one), room.place(two):
        with room.place(new):
            assert [each.over.is_set() for each in (far, one, two)] == [False, True, False]
            # far is the oldest, and its address has no more than others: now it counts who was first.
            with room.place(Slow("fifth", 5.0)):
                assert far.over.is_set() and not two.over.is_set()
            with room.place(one), pytest.raises(TimeoutError), room.place(Slow("near", 0.0)):
                pass
    with room.place(far), room.place(one), room.place(two):
        pass


def test_a_place_is_given_back_once():
    places = Places(1, "too much of it")
    turn = places.take()
    with pytest.raises(RequestError, match="too much of it; try again in a second") as caught:
        places.take()
    assert caught.value.code == "TOOMANYREQUESTS" and places.take_if_free() is None
    turn.close()
    turn.close()
    with places.take():
        assert places.take_if_free() is None
    assert places.take_if_free() is not None
