"""The HTTP server itself, byte by byte: what is refused, what is cut off, and that it goes on answering others."""

import contextlib
import socket
import threading

import pytest
from bundles.releases import release
from supervisor.boxes import IMPATIENT, Wire

from edgeml.supervisor.management import Doors, serve_management
from edgeml.supervisor.management_app import AppPlaces, served_routes
from edgeml.supervisor.management_routes import MANAGEMENT_ROUTES


@pytest.fixture
def echo():
    """A server that gives the size of the body."""

    def app(environ, start_response):
        size = b"%d" % sum(map(len, environ["wsgi.input"].pieces()))
        start_response("200 OK", [("Content-Length", str(len(size)))])
        return [size]

    servers = []

    def make(**options):
        servers.append(serve_management(app, doors=Doors(**options)))
        return servers[-1]

    yield make
    for server in servers:
        server.stop(grace_seconds=0.5)


HEADS = {
    "length twice": b"Content-Length: 3\r\nContent-Length: 3\r\n",
    "length with a sign": b"Content-Length: +3\r\n",
    "negative length": b"Content-Length: -3\r\n",
    "length with underscore": b"Content-Length: 1_0\r\n",
    "length and chunked": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "two codings": b"Transfer-Encoding: gzip, chunked\r\n",
    "unknown coding": b"Transfer-Encoding: identity\r\n",
    "coding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "bare line feed": b"X-A: 1\nContent-Length: 3\r\n",
    "folded line": b"X-A: 1\r\n 2\r\n",
    "space before the colon": b"Content-Length : 3\r\n",
    "underscore in a name": b"Content_Length: 3\r\n",
    "no colon": b"hello\r\n",
    "zero byte": b"X-A: \0\r\n",
    "two tokens": b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    "too many fields": b"".join(b"X-%d: 1\r\n" % number for number in range(70)),
    "too large": b"X-A: " + b"a" * 20_000 + b"\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_that_two_readers_could_read_in_two_ways_is_refused(echo, head):
    server = echo()
    with Wire(server.port) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\n" + head + b"\r\nabc")
        assert wire.answer().status in (400, 413)
        assert wire.is_closed()
    with Wire(server.port) as wire:
        assert wire.ask("POST", "/x", b"abc").body == b"3"


LINES = [
    b"GET /x\r\n",
    b"get /x HTTP/1.1\r\n",
    b"GET http://a/x HTTP/1.1\r\n",
    b"GET /x HTTP/2.0\r\n",
    b"\x16\x03\x01\r\n",
]


@pytest.mark.parametrize("line", [*LINES, b"CONNECT a:1 HTTP/1.1\r\n", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n"])
def test_a_request_line_that_is_none(echo, line):
    with Wire(echo().port) as wire:
        wire.send(line + b"Host: a\r\n\r\n")
        assert wire.answer().status in (400, 405, 414, 505)
        assert wire.is_closed()


def test_several_requests_on_one_connection(echo):
    with Wire(echo().port) as wire:
        for size in (0, 1, 70_000, 5):
            assert wire.ask("POST", "/x", b"a" * size).body == b"%d" % size
        # pipelined
        wire.send(
            wire.head("POST", "/x", Content_Length=2) + b"ab" + wire.head("POST", "/x", Content_Length=3) + b"abc"
        )
        assert (wire.answer().body, wire.answer().body) == (b"2", b"3")


def test_chunks(echo):
    head = Wire.head
    with Wire(echo().port) as wire:
        wire.send(head(wire, "POST", "/x", Transfer_Encoding="chunked") + b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n")
        assert wire.answer().body == b"13"
        assert wire.ask("POST", "/x", b"ab").body == b"2"


BAD_CHUNKS = [
    b"-1\r\n",
    b"3;x=y\r\nabc\r\n",
    b"x\r\n",
    b"3\r\nabcd\r\n",
    b"0x3\r\nabc\r\n",
    b"+3\r\nabc\r\n",
    b"3\nabc\r\n",
]


@pytest.mark.parametrize("chunk", BAD_CHUNKS)
def test_chunks_that_are_none(box, chunk):
    with box.wire() as wire:
        location = wire.ask("POST", "/v2/door/blobs/uploads/", token=box.token).headers["location"]
        wire.send(wire.head("PATCH", location, token=box.token, Transfer_Encoding="chunked") + chunk + b"0\r\n\r\n")
        said = wire.answer()
        assert said.status == 400 and "chunk" in said.json["errors"][0]["message"]
        assert wire.is_closed()


def test_a_huge_chunk_is_refused_by_its_size_and_not_taken_into_memory(box):
    with box.wire() as wire:
        location = wire.ask("POST", "/v2/door/blobs/uploads/", token=box.token).headers["location"]
        wire.send(wire.head("PATCH", location, token=box.token, Transfer_Encoding="chunked") + b"FFFFFFFFFF\r\nabc")
        assert wire.answer().status == 413


def test_a_client_that_waits_to_be_told_is_told_only_when_its_body_is_wanted(box):
    with box.wire() as wire:
        location = wire.ask("POST", "/v2/door/blobs/uploads/", token=box.token).headers["location"]
        wire.send(wire.head("PATCH", location, token=box.token, Content_Length=3, Expect="100-continue"))
        assert wire.answer().status == 100
        wire.send(b"abc")
        assert wire.answer().status == 202
    with box.wire() as wire:
        wire.send(wire.head("PATCH", location, token="edgeml_x", Content_Length=3, Expect="100-continue"))
        assert wire.answer().status == 401
        assert wire.is_closed()


def test_an_unread_body_costs_the_connection_and_not_the_answer(box):
    with box.wire() as wire:
        wire.send(wire.head("PATCH", "/v2/door/blobs/uploads/x", Content_Length=10**8))
        assert wire.answer().status == 401
        assert wire.is_closed()
    with box.wire() as wire:  # a small one is read away
        assert wire.ask("PATCH", "/v2/door/blobs/uploads/x", b"a" * 1000).status == 401
        assert wire.ask("GET", "/v2/", token=box.token).status == 200


def test_silence_and_slow_drips_lose_their_connection(new_box):
    box = new_box(doors=Doors(patience=IMPATIENT))
    with box.wire() as wire:
        assert wire.is_closed()
    with box.wire() as wire:
        wire.send(b"GET /healthz HT")
        assert wire.is_closed()

    def drip(slow, data, over):
        with contextlib.suppress(OSError):
            for letter in data:
                slow.send(bytes([letter]))
                if over.wait(0.02):
                    return

    location = box.begin_upload()
    with box.wire() as slow:
        head = slow.head("PATCH", location, token=box.token, Content_Length=10**6)
    for at_once, slowly in ((b"", head), (head, b"a" * 10**5)):
        with box.wire() as slow:
            over = threading.Event()
            slow.send(at_once)
            thread = threading.Thread(target=drip, args=(slow, slowly, over))
            thread.start()
            assert slow.is_closed()
            over.set()
            thread.join()
    kept = box.ask("GET", location)
    assert kept.status == 204 and int(kept.headers["range"].split("-")[1]) > 0


def test_a_reader_that_does_not_read_loses_its_connection(new_box):
    box = new_box(doors=Doors(patience=IMPATIENT), places=AppPlaces(transfers=1))
    bundle = release("1", size=30_000_000)
    box.store.install(bundle)
    model = bundle.manifest.members["model.onnx"].digest
    with box.wire() as wire:
        wire.send(wire.head("GET", f"/v2/door/blobs/{model}", token=box.token))
        assert wire.reader.readline().split()[1] == b"200"
        # The only place for transfers comes free because the server gives up, not because anybody read.
        free = threading.Event()
        while not free.wait(0.05):
            with box.wire() as other:
                said = other.ask("PUT", f"{box.begin_upload()}?digest=sha256:{'0' * 64}", b"x", token=box.token)
                if said.status != 429:
                    free.set()
        assert said.code == "DIGEST_INVALID"


def test_silent_connections_take_no_thread(echo):
    server = echo(threads=1, connections=40)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    with Wire(server.port) as wire:
        assert wire.ask("POST", "/x", b"abc").body == b"3"
    for each in silent:
        each.close()


def test_more_connections_than_doors_are_turned_away_and_places_come_free(echo):
    server = echo(connections=5)
    inside = [Wire(server.port) for _ in range(5)]
    for wire in inside:
        wire.ask("POST", "/x", b"a")
    with Wire(server.port) as wire:
        assert wire.is_closed()
    for wire in inside:
        wire.close()
    free = threading.Event()
    while not free.wait(0.02):
        try:
            with Wire(server.port) as wire:
                assert wire.ask("POST", "/x", b"ab").body == b"2"
                free.set()
        except (EOFError, ConnectionError):
            pass


def test_stop_waits_for_a_request_and_cuts_off_what_hangs(new_box):
    box = new_box()
    location = box.begin_upload()
    with box.wire() as wire:
        wire.send(wire.head("PATCH", location, token=box.token, Content_Length=1000) + b"a" * 10)
        box.management.stop(grace_seconds=0.3)
        assert wire.is_closed()
    with pytest.raises(ConnectionRefusedError):
        Wire(box.port)


def test_descriptor_three_is_not_taken_for_a_listening_socket(echo, monkeypatch):
    monkeypatch.setenv("LISTEN_PID", "1")
    with Wire(echo().port) as wire:
        assert wire.ask("POST", "/x", b"a").body == b"1"


def test_what_is_not_there(box):
    said = box.ask("GET", "/v3/x")
    assert (said.status, said.code) == (404, "not_found")
    said = box.ask("GET", "/v2/a/b/c/manifests/1")
    assert (said.status, said.code) == (404, "NAME_UNKNOWN")
    said = box.ask("DELETE", "/v1/models")
    assert (said.status, said.code, said.headers["allow"]) == (405, "method_not_allowed", "GET, HEAD, OPTIONS")
    said = box.ask("DELETE", "/v2/door/manifests/1")
    assert (said.status, said.code) == (405, "UNSUPPORTED")


def test_the_document_lists_what_is_served_and_nothing_else(box):
    document = box.ask("GET", "/openapi.json").json
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert listed == {(route.method, route.path) for route in MANAGEMENT_ROUTES}
    schemas = document["components"]["schemas"]
    names = {part for part in str(document["paths"]).split("'") if part.startswith("#/components/schemas/")}
    assert {name.rsplit("/", 1)[1] for name in names} <= set(schemas)
    app = box.management._server.wsgi_app
    assert served_routes(app) == listed
