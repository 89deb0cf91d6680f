"""TLS and client certificates, with a certificate authority made for the test."""

import datetime
import ipaddress
import socket
import ssl

import pytest
from bundles.releases import installed
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from supervisor.boxes import IMPATIENT, Wire

from edgeml.supervisor.management import Doors, Tls, serve_management


class Authority:
    """Signs certificates."""

    def __init__(self, folder, name):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._signed(self.name, self.key, x509.BasicConstraints(True, 0)))

    def certificate(self, name, organization="Shop"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
        )
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(self._signed(subject, key, x509.BasicConstraints(False, None)))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths

    def _signed(self, subject, key, constraints):
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, SHA256())
        )
        return made.public_bytes(Encoding.PEM)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "root")


def trusting(authority, certificate=None):
    context = ssl.create_default_context(cafile=str(authority.path))
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def test_tls_with_a_token(new_box, authority):
    box = new_box(tls=Tls(*authority.certificate("box")))
    box.context = trusting(authority)
    assert box.ask("GET", "/v2/").status == 200
    assert box.ask("GET", "/v2/", token="").status == 401
    assert box.push_blob(bytes(300_000))
    with box.wire() as wire:
        for _ in range(3):
            assert wire.ask("GET", "/healthz").json == {"live": True}
        assert wire.socket.version() in ("TLSv1.2", "TLSv1.3")
    box.context = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        box.ask("GET", "/v2/")


def test_pipelined_requests_over_tls(new_box, authority):
    box = new_box(tls=Tls(*authority.certificate("box")))
    with Wire(box.port, trusting(authority)) as wire:
        wire.send(wire.head("GET", "/healthz") * 3)
        assert [wire.answer().status for _ in range(3)] == [200] * 3


def test_plain_http_on_a_tls_port_is_hung_up_on(new_box, authority):
    box = new_box(tls=Tls(*authority.certificate("box")))
    with Wire(box.port) as wire:
        wire.send(wire.head("GET", "/healthz"))
        assert wire.is_closed()


def test_a_client_that_says_nothing_in_the_handshake_holds_nobody_up(new_box, authority):
    box = new_box(tls=Tls(*authority.certificate("box")), doors=Doors(threads=2, patience=IMPATIENT))
    silent = [socket.create_connection(("127.0.0.1", box.port)) for _ in range(5)]
    half = socket.create_connection(("127.0.0.1", box.port))
    half.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
    box.context = trusting(authority)
    assert box.ask("GET", "/v2/").status == 200
    half.settimeout(30)
    assert half.recv(100) == b""
    for each in (*silent, half):
        each.close()


def test_a_client_certificate_names_the_caller(new_box, authority):
    tls = Tls(*authority.certificate("box"), client_ca=authority.path)
    box = new_box(tls=tls, certificate_scopes=("read", "release"))
    box.context = trusting(authority, authority.certificate("ops"))
    assert box.ask("GET", "/v2/", token="").status == 200
    said = box.ask("POST", "/v2/door/blobs/uploads/", token="")
    assert said.status == 403 and "CN=ops,O=Shop" in said.json["errors"][0]["message"]
    # A token that is sent counts instead, and must be good.
    assert box.ask("POST", "/v2/door/blobs/uploads/").status == 202
    assert box.ask("GET", "/v2/", token="edgeml_wrong").status == 401
    installed(box.store, "1")
    assert box.ask("POST", "/v1/models/door/activate?wait=20", b'{"version":"1"}', token="").status == 200
    tried, activated = box.store.journal.entries(limit=2)
    assert (tried.who, activated.who) == ("supervisor", "api:CN=ops,O=Shop")


def test_a_certificate_and_a_token_where_the_certificate_alone_may_do_nothing(new_box, authority):
    box = new_box(tls=Tls(*authority.certificate("box"), client_ca=authority.path))
    box.context = trusting(authority, authority.certificate("ops"))
    assert box.ask("GET", "/v2/", token="").status == 401
    assert box.ask("GET", "/v2/").status == 200


def test_no_certificate_or_a_strangers_gets_nowhere(new_box, authority, tmp_path):
    box = new_box(tls=Tls(*authority.certificate("box"), client_ca=authority.path), certificate_scopes=("read",))
    other = tmp_path / "other"
    other.mkdir()
    for certificate in (None, Authority(other, "root").certificate("ops")):
        box.context = trusting(authority, certificate)
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            box.ask("GET", "/healthz")


def test_a_header_cannot_name_a_caller(box):
    for name in ("edgeml.client_subject", "SSL-CLIENT-S-DN", "Edgeml.Client-Subject"):
        assert box.ask("GET", "/v2/", token="", **{name: "CN=ops"}).status == 401


def test_a_certificate_that_cannot_be_read(tmp_path, authority):
    with pytest.raises(OSError):
        serve_management(lambda environ, start: [], tls=Tls(tmp_path / "none", tmp_path / "none"))
    certificate, _ = authority.certificate("box")
    _, key = authority.certificate("other")
    with pytest.raises(ssl.SSLError):
        serve_management(lambda environ, start: [], tls=Tls(certificate, key))
