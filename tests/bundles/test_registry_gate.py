"""Whom a box may be told to speak to: by name, by address, through redirects and token services, over real sockets."""

from __future__ import annotations

import socket

import pytest
from bundles.registry_peers import QUICK, ToyRegistry, bundle_of
from bundles.releases import new_store
from data.generate_bundles import ALICE

from edgeml.bundles import sign
from edgeml.bundles.box_settings import change_settings
from edgeml.bundles.oci_reference import Reference
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_gate import RegistryGate
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.state import bare
from edgeml.bundles.store_pull import pull_reference
from edgeml.errors import TransferError

SMALL = sign(bundle_of(100_000), ALICE)


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


@pytest.fixture
def toy():
    with ToyRegistry() as registry:
        with Registry(registry.at) as pusher:
            push(pusher, BundleSource(SMALL), "door")
        registry.seen.clear()
        yield registry


@pytest.fixture
def other():
    """What the box can reach and nobody may look at through it."""
    with ToyRegistry() as registry:
        yield registry


def told(store, reference: str) -> str:
    return pull_reference(store, reference, lambda step: None, who="api:tests")


def refused(store, reference: str) -> str:
    with pytest.raises(TransferError) as caught:
        told(store, reference)
    assert caught.value.code == "registry_not_allowed", caught.value
    return str(caught.value)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.8.9.1", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_refused_by_all_its_names(store, toy, host):
    words = refused(store, f"http://{host}:{toy.port}/door:1.0.0")
    assert "this machine" in words and f"edgeml settings --pull-registry {host}:{toy.port}" in words
    assert toy.seen == []


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("169.254.169.254", "link"),
        ("[fe80::1]", "link"),
        ("100.100.100.200", "metadata"),
        ("[fd00:ec2::254]", "metadata"),
        ("[64:ff9b::a9fe:a9fe]", "link"),
        ("[::]", "this machine"),
        ("0.1.2.3", "this machine"),
        ("224.0.0.1", "nobody"),
    ],
)
def test_other_addresses_that_are_not_for_strangers(store, host, kind):
    assert kind in refused(store, f"http://{host}:9/door:1")


@pytest.mark.parametrize("address", ["192.168.1.5", "10.0.0.1", "93.184.216.34", "[fd12::1]", "[2606:4700::1111]"])
def test_everybody_else_may_be_asked_where_nothing_is_listed(address):
    gate = RegistryGate(())
    where = Reference.parse(f"http://{address}:5000/door:1")
    gate.check(where)
    gate.before(where.host, where.port)


def test_a_port_that_is_closed_and_one_that_is_open_look_alike(store, toy):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        words = refused(store, f"127.0.0.1:{port}/door:1")
    assert words.replace(str(port), "N") == refused(store, f"127.0.0.1:{toy.port}/door:1").replace(str(toy.port), "N")


def test_what_is_listed_may_be_asked_and_nothing_else(store, toy, other):
    change_settings(store, listed=[toy.at], who="cli")
    assert told(store, f"{toy.at}/door:1.0.0") == bare(SMALL.digest)
    assert "none of the registries" in refused(store, f"{other.at}/door:1.0.0")
    assert "none of the registries" in refused(store, "registry.example/door:1.0.0")
    # Not by another name of the same place, either.
    assert "none of the registries" in refused(store, f"localhost:{toy.port}/door:1.0.0")
    assert other.seen == []


def test_a_redirect_leads_to_nothing_that_is_not_listed(store, toy, other):
    change_settings(store, listed=[toy.at], who="cli")

    def elsewhere(handler) -> bool:
        if "/blobs/" in handler.path:
            handler.send_response(307)
            handler.send_header("Location", f"http://{other.at}{handler.path}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True
        return False

    toy.hook = elsewhere
    refused(store, f"{toy.at}/door:1.0.0")
    assert toy.seen and other.seen == []
    change_settings(store, listed=[other.at], who="cli")
    other.blobs.update(toy.blobs)
    other.linked |= toy.linked
    assert told(store, f"{toy.at}/door:1.0.0") == bare(SMALL.digest)


def test_a_token_service_is_bounded_too(store, toy, other):
    change_settings(store, listed=[toy.at], who="cli")
    toy.auth, toy.realm = "bearer", f"http://{other.at}/token"
    refused(store, f"{toy.at}/door:1.0.0")
    assert toy.seen and other.seen == []


def test_a_name_that_is_answered_differently_the_second_time(toy):
    """What is connected is looked at, not only what was looked up."""
    with socket.create_connection(("127.0.0.1", toy.port)) as connected:
        with pytest.raises(TransferError, match="registry.example:443 is an address of this machine"):
            RegistryGate(()).after("registry.example", 443, connected)
        RegistryGate([toy.at]).after("127.0.0.1", toy.port, connected)


def test_the_boxs_own_address_is_this_machine():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks which address would be used
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    with socket.create_server((own, 0)) as listening, socket.create_connection(listening.getsockname()) as connected:
        with pytest.raises(TransferError, match="address of this machine"):
            RegistryGate(()).after(own, listening.getsockname()[1], connected)


def test_whoever_asks_on_the_box_itself_passes_no_gate(store, toy):
    from edgeml.bundles.store_pull import pull_into_store

    with Registry(toy.at, patience=QUICK) as registry:
        assert pull_into_store(store, registry, "door", "1.0.0", who="cli").digest == SMALL.digest
