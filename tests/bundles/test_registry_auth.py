"""Addresses and credentials: what they may look like, and whom they go to."""

from __future__ import annotations

import datetime
import http.server
import ssl
import threading

import pytest
from bundles.registry_peers import QUICK, ToyRegistry
from bundles.test_registry_pull import take_all
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from data.generate_bundles import GOOD
from hypothesis import given
from hypothesis import strategies as st

from edgeml.bundles.oci_reference import Reference
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_auth import Authorization, Challenge, read_challenges
from edgeml.bundles.registry_pull import MemorySink, pull
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.errors import TransferError

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def toy():
    with ToyRegistry() as registry:
        yield registry


def there_and_back(registry: Registry) -> None:
    push(registry, BundleSource(GOOD), "door")
    sink = MemorySink()
    pull(registry, "door", "1.0.0", sink, accept=take_all)
    assert sink.blobs == GOOD.blobs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:5000/door:1.0", ("http", "localhost", 5000, "door", "1.0", "")),
        ("127.0.0.1/door", ("http", "127.0.0.1", 80, "door", "", "")),
        ("[::1]:5000/a/b", ("http", "[::1]", 5000, "a/b", "", "")),
        ("box:5000/door:1", ("https", "box", 5000, "door", "1", "")),
        ("http://Box/door:1", ("http", "box", 80, "door", "1", "")),
        (f"https://r.example/a/b@{DIGEST}", ("https", "r.example", 443, "a/b", "", DIGEST)),
        (f"r.example/door:1@{DIGEST}", ("https", "r.example", 443, "door", "1", DIGEST)),
        ("https://r.example", ("https", "r.example", 443, "", "", "")),
        ("http://127.0.0.1:8081/", ("http", "127.0.0.1", 8081, "", "", "")),
        ("127.0.0.1.example.org/door", ("https", "127.0.0.1.example.org", 443, "door", "", "")),
    ],
)
def test_addresses_are_understood(text, expected):
    found = Reference.parse(text)
    assert (found.scheme, found.host, found.port, found.name, found.tag, found.digest) == expected
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no address"),
        ("/door:1", "no address"),
        ("ftp://box/door", "only http"),
        ("box:99999/door", "port 99999 does not exist"),
        ("box:0/door", "port 0 does not exist"),
        ("box/Door:1", "cannot be a name"),
        ("box/a..b", "cannot be a name"),
        ("box/../door", "cannot be a name"),
        ("box/door:", "cannot be a tag"),
        ("box/door:a/b", "cannot be a tag"),
        ("box/door@sha256:12", "no digest"),
        ("box/:1", "no name before"),
        ("bo x/door", "no address"),
        ("box/door\n", "cannot be a name"),
    ],
)
def test_addresses_that_cannot_be_are_refused(text, message):
    with pytest.raises(TransferError, match=message):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["ann:secret@box/door", "https://ann:secret@box/door:1", "https://secret@box"])
def test_a_password_in_an_address_is_refused_and_not_repeated(text):
    with pytest.raises(TransferError, match="apart from it") as caught:
        Reference.parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("BEARER Realm=x", [Challenge("bearer", {"realm": "x"})]),
        (
            'Bearer realm="a,b=\\"c\\"",scope="r:a:pull,push"',
            [Challenge("bearer", {"realm": 'a,b="c"', "scope": "r:a:pull,push"})],
        ),
        ('Negotiate YII=, Basic realm="x"', [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('Negotiate, Bearer realm="y"', [Challenge("negotiate", {}), Challenge("bearer", {"realm": "y"})]),
        ('Bearer realm="a", realm="b"', [Challenge("bearer", {"realm": "a"})]),
        ('Bearer realm="unfinished', [Challenge("bearer", {})]),
        ("", []),
        ("= = =", []),
    ],
)
def test_challenges_are_read(header, expected):
    assert read_challenges(header) == expected


@given(st.text(max_size=200) | st.text(alphabet='Basic Bearer,="\\x', max_size=200))
def test_no_challenge_breaks_the_reader(header):
    for challenge in read_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize(
    "arguments", [{"username": "ann", "password": "secret"}, {"username": "ann", "password": "wrong"}, {}]
)
@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_user_is_let_in_with_the_right_password_only(toy, auth, arguments):
    toy.auth = auth
    with Registry(toy.at, patience=QUICK, **arguments) as registry:
        if arguments.get("password") == "secret":
            there_and_back(registry)
        else:
            with pytest.raises(TransferError, match="401.*give credentials") as caught:
                there_and_back(registry)
            assert caught.value.status == 401 and "wrong" not in str(caught.value)
    assert "secret" not in repr(registry)


def test_a_password_is_sent_only_when_it_is_asked_for(toy):
    with Registry(toy.at, username="ann", password="secret", patience=QUICK) as registry:
        there_and_back(registry)
    assert all("Authorization" not in seen.headers for seen in toy.seen)


