"""The attacks that The Update Framework lists (specification 1.0.30), one test each, over the network, by somebody who
has a token that may do everything: what a stolen token is worth."""

import base64
import dataclasses
import json

import pytest
from bundles.registry_peers import Fault, FaultProxy
from bundles.releases import installed, new_store, release
from data.generate_bundles import ALICE, BOB, MALLORY, ONE, TWO
from supervisor.boxes import IMPATIENT, digest_of

from edgeml.bundles import Keyring, rotate, sign
from edgeml.bundles.layout import signature_blobs
from edgeml.bundles.manifest import Manifest
from edgeml.bundles.order import Order
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_link import Patience
from edgeml.bundles.registry_pull import MemorySink, pull
from edgeml.bundles.store import Store, StoreLimits
from edgeml.errors import DigestError, EdgemlError, SignatureError, TransferError
from edgeml.supervisor.management import Doors


def activate(box, name="door", wait=20, **document):
    return box.post(f"/v1/models/{name}/activate?wait={wait}", **document)


def order(digest, seq, key=ALICE, **options):
    return base64.b64encode(Order("door", digest[-64:], seq, **options).sign(key).to_bytes()).decode()


def nothing_is_installed(box):
    return box.store.state().models == {}


def test_arbitrary_installation(box):
    """Somebody installs what nobody has signed, or what only he has signed."""
    for bundle in (release("0", keys=()), release("0", keys=(MALLORY,))):
        said = box.push(bundle)
        assert said.status == 403 or said.headers["edgeml-state"] == "waiting"
        assert activate(box, digest=bundle.digest).status == 404
    # A good signature over other bytes does not help.
    envelope, document = signature_blobs(release("2").manifest_bytes, release("2").signatures[0])
    target = release("1", keys=())
    forged = document.replace(release("2").digest.encode(), target.digest.encode())
    box.push_blob(envelope)
    said = box.push_manifest(forged, digest_of(forged))
    assert said.headers["edgeml-state"] == "waiting"  # what it is about is not here yet
    assert box.push_manifest(target.manifest_bytes, "1").status == 403
    assert box.push_manifest(target.manifest_bytes, "1").headers["edgeml-state"] == "waiting"
    assert box.push_manifest(forged, digest_of(forged)).status == 403
    assert nothing_is_installed(box)


