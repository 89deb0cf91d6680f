"""What the tests of transfers are worth: edgeml with a mistake in it, and the test of the network that catches it.

Cuts in the middle of a blob, slow drips, wrong lengths, endless bodies, wrong digests, signatures of strangers: each
test named here passes where it stands. Here it must fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from bundles import test_registry_pull as pulls
from bundles import test_registry_push as pushes
from bundles.registry_peers import ToyRegistry
from supervisor import test_oci_uploads as uploads
from supervisor import test_tuf_attacks as attacks
from supervisor.boxes import make_box

from edgeml.bundles import transitions
from edgeml.bundles.incoming import Incoming
from edgeml.bundles.keyring import Keyring
from edgeml.bundles.registry import Registry
from edgeml.bundles.registry_link import Answer, Interrupted
from edgeml.bundles.registry_pull import MemorySink
from edgeml.bundles.registry_push import BundleSource, push
from edgeml.bundles.registry_upload import Upload
from edgeml.errors import EdgemlError, TransferError
from edgeml.supervisor import oci_uploads
from edgeml.supervisor.request_body import Body

# How a test fails: by what it asserts, by an error that was to come and did not, by one that was not to come, and where
# success is read for the reason of a refusal.
FAILURES = (AssertionError, pytest.fail.Exception, EdgemlError, json.JSONDecodeError)


def kept_unseen(self: MemorySink, digest: str, size: int) -> None:
    self.blobs[digest] = bytes(self.parts.pop(digest, b""))


def four_times_as_much(self: Answer, max_bytes: int) -> Any:
    return pieces(self, 4 * max_bytes)


def read_without_an_end(self: Answer, max_bytes: int) -> bytes:
    return b"".join(pieces(self, 4 * max_bytes))


def a_drip_is_a_cut(self: Answer, max_bytes: int) -> Any:
    try:
        yield from pieces(self, max_bytes)
    except TransferError as error:
        raise Interrupted(str(error), code="interrupted") from error


def finished_unseen(self: Incoming, name: str, digest: str) -> None:
    self._disk.rename(self._part(name), self.folder / digest)


def nothing_is_left_of_a_cut(self: Incoming, name: str, body: Any) -> int:
    try:
        return append(self, name, body)
    except TransferError:
        self.cancel(name)
        self.start(name)
        raise


def asked_in_vain(self: Upload, location: str) -> tuple[str, int]:
    return "", 0


def cut_without_a_word(self: Body, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        raise TransferError("the connection ended before the body did", code="cut") from error


def nothing(*_: object, **__: object) -> None:
    """Looks at nothing, and gives nothing."""


pieces = Answer.pieces
append = Incoming.append


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        name: What it is.
        where: What is done over the network.
        target: Where it is made: object and name there.
        made: What stands there.
        test: The test that catches it.
        peer: The fixture that it is called with.
    """

    name: str
    where: str
    target: tuple[object, str]
    made: object
    test: Callable[..., None]
    peer: str = "box"


