"""The reader under fire: only BundleError ever escapes, and what is accepted is exactly what the writer writes."""

from __future__ import annotations

import json
from typing import Any

from data.generate_bundles import (
    ALICE,
    CONFIG,
    GOOD,
    MEMBERS,
    ONE,
    SIGNED,
    canonical,
    digest,
    forged,
    packed,
    unpacked,
    with_config,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeml.bundles import Bundle, Keyring
from edgeml.bundles.archive import BLOCK
from edgeml.errors import BundleError, SignatureError

ENTRIES = unpacked(SIGNED)
BLOCKS = [SIGNED[start : start + BLOCK] for start in range(0, len(SIGNED), BLOCK)]

# The machine may be busy: how long an example takes says nothing about the reader.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def survives(data: bytes, keyring: Keyring | None = ONE) -> Bundle | None:
    """Reads hostile bytes; whatever is accepted must be written again as the very same bytes."""
    try:
        bundle = Bundle.from_bytes(data, keyring=keyring)
    except BundleError as error:
        assert str(error)
        return None
    assert b"".join(bundle.to_chunks()) == data
    return bundle


@CALM
@given(st.binary(max_size=4096))
def test_random_bytes(data: bytes) -> None:
    assert survives(data) is None
    assert survives(data.ljust(-(-len(data) // BLOCK) * BLOCK + 3 * BLOCK, b"\0"), None) is None


@st.composite
def mutated_blocks(draw: st.DrawFn) -> bytes:
    """Blocks of a good archive cut, repeated, swapped, zeroed and scribbled on."""
    blocks = list(BLOCKS)
    for _ in range(draw(st.integers(1, 4))):
        if not blocks:
            break
        place, other = (draw(st.integers(0, len(blocks) - 1)) for _ in range(2))
        match draw(st.sampled_from(["drop", "repeat", "swap", "zero", "scribble", "cut", "append"])):
            case "drop":
                del blocks[place]
            case "repeat":
                blocks.insert(other, blocks[place])
            case "swap":
                blocks[place], blocks[other] = blocks[other], blocks[place]
            case "zero":
                blocks[place] = bytes(BLOCK)
            case "scribble":
                noise = draw(st.binary(min_size=1, max_size=40))
                start = draw(st.integers(0, BLOCK - len(noise)))
                blocks[place] = blocks[place][:start] + noise + blocks[place][start + len(noise) :]
            case "cut":
                del blocks[place:]
            case "append":
                blocks.append(blocks[place])
    return b"".join(blocks)


@settings(CALM, max_examples=150)
@given(mutated_blocks(), st.sampled_from([ONE, None]))
def test_mutated_blocks(data: bytes, keyring: Keyring | None) -> None:
    bundle = survives(data, keyring)
    assert bundle is None or data == SIGNED


@st.composite
def mutated_entries(draw: st.DrawFn) -> bytes:
    """Well-formed archives with the wrong entries: every header and every blob name is right."""
    entries = list(ENTRIES)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(entries) - 1))
        name, data = entries[place]
        match draw(st.sampled_from(["change", "drop", "move", "extra"])):
            case "change":
                start = draw(st.integers(0, max(0, len(data) - 1)))
                data = data[:start] + draw(st.binary(max_size=10)) + data[start + draw(st.integers(0, 10)) :]
                entries[place] = ("blobs/sha256/" + digest(data)[7:] if "/" in name else name, data)
            case "drop" if len(entries) > 1:
                del entries[place]
            case "move":
                entries.insert(draw(st.integers(0, len(entries) - 1)), entries.pop(place))
            case _:
                data = draw(st.binary(max_size=600))
                entries.insert(place, ("blobs/sha256/" + digest(data)[7:], data))
    return packed(entries)


@settings(CALM, max_examples=150)
@given(mutated_entries(), st.sampled_from([ONE, None]))
def test_mutated_entries(data: bytes, keyring: Keyring | None) -> None:
    bundle = survives(data, keyring)
    assert bundle is None or bundle.digest == GOOD.digest or keyring is None


@CALM
@given(st.dictionaries(st.sampled_from([*CONFIG, "slo", "parent", "security_epoch", "x"]), json_values), st.booleans())
def test_any_signed_config(changes: dict[str, Any], replace: bool) -> None:
    survives(with_config(canonical(changes if replace else CONFIG | changes)))


@CALM
@given(st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "annotations", "subject"]), json_values)
def test_any_signed_manifest(key: str, value: Any) -> None:
    document = json.loads(GOOD.manifest_bytes) | {key: value}
    survives(forged(canonical(document), [GOOD.config_bytes, *MEMBERS.values()], ALICE))


@CALM
@given(st.sampled_from(["mediaType", "digest", "size", "annotations", "more"]), json_values, st.integers(0, 2))
def test_any_signed_descriptor(key: str, value: Any, which: int) -> None:
    document = json.loads(GOOD.manifest_bytes)
    [document["config"], *document["layers"]][which][key] = value
    survives(forged(canonical(document), [GOOD.config_bytes, *MEMBERS.values()], ALICE))


@CALM
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_keyring_bytes(data: bytes) -> None:
    try:
        Keyring.from_bytes(data)
    except SignatureError as error:
        assert str(error)


@CALM
@given(st.dictionaries(st.sampled_from(["version", "threshold", "keys", "expires", "signatures"]), json_values))
def test_any_keyring_document(changes: dict[str, Any]) -> None:
    document = json.loads(ONE.to_bytes()) | changes
    try:
        keyring = Keyring.from_bytes(json.dumps(document).encode())
    except SignatureError as error:
        assert str(error)
    else:
        assert Keyring.from_bytes(keyring.to_bytes()) == keyring
