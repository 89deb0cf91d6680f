"""Whom a box may speak to when somebody else tells it to pull.

A token is the right to ask for a bundle, not the right to look at what else the box can reach. So a pull that the
management plane asks for is bounded, by name before anything is sent, and by address whenever a connection is made,
redirects and token services included:

1. Where the operator has listed registries (``BoxSettings.pull_registries``), it is one of them.
2. Addresses of this machine and of its link (loopback, the box's own, link-local, unspecified, multicast), and those
   where clouds tell machines their secrets, are for what is listed (``host:port``, as the address says it) alone.

A name is looked up here before it is called, so that "refused" or "silent" does not tell which ports of the box are
open; and the connection that stands is looked at once more, since a name may be answered differently the next time. A
pull that is asked for on the box itself passes no gate.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from edgeml.bundles.oci_reference import Reference, bracketed
from edgeml.errors import TransferError

CODE = "registry_not_allowed"

# Beside 169.254.169.254, which is link-local: Amazon over IPv6, Alibaba, Oracle.
_SECRETS = {ip_address("fd00:ec2::254"), ip_address("100.100.100.200"), ip_address("192.0.0.192")}
# An IPv4 address within an IPv6 one, as gateways write it (RFC 6052).
_GATEWAY = ip_network("64:ff9b::/96")


class RegistryGate:
    """The bounds of told pulls.

    Args:
        registries: ``host:port`` of those that may be asked; empty for any but this machine and its link.
    """

    def __init__(self, registries: Collection[str]) -> None:
        self._listed = frozenset(registries)

    def check(self, where: Reference) -> None:
        """Refuses a registry that is not listed, where there is a list.

        Raises:
            TransferError: Code ``registry_not_allowed``.
        """
        if self._listed and where.registry not in self._listed:
            raise _refused(f"{where.registry} is none of the registries that this box may be told to pull from", where)

    def before(self, host: str, port: int) -> None:
        """Looks a name up, and refuses it where one of its addresses is not for strangers.

        Raises:
            TransferError: Code ``registry_not_allowed``.
        """
        if self._is_listed(host, port):
            return
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return  # whoever connects will say so
        for *_, address in found:
            self._look(host, port, str(address[0]))

    def after(self, host: str, port: int, connected: socket.socket) -> None:
        """Looks at a connection before anything is said on it.

        Raises:
            TransferError: Code ``registry_not_allowed``.
            OSError: It has ended already.
        """
        if self._is_listed(host, port):
            return
        there, here = str(connected.getpeername()[0]), str(connected.getsockname()[0])
        self._look(host, port, there)
        if there == here:
            raise self._forbidden(host, port, "this machine")

    def _look(self, host: str, port: int, address: str) -> None:
        kind = _kind(address)
        if kind:
            raise self._forbidden(host, port, kind)

    def _is_listed(self, host: str, port: int) -> bool:
        return f"{bracketed(host.strip('[]'))}:{port}".lower() in self._listed

    def _forbidden(self, host: str, port: int, kind: str) -> TransferError:
        # Not the address that a name was found to have: that is nobody's business who may only ask.
        shown = f"{bracketed(host.strip('[]'))}:{port}"
        return _refused(f"{shown} is an address of {kind}, where this box pulls only from what is listed", shown)


def _kind(text: str) -> str:
    """In words, what an address is that is not for strangers; empty for all others."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _GATEWAY:
            address = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _SECRETS:
        return "a cloud's metadata service"
    # 0.0.0.0/8 as a whole leads to this machine.
    if address.is_loopback or address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0):
        return "this machine"
    if address.is_link_local:
        return "this machine's link"
    return "nobody" if address.is_multicast else ""


def _refused(what: str, where: object) -> TransferError:
    shown = where.registry if isinstance(where, Reference) else where
    return TransferError(
        f"{what}; the operator lists it on the box: edgeml settings --pull-registry {shown}", code=CODE
    )
