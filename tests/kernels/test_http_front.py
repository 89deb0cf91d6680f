"""The front by itself, with a handler of the test: over real sockets, in this process."""

import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kernels.fronting import GET, post, said, serving, to_end, unraisable

from edgeml.kernels.http_front import Front


def test_pipelined_requests_are_answered_in_order_however_they_are_split():
    chunked = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n"
    data = GET % b"/a" + post(b"/b", b"x" * 100) + chunked + post(b"/d", b"y") + GET % b"/e"
    expected = [said(b"/a"), said(b"/b", b"x" * 100), said(b"/c", b"abc"), said(b"/d", b"y"), said(b"/e")]
    with serving() as service:
        for at in range(1, len(data), 3):
            with service.connect() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.sendall(data[:at])
                client.sendall(data[at:])
                client.shutdown(socket.SHUT_WR)
                answer = to_end(client)
            places = [answer.index(each) for each in expected]
            assert places == sorted(places) and answer.count(b"HTTP/1.1 200 OK\r\n") == 5


@pytest.mark.parametrize("size", [65_536, 65_537, 1 << 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_at_the_bounds_come_whole_and_what_follows_them_too(size, chunked):
    body = random.Random(size).randbytes(size)
    if chunked:
        pieces = [body[at : at + 9_999] for at in range(0, size, 9_999)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"
        data = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + framed
    else:
        data = post(b"/x", body)
    with serving() as service:
        answer = service.ask(data + GET % b"/y")
    assert said(b"/x", body) in answer and said(b"/y") in answer


def test_more_than_the_bound_is_refused_and_the_refusal_is_read():
    body = bytes((1 << 20) + 1)
    chunked = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (len(body), body)
    with serving() as service:
        for data in (post(b"/x", body), chunked):
            answer = service.ask(data)
            assert answer.startswith(b"HTTP/1.1 413 ") and answer.endswith(b"refused 413")
        assert service.asked == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 400),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(data, status):
    with serving() as service:
        answer = service.ask(data + GET % b"/smuggled" if status != 400 or b"9" not in data else data)
        assert answer.startswith(b"HTTP/1.1 %d " % status) and b"connection: close" in answer
        assert service.asked == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", 413),
        (b"\r\nHEAD / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"HEAD /" + b"x" * 9000, 414),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 400),
    ],
)
def test_a_refused_head_is_answered_without_a_body(data, status):
    with serving() as service:
        answer = service.ask(GET % b"/a" + data)
        refusal = answer[answer.index(said(b"/a")) + len(said(b"/a")) :]
        assert refusal.startswith(b"HTTP/1.1 %d " % status) and b"content-length: 11\r\n" in refusal
        assert refusal.endswith(b"\r\n\r\n") and refusal.count(b"HTTP/1.1") == 1


def test_slow_heads_and_bodies_are_sent_away_while_others_are_answered():
    with serving(head_s=0.5, stall_s=0.5) as service:
        with service.connect() as idle, service.connect() as head, service.connect() as body:
            head.sendall(b"GET / HT")
            body.sendall(post(b"/b", b"x" * 100)[:-1])
            assert said(b"/a") in service.ask(GET % b"/a")
            assert b" 408 " in to_end(head) and b" 408 " in to_end(body) and to_end(idle) == b""


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_client_that_waits_for_the_word_gets_it(size):
    data = post(b"/x", bytes(size), b"Expect: 100-continue\r\nConnection: close\r\n")
    with serving() as service, service.connect() as client:
        client.sendall(data[:-size])
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(data[-size:])
        assert said(b"/x", bytes(size)) in to_end(client)
        too_large = b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"
        assert service.ask(too_large).startswith(b"HTTP/1.1 413 ")


def test_more_connections_than_the_bound_wait_and_are_answered():
    with serving(connections=8) as service:
        clients = [socket.create_connection(service.listener.getsockname(), timeout=20) for _ in range(30)]
        for client in clients:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert service.front.connections <= 8
        for client in clients:
            assert said(b"/a") in to_end(client)
            client.close()


def test_large_bodies_share_the_memory_and_small_ones_need_none_of_it():
    with serving(memory_bytes=200_000) as service, ThreadPoolExecutor(6) as clients:
        with service.connect() as holds, service.connect() as waits:
            holds.sendall(post(b"/h", bytes(150_000))[:-1])
            waits.sendall(post(b"/w", bytes(90_000))[:-50_000])
            assert said(b"/s", b"small") in service.ask(post(b"/s", b"small"))
            others = [clients.submit(service.ask, post(b"/o", bytes(180_000))) for _ in range(6)]
            assert service.asked == 1
            holds.sendall(b"\0")
            assert said(b"/h", bytes(150_000)) in holds.recv(1 << 16)
            waits.sendall(bytes(50_000))
            assert said(b"/w", bytes(90_000)) in waits.recv(1 << 16)
            assert all(said(b"/o", bytes(180_000)) in each.result(20) for each in others)


def test_a_client_that_never_reads_is_cut_off_and_holds_up_nobody():
    with serving(threads=1, stall_s=0.5) as service:
        with service.connect() as client:
            client.sendall(GET % b"/large")
            assert said(b"/a") in service.ask(GET % b"/a")
            while service.front.connections > 0:
                threading.Event().wait(0.02)
        with service.connect() as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert len(to_end(client)) > 8 << 20


def test_a_slow_handler_holds_up_nobody_and_gets_its_own_answer():
    with serving(threads=4) as service, service.connect() as first, service.connect() as second:
        for client in (first, second):
            client.sendall(GET % b"/wait" + GET % b"/after")
            assert service.began.acquire(timeout=20)
        for number in range(50):
            assert said(b"/%d" % number) in service.ask(GET % b"/%d" % number)
        service.go.set()
        for client in (first, second):
            client.shutdown(socket.SHUT_WR)
            answer = to_end(client)
            assert answer.index(said(b"/wait")) < answer.index(said(b"/after"))


def test_every_answer_goes_to_who_asked_once():
    def ask(service, number):
        with service.connect() as client:
            for turn in range(40):
                body = b"%d %d " % (number, turn) * (20_000 if turn % 10 == 9 else 3)
                path = b"/wait" if turn == 20 and number == 0 else b"/x"
                client.sendall(post(path, body))
                answer = b""
                while said(path, body) not in answer:
                    assert (piece := client.recv(1 << 16)), answer
                    answer += piece
                assert answer.count(b"HTTP/1.1") == 1
        return True

    with serving(threads=4, memory_bytes=1 << 18) as service, ThreadPoolExecutor(16) as clients:
        service.go.set()
        assert all(clients.map(lambda number: ask(service, number), range(16)))
        assert service.asked == 16 * 40


def test_resets_at_every_stage_kill_nobody():
    data = post(b"/x", bytes(100_000))
    with serving(memory_bytes=100_000) as service:
        for stage in [
            data[:0],
            data[:9],
            data[:200],
            data[:70_000],
            data,
            GET % b"/large",
            GET % b"/lines",
            GET % b"/a",
        ]:
            for _ in range(5):
                with service.connect() as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.sendall(stage)
        assert said(b"/x", bytes(100_000)) in service.ask(data)


def test_streams_versions_and_heads():
    with serving() as service:
        answer = service.ask(GET % b"/lines" + GET % b"/next")
        assert b"transfer-encoding: chunked" in answer and answer.count(b"line ") == 50
        assert b"\r\n0\r\n\r\nHTTP/1.1 200" in answer and said(b"/next") in answer
        old = service.ask(b"GET /lines HTTP/1.0\r\n\r\n")
        assert b"chunked" not in old and old.endswith(b"line 49\n") and b"connection: close" in old
        kept = service.ask(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        assert kept.count(said(b"/a")) == 2 and b"connection: keep-alive" in kept
        head = service.ask(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.endswith(b"content-length: 67\r\n\r\n")
        assert service.closed.wait(20)


def test_a_handler_that_raises_ends_no_thread():
    with unraisable() as logged, serving() as service:
        assert service.ask(GET % b"/raise").startswith(b"HTTP/1.1 500 ")
        assert service.ask(GET % b"/break") == b""
        assert service.ask(GET % b"/fail").endswith(b"5\r\nbegun\r\n")
        assert said(b"/a") in service.ask(GET % b"/a")
    assert logged == [
        (RuntimeError, "as asked", "answer"),
        (ValueError, "a header of an answer has a line break in it", "_written"),
        (RuntimeError, "in the middle", "failing"),
    ]


def test_what_makes_no_sense_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for wrong in ({"connections": 0}, {"body_bytes": -1}, {"memory_bytes": -1}, {"head_s": 0}, {"stall_s": 1e9}):
            with pytest.raises(ValueError):
                Front(
                    listener.fileno(),
                    print,
                    print,
                    **({"connections": 1, "body_bytes": 1, "memory_bytes": 1} | wrong),
                )
    with pytest.raises(OSError):
        Front(-1, print, print, connections=1, body_bytes=1, memory_bytes=1)
