"""Pulling: refused before it is downloaded, resumed where it stopped, and nothing believed that can be checked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from bundles.registry_peers import QUICK, Fault, FaultProxy, ToyRegistry, bundle_of
from data.generate_bundles import ALICE, GOOD, GOOD_SIGNED, MALLORY, ONE, TWO

from edgeml.bundles import Bundle, Limits, sign
from edgeml.bundles.archive import write
from edgeml.bundles.layout import entries
from edgeml.bundles.manifest import MANIFEST_TYPE, Manifest
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_pull import MAX_REFERRERS, MemorySink, pull
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.errors import DigestError, RequirementError, SignatureError, TransferError

BIG = sign(bundle_of(3 * 1024 * 1024 + 5), ALICE)
MODEL = BIG.manifest.members["model.onnx"]
BIG_BYTES = sum(map(len, BIG.blobs.values()))


def accept(manifest: bytes, signatures) -> Manifest:
    ONE.check(MANIFEST_TYPE, manifest, signatures)
    return Manifest.from_bytes(manifest, Limits())


def take_all(manifest: bytes, signatures) -> Manifest:
    return Manifest.from_bytes(manifest, Limits())


@pytest.fixture
def toy():
    with ToyRegistry() as registry:
        with Registry(registry.at) as pusher:
            push(pusher, BundleSource(BIG), "door")
            push(pusher, BundleSource(GOOD), "bare")
        registry.seen.clear()
        yield registry


def fetch(at: str, sink: MemorySink, reference: str = "1.0.0", patience=QUICK, **arguments):
    with Registry(at, patience=patience) as registry:
        return pull(registry, "door", reference, sink, **({"accept": accept} | arguments))


@pytest.mark.parametrize("reference", ["1.0.0", BIG.digest])
@pytest.mark.parametrize("referrers", [True, False])
def test_the_bundle_comes_back_whole_by_tag_and_by_digest(toy, reference, referrers):
    if not referrers:
        toy.referrers = False
        with Registry(toy.at) as pusher:
            push(pusher, BundleSource(BIG), "door")
    sink = MemorySink()
    report = fetch(toy.at, sink, reference)
    assert (report.digest, report.signatures, report.manifest) == (BIG.digest, BIG.signatures, BIG.manifest)
    file = b"".join(write(entries(report.manifest_bytes, report.manifest.version, report.signatures, sink.blobs)))
    again = Bundle.from_bytes(file, keyring=ONE)
    assert again.trusted and again.members == BIG.members
    assert report.blobs_received == 3 and report.resumes == 0


def test_the_second_pull_fetches_no_blob(toy):
    sink = MemorySink()
    fetch(toy.at, sink)
    report = fetch(toy.at, sink)
    assert (report.blobs_received, report.bytes_skipped) == (0, BIG_BYTES)
    assert report.bytes_received < 10_000


@pytest.mark.parametrize(
    ("judge", "error"),
    [
        (lambda manifest, signatures: TWO.check(MANIFEST_TYPE, manifest, signatures), SignatureError),
        (lambda manifest, signatures: (_ for _ in ()).throw(RequirementError("too new")), RequirementError),
    ],
)
def test_a_box_refuses_before_it_downloads(toy, judge, error):
    def refuse(manifest, signatures):
        next(iter(judge(manifest, signatures)))

    with pytest.raises(error):
        fetch(toy.at, MemorySink(), accept=refuse)
    signed = {path.rpartition("/")[2] for path in toy.paths("GET") if "/blobs/" in path}
    assert not signed & set(BIG.blobs)


def test_ten_cuts_are_resumed_and_no_byte_comes_twice(toy):
    sink = MemorySink()
    with FaultProxy(toy.port, [Fault(cut_down=200_000 + 777 * number) for number in range(10)]) as proxy:
        report = fetch(proxy.at, sink)
        assert proxy.connections == 11 and proxy.down_bytes < 1.1 * BIG_BYTES
    assert report.resumes == 10 and sink.blobs == BIG.blobs
    ranges = [seen.headers.get("Range") for seen in toy.seen if MODEL.digest in seen.path]
    assert ranges[0] is None and len(ranges) == 11 and None not in ranges[1:]


def test_a_pull_goes_on_where_an_earlier_one_stopped(toy):
    sink = MemorySink()
    sink.write(MODEL.digest, 0, [BIG.members["model.onnx"][:1_000_000]])
    report = fetch(toy.at, sink)
    assert sink.blobs == BIG.blobs and report.bytes_skipped == 1_000_000
    assert report.bytes_received < BIG_BYTES - 990_000


@pytest.mark.parametrize("length", [1_000_000, MODEL.size])
def test_a_rotten_part_is_dropped_once_and_fetched_anew(toy, length):
    sink = MemorySink()
    sink.write(MODEL.digest, 0, [bytes(length)])
    assert fetch(toy.at, sink).bytes_skipped == 0
    assert sink.blobs == BIG.blobs


def test_a_part_that_is_too_long_is_dropped(toy):
    sink = MemorySink()
    sink.write(MODEL.digest, 0, [bytes(MODEL.size + 1)])
    fetch(toy.at, sink)
    assert sink.blobs == BIG.blobs


def lie(toy: ToyRegistry, digest: str, answer) -> None:
    """Lets the registry answer GETs of one blob in its own way, as long as ``answer`` does not return False."""

    def hook(handler) -> bool:
        return handler.command == "GET" and handler.path.endswith(digest) and answer(handler) is not False

    toy.hook = hook


def test_a_registry_that_ignores_range_costs_one_fresh_start(toy):
    lie(toy, MODEL.digest, lambda handler: handler.give(200, BIG.members["model.onnx"]))
    sink = MemorySink()
    sink.write(MODEL.digest, 0, [BIG.members["model.onnx"][:1_000_000]])
    assert fetch(toy.at, sink).bytes_skipped == 0 and sink.blobs == BIG.blobs
    with FaultProxy(toy.port, [Fault(cut_down=500_000)] * 2) as proxy:
        with pytest.raises(TransferError, match="does not resume") as caught:
            fetch(proxy.at, MemorySink())
    assert caught.value.code == "no_resume"


def test_416_drops_the_part_once(toy):
    refused = []

    def refuse(handler):
        if "Range" not in handler.headers:
            return False
        refused.append(handler.path)
        handler.fail(416, "RANGE_INVALID")
        return True

    lie(toy, MODEL.digest, refuse)
    sink = MemorySink()
    sink.write(MODEL.digest, 0, [bytes(1000)])
    fetch(toy.at, sink)
    assert len(refused) == 1 and sink.blobs == BIG.blobs


@pytest.mark.parametrize("length", [None, str(MODEL.size), str(10**9), str(10**30), "-5", "+7"])
def test_an_endless_body_costs_no_more_than_the_blob(toy, length):
    def endless(handler):
        handler.send_response(200)
        if length is not None:
            handler.send_header("Content-Length", length)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        while True:  # until the client hangs up
            handler.wfile.write(bytes(65536))

    lie(toy, MODEL.digest, endless)
    sink, counted = MemorySink(), []
    with pytest.raises((DigestError, TransferError)):
        fetch(toy.at, sink, budget=counted.append)
    assert sum(counted) <= BIG_BYTES + 10_000
    assert MODEL.digest not in sink.blobs


def test_an_endless_manifest_is_cut(toy):
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b" " * 65536)

    lie(toy, "/manifests/1.0.0", endless)
    with pytest.raises(TransferError, match="longer than 262144 bytes") as caught:
        fetch(toy.at, MemorySink())
    assert caught.value.code == "too_long"


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_length_that_is_not_the_manifests_is_refused_before_a_byte_is_read(toy, wrong):
    lie(toy, MODEL.digest, lambda handler: handler.give(200, bytes(MODEL.size + wrong)))
    sink = MemorySink()
    with pytest.raises(TransferError, match="nothing of it is taken"):
        fetch(toy.at, sink)
    assert sink.partial(MODEL.digest) == 0


@pytest.mark.parametrize("said", ["bytes 0-9/10", "bytes 999-3145732/3145733", "bytes 1000-3145732/9", "x", ""])
def test_a_range_that_was_not_asked_for_is_refused(toy, said):
    lie(toy, MODEL.digest, lambda handler: handler.give(206, bytes(MODEL.size - 1000), Content_Range=said))
    sink = MemorySink()
    sink.write(MODEL.digest, 0, [bytes(1000)])
    with pytest.raises(TransferError, match="where bytes 1000- were asked for"):
        fetch(toy.at, sink)
    assert sink.partial(MODEL.digest) == 1000


def test_wrong_bytes_are_found_out_and_dropped(toy):
    lie(toy, MODEL.digest, lambda handler: handler.give(200, bytes(MODEL.size)))
    sink = MemorySink()
    with pytest.raises(DigestError, match="other bytes than were packed"):
        fetch(toy.at, sink)
    assert MODEL.digest not in sink.blobs and sink.partial(MODEL.digest) == 0


def test_a_manifest_with_other_bytes_than_its_digest_is_refused(toy):
    lie(toy, BIG.digest, lambda handler: handler.give(200, GOOD.manifest_bytes))
    with pytest.raises(DigestError, match="other bytes"):
        fetch(toy.at, MemorySink(), BIG.digest)
    lie(toy, "1.0.0", lambda handler: handler.give(200, GOOD.manifest_bytes, Docker_Content_Digest=BIG.digest))
    with pytest.raises(DigestError, match="other bytes"):
        fetch(toy.at, MemorySink())


def test_compressed_bytes_are_refused(toy):
    lie(toy, MODEL.digest, lambda handler: handler.give(200, bytes(MODEL.size), Content_Encoding="gzip"))
    with pytest.raises(TransferError, match="sent as 'gzip'"):
        fetch(toy.at, MemorySink())


def test_a_slow_drip_is_cut_by_the_least_rate_and_what_came_is_kept(toy):
    patience = replace(QUICK, rate_seconds=0.2, rate_bytes_per_second=1e6)
    sink = MemorySink()
    with FaultProxy(toy.port, [Fault(drip=0.05, drip_after=400_000)]) as proxy:
        with pytest.raises(TransferError, match="bytes a second") as caught:
            fetch(proxy.at, sink, patience=patience)
    assert caught.value.code == "too_slow" and sink.partial(MODEL.digest) > 300_000


@pytest.mark.parametrize("after", [0, 400_000])
def test_a_drip_even_of_headers_is_cut_by_the_deadline(toy, after):
    # From byte 0 the status line itself drips: no body has come, and no rate of one can be measured.
    with FaultProxy(toy.port, [Fault(drip=0.2, drip_after=after)]) as proxy:
        with pytest.raises(TransferError, match="took longer than 0.5 seconds") as caught:
            fetch(proxy.at, MemorySink(), patience=replace(QUICK, transfer_seconds=0.5))
        assert proxy.down_bytes < (after + 65536 if after else 100)  # not even the headers were waited for
    assert caught.value.code == "deadline"


def test_silence_is_taken_for_a_cut(toy):
    with FaultProxy(toy.port, [Fault(drip=3600, drip_after=500_000)]) as proxy:
        report = fetch(proxy.at, sink := MemorySink(), patience=replace(QUICK, silence_seconds=0.3))
    assert report.resumes == 1 and sink.blobs == BIG.blobs


def test_a_byte_budget_stops_the_pull_and_keeps_what_came(toy):
    class OverBudgetError(Exception):
        pass

    spent = 0

    def budget(size: int) -> None:
        nonlocal spent
        spent += size
        if spent > 1_000_000:
            raise OverBudgetError

    sink = MemorySink()
    with pytest.raises(OverBudgetError):
        fetch(toy.at, sink, budget=budget)
    assert 800_000 < sink.partial(MODEL.digest) <= 1_000_000
    spent = -(10**9)
    assert fetch(toy.at, sink, budget=budget).bytes_skipped > 800_000
    assert sink.blobs == BIG.blobs


def test_a_broken_sink_is_no_broken_link(toy):
    class Full(MemorySink):
        def write(self, digest, offset, chunks) -> None:
            for _ in chunks:
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fetch(toy.at, Full())
    assert sum("/blobs/" in path for path in toy.paths("GET")) == 2


def test_junk_beside_the_bundle_hides_no_good_signature(toy):
    subject = {"mediaType": MANIFEST_TYPE, "digest": BIG.digest, "size": len(BIG.manifest_bytes)}
    kind = "application/vnd.edgeml.signature.v1"
    real = next(data for (_, _), (_, data) in toy.manifests.items() if json.loads(data).get("subject", {}) == subject)
    for number in range(20):
        junk = json.dumps({"artifactType": kind, "subject": subject, "n": number}).encode().ljust(len(real))
        toy.manifests["door", f"junk{number}"] = (MANIFEST_TYPE, junk)
    with Registry(toy.at) as pusher:
        push(pusher, BundleSource(sign(BIG, MALLORY)), "door")
    report = fetch(toy.at, MemorySink())
    assert {signature.keyid for signature in report.signatures} == {ALICE.keyid, MALLORY.keyid}


def test_too_much_junk_is_said_and_not_fetched(toy):
    subject = {"mediaType": MANIFEST_TYPE, "digest": BIG.digest, "size": len(BIG.manifest_bytes)}
    real = next(data for _, data in toy.manifests.values() if json.loads(data).get("subject", {}) == subject)
    for number in range(MAX_REFERRERS):
        kind = "application/vnd.edgeml.signature.v1"
        junk = json.dumps({"artifactType": kind, "subject": subject, "n": number}).encode().ljust(len(real))
        toy.manifests["door", f"junk{number}"] = (MANIFEST_TYPE, junk)
    with pytest.raises(TransferError, match="at most 64 are looked at") as caught:
        fetch(toy.at, MemorySink())
    assert caught.value.code == "too_many"


def test_an_unsigned_bundle_comes_with_no_signatures(toy):
    with Registry(toy.at) as registry:
        report = pull(registry, "bare", "1.0.0", MemorySink(), accept=take_all)
    assert report.signatures == () and report.digest == GOOD.digest != GOOD_SIGNED.manifest


def test_what_is_not_there_is_said_with_the_registrys_words(toy):
    with pytest.raises(
        TransferError, match=r"manifest door:9.9.9: answered 404 \(MANIFEST_UNKNOWN.*check name"
    ) as caught:
        fetch(toy.at, MemorySink(), "9.9.9")
    assert (caught.value.status, caught.value.code) == (404, "MANIFEST_UNKNOWN")


def test_words_of_the_registry_cannot_paint_on_the_terminal(toy):
    body = json.dumps({"errors": [{"code": "A\x1b[2J", "message": "\x07" + "b" * 1000}]}).encode()
    lie(toy, "1.0.0", lambda handler: handler.give(404, body))
    with pytest.raises(TransferError) as caught:
        fetch(toy.at, MemorySink())
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("reference", ["sha256:00", "a b", "../x", "", "sha512:" + "0" * 128])
def test_references_that_cannot_be_are_refused_before_anything_is_asked(toy, reference):
    with pytest.raises(TransferError):
        fetch(toy.at, MemorySink(), reference)
    assert not toy.seen


def test_nobody_listening_is_said_after_some_attempts():
    with pytest.raises(TransferError, match="manifest door:1.0.0: the link broke.*refused"):
        fetch("127.0.0.1:1", MemorySink())
