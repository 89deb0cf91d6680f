"""Round trips with other people's software: Debian's registry, skopeo, oras."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bundles.registry_peers import QUICK, Fault, FaultProxy, bundle_of, docker_registry, need
from bundles.test_registry_pull import accept, take_all
from data.generate_bundles import ALICE, BOB, GOOD, GOOD_SIGNED, MEMBERS, SIGNED, digest

from edgeml.bundles import sign
from edgeml.bundles.layout import INDEX_TYPE, SIGNATURE_TYPE
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_pull import MemorySink, pull
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.errors import ArchiveError, TransferError

BIG = sign(bundle_of(2 * 1024 * 1024 + 1), ALICE)


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    with docker_registry(tmp_path_factory.mktemp("registry")) as at:
        yield at


def client(at: str) -> Registry:
    return Registry(at, patience=QUICK)


def skopeo(*arguments: str) -> bytes:
    need("skopeo")
    done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_and_back_with_signatures_and_nothing_twice(debian):
    with client(debian) as registry:
        assert push(registry, BundleSource(GOOD_SIGNED), "trip/door").blobs_sent == 5
        assert push(registry, BundleSource(sign(GOOD_SIGNED, BOB)), "trip/door").blobs_sent == 1
        assert push(registry, BundleSource(GOOD_SIGNED), "trip/gate", mount_from="trip/door").bytes_sent == 0
        sink = MemorySink()
        report = pull(registry, "trip/door", "1.0.0", sink, accept=accept)
    assert report.signatures == sign(GOOD_SIGNED, BOB).signatures and sink.blobs == GOOD.blobs


def test_debians_registry_forgets_cut_uploads_and_gets_them_anew(debian):
    host, port = debian.split(":")
    with FaultProxy(int(port), [Fault(cut_up=1_500_000), Fault(cut_up=700_000)]) as proxy, client(proxy.at) as registry:
        report = push(registry, BundleSource(BIG), "cut", chunk_bytes=256 * 1024)
        assert report.resumes >= 2
        sink = MemorySink()
        proxy.plan[:] = [Fault(cut_down=400_000), Fault(cut_down=800_000)]
        registry.close()
        back = pull(registry, "cut", "1.0.0", sink, accept=accept)
    assert sink.blobs == BIG.blobs and back.resumes >= 1
    assert back.bytes_received < 1.1 * sum(map(len, sink.blobs.values()))


def test_a_missing_bundle_is_said_in_debians_words(debian):
    with client(debian) as registry, pytest.raises(TransferError, match="MANIFEST_UNKNOWN") as caught:
        pull(registry, "nothing", "1", MemorySink(), accept=take_all)
    assert caught.value.status == 404


def test_skopeo_takes_what_we_pushed(debian, tmp_path):
    with client(debian) as registry:
        push(registry, BundleSource(GOOD_SIGNED), "ours")
    assert digest(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{debian}/ours:1.0.0")) == GOOD.digest
    skopeo("copy", "--src-tls-verify=false", f"docker://{debian}/ours:1.0.0", f"oci:{tmp_path}/layout:x")
    blobs = {path.read_bytes() for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir()}
    assert blobs == {GOOD.manifest_bytes, GOOD.config_bytes, *MEMBERS.values()}


def test_we_take_what_skopeo_pushed(debian, tmp_path):
    (tmp_path / "b.edgeml").write_bytes(SIGNED)
    skopeo("copy", "--dest-tls-verify=false", f"oci-archive:{tmp_path}/b.edgeml:1.0.0", f"docker://{debian}/theirs:7")
    sink = MemorySink()
    with client(debian) as registry:
        report = pull(registry, "theirs", "7", sink, accept=take_all)
        # skopeo leaves signatures behind; pushing the bundle once more brings them and nothing else.
        assert report.digest == GOOD.digest and report.signatures == () and sink.blobs == GOOD.blobs
        assert push(registry, BundleSource(GOOD_SIGNED), "theirs", "7").blobs_sent == 2
        assert pull(registry, "theirs", "7", sink, accept=accept).blobs_received == 0


def test_oras_takes_what_we_pushed_and_finds_the_signature(debian, tmp_path):
    oras = pytest.importorskip("oras.client", reason="oras is not installed (PyPI: oras)")
    with client(debian) as registry:
        push(registry, BundleSource(GOOD_SIGNED), "oras")
    theirs = oras.OrasClient(hostname=debian, insecure=True)
    files = theirs.pull(target=f"{debian}/oras:1.0.0", outdir=str(tmp_path))
    contents = {path.name: path.read_bytes() for path in map(Path, files)}
    assert contents == MEMBERS
    tag = GOOD.digest.replace(":", "-")
    assert set(theirs.get_tags(f"{debian}/oras")) == {"1.0.0", tag}
    index = theirs.do_request(f"http://{debian}/v2/oras/manifests/{tag}", headers={"Accept": INDEX_TYPE}).json()
    assert [entry["artifactType"] for entry in index["manifests"]] == [SIGNATURE_TYPE]


def test_we_refuse_what_is_no_bundle(debian, tmp_path):
    oras = pytest.importorskip("oras.client", reason="oras is not installed (PyPI: oras)")
    (tmp_path / "x.txt").write_text("x")
    theirs = oras.OrasClient(hostname=debian, insecure=True)
    theirs.push(target=f"{debian}/foreign:1", files=[str(tmp_path / "x.txt")], disable_path_validation=True)
    with client(debian) as registry, pytest.raises(ArchiveError):
        pull(registry, "foreign", "1", MemorySink(), accept=take_all)
