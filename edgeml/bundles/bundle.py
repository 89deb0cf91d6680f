"""A bundle in memory: verified when it is read, never changed afterwards.

Reading goes in this order and stops at the first thing that is wrong:

1. size cap of the file (``archive``),
2. signatures over the raw manifest bytes, where there is a keyring (``layout`` finds them without parsing,
   ``keyring`` judges),
3. the manifest is parsed (``manifest``),
4. sizes, and digests while the bytes are copied (``layout``, ``archive``),
5. structure: the config's keys, JSON members, annotations (``config``, here).

What was hashed is what is kept in memory and handed out: the file is read once and never looked at again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from edgeml.bundles.archive import ArchiveReader, Limits, digest_of, write
from edgeml.bundles.config import check_config
from edgeml.bundles.documents import canonical, parse_canonical, parse_object
from edgeml.bundles.files import open_regular, replace_file
from edgeml.bundles.keyring import Keyring
from edgeml.bundles.layout import entries, read_blobs, read_head
from edgeml.bundles.manifest import CONFIG_MAX_BYTES, CONFIG_TYPE, MANIFEST_TYPE, Descriptor, Manifest, member_kind
from edgeml.bundles.signing import PrivateKey, Signature
from edgeml.errors import ArchiveError, BundleError, DigestError


@dataclass(frozen=True, eq=False)
class Bundle:
    """One model with everything that belongs to it. Made by ``create``, ``read`` or ``from_bytes``.

    Attributes:
        manifest: What it consists of.
        manifest_bytes: The exact bytes whose sha256 is the digest, and which are signed.
        config: The whole config; shared by all who hold the bundle, so nobody may change it.
        config_bytes: The exact bytes of the config.
        members: Content of each member, by name.
        signatures: The signatures that it carries, in the order of key ids; good or not is for a keyring to say.
        signers: Ids of the keys whose signatures were found good when it was read; empty where there was no keyring.
    """

    manifest: Manifest
    manifest_bytes: bytes
    config: dict[str, Any]
    config_bytes: bytes
    members: Mapping[str, bytes]
    signatures: tuple[Signature, ...] = ()
    signers: frozenset[str] = frozenset()

    @classmethod
    def create(cls, config: Mapping[str, Any], members: Mapping[str, bytes], *, limits: Limits | None = None) -> Bundle:
        """Makes a bundle from its parts. The same parts give the same digest.

        Args:
            config: What the bundle says about itself; JSON types only.
            members: Content by name; the names are those of the format.
            limits: What a reader will accept at most.

        Raises:
            BundleError: The config or a member breaks the format; the message names it.
        """
        limits = limits or Limits()
        config_bytes = canonical(dict(config), "config")
        if len(config_bytes) > CONFIG_MAX_BYTES:
            raise BundleError(f"config has {len(config_bytes)} bytes; at most {CONFIG_MAX_BYTES} are accepted")
        # Read back, so that what is in memory now is what any reader will get.
        document = parse_canonical(config_bytes, "config", error=BundleError)
        check_config(document)
        contents = {name: bytes(members[name]) for name in sorted(members)}
        descriptors = {}
        for name, data in contents.items():
            media_type, max_bytes = member_kind(name)
            if len(data) > max_bytes:
                raise BundleError(f"member {name} has {len(data)} bytes; at most {max_bytes} are accepted")
            descriptors[name] = Descriptor.of(data, media_type)
        manifest = Manifest(
            name=document["name"],
            version=document["version"],
            created=document.get("created"),
            config=Descriptor.of(config_bytes, CONFIG_TYPE),
            members=MappingProxyType(descriptors),
        )
        _check_members(contents, BundleError)
        bundle = cls(manifest, manifest.to_bytes(), document, config_bytes, MappingProxyType(contents))
        size = sum(map(len, bundle.to_chunks()))
        if size > limits.total_bytes:
            raise BundleError(f"the bundle has {size} bytes; at most {limits.total_bytes} are accepted")
        return bundle

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        keyring: Keyring | None = None,
        limits: Limits | None = None,
        now: float | None = None,
    ) -> Bundle:
        """Reads and verifies a bundle file.

        Args:
            path: An ``.edgeml`` file.
            keyring: The keys to trust. None is the developer's path: digests and structure are still verified, but
                nobody vouches for the bundle, and ``trusted`` is False.
            limits: What is accepted at most.
            now: Seconds since 1970, for the keyring's expiry; None asks the system clock.

        Raises:
            ArchiveError: The file is not the archive that it should be.
            DigestError: Some bytes are not those that were packed.
            SignatureError: Not enough trusted keys have signed.
            RequirementError: The bundle's format is not one that this edgeml reads.
            BundleError: Any of the above, or a config that breaks the format.
            OSError: The file does not exist or cannot be read.
        """
        stream, size = open_regular(path)
        with stream:
            try:
                return cls._read(stream, size, keyring, limits or Limits(), now)
            except BundleError as error:
                raise type(error)(f"{path}: {error}") from error

    @classmethod
    def from_bytes(
        cls, data: bytes, *, keyring: Keyring | None = None, limits: Limits | None = None, now: float | None = None
    ) -> Bundle:
        """Reads and verifies a bundle that is in memory; otherwise as ``read``."""
        return cls._read(io.BytesIO(data), len(data), keyring, limits or Limits(), now)

    @classmethod
    def _read(cls, stream: BinaryIO, size: int, keyring: Keyring | None, limits: Limits, now: float | None) -> Bundle:
        reader = ArchiveReader(stream, size, limits)
        head = read_head(reader, limits)
        signers = _signers(keyring, head.manifest, head.signatures, now)
        manifest = Manifest.from_bytes(head.manifest, limits)
        if manifest.version != head.version:
            raise ArchiveError(f"index.json calls this version {head.version}, and the manifest {manifest.version}")
        return cls._assembled(manifest, head.manifest, head.signatures, signers, read_blobs(reader, manifest, head))

    @classmethod
    def from_blobs(
        cls,
        manifest_bytes: bytes,
        signatures: Sequence[Signature],
        fetch: Callable[[Descriptor], bytes],
        *,
        keyring: Keyring | None = None,
        limits: Limits | None = None,
        now: float | None = None,
    ) -> Bundle:
        """Makes a bundle of blobs that are kept one by one, and verifies all of them; otherwise as ``read``.

        Args:
            manifest_bytes: The manifest's exact bytes.
            signatures: The signatures that are known.
            fetch: Gives the bytes of a blob; asked only once the signatures are good.
            keyring: The keys to trust.
            limits: What is accepted at most.
            now: Seconds since 1970, for the keyring's expiry.
        """
        limits = limits or Limits()
        signers = _signers(keyring, manifest_bytes, signatures, now)
        manifest = Manifest.from_bytes(manifest_bytes, limits)
        blobs: dict[str, bytes] = {}
        for where, descriptor in (("config", manifest.config), *manifest.members.items()):
            if descriptor.digest not in blobs:
                blobs[descriptor.digest] = _verified(where, descriptor, fetch(descriptor))
        return cls._assembled(manifest, manifest_bytes, tuple(signatures), signers, blobs)

    @classmethod
    def _assembled(
        cls,
        manifest: Manifest,
        manifest_bytes: bytes,
        signatures: tuple[Signature, ...],
        signers: frozenset[str],
        blobs: Mapping[str, bytes],
    ) -> Bundle:
        """Checks the structure of what was read and found to be what the manifest says."""
        config_bytes = blobs[manifest.config.digest]
        config = config_of(manifest, config_bytes)
        members = {name: blobs[descriptor.digest] for name, descriptor in manifest.members.items()}
        _check_members(members, ArchiveError)
        return cls(manifest, manifest_bytes, config, config_bytes, MappingProxyType(members), signatures, signers)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version label; never compared, only shown."""
        return self.manifest.version

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the manifest: the bundle's identity. Signing does not change it."""
        return digest_of(self.manifest_bytes)

    @property
    def trusted(self) -> bool:
        """Whether the bundle was read with a keyring, and enough of its keys had signed."""
        return bool(self.signers)

    @property
    def blobs(self) -> dict[str, bytes]:
        """Config and members by digest, in the order of the archive; members with equal bytes stand once."""
        members = {descriptor.digest: self.members[name] for name, descriptor in self.manifest.members.items()}
        return {self.manifest.config.digest: self.config_bytes} | members

    def document(self, name: str) -> dict[str, Any]:
        """A JSON member, strictly read.

        Args:
            name: Name of the member, such as ``rules.json``.

        Raises:
            BundleError: The bundle does not have it.
        """
        if name not in self.members:
            raise BundleError(f"the bundle has no member {name}; build it again")
        return parse_object(self.members[name], f"member {name}")

    def to_chunks(self) -> Iterator[bytes]:
        """The bundle as the bytes of an ``.edgeml`` file, piece by piece, without copying the members."""
        return write(entries(self.manifest_bytes, self.version, self.signatures, self.blobs))

    def save(self, path: str | Path) -> None:
        """Writes the bundle, durably and as a whole.

        Raises:
            OSError: The disk refused; the old file, if any, is untouched.
        """
        replace_file(path, self.to_chunks())


