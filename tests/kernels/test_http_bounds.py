"""What clients may cost the front: their requests all come through, and the slow ones are sent away."""

import socket
import struct
import threading

import pytest
from kernels.fronting import GET, Service, post, said, serving, to_end

PAUSE_S = 0.1
CODED = b"Content-Encoding: GZIP\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def trickle(client, pieces):
    """Sends pieces with pauses until there is an answer, and gives all of it."""
    client.settimeout(PAUSE_S)
    for piece in pieces:
        client.sendall(piece)
        try:
            answer = client.recv(1 << 16)
        except TimeoutError:
            continue
        client.settimeout(20)
        return answer + to_end(client)
    raise AssertionError("nobody sent the client away")


def test_many_requests_in_one_send_are_all_answered():
    paths = [f"/{number:037}" for number in range(200)]
    data = b"".join(GET % path.encode() for path in paths)
    assert len(data) == 200 * 64
    with serving() as service, service.connect() as client:
        client.sendall(data)
        answer = b""
        while answer.count(b"HTTP/1.1 200 OK\r\n") < 200:
            assert (piece := client.recv(1 << 16))
            answer += piece
        assert service.paths == paths


def test_a_request_that_comes_while_others_are_answered_is_answered():
    with serving(threads=1) as service, service.connect() as client:
        for turn in range(20):
            service.go.clear()
            client.sendall(GET % b"/wait" + 3 * (GET % b"/between"))
            assert service.began.acquire(timeout=20)
            client.sendall(GET % b"/%d" % turn)
            service.go.set()
            answer = b""
            while said(b"/%d" % turn) not in answer:
                assert (piece := client.recv(1 << 16))
                answer += piece


def test_a_chunked_upload_that_stalls_gives_its_memory_back():
    with serving(stall_s=0.5, memory_bytes=1 << 20) as service:
        with service.connect() as stalls, service.connect() as honest:
            stalls.sendall(CHUNKED % b"/s" + b"%x\r\n" % 100_000 + bytes(1000))
            assert said(b"/a") in service.ask(GET % b"/a")
            stalls.sendall(bytes(89_000))
            honest.sendall(post(b"/h", bytes(100_000)))
            assert b" 408 " in to_end(stalls)
            assert said(b"/h", bytes(100_000)) in honest.recv(1 << 16)


@pytest.mark.parametrize(
    "head",
    [post(b"/t", bytes(60_000))[:-60_000], post(b"/t", bytes(1 << 20))[: -(1 << 20)], CHUNKED % b"/t" + b"fff\r\n"],
)
def test_a_body_that_trickles_is_sent_away_however_much_it_announced(head):
    with serving(stall_s=0.5) as service, service.connect() as client:
        client.sendall(head)
        assert b" 408 " in trickle(client, [b"x"] * 60)
        assert service.asked == 0


def test_a_body_that_comes_steadily_may_take_longer_than_a_stall():
    body = bytes(1 << 20)
    data = post(b"/s", body, b"Connection: close\r\n")
    pieces = [data[at : at + 40_000] for at in range(0, len(data), 40_000)]
    with serving(stall_s=1.0) as service, service.connect() as client:
        assert said(b"/s", body) in trickle(client, [*pieces, *[b""] * 50])


@pytest.mark.parametrize("path", [b"/large", b"/pieces"])
def test_a_reader_that_takes_a_little_now_and_then_is_sent_away(path):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with serving(stall_s=2.0, listener=listener) as service, service.connect(receive=2304) as client:
        client.sendall(GET % path)
        assert client.recv(400)
        for _ in range(100):
            if not service.front.connections:
                break
            threading.Event().wait(PAUSE_S)
            client.recv(400)
        assert not service.front.connections


def test_a_reader_that_is_slow_and_steady_gets_all():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with serving(stall_s=1.0, listener=listener) as service, service.connect(receive=2304) as client:
        client.sendall(GET % b"/pieces")
        answer = client.recv(1000)
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            threading.Event().wait(PAUSE_S / 20)
            answer += client.recv(1000)
        assert answer.count(b"3e8\r\n") == 400


