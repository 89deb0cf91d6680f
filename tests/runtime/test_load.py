"""From a file to what answers: requirements of the bundle, and which engine runs it."""

import pytest

from edgeml.bundles import Bundle
from edgeml.errors import ArchiveError, BundleError, RequirementError
from edgeml.runtime.load import load, predictor_of


def test_a_file_is_opened(penguins_path, penguins_bundle):
    predictor = load(penguins_path)
    assert predictor.digest == penguins_bundle.digest
    assert predictor.session.backend == "native"
    assert load(penguins_path, backend="python").session.backend == "python"


def test_a_bundle_that_needs_more_than_the_box_has_is_refused(penguins_bundle):
    config = dict(penguins_bundle.config) | {"requires": {"edgeml": ">=99"}}
    with pytest.raises(RequirementError, match="needs edgeml >=99"):
        predictor_of(Bundle.create(config, dict(penguins_bundle.members)))


def test_onnxruntime_is_needed_only_where_it_answers(penguins_bundle):
    config = dict(penguins_bundle.config) | {"requires": {"edgeml": ">=0.1", "onnxruntime": ">=99"}}
    bundle = Bundle.create(config, dict(penguins_bundle.members))
    assert predictor_of(bundle).session.backend == "native"
    with pytest.raises(RequirementError, match="needs onnxruntime >=99"):
        predictor_of(bundle, backend="c")


def test_what_is_no_bundle_is_refused(tmp_path, penguins_bundle):
    path = tmp_path / "no.edgeml"
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ArchiveError):
        load(path)
    members = {name: data for name, data in penguins_bundle.members.items() if name != "kernel.npy"}
    with pytest.raises(BundleError, match="kernel.npy"):
        predictor_of(Bundle.create(penguins_bundle.config, members))
