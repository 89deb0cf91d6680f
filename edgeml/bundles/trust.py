"""Whom a box trusts: its keyring, kept among the blobs and named by the record, and what follows from it.

1. Without the operator's opt-out (``allow_unsigned``) every bundle and every order needs the keyring's signatures.
2. A keyring that has expired takes nothing new; what was installed in time goes on answering.
3. New keys, or the end of the opt-out, are refused while something that answers would no longer be trusted: first its
   file is signed with the new keys and installed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from edgeml.bundles.archive import digest_of
from edgeml.bundles.blobs import Blobs
from edgeml.bundles.envelope import read_envelope
from edgeml.bundles.incoming import Incoming
from edgeml.bundles.keyring import MAX_BYTES, Keyring
from edgeml.bundles.manifest import MANIFEST_TYPE
from edgeml.bundles.order import Order
from edgeml.bundles.signing import Signature
from edgeml.bundles.state import State, bare
from edgeml.errors import DigestError, NotInstalledError, SignatureError

ENVELOPE_MAX_BYTES = 1024 * 1024
# Before every time that a keyring can name: an old keyring still says what was trusted.
NEVER_EXPIRED = 0.0


class Trust:
    """What the record of a store trusts.

    Args:
        blobs: Where keyrings are kept.
        incoming: Where signatures may still wait.
    """

    def __init__(self, blobs: Blobs, incoming: Incoming) -> None:
        self._blobs = blobs
        self._incoming = incoming

    def keyring(self, state: State) -> Keyring | None:
        """The keys that are trusted; None where the box has none.

        Raises:
            SignatureError: The keyring is damaged.
            OSError: It cannot be read.
        """
        return None if state.keyring is None else Keyring.from_bytes(self._blobs.read(state.keyring, MAX_BYTES))

    def keep(self, keyring: Keyring) -> str:
        """Writes a keyring among the blobs, durably; gives its hex digest."""
        data = keyring.to_bytes()
        digest = bare(digest_of(data))
        self._blobs.add(digest, data)
        self._blobs.settle()
        return digest

    def signatures(self, manifest: bytes, envelopes: Sequence[str]) -> tuple[Signature, ...]:
        """Reads signatures; what is missing, damaged or over another manifest counts nothing.

        Args:
            manifest: The manifest's exact bytes.
            envelopes: Hex digests.
        """
        found = {}
        for digest in envelopes:
            with suppress(NotInstalledError, SignatureError, DigestError, FileNotFoundError):
                signature = read_envelope(self.read(digest, ENVELOPE_MAX_BYTES), manifest)
                found[signature.keyid] = signature
        return tuple(found[keyid] for keyid in sorted(found))

    def check(self, state: State, manifest: bytes, signatures: Sequence[Signature], *, now: float) -> None:
        """Checks that a new bundle may be believed.

        Args:
            state: The record.
            manifest: The manifest's exact bytes.
            signatures: What came with it.
            now: The latest time known, in seconds since 1970.

        Raises:
            SignatureError: Not enough trusted keys have signed, or the keyring has expired.
        """
        if not state.allow_unsigned:
            self._needed(state).check(MANIFEST_TYPE, manifest, signatures, now=now)

    def check_order(self, state: State, order: Order, *, now: float) -> None:
        """Checks an order's signatures and its expiry.

        Raises:
            SignatureError: Not enough trusted keys have signed.
            OrderError: It has expired.
        """
        order.check(self._needed(state), now=now)

    def check_answering(self, state: State, keyring: Keyring | None, *, max_bytes: int) -> None:
        """Refuses new keys, or the end of the opt-out, where something that answers would no longer be trusted.

        Args:
            state: The record as it would be.
            keyring: The keys as they would be.
            max_bytes: Largest size of a manifest.

        Raises:
            SignatureError: The message names the bundle.
        """
        if state.allow_unsigned or keyring is None:
            return
        for name, model in state.models.items():
            for digest in sorted(model.kept):
                release = model.releases[digest]
                manifest = self._blobs.read(digest, max_bytes)
                signatures = self.signatures(manifest, release.envelopes)
                try:
                    keyring.check(MANIFEST_TYPE, manifest, signatures, now=NEVER_EXPIRED)
                except SignatureError as error:
                    raise SignatureError(
                        f"{name} {release.version} would no longer be trusted ({error}); sign it with the new keys and "
                        "install the signed file first"
                    ) from error

    def read(self, digest: str, max_bytes: int) -> bytes:
        """Reads a small blob, installed or still waiting, and verifies it.

        Args:
            digest: Hex digest.
            max_bytes: Largest size accepted.

        Raises:
            NotInstalledError: It is nowhere.
            DigestError: It is damaged.
            OSError: It cannot be read.
        """
        if self._incoming.size(digest) is not None:
            return self._incoming.read(digest, max_bytes)
        if self._blobs.size(digest) is None:
            raise NotInstalledError(f"sha256:{digest[:12]} is not here; send it first")
        return self._blobs.read(digest, max_bytes)

    def _needed(self, state: State) -> Keyring:
        keyring = self.keyring(state)
        if keyring is None:
            raise SignatureError("this box has no keyring, so it trusts nothing; give it one with 'edgeml trust'")
        return keyring