def test_a_given_token_is_sent_as_it_is(toy):
    toy.auth = "token"
    with Registry(toy.at, token="fixed", patience=QUICK) as registry:
        there_and_back(registry)
    with Registry(toy.at, token="other", patience=QUICK) as registry, pytest.raises(TransferError, match="401"):
        there_and_back(registry)


def test_a_token_is_fetched_once_for_each_scope_and_again_when_it_is_refused(toy):
    toy.auth = "bearer"
    with Registry(toy.at, username="ann", password="secret", patience=QUICK) as registry:
        there_and_back(registry)
        asked = [path for path in toy.paths("GET") if path.startswith("/token")]
        assert sorted(asked) == [
            "/token?service=toy&scope=repository:door:pull",
            "/token?service=toy&scope=repository:door:pull,push",
        ]
        toy.tokens = {"another": ""}
        pull(registry, "door", "1.0.0", MemorySink(), accept=take_all)


def test_a_token_that_grows_old_is_not_sent():
    authorization = Authorization("https://r.example:443", username="ann", password="secret")
    given = iter([b'{"access_token":"one","expires_in":100}', b'{"token":"two"}'])
    asked: list[tuple[str, dict[str, str]]] = []

    def fetch(address, headers):
        asked.append((address, headers))
        return next(given)

    challenge = 'Bearer realm="https://t.example/t?a=b",service="s x",scope="r:a:pull r:b:push"'
    assert authorization.header(0) == ""
    assert authorization.learn(challenge, 0, fetch) and authorization.header(79) == "Bearer one"
    assert authorization.header(81) == "" and authorization.learn(challenge, 81, fetch)
    assert authorization.header(128) == "Bearer two" and authorization.header(130) == ""
    assert asked[0][0] == "https://t.example/t?a=b&service=s%20x&scope=r:a:pull&scope=r:b:push"
    assert asked[0][1]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"token":1}', b'{"token":"a\\r\\nb"}', b'{"token":"x","token":"y"}']
)
def test_what_is_no_token_is_refused(answer):
    authorization = Authorization("https://r.example:443")
    with pytest.raises(TransferError) as caught:
        authorization.learn('Bearer realm="https://t.example"', 0, lambda *_: answer)
    assert caught.value.code == "bad_token"


@pytest.mark.parametrize(
    ("origin", "realm", "good"),
    [
        ("https://r.example:443", "https://t.example/t", True),
        ("https://r.example:443", "http://r.example/t", False),
        ("http://r.example:80", "http://r.example:81/t", True),
        ("http://r.example:80", "http://t.example/t", False),
        ("http://r.example:80", "https://t.example/t", True),
        ("http://r.example:80", "http://r.example@t.example/t", False),
        ("http://r.example:80", "/t", False),
        ("http://r.example:80", "file:///etc/passwd", False),
        ("http://r.example:80", "http://[::1/t", False),
    ],
)
def test_a_password_takes_no_worse_road_to_the_token_service(origin, realm, good):
    authorization = Authorization(origin, username="ann", password="secret")
    if good:
        assert authorization.learn(f'Bearer realm="{realm}"', 0, lambda *_: b'{"token":"t"}')
    else:
        with pytest.raises(TransferError, match="credentials are not sent there") as caught:
            authorization.learn(f'Bearer realm="{realm}"', 0, lambda *_: pytest.fail("asked"))
        assert caught.value.code == "bad_realm" and "secret" not in str(caught.value)


def test_a_token_service_that_redirects_gets_no_second_chance(toy):
    toy.auth = "bearer"
    with ToyRegistry() as thief:

        def redirect(handler) -> bool:
            if handler.path.startswith("/token"):
                handler.give(302, Location=f"http://{thief.at}/token")
            return handler.path.startswith("/token")

        toy.hook = redirect
        with Registry(toy.at, username="ann", password="secret", patience=QUICK) as registry:
            with pytest.raises(TransferError, match="a token from .* answered 302"):
                there_and_back(registry)
        assert not thief.seen


@pytest.mark.parametrize(
    "arguments", [{"token": "a b"}, {"token": "a\n"}, {"token": "t", "username": "u"}, {"username": "a:b"}]
)
def test_credentials_that_cannot_be_sent_are_refused_and_not_repeated(arguments):
    with pytest.raises(TransferError) as caught:
        Registry("127.0.0.1:1", **arguments)
    assert "a b" not in str(caught.value)


