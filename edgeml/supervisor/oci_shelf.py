"""Installed bundles as an OCI registry shows them: tags, manifests, blobs, and the signatures that refer to them.

A name is a model's name; a tag is a version label. ``latest`` is the bundle that is active. Only what is installed is
shown: what still waits in ``incoming`` is nobody's bundle yet, and no neighbour can fetch it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from edgeml.bundles.archive import digest_of
from edgeml.bundles.layout import SIGNATURE_TYPE, signature_blobs
from edgeml.bundles.manifest import MANIFEST_TYPE, Descriptor, Manifest
from edgeml.bundles.state import ModelState, State, bare
from edgeml.bundles.store import Store
from edgeml.errors import EdgemlError

LATEST = "latest"


@dataclass(frozen=True)
class Shelf:
    """What is installed of one model.

    Attributes:
        tags: Hex digest of a bundle's manifest, by version label.
        latest: The one that is active; None where there is none.
        signatures: Signature manifests by their hex digests.
        referrers: Descriptors of a bundle's signature manifests, by its hex digest.
        blobs: Sizes in bytes, by hex digest: of configs, members and envelopes.
    """

    tags: dict[str, str] = field(default_factory=dict)
    latest: str | None = None
    signatures: dict[str, bytes] = field(default_factory=dict)
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    blobs: dict[str, int] = field(default_factory=dict)


class Shelves:
    """The shelves of a store, made anew when its record has changed.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._generation = -1
        self._made: dict[str, Shelf] = {}

    def all(self) -> Mapping[str, Shelf]:
        """Every model's shelf, by name.

        Raises:
            StateError, OSError: The record cannot be read.
        """
        state = self._store.state()
        with self._lock:
            if state.generation != self._generation:
                self._made = {name: self._shelf(state, model) for name, model in state.models.items()}
                self._generation = state.generation
            return self._made

    def _shelf(self, state: State, model: ModelState) -> Shelf:
        shelf = Shelf(latest=model.active)
        for digest, release in model.releases.items():
            # One damaged bundle must not hide the others.
            with suppress(EdgemlError, OSError):
                self._put(shelf, digest, release.version, release.envelopes)
        return shelf

    def _put(self, shelf: Shelf, digest: str, version: str, envelopes: tuple[str, ...]) -> None:
        limits = self._store.limits.bundle
        data = self._store.blobs.read(digest, limits.manifest_bytes)
        manifest = Manifest.from_bytes(data, limits)
        shelf.tags[version] = digest
        for each in (manifest.config, *manifest.members.values()):
            shelf.blobs[bare(each.digest)] = each.size
        listed = shelf.referrers.setdefault(digest, [])
        for signature in self._store.trust.signatures(data, envelopes):
            envelope, document = signature_blobs(data, signature)
            shelf.blobs[bare(digest_of(envelope))] = len(envelope)
            shelf.signatures[bare(digest_of(document))] = document
            listed.append(Descriptor.of(document, MANIFEST_TYPE).to_dict() | {"artifactType": SIGNATURE_TYPE})
