"""Who stands on the other side in the tests of the registry client; all on loopback.

``DockerRegistry`` is Debian's, a real process. ``ToyRegistry`` is ours: it has the referrers API and resumes uploads,
which Debian's does not, asks for credentials, and can be made to lie. ``FaultProxy`` stands between and cuts or drips.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from data.generate_bundles import CONFIG, MEMBERS

from edgeml.bundles import Bundle
from edgeml.bundles.registry_link import Patience

QUICK = Patience(first_pause_seconds=0.001, longest_pause_seconds=0.01)


def bundle_of(size: int, **config: object) -> Bundle:
    """A bundle whose model has so many bytes, which do not compress and differ everywhere."""
    seed = hashlib.sha256(b"model").digest()
    model = b"".join(hashlib.sha256(seed + number.to_bytes(8)).digest() for number in range(size // 32 + 1))[:size]
    return Bundle.create(CONFIG | config, MEMBERS | {"model.onnx": model})


def need(*programs: str) -> None:
    """Skips unless the programs are there; root may install them from Debian."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "-qq", *missing]
        subprocess.run(command, env=environment, capture_output=True, check=False)
        missing = [program for program in missing if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed, and could not be: {', '.join(missing)} (Debian has them)")


@contextlib.contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Debian's registry as a process of its own; gives ``host:port``."""
    need("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}", secret: toy}}\n'
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "docker-registry ended"
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]


