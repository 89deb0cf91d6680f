"""Manifests come in: the point at which bytes that wait become an installed bundle, or do not.

Nothing but bytes of a fixed form is looked at before a signature is good:

1. A manifest is at most 256 KiB.
2. What is, byte for byte, of the one form of a signature manifest is a signature: its envelope must be here. It is
   remembered, and refused at once where the bundle is here and the signature is not a good one by a trusted key.
3. Everything else is taken for a bundle's manifest. It waits, as opaque bytes, until enough signatures are here; the
   answer says so (``Edgeml-State: waiting``). So ``skopeo copy`` and ``oras``, which know nothing of our signatures,
   work before and after them.
4. With enough signatures it is parsed. It must call itself by the name it was pushed to, and by the tag where there is
   one (``latest`` fits every version); every blob must be here; then it is installed. A tag is only compared where the
   signatures came first: a bundle that waits is installed under the version label that its signers gave it.
5. What is refused for what it is does not go on waiting. What only lacks something does.

The lists of signatures that older clients keep under the tag ``sha256-<hex>`` are taken and ignored: the referrers
interface answers from what is installed.
"""

from __future__ import annotations

import threading

from edgeml.bundles.archive import digest_of
from edgeml.bundles.layout import signature_subject
from edgeml.bundles.manifest import MANIFEST_TYPE, Descriptor, Manifest
from edgeml.bundles.state import bare
from edgeml.bundles.store import Store
from edgeml.errors import (
    BundleError,
    DigestError,
    NotInstalledError,
    OrderError,
    RequestError,
    SignatureError,
)
from edgeml.supervisor.call import Call
from edgeml.supervisor.oci_names import check_reference_tag, check_repository, hex_of, is_fallback_tag
from edgeml.supervisor.oci_shelf import LATEST
from edgeml.supervisor.places import Places
from edgeml.supervisor.refusals import Answer, Headers

INSTALLED = "installed"
WAITING = "waiting"