def test_endless_data(new_box):
    """Somebody sends without end: blobs, manifests, heads, chunks."""
    box = new_box(limits=StoreLimits(incoming_bytes=500_000), doors=Doors(body_bytes=2_000_000))
    with box.wire() as wire:
        wire.send(wire.head("PATCH", box.begin_upload(), token=box.token, Transfer_Encoding="chunked"))
        with pytest.raises(OSError):
            while True:
                wire.send(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
    said = box.ask("PUT", "/v2/door/manifests/1", b"a" * 300_000)
    assert said.status == 413
    said = box.ask("PATCH", box.begin_upload(), b"", Content_Length=10**12)
    assert said.status == 413
    with box.wire() as wire:
        with pytest.raises(OSError):
            wire.send(b"GET /healthz HTTP/1.1\r\n")
            while True:
                wire.send(b"X-A: " + b"a" * 1000 + b"\r\n")
    for _ in range(100):
        box.begin_upload()
    names = list(box.store.incoming.folder.iterdir())
    assert len(names) <= 64 and sum(path.stat().st_size for path in names) <= 500_000
    assert box.push(release("1")).headers["edgeml-state"] == "installed"


def test_extraneous_dependencies(box):
    """Somebody brings something along that the bundle does not name, or names something that no bundle has."""
    bundle = release("1")
    extra = box.push_blob(b"extra")
    box.push(bundle)
    installed_blobs = {path.name for path in box.store.blobs.folder.iterdir()}
    assert extra[7:] not in installed_blobs and installed_blobs == box.store.reachable(box.store.state())
    document = json.loads(release("2").manifest_bytes)
    document["layers"].append(
        {
            "annotations": {"org.opencontainers.image.title": "hook.py"},
            "digest": extra,
            "mediaType": "text/x-python",
            "size": 5,
        }
    )
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    # Even with a good signature over it.
    for one in signature_blobs(data, ALICE.sign("application/vnd.oci.image.manifest.v1+json", data)):
        box.push_blob(one)
    said = box.push_manifest(one, digest_of(one))
    assert said.status == 201
    box.push_blobs(release("2"))
    said = box.push_manifest(data, "2")
    assert (said.status, said.code) == (400, "MANIFEST_INVALID") and "hook.py" in said.json["errors"][0]["message"]
    assert [each.version for each in box.store.state().models["door"].releases.values()] == ["1"]


def test_fast_forward(box):
    """Somebody drives the numbers up, so that the real ones look old."""
    one, two = installed(box.store, "1", "2")
    for forged in (order(one, 10**9, key=MALLORY), base64.b64encode(b'{"seq":1000000000}').decode()):
        assert activate(box, version="1", order=forged).status == 403
    epoch = release("3", epoch=10**9, keys=(MALLORY,))
    assert box.push(epoch).status == 403
    stranger = Keyring((MALLORY.public,), version=10**6).sign(MALLORY)
    assert box.ask("POST", "/v1/keyring", stranger.to_bytes()).status == 403
    model = box.store.state().models["door"]
    assert (model.deploy_seq, model.min_epoch) == (0, 0)
    # A number that no signer meant cannot be reached by a signed order that is not carried out, either.
    assert activate(box, version="2", order=order(one, 7)).status == 403
    assert box.store.state().models["door"].deploy_seq == 0
    assert activate(box, version="1", order=order(one, 1)).status == 200
    # And an epoch rises only once a bundle has been confirmed.
    high = release("4", epoch=5)
    box.post("/v1/models/door/confirm?wait=20")
    box.push(high)
    assert activate(box, version="4").status == 200
    assert box.store.state().models["door"].min_epoch == 0
    assert two in box.store.state().models["door"].releases


def test_indefinite_freeze(tmp_path, new_box):
    """Somebody keeps the box where it is by showing it, for ever, what was right long ago."""
    now = [1.0e9]
    keyring = Keyring((ALICE.public,), expires="2010-01-01T00:00:00Z")
    box = new_box(keyring=keyring, clock=lambda: now[0])
    one, two = installed(box.store, "1", "2")
    old = order(two, 1, expires="2005-01-01T00:00:00Z")
    assert activate(box, version="1", now=True).status == 200
    now[0] = 1.2e9
    box.store.settings(device="box")  # time passes, and the record sees it
    now[0] = 0.0  # the clock starts in 1970 after a power cut
    said = activate(box, version="2", order=old)
    assert said.status == 403 and "expired" in said.json["error"]
    now[0] = 1.5e9
    said = box.push(release("3"))
    assert said.status == 403 and "expired" in said.json["errors"][0]["message"]
    # The box can be asked how old its keys are, and goes on answering.
    assert box.ask("GET", "/v1/status").json["keyring"]["expires"] == "2010-01-01T00:00:00Z"
    assert box.store.read_bundle(one).name == "door"


def test_malicious_mirrors_preventing_updates(tmp_path, new_box):
    """A mirror gives rubbish, somebody else's bytes, or nothing; another one is asked and the update comes."""
    good, bad, bundle = new_box(), new_box(keyring=Keyring((MALLORY.public,))), release("1", size=100_000)
    good.push(bundle)
    bad.push(release("1", keys=(MALLORY,)))
    ours = new_store(tmp_path / "ours", keyring=ONE)

    def fetch(port, token, reference="1"):
        patience = Patience(first_pause_seconds=0.001, longest_pause_seconds=0.01, attempts=1)
        with Registry(f"http://127.0.0.1:{port}", token=token, patience=patience) as registry:
            return pull(registry, "door", reference, MemorySink(), accept=ours.accept)

    with pytest.raises(SignatureError, match="unknown keys"):
        fetch(bad.port, bad.token)
    rotten = bad.store.blobs.folder / release("1").digest[7:]
    rotten.chmod(0o644)
    rotten.write_bytes(b"rotten")
    with pytest.raises((DigestError, TransferError)):
        fetch(bad.port, bad.token, bundle.digest)
    with FaultProxy(good.port, plan=[Fault(cut_down=300)] * 50) as proxy:
        with pytest.raises(EdgemlError):
            fetch(int(proxy.at.rsplit(":", 1)[1]), good.token)
    assert ours.state().models == {}
    assert fetch(good.port, good.token).digest == bundle.digest


def test_mix_and_match(box):
    """Somebody puts parts of different bundles together."""
    one, two = release("1", size=10), release("2", size=10)
    mixed = dataclasses.replace(
        one.manifest, members=dict(one.manifest.members) | {"model.onnx": two.manifest.members["model.onnx"]}
    )
    assert isinstance(mixed, Manifest)
    data = mixed.to_bytes()
    for bundle in (one, two):
        box.push_blobs(bundle)
    box.push_signatures(one)
    said = box.push_manifest(data, "1")
    assert said.headers["edgeml-state"] == "waiting" and nothing_is_installed(box)
    # Other bytes under a member's digest do not become that member.
    model = one.manifest.members["model.onnx"].digest
    (box.store.incoming.folder / model[7:]).write_bytes(two.blobs[two.manifest.members["model.onnx"].digest])
    said = box.push_manifest(one.manifest_bytes, "1")
    assert (said.status, said.code) == (404, "MANIFEST_BLOB_UNKNOWN") and nothing_is_installed(box)


def test_rollback(box):
    """Somebody brings an old bundle back that has a hole."""
    old, new = release("1", epoch=1), release("2", epoch=2)
    for bundle in (old, new):
        box.push(bundle)
    assert activate(box, version="1", order=order(old.digest, 1), now=True).status == 200
    assert activate(box, version="2", order=order(new.digest, 2), now=True).status == 200
    for attempt in (
        activate(box, version="1"),
        activate(box, version="1", order=order(old.digest, 1)),
        activate(box, version="1", order=order(old.digest, 9)),
        box.post("/v1/models/door/rollback", to="1"),
        box.post("/v1/models/door/rollback"),
    ):
        assert attempt.status in (403, 404)
    said = box.push(release("0", epoch=1))
    assert said.status == 403 and "security epoch 1" in said.json["errors"][0]["message"]
    assert box.store.state().models["door"].active == new.digest[7:]
    assert Store(box.store.root).state().models["door"].min_epoch == 2


def test_rollback_by_a_replayed_order(box):
    """The bundle is fine; the order to activate it is an old one."""
    one, two = installed(box.store, "1", "2")
    first = order(one, 1)
    assert activate(box, version="1", order=first, now=True).status == 200
    assert activate(box, version="2", order=order(two, 2), now=True).status == 200
    said = activate(box, version="1", order=first)
    assert said.status == 403 and "replay" in said.json["error"]
    # On purpose it is a newer order.
    assert activate(box, version="1", order=order(one, 3), now=True).status == 200


def test_key_compromise(new_box):
    """Somebody has a key: one of two is not enough, and a key that was taken away is worth nothing."""
    box = new_box(keyring=TWO)
    said = box.push(release("1", keys=(ALICE,)))
    assert said.headers["edgeml-state"] == "waiting" and nothing_is_installed(box)
    both = Order("door", release("2").digest[7:], 1)
    assert box.push(release("2", keys=(ALICE, BOB))).headers["edgeml-state"] == "installed"
    lone = base64.b64encode(both.sign(ALICE).to_bytes()).decode()
    assert activate(box, version="2", order=lone).status == 403
    taken = Keyring((ALICE.public,), version=2).sign(ALICE)
    assert box.ask("POST", "/v1/keyring", taken.to_bytes()).status == 403

    box = new_box()
    successor = rotate(ONE, keys=[BOB.public], signers=[ALICE, BOB])
    assert box.ask("POST", "/v1/keyring", successor.to_bytes()).status == 200
    assert box.push(release("1", keys=(ALICE,))).status == 403
    assert box.push(sign(release("1", keys=()), BOB)).headers["edgeml-state"] == "installed"
    assert activate(box, version="1", order=order(release("1").digest, 1)).status == 403
    assert box.ask("POST", "/v1/keyring", ONE.to_bytes()).status == 403


def test_wrong_software_installation(box):
    """The bundle is good and signed, and meant for another model, another version or another box."""
    gate = release("1", name="gate")
    box.push_blobs(gate)
    box.push_signatures(gate)
    said = box.push_manifest(gate.manifest_bytes, "1", "door")
    assert (said.status, said.code) == (400, "NAME_INVALID") and nothing_is_installed(box)
    assert box.push(gate, "gate").headers["edgeml-state"] == "installed"
    box.push(release("1"))
    said = activate(box, "door", digest=gate.digest)
    assert said.status == 404
    assert box.push(release("1", size=5)).status == 409
    box.store.settings(device="pi-1")
    said = activate(box, version="1", order=order(release("1").digest, 1, device="pi-2"))
    assert said.status == 403 and "for device 'pi-2'" in said.json["error"]
    said = activate(box, version="1", order=order(gate.digest, 1))
    assert said.status == 403 and "the order names" in said.json["error"]


def test_slow_retrieval(new_box):
    """Not on the list any more: a byte now and then. It holds a place for a moment, and the upload goes on later."""
    box = new_box(doors=Doors(patience=IMPATIENT))
    location = box.begin_upload()
    with box.wire() as wire:
        wire.send(wire.head("PATCH", location, token=box.token, Content_Length=100) + b"a")
        said = wire.answer()
        assert said.status == 408 and said.json["errors"][0]["detail"]["code"] == "too_slow"
        assert wire.is_closed()
    assert box.ask("PATCH", location, b"b" * 99, Content_Range="1-99").status == 202
