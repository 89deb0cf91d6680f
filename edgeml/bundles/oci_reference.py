"""Addresses of bundles in a registry: ``[http://|https://]host[:port]/name[:tag][@sha256:...]``.

1. The first part is always the host: there is no registry that is meant when none is named.
2. Without a scheme it is https, and http for this machine itself. ``http://`` written out is the user's own choice.
3. A name and a password do not belong into an address: addresses end up in logs, histories and process lists.
4. A digest wins over a tag that stands beside it.

Source: OCI distribution specification 1.1, "Pulling manifests" (names, tags, digests).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeml.errors import TransferError

_WHOLE = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<name>[^:@]*)(?::(?P<tag>[^@]*))?(?:@(?P<digest>.*))?)?\Z"
)
_NAME_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?=.{{1,255}}\Z){_NAME_PART}(?:/{_NAME_PART})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_THIS_MACHINE = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a bundle is, or a registry as such.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Name or address; IPv6 in brackets.
        port: TCP port.
        name: Name inside the registry; empty where only the registry is meant.
        tag: Empty where there is none.
        digest: ``sha256:<hex>``; empty where there is none.
    """

    scheme: str
    host: str
    port: int
    name: str = ""
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads an address.

        Raises:
            TransferError: It is none; the message says what is wrong with it and never repeats a password.
        """
        if "@" in re.sub(r"\A[A-Za-z][A-Za-z0-9+.-]*://", "", text).partition("/")[0]:
            raise TransferError("the address holds a user or password; give credentials apart from it")
        if re.match(r"(?!https?://)[A-Za-z][A-Za-z0-9+.-]*://", text):
            raise TransferError(f"{_short(text)} is no address of a registry: only http:// and https:// are known")
        found = _WHOLE.match(text)
        if found is None:
            raise TransferError(f"{_short(text)} is no address of a registry; write host:port/name:tag")
        host = found["host"].lower()
        scheme = found["scheme"] or ("http" if is_this_machine(host) else "https")
        port = int(found["port"] or (80 if scheme == "http" else 443))
        if not 0 < port < 65536:
            raise TransferError(f"{_short(text)}: port {port} does not exist")
        if found["tag"] is not None:
            check_tag(found["tag"])
        if found["digest"] is not None:
            check_digest(found["digest"])
        if found["name"]:
            check_name(found["name"])
        elif found["tag"] is not None or found["digest"] is not None:
            raise TransferError(f"{_short(text)} has no name before its tag or digest; write host:port/name:tag")
        return cls(scheme, host, port, found["name"] or "", found["tag"] or "", found["digest"] or "")

    @property
    def origin(self) -> str:
        """Scheme, host and port: what credentials belong to."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def registry(self) -> str:
        """Host and port, as messages show them."""
        return f"{self.host}:{self.port}"

    @property
    def wanted(self) -> str:
        """What to ask for: the digest, else the tag, else nothing."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
        return f"{self.origin}/{self.name}{tag}{digest}" if self.name else self.origin


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine's own loopback, by its name alone."""
    return _THIS_MACHINE.fullmatch(host) is not None


def bracketed(host: str | None) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if host and ":" in host else host or ""


def check_name(name: str) -> str:
    """The name, if a registry can have it.

    Raises:
        TransferError: It cannot.
    """
    if not _NAME.match(name):
        raise TransferError(
            f"{_short(name)} cannot be a name in a registry: small letters and digits, with . _ or - between them"
        )
    return name


def check_tag(tag: str) -> str:
    """The tag, if a registry can have it.

    Raises:
        TransferError: It cannot.
    """
    if not _TAG.match(tag):
        raise TransferError(f"{_short(tag)} cannot be a tag: letters, digits, . _ and -, at most 128 of them")
    return tag


def check_digest(digest: str) -> str:
    """The digest, if it is a sha256.

    Raises:
        TransferError: It is not.
    """
    if not _DIGEST.match(digest):
        raise TransferError(f"{_short(digest)} is no digest: sha256: and 64 hex digits are")
    return digest


def _short(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."
