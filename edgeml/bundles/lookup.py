"""Which installed bundle a person means."""

from __future__ import annotations

from edgeml.bundles.state import State
from edgeml.errors import NotInstalledError


def find_release(state: State, text: str, model: str | None = None) -> str:
    """The hex digest of an installed bundle that a person named.

    Args:
        state: The record.
        text: A digest, the first 6 or more of its digits, ``name:version``, or a version label.
        model: Only among this model's bundles.

    Raises:
        NotInstalledError: Nothing fits, or several do.
    """
    name, _, version = text.rpartition(":")
    short = text.removeprefix("sha256:")
    found = {
        digest: f"{each} {release.version}"
        for each, known in state.models.items()
        if model in (None, each)
        for digest, release in known.releases.items()
        if digest == short
        or (len(short) >= 6 and digest.startswith(short))
        or text == release.version
        or (name == each and version == release.version)
    }
    if len(found) > 1:
        raise NotInstalledError(f"{text!r} fits {', '.join(sorted(found.values()))}; give more digits of the digest")
    if not found:
        raise NotInstalledError(f"no installed bundle is {text!r}; see 'edgeml releases'")
    return next(iter(found))
