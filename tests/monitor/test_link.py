"""Two processes that talk by lines of JSON: what arrives, what is refused, and what ends a conversation."""

import json
import os
import socket
import threading

import pytest

from edgeml.monitor.link import LINE_MAX_BYTES, Link, connect, listen, places, reach


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    one, other = Link(ours), Link(theirs)
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def raw():
    ours, theirs = socket.socketpair()
    link = Link(ours)
    yield link, theirs
    link.close()
    theirs.close()


def test_documents_come_in_their_order_and_whole(pair):
    one, other = pair
    sent = [{"n": n, "text": "é\n" * n} for n in range(50)]
    for document in sent:
        one.send(document)
    assert [other.receive(5) for _ in sent] == sent


def test_a_long_document_comes_in_pieces(pair):
    one, other = pair
    document = {"text": "x" * (LINE_MAX_BYTES - 100)}
    sender = threading.Thread(target=one.send, args=(document,))
    sender.start()
    assert other.receive(10) == document
    sender.join()


def test_the_end_of_the_stream_is_no_document(pair):
    one, other = pair
    one.send({"last": True})
    one.close()
    assert other.receive(5) == {"last": True} and other.receive(5) is None and other.receive(5) is None


def test_half_a_line_at_the_end_is_no_document(raw):
    link, peer = raw
    peer.sendall(b'{"kind":"hel')
    peer.close()
    assert link.receive(5) is None


def test_who_waits_in_vain_is_told_and_may_wait_again(raw):
    link, peer = raw
    peer.sendall(b'{"n":')
    with pytest.raises(TimeoutError):
        link.receive(0.01)
    peer.sendall(b"1}\n")
    assert link.receive(5) == {"n": 1}


@pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b"null\n", b"\xff\xfe\n", b"\n", b"[" * 9999 + b"\n"])
def test_what_is_no_document_breaks_the_conversation(raw, line):
    link, peer = raw
    peer.sendall(b'{"n":1}\n' + line + b'{"n":2}\n')
    assert list(link.documents()) == [{"n": 1}]
    peer.sendall(line)
    with pytest.raises(OSError, match="what came is no JSON"):
        while True:
            link.receive(5)


def test_a_line_without_end_is_not_kept(raw):
    link, peer = raw

    def pour() -> None:
        try:
            for _ in range(100):
                peer.sendall(b"x" * LINE_MAX_BYTES)
        except OSError:
            return

    thread = threading.Thread(target=pour)
    thread.start()
    with pytest.raises(OSError, match="a line of more than"):
        link.receive(10)
    link.close()
    thread.join(10)
    assert not thread.is_alive()


def test_open_files_come_with_a_document_and_belong_to_who_takes_them(pair, tmp_path):
    one, other = pair
    (tmp_path / "file").write_text("inside")
    with open(tmp_path / "file") as file:
        one.send({"kind": "here"}, [file.fileno()])
    assert other.receive(5) == {"kind": "here"}
    (descriptor,) = other.take_descriptors()
    assert other.take_descriptors() == []
    with open(descriptor) as file:
        assert file.read() == "inside"


def test_open_files_that_nobody_takes_are_closed(pair, tmp_path):
    one, other = pair
    reader, writer = os.pipe()
    one.send({}, [writer])
    os.close(writer)
    other.receive(5)
    other.close()
    assert os.read(reader, 1) == b""  # the last writer has gone
    os.close(reader)


def test_many_threads_send_whole_lines(pair):
    one, other = pair
    threads = [
        threading.Thread(target=lambda n=n: [one.send({"from": n, "pad": "x" * 5000}) for _ in range(40)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    found = [other.receive(10)["from"] for _ in range(320)]
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(n for n in range(8) for _ in range(40))


def test_closing_wakes_who_receives(pair):
    one, _ = pair
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (list(one.documents()), ended.set()))
    thread.start()
    one.close()
    assert ended.wait(10)
    thread.join()


def test_sending_to_somebody_who_has_gone_is_an_error(pair):
    one, other = pair
    other.close()
    with pytest.raises(OSError):
        for _ in range(10):
            one.send({"text": "x" * 10_000})


def test_a_path_longer_than_a_socket_address_can_be(tmp_path):
    path = tmp_path / ("long" * 40) / "supervisor.sock"
    path.parent.mkdir()
    assert len(str(path)) > 108
    with listen(path) as listening:
        assert path.stat().st_mode & 0o777 == 0o660
        client = connect(path, timeout_s=5)
        accepted, _ = listening.accept()
        server = Link(accepted)
        client.send({"kind": "hello"})
        assert server.receive(5) == {"kind": "hello"}
        client.close()
        server.close()


def test_a_name_left_over_is_taken_over_and_nobody_behind_it_is_an_error(tmp_path):
    path = tmp_path / "s.sock"
    listen(path).close()
    with pytest.raises(ConnectionRefusedError):
        connect(path, timeout_s=1)
    with listen(path):
        connect(path, timeout_s=1).close()
    with pytest.raises(FileNotFoundError):
        connect(tmp_path / "nothing", timeout_s=1)


def test_a_store_that_takes_no_socket_has_another_place(tmp_path):
    first, elsewhere = places(tmp_path)
    assert first == tmp_path / "supervisor.sock" and elsewhere.parent.name == "edgeml"
    assert places(tmp_path / "other")[1] != elsewhere
    with pytest.raises(OSError):
        reach(tmp_path, timeout_s=1)
    with listen(first):
        reach(tmp_path, timeout_s=1).close()


def test_a_document_is_one_line(raw):
    link, peer = raw
    link.send({"text": "two\nlines", "n": 1.5})
    line = peer.recv(1000)
    assert line.count(b"\n") == 1 and json.loads(line) == {"text": "two\nlines", "n": 1.5}
