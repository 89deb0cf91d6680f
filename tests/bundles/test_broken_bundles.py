"""The kept bundles: good ones read, each broken one has its own message, generator and files agree."""

from __future__ import annotations

import pytest
from data.generate_bundles import FOLDER, GOOD, cases

from edgeml.bundles import Bundle

CASES = cases()


def test_generator_and_files_agree() -> None:
    kept = {path.stem: path.read_bytes() for path in FOLDER.glob("*.edgeml")}
    assert sorted(kept) == sorted(CASES)
    changed = [name for name, case in CASES.items() if kept[name] != case.data]
    assert not changed, "the format changed; if that is meant, run tests/data/generate_bundles.py"


@pytest.mark.parametrize("name", sorted(CASES))
def test_kept_bundle(name: str) -> None:
    case = CASES[name]
    path = FOLDER / f"{name}.edgeml"
    if case.error is None:
        bundle = Bundle.read(path, keyring=case.keyring)
        assert bundle.trusted and bundle.digest == GOOD.digest
        return
    with pytest.raises(case.error, match=case.message) as caught:
        Bundle.read(path, keyring=case.keyring)
    assert type(caught.value) is case.error
    assert str(caught.value).startswith(str(path)), "the message names the file"


def test_every_message_is_of_its_own_kind() -> None:
    """No two kinds of damage hide behind the same vague sentence, but for the four cuts and the canonical header."""
    messages: dict[str, list[str]] = {}
    for name, case in CASES.items():
        if case.error is not None:
            messages.setdefault(case.message, []).append(name)
    shared = {message: names for message, names in messages.items() if len(names) > 1}
    assert len(messages) >= 45
    assert max(len(names) for names in shared.values()) <= 5, shared