MISTAKES = [
    Mistake(
        "other bytes than the digest's are taken",
        "pull",
        (MemorySink, "finish"),
        kept_unseen,
        pulls.test_wrong_bytes_are_found_out_and_dropped,
        "toy",
    ),
    Mistake(
        "the registry's length is believed",
        "pull",
        (Answer, "length"),
        nothing,
        partial(pulls.test_a_length_that_is_not_the_manifests_is_refused_before_a_byte_is_read, wrong=1),
        "toy",
    ),
    Mistake(
        "an endless body is read on",
        "pull",
        (Answer, "pieces"),
        four_times_as_much,
        partial(pulls.test_an_endless_body_costs_no_more_than_the_blob, length=None),
        "toy",
    ),
    Mistake(
        "an endless manifest is read on",
        "pull",
        (Answer, "read"),
        read_without_an_end,
        pulls.test_an_endless_manifest_is_cut,
        "toy",
    ),
    Mistake(
        "a blob that was cut begins anew",
        "pull",
        (MemorySink, "partial"),
        lambda self, digest: 0,
        pulls.test_ten_cuts_are_resumed_and_no_byte_comes_twice,
        "toy",
    ),
    Mistake(
        "a slow drip is taken for a cut, and waited for again",
        "pull",
        (Answer, "pieces"),
        a_drip_is_a_cut,
        pulls.test_a_slow_drip_is_cut_by_the_least_rate_and_what_came_is_kept,
        "toy",
    ),
    Mistake(
        "a blob that was cut begins anew",
        "push",
        (Upload, "_where"),
        asked_in_vain,
        pushes.test_ten_cuts_cost_a_tenth_of_the_size_at_most,
        "empty_toy",
    ),
    Mistake(
        "other bytes than the digest's are taken",
        "upload",
        (Incoming, "finish"),
        finished_unseen,
        uploads.test_wrong_digest_is_dropped,
    ),
    Mistake(
        "nothing is left of an upload that was cut",
        "upload",
        (Incoming, "append"),
        nothing_is_left_of_a_cut,
        uploads.test_a_cut_connection_keeps_what_came_and_goes_on,
    ),
    Mistake(
        "an endless body has no end",
        "upload",
        (Incoming, "make_room"),
        lambda self, size, keep="": 10**12,
        uploads.test_an_endless_body_ends_at_the_quota_and_nothing_else_suffers,
        "new_box",
    ),
    Mistake(
        "a chunk is taken wherever it belongs",
        "upload",
        (oci_uploads, "content_range"),
        nothing,
        partial(uploads.test_out_of_order, span="5-9"),
    ),
    Mistake(
        "a wrong length is not seen",
        "upload",
        (oci_uploads, "content_range"),
        nothing,
        partial(uploads.test_wrong_length, span="0-5"),
    ),
    Mistake(
        "a slow drip is taken for a cut",
        "upload",
        (Body, "_wait"),
        cut_without_a_word,
        attacks.test_slow_retrieval,
        "new_box",
    ),
    Mistake(
        "anybody's signature counts",
        "attack",
        (Keyring, "check"),
        lambda *_, **__: frozenset(),
        attacks.test_arbitrary_installation,
    ),
    Mistake(
        "an old order counts again",
        "attack",
        (transitions, "_check_order"),
        nothing,
        attacks.test_rollback_by_a_replayed_order,
    ),
    Mistake(
        "the security epoch is not looked at",
        "attack",
        (transitions, "_check_epoch"),
        nothing,
        attacks.test_rollback,
    ),
]


@pytest.fixture
def new_box(tmp_path):
    """Makes boxes."""
    boxes = []

    def make(**options):
        boxes.append(make_box(tmp_path / f"store-{len(boxes)}", **options))
        return boxes[-1]

    yield make
    for box in boxes:
        box.management.stop(grace_seconds=0.5)


@pytest.fixture
def box(new_box):
    return new_box()


@pytest.fixture
def empty_toy():
    with ToyRegistry() as registry:
        yield registry


@pytest.fixture
def toy(empty_toy):
    """A registry that holds what the tests of pulls ask for."""
    with Registry(empty_toy.at) as pusher:
        push(pusher, BundleSource(pulls.BIG), "door")
    empty_toy.seen.clear()
    return empty_toy


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: f"{each.name} ({each.where})")
def test_the_tests_of_transfers_catch(mistake, request, monkeypatch, record_property):
    peer = request.getfixturevalue(mistake.peer)
    monkeypatch.setattr(*mistake.target, mistake.made)
    caught = ""
    try:
        mistake.test(peer)
    except FAILURES as error:
        caught = f"{type(error).__name__}: {error}"
    where = f"network: {mistake.where}"
    record_property("crash_variant", {"name": mistake.name, "where": where, "violations": int(bool(caught))})
    assert caught
