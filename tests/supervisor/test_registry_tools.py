"""Other people's registry clients push to a box and pull from it: skopeo, oras, and ours."""

from __future__ import annotations

import json
import subprocess

import pytest
from bundles.registry_peers import QUICK, Fault, FaultProxy, need
from bundles.releases import new_store, release
from data.generate_bundles import ALICE, ONE

from edgeml.bundles import sign
from edgeml.bundles.layout import EMPTY_CONFIG
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_pull import MemorySink, pull
from edgeml.bundles.registry_push import BundleSource, push


@pytest.fixture
def skopeo():
    """Debian's skopeo; installed where it can be."""
    need("skopeo")

    def run(*arguments: str) -> str:
        done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def signed_file(tmp_path, bundle):
    path = tmp_path / f"{bundle.version}.edgeml"
    bundle.save(path)
    return f"oci-archive:{path}:{bundle.version}"


def to(box, tag="1"):
    creds = ["--dest-tls-verify=false", "--dest-creds", f"anybody:{box.token}"]
    return [*creds, f"docker://127.0.0.1:{box.port}/door:{tag}"]


@pytest.mark.parametrize("first", ["bundle", "signature"])
def test_skopeo_copies_a_file_to_a_box(box, skopeo, tmp_path, first):
    bundle = release("1", size=5_000_000)
    if first == "signature":
        box.push_signatures(bundle)
    source, (*options, target) = signed_file(tmp_path, bundle), to(box)
    skopeo("copy", *options, source, target)
    if first == "bundle":
        assert box.store.state().models == {}
        [said] = box.push_signatures(bundle)
        assert said.headers["edgeml-state"] == "installed"
    assert box.store.read_bundle(bundle.digest).signers == {ALICE.keyid}
    skopeo("copy", *options, source, target)  # again: nothing to send
    assert not [name for name in box.store.incoming.waiting() if name != EMPTY_CONFIG.digest[7:]]


def test_skopeo_is_told_why_a_bundle_is_refused(box, tmp_path):
    need("skopeo")
    *options, target = to(box, "2")
    box.push(release("1"))
    source = signed_file(tmp_path, release("1"))
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "copy", *options, source, target], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "version is '1'" in done.stderr
    options[-1] = "anybody:edgeml_wrong"
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "copy", *options, source, target], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "unauthorized" in done.stderr


def test_skopeo_takes_a_bundle_from_a_box(box, skopeo, tmp_path):
    bundle = release("1", size=3_000_000)
    box.push(bundle)
    source = f"docker://127.0.0.1:{box.port}/door"
    creds = ["--tls-verify=false", "--creds", f"anybody:{box.token}"]
    assert json.loads(skopeo("list-tags", *creds, source))["Tags"] == ["1"]
    assert skopeo("inspect", "--raw", *creds, f"{source}:1").encode() == bundle.manifest_bytes
    target = tmp_path / "copy"
    skopeo("copy", "--src-tls-verify=false", "--src-creds", f"a:{box.token}", f"{source}:1", f"oci:{target}:1")
    [descriptor] = json.loads((target / "index.json").read_bytes())["manifests"]
    assert descriptor["digest"] == bundle.digest


def test_oras_pulls_from_a_box(box, tmp_path):
    oras = pytest.importorskip("oras.client", reason="oras is not installed (PyPI: oras)")
    bundle = release("1")
    box.push(bundle)
    host = f"127.0.0.1:{box.port}"
    client = oras.OrasClient(hostname=host, insecure=True, auth_backend="basic")
    client.auth.set_basic_auth("anybody", box.token)
    files = client.pull(target=f"{host}/door:1", outdir=str(tmp_path))
    assert sorted(path.rsplit("/", 1)[1] for path in files) == sorted(bundle.manifest.members)
    assert client.get_tags(f"{host}/door") == ["1"]


def test_oras_pushes_blobs_and_the_manifest_waits(box, tmp_path):
    oras = pytest.importorskip("oras.client", reason="oras is not installed (PyPI: oras)")
    host = f"127.0.0.1:{box.port}"
    client = oras.OrasClient(hostname=host, insecure=True, auth_backend="basic")
    client.auth.set_basic_auth("anybody", box.token)
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(200_000))
    said = client.push(target=f"{host}/door:1", files=[str(path)], disable_path_validation=True)
    # It is no bundle of ours and nobody has signed it, so it waits for ever, as bytes.
    assert (said.status_code, said.headers["Edgeml-State"]) == (201, "waiting")
    assert box.store.state().models == {}


@pytest.mark.parametrize("chunk", [1000, 10_000_000])
def test_our_own_client_pushes_and_pulls(box, tmp_path, chunk):
    bundle = sign(release("1", size=20_000), ALICE)
    with Registry(f"http://127.0.0.1:{box.port}", token=box.token) as registry:
        first = push(registry, BundleSource(bundle), "door", chunk_bytes=chunk)
        assert first.bytes_skipped == 2 and box.store.read_bundle(bundle.digest)
        assert push(registry, BundleSource(bundle), "door").bytes_sent == 0
        other = new_store(tmp_path / "other", keyring=ONE)
        sink = MemorySink()
        report = pull(registry, "door", "1", sink, accept=other.accept)
    assert report.digest == bundle.digest and len(report.signatures) == 1


def test_a_push_over_a_link_that_is_cut_ten_times_sends_hardly_more_than_once(box):
    size = 10_000_000
    bundle = release("1", size=size)
    cuts = [Fault(cut_up=size // 11 + 20_000) for _ in range(10)]
    with FaultProxy(box.port, plan=[*cuts]) as proxy:
        with Registry(f"http://{proxy.at}", token=box.token, patience=QUICK) as registry:
            report = push(registry, BundleSource(bundle), "door", chunk_bytes=size)
        assert proxy.plan == [] and report.resumes >= 9
        # What was under way when the link was cut is sent again, and nothing else.
        assert proxy.up_bytes <= size + 10 * 256 * 1024
    assert box.store.read_bundle(bundle.digest).digest == bundle.digest