class OciManifests:
    """Manifests for one store.

    Args:
        store: The store.
        hashing: Places for work that reads and hashes blobs.
    """

    def __init__(self, store: Store, *, hashing: Places) -> None:
        self._store = store
        self._hashing = hashing
        # Two clients that push at once take turns; the store itself refuses the second.
        self._installing = threading.Lock()

    def put(self, call: Call, name: str, reference: str) -> Answer:
        """Takes a manifest."""
        check_repository(name)
        data = call.body.whole(self._store.limits.bundle.manifest_bytes)
        digest = digest_of(data)
        if ":" in reference and hex_of(reference) != bare(digest):
            raise RequestError(f"the manifest's digest is {digest}, not {reference}", code="DIGEST_INVALID")
        if is_fallback_tag(reference):
            return self._taken(name, digest)
        tag = "" if ":" in reference else check_reference_tag(reference)
        signed = signature_subject(data)
        # A place first: whoever waits for the turn holds a thread, too.
        with self._hashing.take(), self._installing:
            if signed is None:
                return self._bundle(call, name, data, tag)
            return self._signature(call, name, digest, *signed)

    def _signature(self, call: Call, name: str, digest: str, subject: Descriptor, envelope: Descriptor) -> Answer:
        incoming, trust = self._store.incoming, self._store.trust
        bundle, held = bare(subject.digest), bare(envelope.digest)
        size = incoming.size(held)
        if (self._store.blobs.size(held) if size is None else size) != envelope.size:
            raise RequestError(f"the envelope {envelope.digest} is not here; send it first", code=_MISSING)
        told = [("OCI-Subject", subject.digest)]
        manifest = self._present(bundle, subject.size)
        if manifest is None:
            incoming.remember_signature(bundle, held)
            return self._taken(name, digest, *told, state=WAITING, reason="the bundle that it signs is not here yet")
        state = self._store.state()
        keyring = None if state.allow_unsigned else trust.keyring(state)
        found = trust.signatures(manifest, [held])
        good = {key.keyid: key for key in keyring.keys} if keyring is not None else {}
        if not found:
            raise SignatureError("the envelope holds no signature over the manifest that it is said to be about")
        if not state.allow_unsigned and not all(
            each.keyid in good and good[each.keyid].accepts(each.value, MANIFEST_TYPE, manifest) for each in found
        ):
            raise SignatureError("the signature is by no key that this box trusts, or does not fit the manifest")
        incoming.remember_signature(bundle, held)
        try:
            self._store.install_waiting(bundle, who=call.caller.name)
        except (SignatureError, NotInstalledError) as error:
            return self._taken(name, digest, *told, state=WAITING, reason=str(error))
        except (BundleError, OrderError):
            incoming.drop([bundle])
            raise
        return self._taken(name, digest, *told)

    def _bundle(self, call: Call, name: str, data: bytes, tag: str) -> Answer:
        digest = digest_of(data)
        waiting = bare(digest)
        incoming = self._store.incoming
        if self._store.state().find(waiting) is not None and not incoming.signatures(waiting):
            # Known and trusted since long, so it may be parsed; its blobs are verified whenever it is loaded.
            self._check_names(self._store.manifest(waiting), name, tag)
            return self._taken(name, digest)
        incoming.put(waiting, data)
        try:
            # With what is held by an installed bundle counted too, this is decided by install_waiting alone.
            if self._store.state().find(waiting) is None:
                self._check_names(self._store.check_waiting(waiting), name, tag)
            self._store.install_waiting(waiting, who=call.caller.name)
        except SignatureError as error:
            if self._may_come(data):
                return self._taken(name, digest, state=WAITING, reason=str(error))
            incoming.drop([waiting])
            raise
        except NotInstalledError as error:
            raise RequestError(str(error), code=_MISSING) from error
        except DigestError:
            raise  # a blob has another size than the manifest says; the manifest may be sent again
        except (BundleError, OrderError, RequestError):
            incoming.drop([waiting])
            raise
        return self._taken(name, digest)

    def _may_come(self, manifest: bytes) -> bool:
        """Whether all signatures so far are good ones by trusted keys, and only too few."""
        state = self._store.state()
        trust = self._store.trust
        keyring = trust.keyring(state)
        if keyring is None:
            return False
        noted = self._store.incoming.signatures(bare(digest_of(manifest)))
        found = trust.signatures(manifest, noted)
        good = {key.keyid: key for key in keyring.keys}
        trusted = [
            each
            for each in found
            if each.keyid in good and good[each.keyid].accepts(each.value, MANIFEST_TYPE, manifest)
        ]
        # With enough good ones it was refused for something else: the keyring has expired.
        return len(trusted) == len(found) == len(noted) and len(trusted) < keyring.threshold

    def _present(self, bundle: str, size: int) -> bytes | None:
        """The manifest with this digest, waiting or installed."""
        try:
            return self._store.trust.read(bundle, size)
        except (NotInstalledError, DigestError):
            return None

    def _check_names(self, manifest: Manifest, name: str, tag: str) -> None:
        if manifest.name != name:
            raise RequestError(f"the bundle calls itself {manifest.name!r}, not {name!r}", code="NAME_INVALID")
        if tag not in ("", LATEST, manifest.version):
            raise RequestError(
                f"the bundle's version is {manifest.version!r}; push it under that tag, not {tag!r}",
                code="MANIFEST_INVALID",
            )

    def _taken(
        self, name: str, digest: str, *more: tuple[str, str], state: str = INSTALLED, reason: str = ""
    ) -> Answer:
        headers: Headers = [
            ("Location", f"/v2/{name}/manifests/{digest}"),
            ("Docker-Content-Digest", digest),
            ("Edgeml-State", state),
            *more,
        ]
        if reason:
            headers.append(("Edgeml-Reason", _plain(reason)))
        return 201, headers, b""


_MISSING = "MANIFEST_BLOB_UNKNOWN"


def _plain(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)[:300]
