"""A box with a management plane on a real port, and clients that speak to it byte by byte."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from bundles.releases import new_store

from edgeml.bundles import Bundle
from edgeml.bundles.layout import signature_blobs
from edgeml.bundles.manifest import MANIFEST_TYPE
from edgeml.supervisor.callers import Callers
from edgeml.supervisor.management import Doors, Tls, serve_management
from edgeml.supervisor.management_app import AppPlaces, make_management_app
from edgeml.supervisor.pace import Patience
from edgeml.supervisor.releases import Releases
from edgeml.supervisor.tokens import Tokens

# Long enough for a busy machine, short enough for a test that waits for the end of it.
IMPATIENT = Patience(
    idle_seconds=1.0, head_seconds=0.5, request_seconds=20.0, grace_seconds=0.3, least_bytes_per_second=20_000
)


@dataclass
class Said:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        document = self.json
        return document["errors"][0]["code"] if "errors" in document else document["code"]


class Wire:
    """One connection, raw."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.reader = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self, method: str, path: str, *, token: str = "", **headers: Any) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: box"]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def answer(self, method: str = "GET") -> Said:
        line = self.reader.readline()
        if not line:
            raise EOFError
        headers = {}
        while (one := self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = one.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        status = int(line.split()[1])
        length = int(headers.get("content-length", 0))
        body = b"" if method == "HEAD" or status in (100, 204) else self.reader.read(length)
        return Said(status, headers, body)

    def is_closed(self) -> bool:
        """Waits until the server closes; what it says before does not matter."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def ask(self, method: str, path: str, body: bytes = b"", *, token: str = "", **headers: Any) -> Said:
        if body or method in ("POST", "PUT", "PATCH"):
            headers.setdefault("Content_Length", len(body))
        self.send(self.head(method, path, token=token, **headers) + body)
        return self.answer(method)


@dataclass
class Box:
    """A box.

    Attributes:
        admitted: What admission does: called with a digest.
        serving: What the worker says that it serves, by model.
    """

    store: Any
    tokens: Any = None
    releases: Any = None
    management: Any = None
    token: str = ""
    admitted: Any = None
    serving: dict[str, Any] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    reports: dict[str, Any] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return self.management.port

    def wire(self) -> Wire:
        return Wire(self.port, self.context)

    def ask(self, method: str, path: str, body: bytes = b"", *, token: str | None = None, **headers: Any) -> Said:
        with self.wire() as wire:
            return wire.ask(method, path, body, token=self.token if token is None else token, **headers)

    def post(self, path: str, **document: Any) -> Said:
        return self.ask("POST", path, json.dumps(document).encode())

    def follow(self, model: str) -> dict[str, Any]:
        """What a worker that can load everything does."""
        for load in self.store.load([each["digest"] for each in self.serving.values()]):
            if load.digest:
                self.serving[load.model] = {"digest": f"sha256:{load.digest}", "ready": True, "reason": ""}
        return self.live()

    def live(self) -> dict[str, Any]:
        return {"models": dict(self.serving), "trials": {}}

    def begin_upload(self, name: str = "door") -> str:
        said = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert said.status == 202, said
        return said.headers["location"]

    def push_blob(self, data: bytes, name: str = "door") -> str:
        digest = digest_of(data)
        said = self.ask("PUT", f"{self.begin_upload(name)}?digest={digest}", data)
        assert said.status == 201, said
        return digest

    def push_manifest(self, data: bytes, reference: str, name: str = "door") -> Said:
        return self.ask("PUT", f"/v2/{name}/manifests/{reference}", data, Content_Type=MANIFEST_TYPE)

    def push_blobs(self, bundle: Bundle, name: str = "door") -> None:
        for data in bundle.blobs.values():
            self.push_blob(data, name)

    def push_signatures(self, bundle: Bundle, name: str = "door") -> list[Said]:
        said = []
        for signature in bundle.signatures:
            envelope, document = signature_blobs(bundle.manifest_bytes, signature)
            self.push_blob(envelope, name)
            said.append(self.push_manifest(document, digest_of(document), name))
        return said

    def push(self, bundle: Bundle, name: str = "door") -> Said:
        self.push_blobs(bundle, name)
        self.push_signatures(bundle, name)
        return self.push_manifest(bundle.manifest_bytes, bundle.version, name)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def basic(token: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


def make_box(
    root: Any,
    *,
    doors: Doors | None = None,
    tls: Tls | None = None,
    certificate_scopes: tuple[str, ...] = (),
    places: AppPlaces | None = None,
    pull: Any = None,
    reports: Any = dict,
    **store_options: Any,
) -> Box:
    """A box that serves; whoever makes it stops it."""
    box = Box(new_store(root, **store_options))
    box.tokens = Tokens(box.store.root)
    box.token = box.tokens.create("tests", ("push", "release"))
    box.admitted = lambda digest: SimpleNamespace(peak_bytes=1000)
    box.releases = Releases(
        box.store, admit=lambda digest: box.admitted(digest), changed=box.follow, live=box.live, pull=pull
    )
    callers = Callers(box.tokens, certificate_scopes=certificate_scopes)
    app = make_management_app(box.store, box.releases, callers, places=places, reports=reports)
    box.management = serve_management(app, tls=tls, doors=doors)
    return box