class ToyRegistry:
    """A registry in this process, with the referrers API and resumable uploads.

    Attributes:
        blobs: By digest; every name has all of them unless ``mounts`` is used.
        tokens: That were given out, each with its scope.
        manifests: By (name, tag or digest): media type and bytes.
        seen: Every request.
        auth: None, ``basic``, ``bearer`` (with a token service under /token) or ``token`` (a fixed one).
        referrers: Whether there is the referrers API.
        relative: Whether locations are relative.
        hook: May answer a request in its own way; returns whether it did.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.linked: set[tuple[str, str]] = set()
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.seen: list[Seen] = []
        self.auth: str | None = None
        self.referrers = True
        self.relative = True
        self.realm = ""
        self.tokens: dict[str, str] = {}
        self.hook: Callable[[http.server.BaseHTTPRequestHandler], bool] = lambda handler: False
        toy = self

        class Handler(_Handler):
            registry = toy

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.at = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def __enter__(self) -> ToyRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def paths(self, method: str) -> list[str]:
        return [seen.path for seen in self.seen if seen.method == method]

    def put_blob(self, name: str, data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        self.linked.add((name, digest))
        return digest


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    registry: ToyRegistry

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().handle()

    def give(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str, **headers: str) -> None:
        self.give(status, json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode(), **headers)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def location(self, path: str) -> str:
        return path if self.registry.relative else f"http://{self.registry.at}{path}"

    def allowed(self) -> bool:
        registry, said = self.registry, self.headers.get("Authorization", "")
        if registry.auth is None:
            return True
        if registry.auth == "basic":
            good, challenge = said == "Basic " + base64.b64encode(b"ann:secret").decode(), 'Basic realm="toy"'
        elif registry.auth == "token":
            good, challenge = said == "Bearer fixed", "Bearer"
        else:
            scope = "pull,push" if self.command not in ("GET", "HEAD") else "pull"
            good = registry.tokens.get(said.removeprefix("Bearer "), "").startswith(f"repository:door:{scope}")
            realm = registry.realm or f"http://{registry.at}/token"
            challenge = f'Bearer realm="{realm}",service="toy",scope="repository:door:{scope}"'
        if not good:
            self.body()
            self.fail(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
        return good

    def token(self) -> None:
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"ann:secret").decode():
            return self.fail(401, "UNAUTHORIZED")
        token = f"t{len(self.registry.tokens)}"
        self.registry.tokens[token] = parse_qs(urlsplit(self.path).query)["scope"][0]
        self.give(200, json.dumps({"token": token, "expires_in": 300}).encode())

    def dispatch(self) -> None:
        registry = self.registry
        registry.seen.append(Seen(self.command, self.path, dict(self.headers.items())))
        url = urlsplit(self.path)
        if registry.hook(self):
            return
        if url.path == "/token":
            return self.token()
        if not self.allowed():
            return
        query = parse_qs(url.query)
        if found := re.fullmatch(r"/v2/(.+)/blobs/uploads/([0-9a-f]*)", url.path):
            return self.upload(found[1], found[2], query)
        if found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", url.path):
            return self.blob(found[1], found[2])
        if found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", url.path):
            return self.manifest(found[1], found[2])
        if (found := re.fullmatch(r"/v2/(.+)/referrers/(.+)", url.path)) and registry.referrers:
            return self.refer(found[1], found[2])
        self.body()
        self.fail(404, "NOT_FOUND")

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = dispatch

    def upload(self, name: str, key: str, query: dict[str, list[str]]) -> None:
        registry = self.registry
        if self.command == "POST":
            mount = query.get("mount", [""])[0]
            if (query.get("from", [""])[0], mount) in registry.linked:
                registry.linked.add((name, mount))
                return self.give(201, Location=f"/v2/{name}/blobs/{mount}")
            key = os.urandom(8).hex()
            registry.uploads[key] = bytearray()
            return self.give(202, Location=self.location(f"/v2/{name}/blobs/uploads/{key}"), Range="0-0")
        if key not in registry.uploads:
            self.body()
            return self.fail(404, "BLOB_UPLOAD_UNKNOWN")
        upload = registry.uploads[key]
        where = self.location(f"/v2/{name}/blobs/uploads/{key}")
        if self.command == "PATCH":
            first, left = int(self.headers["Content-Range"].split("-")[0]), int(self.headers["Content-Length"])
            if first != len(upload):
                self.body()
                return self.fail(416, "RANGE_INVALID")
            while left and (data := self.rfile.read1(min(left, 65536))):
                upload += data
                left -= len(data)
            if left:
                return None
            return self.give(202, Location=where, Range=f"0-{max(len(upload) - 1, 0)}")
        if self.command == "GET":
            return self.give(204, Location=where, Range=f"0-{max(len(upload) - 1, 0)}")
        digest = query["digest"][0]
        del registry.uploads[key]
        if "sha256:" + hashlib.sha256(upload).hexdigest() != digest:
            return self.fail(400, "DIGEST_INVALID")
        registry.put_blob(name, bytes(upload))
        return self.give(201, Location=f"/v2/{name}/blobs/{digest}")

    def blob(self, name: str, digest: str) -> None:
        if (name, digest) not in self.registry.linked:
            return self.fail(404, "BLOB_UNKNOWN")
        data = self.registry.blobs[digest]
        found = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        if found is None:
            return self.give(200, data)
        first = int(found[1])
        if first >= len(data):
            return self.fail(416, "RANGE_INVALID")
        return self.give(206, data[first:], Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}")

    def manifest(self, name: str, reference: str) -> None:
        registry = self.registry
        if self.command == "PUT":
            data = self.body()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            stored = self.headers["Content-Type"], data
            registry.manifests[name, reference] = registry.manifests[name, digest] = stored
            subject = json.loads(data).get("subject")
            extra = {"OCI_Subject": subject["digest"]} if subject and registry.referrers else {}
            return self.give(201, Docker_Content_Digest=digest, **extra)
        if (name, reference) not in registry.manifests:
            return self.fail(404, "MANIFEST_UNKNOWN")
        kind, data = registry.manifests[name, reference]
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        return self.give(200, data, Content_Type=kind, Docker_Content_Digest=digest)

    def refer(self, name: str, digest: str) -> None:
        listed = {}
        for (where, _), (kind, data) in self.registry.manifests.items():
            document = json.loads(data)
            if where == name and document.get("subject", {}).get("digest") == digest:
                own = "sha256:" + hashlib.sha256(data).hexdigest()
                listed[own] = {"mediaType": kind, "digest": own, "size": len(data)}
                listed[own]["artifactType"] = document["artifactType"]
        self.give(200, json.dumps({"schemaVersion": 2, "manifests": list(listed.values())}).encode())


@dataclass
class Fault:
    """What happens to one connection.

    Attributes:
        cut_up: It ends after so many bytes to the server.
        cut_down: It ends after so many bytes to the client.
        drip: Bytes to the client come one by one, with a pause of so many seconds, after ``drip_after`` of them.
    """

    cut_up: int | None = None
    cut_down: int | None = None
    drip: float = 0.0
    drip_after: int = 0


@dataclass
class FaultProxy:
    """Passes connections on, each with the next fault of the plan; without one when the plan is used up.

    Attributes:
        port: Of the server.
        plan: Faults to come.
        up_bytes: That have passed to the server.
        down_bytes: That have passed to the client.
        connections: That were made.
    """

    port: int
    plan: list[Fault] = field(default_factory=list)
    up_bytes: int = 0
    down_bytes: int = 0
    connections: int = 0

    def __enter__(self) -> FaultProxy:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                fault = self.plan.pop(0) if self.plan else Fault()
                server = socket.create_connection(("127.0.0.1", self.port))
                pair = threading.Thread(target=self._pair, args=(client, server, fault))
                self._threads.append(pair)
                pair.start()

    def _pair(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        up = threading.Thread(target=self._pass, args=(client, server, fault, True))
        down = threading.Thread(target=self._pass, args=(server, client, fault, False))
        for thread in (up, down):
            thread.start()
        while (up.is_alive() or down.is_alive()) and not self._over.wait(0.01):
            pass
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in (up, down):
            thread.join()
        client.close()
        server.close()

    def _pass(self, source: socket.socket, target: socket.socket, fault: Fault, is_up: bool) -> None:
        left = fault.cut_up if is_up else fault.cut_down
        passed = 0
        with contextlib.suppress(OSError):
            while left is None or left > 0:
                slow = not is_up and fault.drip and passed >= fault.drip_after
                data = source.recv(1 if slow else 65536 if left is None else min(left, 65536))
                if not data:
                    break
                if slow and self._over.wait(fault.drip):
                    break
                target.sendall(data)
                passed += len(data)
                left = None if left is None else left - len(data)
                if is_up:
                    self.up_bytes += len(data)
                else:
                    self.down_bytes += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
