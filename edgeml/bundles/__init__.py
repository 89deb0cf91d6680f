"""What is shipped and where it is kept: the bundle, its file format, its signatures, trusted keys, the store of a box.

Law: knows files and bytes, and nothing of models or numpy. May be imported by every room; imports only
``edgeml.errors``. ``cryptography`` appears in ``signing`` alone, urllib3 in ``registry`` alone; the disk is touched in
``disk``, ``files`` and (SQLite) ``journal`` alone. Nothing in a bundle is ever unpickled, evaluated, imported, or
extracted to a path that the bundle names.
"""

from edgeml.bundles.archive import Limits
from edgeml.bundles.bundle import Bundle, sign, verify
from edgeml.bundles.config import check_requirements
from edgeml.bundles.keyring import Keyring, rotate
from edgeml.bundles.signing import PrivateKey, PublicKey, Signature, generate_key

__all__ = [
    "Bundle",
    "Keyring",
    "Limits",
    "PrivateKey",
    "PublicKey",
    "Signature",
    "check_requirements",
    "generate_key",
    "rotate",
    "sign",
    "verify",
]
