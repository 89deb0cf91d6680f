"""Signed little bundles for tests of the store: any number of versions of the model ``door``."""

from data.generate_bundles import ALICE, CONFIG, MEMBERS, ONE

from edgeml.bundles import Bundle, Keyring, PrivateKey, sign
from edgeml.bundles.store import Store


def release(
    version: str, *, name: str = "door", epoch: int = 0, keys: tuple[PrivateKey, ...] = (ALICE,), size: int = 0
) -> Bundle:
    """A bundle whose model's bytes are its own, so that versions differ in one blob and share another."""
    config = CONFIG | {"name": name, "version": version, "security_epoch": epoch}
    members = MEMBERS | {"model.onnx": f"{name} {version} ".encode() + bytes(size)}
    bundle = Bundle.create(config, members)
    for key in keys:
        bundle = sign(bundle, key)
    return bundle


def new_store(root, *, keyring: Keyring | None = ONE, **options) -> Store:
    """A fresh store that trusts ALICE."""
    return Store.create(root, keyring=keyring, **options)


def installed(store: Store, *versions: str, **options) -> list[str]:
    """Installs versions; gives their digests."""
    return [store.install(release(version, **options)) for version in versions]