def sign(bundle: Bundle, private_key: PrivateKey, *, limits: Limits | None = None) -> Bundle:
    """The same bundle with one more signature. Signing twice with one key changes nothing.

    Args:
        bundle: What to sign. Signing says: I vouch for these bytes.
        private_key: The key to sign with.
        limits: What a reader will accept at most.

    Raises:
        BundleError: The bundle carries as many signatures as a reader accepts.
    """
    limits = limits or Limits()
    others = [signature for signature in bundle.signatures if signature.keyid != private_key.keyid]
    if len(others) == limits.signatures:
        raise BundleError(f"the bundle already carries {limits.signatures} signatures, the most that a reader accepts")
    signatures = [*others, private_key.sign(MANIFEST_TYPE, bundle.manifest_bytes)]
    return replace(bundle, signatures=tuple(sorted(signatures, key=lambda signature: signature.keyid)))


def verify(bundle: Bundle, keyring: Keyring, *, now: float | None = None) -> frozenset[str]:
    """Checks that enough trusted keys have signed a bundle that is already in memory.

    Args:
        bundle: What to check.
        keyring: The keys to trust.
        now: Seconds since 1970, for the keyring's expiry; None asks the system clock.

    Returns:
        Ids of the keys whose signatures are good.

    Raises:
        SignatureError: They are too few, or the keyring has expired.
    """
    return keyring.check(MANIFEST_TYPE, bundle.manifest_bytes, bundle.signatures, now=now)


