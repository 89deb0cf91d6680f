"""A front with a handler of the tests, in their own process, and a small client for it."""

import hashlib
import socket
import sys
import threading
import traceback
from contextlib import closing, contextmanager

from edgeml.kernels.http_front import BODY, Front

PLAIN = [("content-type", "text/plain")]
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


class Service:
    """A front with threads, and a handler whose paths say what it does."""

    def __init__(self, threads=3, listener=None, **settings):
        self.go = threading.Event()
        self.began = threading.Semaphore(0)
        self.asked = 0
        self.paths = []
        self.closed = threading.Event()
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=1024)
        bounds = {"connections": 64, "body_bytes": 1 << 20, "memory_bytes": 1 << 22} | settings
        self.front = Front(self.listener.fileno(), self.answer, self.refuse, **bounds)
        self.threads = [threading.Thread(target=self.front.run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def answer(self, environ):
        self.asked += 1
        path, body = environ["PATH_INFO"], environ[BODY]
        self.paths.append(path)
        if path == "/wait":
            self.began.release()
            self.go.wait(20)
        if path == "/raise":
            raise RuntimeError("as asked")
        if path == "/lines":
            return 200, PLAIN, self.lines()
        if path == "/fail":
            return 200, PLAIN, self.failing()
        if path == "/pieces":
            return 200, PLAIN, (bytes(1000) for _ in range(400))
        if path == "/large":
            return 200, PLAIN, bytes(8 << 20)
        if path == "/break":
            return 200, [("a", "b\r\nc: d")], b""
        return 200, PLAIN, hashlib.sha256(body).hexdigest().encode() + b" " + path.encode()

    def lines(self):
        try:
            for number in range(50):
                yield b"line %d\n" % number
        finally:
            self.closed.set()

    def failing(self):
        yield b"begun"
        raise RuntimeError("in the middle")

    def refuse(self, status):
        return (400 if status == 499 else status), PLAIN, b"refused %d" % status

    def connect(self, receive=0):
        client = socket.socket(self.listener.family)
        if receive:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        client.settimeout(20)
        client.connect(self.listener.getsockname())
        return closing(client)

    def ask(self, data):
        """Sends bytes, ends the sending side, and reads to the end."""
        with self.connect() as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return to_end(client)


def to_end(client):
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def post(path, body, more=b""):
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (path, len(body), more, body)


def said(path, body=b""):
    return hashlib.sha256(body).hexdigest().encode() + b" " + path


@contextmanager
def serving(**settings):
    service = Service(**settings)
    try:
        yield service
    finally:
        service.go.set()
        assert service.front.stop(20)
        for thread in service.threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in service.threads)
        service.listener.close()


@contextmanager
def unraisable():
    """What is said of exceptions that nobody takes: type, text, and the function that raised; nothing is printed."""
    said = []

    def hook(args):
        where = traceback.extract_tb(args.exc_traceback)
        said.append((args.exc_type, str(args.exc_value), where[-1].name.rpartition(".")[2] if where else None))

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield said
    finally:
        sys.unraisablehook = before
