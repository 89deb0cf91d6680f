"""The manifest: what a bundle consists of. Its bytes are what is signed; their sha256 is the bundle's digest.

1. An OCI image manifest with our artifact type, a config blob, and one layer for each member.
2. Members come from a closed list, each with its media type and its largest size.
3. There is exactly one way of writing a manifest: reading ends by writing it again and comparing the bytes.

Sources: OCI image specification 1.1, ``manifest.md``, ``descriptor.md`` and ``annotations.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeml.bundles.archive import Limits, digest_of
from edgeml.bundles.documents import canonical, parse_canonical
from edgeml.errors import ArchiveError, BundleError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
BUNDLE_TYPE = "application/vnd.edgeml.bundle.v1"
CONFIG_TYPE = "application/vnd.edgeml.config.v1+json"

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
CREATED = "org.opencontainers.image.created"

CONFIG_MAX_BYTES = 1024 * 1024

_MIB = 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_KERNEL = re.compile(r"kernel\.[a-z0-9_]{1,32}(\.[a-z0-9_]{1,16})?\Z")

# name -> (media type, largest size in bytes)
_MEMBERS = {
    "CARD.md": ("text/markdown", 4 * _MIB),
    "features.json": ("application/vnd.edgeml.features.v1+json", 16 * _MIB),
    "features.npy": ("application/vnd.edgeml.features.v1.npy", 256 * _MIB),
    "features.terms": ("application/vnd.edgeml.features.v1.terms", 256 * _MIB),
    "golden.jsonl": ("application/vnd.edgeml.golden.v1.jsonl", 64 * _MIB),
    "image.json": ("application/vnd.edgeml.image.v1+json", _MIB),
    "middle.features.json": ("application/vnd.edgeml.features.v1+json", 16 * _MIB),
    "middle.features.npy": ("application/vnd.edgeml.features.v1.npy", 256 * _MIB),
    "middle.features.terms": ("application/vnd.edgeml.features.v1.terms", 256 * _MIB),
    "middle.kernel.counts.npy": ("application/vnd.edgeml.kernel.v1", 256 * _MIB),
    "middle.kernel.json": ("application/vnd.edgeml.kernel.v1", 16 * _MIB),
    "middle.kernel.npy": ("application/vnd.edgeml.kernel.v1", 256 * _MIB),
    "model.onnx": ("application/vnd.edgeml.model.v1.onnx", 2048 * _MIB),
    "reference.json": ("application/vnd.edgeml.reference.v1+json", 16 * _MIB),
    "rules.json": ("application/vnd.edgeml.rules.v1+json", 4 * _MIB),
}
_KERNEL_MEMBER = ("application/vnd.edgeml.kernel.v1", 512 * _MIB)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Where some bytes are and what they are.

    Attributes:
        media_type: What the bytes are.
        digest: ``sha256:<hex>``.
        size: In bytes.
    """

    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Descriptor:
        """Describes some bytes."""
        return cls(media_type, digest_of(data), len(data))

    def to_dict(self) -> dict[str, Any]:
        """The OCI form."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle consists of.

    Attributes:
        name: The bundle's name.
        version: Its version label.
        created: Time of building as the author gave it; None where none was given.
        config: Descriptor of the config.
        members: Descriptor of each member, by name, in the order of names.
    """

    name: str
    version: str
    created: str | None
    config: Descriptor
    members: Mapping[str, Descriptor]

    def to_bytes(self) -> bytes:
        """The one way of writing this manifest."""
        annotations = {TITLE: self.name, VERSION: self.version}
        if self.created is not None:
            annotations[CREATED] = self.created
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": BUNDLE_TYPE,
            "config": self.config.to_dict(),
            "layers": [
                self.members[member].to_dict() | {"annotations": {TITLE: member}} for member in sorted(self.members)
            ],
            "annotations": annotations,
        }
        return canonical(document, "the manifest")

    @classmethod
    def from_bytes(cls, data: bytes, limits: Limits) -> Manifest:
        """Reads a manifest.

        Args:
            data: The exact bytes.
            limits: What is accepted at most.

        Raises:
            ArchiveError: The bytes are not such a manifest, name an unknown member, or exceed a limit.
        """
        document = parse_canonical(data, "the manifest")
        if document.get("artifactType") != BUNDLE_TYPE:
            kind = document.get("artifactType")
            raise ArchiveError(f"the manifest's artifactType is {_short(kind)}; a bundle has {BUNDLE_TYPE!r}")
        annotations, layers = document.get("annotations"), document.get("layers")
        if not isinstance(annotations, dict) or not isinstance(layers, list):
            raise ArchiveError("the manifest needs annotations (an object) and layers (a list)")
        config = _descriptor(document.get("config"), "config", CONFIG_TYPE, CONFIG_MAX_BYTES)
        members: dict[str, Descriptor] = {}
        for layer in layers:
            name = _title(layer)
            if name in members:
                raise ArchiveError(f"the manifest names member {name} twice")
            members[name] = _descriptor(layer, f"member {name}", *member_kind(name, ArchiveError))
        total = config.size + sum(member.size for member in members.values())
        if total > limits.total_bytes:
            raise ArchiveError(f"the manifest promises {total} bytes; at most {limits.total_bytes} are accepted")
        manifest = cls(
            name=_text(annotations, TITLE),
            version=_text(annotations, VERSION),
            created=_text(annotations, CREATED) if CREATED in annotations else None,
            config=config,
            members=members,
        )
        if manifest.to_bytes() != data:
            raise ArchiveError("the manifest has fields, or an order of members, that edgeml does not write")
        return manifest


def member_kind(name: str, error: type[BundleError] = BundleError) -> tuple[str, int]:
    """Media type and largest size in bytes of a member.

    Args:
        name: Name of the member.
        error: What is raised.

    Raises:
        BundleError: No such member may be in a bundle.
    """
    if _KERNEL.match(name):
        return _KERNEL_MEMBER
    try:
        return _MEMBERS[name]
    except KeyError:
        known = ", ".join(_MEMBERS)
        raise error(f"{_short(name)} cannot be a member of a bundle; members are {known} and kernel.*") from None


def _descriptor(document: Any, where: str, media_type: str, max_bytes: int) -> Descriptor:
    if not isinstance(document, dict):
        raise ArchiveError(f"the manifest's {where} is not a descriptor")
    digest, size = document.get("digest"), document.get("size")
    if document.get("mediaType") != media_type:
        raise ArchiveError(
            f"the manifest's {where} has media type {_short(document.get('mediaType'))}, not {media_type!r}"
        )
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise ArchiveError(f"the manifest's {where} has the digest {_short(digest)}, which is no sha256")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= max_bytes:
        raise ArchiveError(f"the manifest's {where} has the size {_short(size)}; 0 to {max_bytes} bytes are accepted")
    return Descriptor(media_type, digest, size)


def _title(layer: Any) -> str:
    annotations = layer.get("annotations") if isinstance(layer, dict) else None
    if not isinstance(annotations, dict):
        raise ArchiveError("the manifest has a layer without annotations")
    return _text(annotations, TITLE)


def _text(annotations: dict[str, Any], key: str) -> str:
    value = annotations.get(key)
    if not isinstance(value, str):
        raise ArchiveError(f"the manifest's annotation {key} is {_short(value)}, not a text")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