def config_of(manifest: Manifest, config_bytes: bytes) -> dict[str, Any]:
    """Reads a bundle's config and compares it with the manifest.

    Raises:
        RequirementError: The bundle's format is not one that this edgeml reads.
        BundleError: The config breaks the format, or says otherwise than the manifest's annotations.
    """
    config = parse_canonical(config_bytes, "config")
    check_config(config)
    said = (manifest.name, manifest.version, manifest.created)
    if said != (config["name"], config["version"], config.get("created")):
        raise ArchiveError("the manifest's annotations (title, version, created) are not those of the config")
    return config


def _signers(
    keyring: Keyring | None, manifest: bytes, signatures: Sequence[Signature], now: float | None
) -> frozenset[str]:
    if keyring is None:
        return frozenset()
    return keyring.check(MANIFEST_TYPE, manifest, signatures, now=now)


def _verified(where: str, descriptor: Descriptor, data: bytes) -> bytes:
    if len(data) != descriptor.size or digest_of(data) != descriptor.digest:
        raise DigestError(f"{where} holds other bytes than were packed: {len(data)} bytes with {digest_of(data)}")
    return data


def _check_members(members: Mapping[str, bytes], error: type[BundleError]) -> None:
    """Reads every JSON member once, strictly; nothing of it is kept."""
    if "model.onnx" not in members and "rules.json" not in members:
        raise error("a bundle needs at least one of model.onnx and rules.json")
    for name, data in members.items():
        if name.endswith(".json"):
            parse_object(data, f"member {name}", error=error)
        elif name == "golden.jsonl":
            for number, line in enumerate(data.splitlines()):
                parse_object(line, f"member {name}, line {number + 1}", error=error)
        elif name == "CARD.md":
            try:
                data.decode()
            except UnicodeDecodeError as reason:
                raise error(f"member {name} is not UTF-8: {reason}") from reason
