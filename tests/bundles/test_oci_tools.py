"""Other people's tools read our files: skopeo, where it is installed, and tar."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from data.generate_bundles import GOOD, MEMBERS, SIGNED, digest

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed (Debian: skopeo)")


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_skopeo
@pytest.mark.parametrize("signed", [False, True])
def test_skopeo_copies_the_bundle_and_keeps_its_digest(tmp_path: Path, signed: bool) -> None:
    path, target = tmp_path / "b.edgeml", tmp_path / "layout"
    path.write_bytes(SIGNED if signed else b"".join(GOOD.to_chunks()))
    # With signatures the index has several manifests, and the version label picks the bundle.
    source = f"oci-archive:{path}" + (":1.0.0" if signed else "")
    assert digest(skopeo("inspect", "--raw", source).encode()) == GOOD.digest
    skopeo("copy", source, f"oci:{target}:copy")
    [descriptor] = json.loads((target / "index.json").read_bytes())["manifests"]
    assert descriptor["digest"] == GOOD.digest
    blobs = {blob.read_bytes() for blob in (target / "blobs" / "sha256").iterdir()}
    assert blobs == {GOOD.manifest_bytes, GOOD.config_bytes, *MEMBERS.values()}


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_tar_unpacks_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "b.edgeml").write_bytes(SIGNED)
    done = subprocess.run(["tar", "-xvf", "b.edgeml"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 9
    model = tmp_path / "blobs" / "sha256" / digest(MEMBERS["model.onnx"]).removeprefix("sha256:")
    assert model.read_bytes() == MEMBERS["model.onnx"]