@pytest.mark.parametrize(
    "data",
    [
        post(b"/b", b"small", CODED),
        post(b"/b", bytes(100_000), CODED),
        CHUNKED.replace(b"Host", CODED + b"Host") % b"/b" + b"5\r\nsmall\r\n0\r\n\r\n",
    ],
    ids=["small", "large", "chunked"],
)
def test_what_inflates_waits_for_memory_as_large_bodies_do(data):
    with serving(memory_bytes=1 << 20) as service, service.connect() as holds, service.connect() as waits:
        holds.sendall(post(b"/wait", b"inflates", CODED))
        assert service.began.acquire(timeout=20)
        waits.sendall(data + GET % b"/after")
        for number in range(20):
            assert said(b"/%d" % number, b"x") in service.ask(
                post(b"/%d" % number, b"x", b"Content-Encoding: identity\r\n")
            )
        assert "/b" not in service.paths
        service.go.set()
        assert said(b"/wait", b"inflates") in holds.recv(1 << 16)
        waits.shutdown(socket.SHUT_WR)
        answer = to_end(waits)
        body = bytes(100_000) if len(data) > 1000 else b"small"
        assert answer.index(said(b"/b", body)) < answer.index(said(b"/after"))


def test_a_small_body_that_inflates_has_no_memory_before_it_is_whole():
    data = post(b"/a", b"small", CODED)
    with serving(memory_bytes=1 << 20) as service, service.connect() as slow:
        slow.sendall(data[:-1])
        for _ in range(5):
            assert said(b"/a", b"small") in service.ask(data)
        slow.sendall(data[-1:])
        assert said(b"/a", b"small") in slow.recv(1 << 16)


@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize("trickles", [False, True])
def test_a_body_that_does_not_end_holds_up_no_stop(size, trickles):
    service = Service()
    with service.connect() as client:
        client.sendall(post(b"/x", bytes(size))[:-500])
        assert said(b"/a") in service.ask(GET % b"/a")
        stopped = []
        stop = threading.Thread(target=lambda: stopped.append(service.front.stop(20)))
        stop.start()
        assert b" 408 " in (trickle(client, [b"x"] * 100) if trickles else to_end(client))
        stop.join(30)
    service.listener.close()
    assert stopped == [True]


def test_a_body_that_ends_while_the_front_stops_is_answered():
    service = Service()
    data = post(b"/x", bytes(100_000))
    with service.connect() as client:
        client.sendall(data[:-500])
        assert said(b"/a") in service.ask(GET % b"/a")
        stopped = []
        stop = threading.Thread(target=lambda: stopped.append(service.front.stop(20)))
        stop.start()
        client.sendall(data[-500:])
        assert said(b"/x", bytes(100_000)) in to_end(client)
        stop.join(30)
    service.listener.close()
    assert stopped == [True]


def test_who_waits_behind_one_that_leaves_is_looked_at():
    with serving(memory_bytes=300_000) as service, service.connect() as holds, service.connect() as next_one:
        holds.sendall(post(b"/h", bytes(150_000))[:-1])
        with service.connect() as leaves:
            leaves.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaves.sendall(post(b"/l", bytes(200_000))[:1000])
            assert said(b"/a") in service.ask(GET % b"/a")
            next_one.sendall(post(b"/n", bytes(100_000)))
            assert said(b"/a") in service.ask(GET % b"/a")
            assert "/n" not in service.paths
        assert said(b"/n", bytes(100_000)) in next_one.recv(1 << 16)
        holds.sendall(b"\0")
        assert said(b"/h", bytes(150_000)) in holds.recv(1 << 16)


def test_a_second_stop_does_not_say_that_all_went_well():
    service = Service()
    with service.connect() as client:
        client.sendall(GET % b"/wait")
        assert service.began.acquire(timeout=20)
        assert [service.front.stop(0.05), service.front.stop(20)] == [False, False]
        service.go.set()
    for thread in service.threads:
        thread.join(20)
    service.listener.close()


def test_who_sends_much_lets_others_have_their_turn(tmp_path):
    """A Unix socket holds what was sent until it is read: more than is read in one go, before the thread is free."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    data = post(b"/much", bytes(320_000))
    with (
        serving(threads=1, listener=listener) as service,
        service.connect() as much,
        service.connect() as waits,
        service.connect() as little,
    ):
        much.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 425_984)
        much.sendall(data[:1000])
        little.sendall(GET % b"/a")
        assert said(b"/a") in little.recv(1 << 16)
        waits.sendall(GET % b"/wait")
        assert service.began.acquire(timeout=20)
        much.sendall(data[1000:])
        little.sendall(GET % b"/little")
        service.go.set()
        assert said(b"/little") in little.recv(1 << 16)
        assert said(b"/much", bytes(320_000)) in much.recv(1 << 16)
        assert service.paths == ["/a", "/wait", "/little", "/much"]