@pytest.mark.parametrize("auth", ["basic", "token", "bearer"])
def test_a_blob_that_lies_elsewhere_is_fetched_without_credentials(toy, auth):
    toy.auth = auth
    user = {"token": "fixed"} if auth == "token" else {"username": "ann", "password": "secret"}
    with ToyRegistry() as storage, Registry(toy.at, patience=QUICK, **user) as registry:
        push(registry, BundleSource(GOOD), "door")
        for data in GOOD.blobs.values():
            storage.put_blob("door", data)

        def redirect(handler) -> bool:
            if handler.command == "GET" and "/blobs/" in handler.path and handler.headers.get("Authorization"):
                handler.give(307, Location=f"http://{storage.at}{handler.path}")
                return True
            return False

        toy.hook = redirect
        sink = MemorySink()
        pull(registry, "door", "1.0.0", sink, accept=take_all)
        assert sink.blobs == GOOD.blobs and len(storage.seen) == 3
        assert all("Authorization" not in seen.headers for seen in storage.seen)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("", "no address"),
        ("ftp://x/y", "no http address"),
        ("http://a@127.0.0.1/", "no http address"),
        ("http://x/\x01", "no address"),
        ("/loop", "more than 5 redirects"),
        ("http://127.0.0.1:bad/", "no address"),
        ("/" + "x" * 9000, "no address"),
    ],
)
def test_redirects_that_lead_nowhere_good_are_not_followed(toy, location, message):
    def redirect(handler) -> bool:
        handler.give(302, **({"Location": location} if location else {}))
        return True

    toy.hook = redirect
    with Registry(toy.at, patience=QUICK) as registry, pytest.raises(TransferError, match=message) as caught:
        pull(registry, "door", "1.0.0", MemorySink(), accept=take_all)
    assert caught.value.code == "bad_redirect"


@pytest.mark.parametrize(
    ("base", "location", "message"),
    [
        ("https://r.example:443", "http://r.example/x", "from TLS to plain http"),
        ("https://r.example:443", "https://127.0.0.1/x", "to this machine"),
        ("http://r.example:80", "http://localhost:8081/v1/models", "to this machine"),
        ("http://r.example:80", "http://[::1]/", "to this machine"),
    ],
)
def test_redirects_to_worse_places_are_not_followed(base, location, message):
    with Registry(base) as registry, pytest.raises(TransferError, match=message):
        registry.resolve(base, location, "x")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """An authority, a server's and a client's certificate, as PEM files."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())

    def made(name: str, key, *, is_ca: bool = False) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "toy authority")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(issuer if is_ca else subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        return builder.sign(ca_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(made("ca", ca_key, is_ca=True).public_bytes(pem))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.pem").write_bytes(made(name, key).public_bytes(pem) + private)
    return folder


def wrap(toy: ToyRegistry, authority, *, ask_client: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority / "ca.pem")
    toy.server.socket = context.wrap_socket(toy.server.socket, server_side=True)
    toy.server.handle_error = lambda *_: None


@pytest.mark.parametrize("ask_client", [False, True])
def test_tls_with_an_own_authority_and_with_a_client_certificate(authority, ask_client):
    toy = ToyRegistry()
    wrap(toy, authority, ask_client=ask_client)
    with toy:
        certificate = authority / "client.pem" if ask_client else None
        at = f"https://localhost:{toy.port}"
        with Registry(at, ca_file=authority / "ca.pem", certificate=certificate, patience=QUICK) as registry:
            there_and_back(registry)
        with Registry(at, patience=QUICK) as registry:
            with pytest.raises(TransferError, match="certificate is not trusted.*CA file") as caught:
                there_and_back(registry)
        assert caught.value.code == "tls"
        # The certificate is for localhost, not for the address.
        with Registry(f"https://127.0.0.1:{toy.port}", ca_file=authority / "ca.pem", patience=QUICK) as registry:
            with pytest.raises(TransferError, match="not trusted"):
                there_and_back(registry)
        if ask_client:
            with Registry(at, ca_file=authority / "ca.pem", patience=QUICK) as registry:
                with pytest.raises(TransferError):
                    there_and_back(registry)


def test_a_client_certificate_is_not_shown_to_others(authority):
    """A registry with mutual TLS redirects to a storage that would take any certificate, and gets none."""
    toy, shown = ToyRegistry(), []
    wrap(toy, authority, ask_client=True)

    class Storage(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            shown.append(self.connection.getpeercert(binary_form=True))
            data = GOOD.blobs[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    storage = http.server.HTTPServer(("127.0.0.1", 0), Storage)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    context.load_verify_locations(authority / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    storage.socket = context.wrap_socket(storage.socket, server_side=True)
    thread = threading.Thread(target=storage.serve_forever, args=(0.02,))
    thread.start()
    try:
        with toy:
            files = {"ca_file": authority / "ca.pem", "certificate": authority / "client.pem"}
            with Registry(f"https://localhost:{toy.port}", patience=QUICK, **files) as registry:
                push(registry, BundleSource(GOOD), "door")

                def redirect(handler) -> bool:
                    if handler.command == "GET" and "/blobs/" in handler.path:
                        handler.give(307, Location=f"https://localhost:{storage.server_port}{handler.path}")
                        return True
                    return False

                toy.hook = redirect
                sink = MemorySink()
                pull(registry, "door", "1.0.0", sink, accept=take_all)
        assert sink.blobs == GOOD.blobs and shown == [None, None, None]
    finally:
        storage.shutdown()
        thread.join()
        storage.server_close()


def test_tls_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(TransferError, match="missing.pem.*cannot be used"):
        Registry("https://r.example", ca_file=tmp_path / "missing.pem")
