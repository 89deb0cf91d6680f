"""Whose fault it is that an installed bundle does not load."""

import pytest

from edgeml.errors import BundleError, DigestError, ModelError, SignatureError
from edgeml.serving.faults import is_the_box, says_no_memory


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        MemoryError(),
        DigestError("blob 0123 of the store is damaged; install its bundle again"),
        ModelError("std::bad_alloc"),
        ModelError("ONNX Runtime's C library was not found; install onnxruntime, or name the file"),
    ],
)
def test_the_box(error):
    assert is_the_box(error)


@pytest.mark.parametrize(
    "error", [BundleError("3 of 48 golden rows differ"), ModelError("Type Error: x"), SignatureError("not signed")]
)
def test_the_bundle(error):
    assert not is_the_box(error) and not says_no_memory(str(error))
