"""What a trial needs to know of a bundle's drift reference: how often each label was answered when it was built."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from edgeml.bundles.documents import parse_object
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError

MEMBER = "reference.json"


def reference_labels(store: Store) -> Callable[[str], dict[str, int] | None]:
    """Reads label counts of installed bundles.

    Args:
        store: Where they are installed.

    Returns:
        From a hex digest to label -> count; None where a bundle has none, or cannot be read.
    """

    def labels(digest: str) -> dict[str, int] | None:
        # A reference is help, not a condition: without one, a trial judges by everything else.
        with suppress(EdgemlError, OSError, KeyError, TypeError, ValueError):
            descriptor = store.manifest(digest).members[MEMBER]
            document = parse_object(store.blobs.read(bare(descriptor.digest), descriptor.size), MEMBER)
            found = document["answers"]["labels"]
            return {str(label): int(count) for label, count in found.items()}
        return None

    return labels
