"""The DSSE envelope: one signature over one manifest, in the one form that it can have.

The envelope is standard DSSE JSON, but its size and all its bytes except key id and signature follow from the
manifest. So it is compared with a template and never parsed: before a signature is good, no parser has seen a byte
of the file.

Source: DSSE v1 (secure-systems-lab/dsse, ``envelope.md``).
"""

from __future__ import annotations

import base64
import binascii
import re

from edgeml.bundles.manifest import MANIFEST_TYPE
from edgeml.bundles.signing import Signature
from edgeml.errors import SignatureError

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"

_KEYID_HEX = 64
_SIGNATURE_BASE64 = 88
_MIDDLE = b'","sig":"'
_END = b'"}]}'
_HEX = re.compile(rb"[0-9a-f]{64}\Z")


def envelope_bytes(manifest: bytes, signature: Signature) -> bytes:
    """Writes an envelope.

    Args:
        manifest: The exact bytes that were signed.
        signature: The signature over them.
    """
    return _start(manifest) + signature.keyid.encode() + _MIDDLE + base64.b64encode(signature.value) + _END


def envelope_size(manifest_size: int) -> int:
    """The size of every envelope over a manifest.

    Args:
        manifest_size: In bytes.
    """
    fixed = len(_start(b"")) + _KEYID_HEX + len(_MIDDLE) + _SIGNATURE_BASE64 + len(_END)
    return fixed + (manifest_size + 2) // 3 * 4


def read_envelope(data: bytes, manifest: bytes) -> Signature:
    """Takes the signature out of an envelope. Whether it is good is the keyring's matter.

    Args:
        data: The envelope's bytes.
        manifest: The manifest that it came with.

    Raises:
        SignatureError: The envelope is over another manifest, or is not in the one form.
    """
    start = _start(manifest)
    if not data.startswith(start):
        raise SignatureError("a signature in this file is over another manifest, or its envelope is damaged")
    keyid, rest = data[len(start) : len(start) + _KEYID_HEX], data[len(start) + _KEYID_HEX :]
    text = rest[len(_MIDDLE) : -len(_END)]
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        value = b""
    signature = Signature(keyid.decode("ascii", "replace"), value)
    if not _HEX.match(keyid) or len(value) != 64 or envelope_bytes(manifest, signature) != data:
        raise SignatureError("a signature envelope in this file is damaged: it is not in canonical form")
    return signature


def _start(manifest: bytes) -> bytes:
    payload = base64.b64encode(manifest)
    return b'{"payload":"%s","payloadType":"%s","signatures":[{"keyid":"' % (payload, MANIFEST_TYPE.encode())
