"""Whose fault it is that a bundle cannot be loaded: its own, or the box's. A box's fault denies no bundle."""

from __future__ import annotations

from edgeml.errors import DigestError

# How ONNX Runtime, the C++ library and numpy say that there is no memory.
NO_MEMORY = ("bad allocation", "bad_alloc", "failed to allocate", "out of memory", "unable to allocate")
# How ``onnx_session`` says that ONNX Runtime is not there, or not whole.
_NO_RUNTIME = ("install onnxruntime",)


def says_no_memory(text: str) -> bool:
    """Whether a message is about memory that could not be had."""
    return any(words in text.lower() for words in NO_MEMORY)


def is_the_box(error: Exception) -> bool:
    """Whether an installed bundle could not be loaded for a reason that another bundle would meet too.

    Args:
        error: What was raised. Bytes that are not those that were installed are the disk's doing.
    """
    if isinstance(error, (OSError, MemoryError, DigestError)):
        return True
    text = str(error)
    return says_no_memory(text) or any(words in text for words in _NO_RUNTIME)
