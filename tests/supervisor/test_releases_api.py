"""The releases API: trial, confirm, rollback, denial, orders; one change at a time, the same one twice, and why."""

import base64
import json
import threading
from types import SimpleNamespace

import pytest
from bundles.releases import installed, release
from data.generate_bundles import ALICE, BOB, MALLORY, ONE

from edgeml.bundles import Keyring, rotate
from edgeml.bundles.order import Order
from edgeml.errors import AdmissionError, ConflictError, TransferError

DOOR = "/v1/models/door"


def model(box):
    return box.ask("GET", DOOR).json


def order(digest, seq, key=ALICE, **options):
    return base64.b64encode(Order("door", digest, seq, **options).sign(key).to_bytes()).decode()


def act(box, verb, wait=20, **document):
    return box.post(f"{DOOR}/{verb}?wait={wait}", **document)


@pytest.fixture
def two(box):
    """Versions 1 (active) and 2 (installed)."""
    box.digests = installed(box.store, "1", "2")
    assert act(box, "activate", version="1", now=True).status == 200
    return box


def test_the_whole_story(two):
    said = act(two, "activate", digest=f"sha256:{two.digests[1]}")
    operation = said.json
    assert (said.status, operation["state"], operation["step"]) == (200, "done", "served")
    assert said.headers["location"] == f"/v1/operations/{operation['id']}"
    found = model(two)
    assert found["candidate"] == found["serves"]["digest"] == operation["digest"] == f"sha256:{two.digests[1]}"
    assert (found["active"], found["tries_left"]) == (f"sha256:{two.digests[0]}", 2)
    states = {each["version"]: each["state"] for each in found["releases"]}
    assert states == {"1": "confirmed", "2": "trial"}
    assert act(two, "confirm").status == 200
    assert model(two)["active"] == f"sha256:{two.digests[1]}"
    said = act(two, "rollback", reason="the counters look odd")
    assert said.status == 200 and said.json["result"]["serves"]["digest"] == f"sha256:{two.digests[0]}"
    found = model(two)
    assert found["active"] == found["serves"]["digest"] == f"sha256:{two.digests[0]}"
    bad = next(each for each in found["releases"] if each["version"] == "2")
    assert (bad["state"], bad["denied"], bad["reason"]) == ("rejected", True, "the counters look odd")
    said = act(two, "activate", version="2")
    assert (said.status, said.code) == (403, "order") and "the counters look odd" in said.json["error"]
    assert act(two, "allow", version="2").status == 200
    assert act(two, "activate", version="2", now=True).status == 200
    assert act(two, "rollback", to="1").status == 200
    kinds = [each["kind"] for each in two.ask("GET", f"{DOOR}/history?limit=4").json["events"]]
    assert kinds == ["activated", "rolled_back", "activated", "allowed"]
    assert {each["who"] for each in two.ask("GET", f"{DOOR}/history?limit=4").json["events"]} == {"api:tests"}


def test_asking_again_gives_the_same_operation(two):
    first = act(two, "activate", version="2").json
    assert act(two, "activate", version="2").json == first
    before = two.store.state()
    assert act(two, "activate", version="1", now=True).status == 409
    assert two.store.state() == before


def test_admission_that_takes_a_while_is_one_operation_with_a_step(two):
    go_on, tried = threading.Event(), []

    def admit(digest):
        tried.append(digest)
        assert go_on.wait(30)
        return SimpleNamespace(peak_bytes=77)

    two.admitted = admit
    said = act(two, "activate", wait=0, version="2")
    assert said.status == 202
    identity = said.json["id"]
    while two.ask("GET", f"/v1/operations/{identity}").json["step"] != "admission":
        pass
    assert act(two, "activate", wait=0, version="2").json["id"] == identity
    for verb, document in (("activate", {"version": "2", "now": True}), ("confirm", {}), ("deny", {"version": "2"})):
        said = act(two, verb, wait=0, **document)
        assert (said.status, said.code) == (409, "conflict"), verb
        assert identity in said.json["error"]
    assert model(two)["candidate"] is None
    go_on.set()
    found = two.ask("GET", f"/v1/operations/{identity}?wait=20").json
    assert (found["state"], found["reason"]) == ("done", "") and found["ended"] >= found["started"]
    assert tried == [two.digests[1]]
    assert two.store.state().models["door"].releases[two.digests[1]].peak_bytes == 77
    assert two.ask("GET", "/v1/operations").json["operations"][0]["id"] == identity


def test_a_rollback_calls_off_an_activation_that_has_changed_nothing(two):
    go_on = threading.Event()
    two.admitted = lambda digest: go_on.wait(30) and SimpleNamespace(peak_bytes=1)
    identity = act(two, "activate", wait=0, version="2").json["id"]
    said = act(two, "rollback", reason="changed my mind")
    assert said.status == 200 and said.json["result"]["serves"]["digest"] == f"sha256:{two.digests[0]}"
    go_on.set()
    found = two.ask("GET", f"/v1/operations/{identity}?wait=20").json
    assert found["state"] == "failed" and "called off by a rollback: changed my mind" in found["reason"]
    state = two.store.state().models["door"]
    assert (state.active, state.candidate, state.denied) == (two.digests[0], None, {})
    assert act(two, "activate", version="2").status == 200


def test_going_back_twice_by_mistake(two):
    (three,) = installed(two.store, "3")
    for version in ("2", "3"):
        assert act(two, "activate", version=version, now=True).status == 200
    leave = {"from": f"sha256:{three}"}
    for _ in range(2):  # the first answer got lost
        said = act(two, "rollback", **leave)
        assert said.status == 200 and said.json["digest"] == f"sha256:{two.digests[1]}"
    assert two.store.state().models["door"].active == two.digests[1]
    assert act(two, "rollback", **{"from": "2"}).json["digest"] == f"sha256:{two.digests[0]}"


def test_a_bundle_that_admission_refuses_is_denied_with_the_reason(two):
    def admit(digest):
        raise AdmissionError("golden row 3: expected 0.5, got nan", code="golden_rows")

    two.admitted = admit
    said = act(two, "activate", version="2")
    assert (said.status, said.code, said.json["field"]) == (403, "admission", "golden_rows")
    assert said.json["operation"]["state"] == "failed" and "golden row 3" in said.json["error"]
    bad = next(each for each in model(two)["releases"] if each["version"] == "2")
    assert (bad["state"], bad["reason"]) == ("rejected", "golden row 3: expected 0.5, got nan")
    assert model(two)["serves"]["digest"] == f"sha256:{two.digests[0]}"
    assert two.store.journal.entries()[0].event.signal == "golden_rows"
    # The same push again goes on failing, with the reason.
    two.admitted = lambda digest: SimpleNamespace(peak_bytes=1)
    said = act(two, "activate", version="2")
    assert said.status == 403 and "golden row 3" in said.json["error"]


def test_a_box_that_cannot_try_a_bundle_holds_nothing_against_it(two):
    def admit(digest):
        raise OSError(28, "No space left on device")

    two.admitted = admit
    said = act(two, "activate", version="2")
    assert (said.status, said.code) == (507, "disk")
    assert two.store.state().models["door"].denied == {}
    two.admitted = lambda digest: SimpleNamespace(peak_bytes=1)
    assert act(two, "activate", version="2").status == 200


def test_a_worker_that_does_not_follow_is_said_with_its_reason(two):
    two.releases._changed = lambda name: {"models": {}, "reason": "the worker has not followed in time"}
    said = act(two, "activate", version="2")
    assert said.status == 500 and "not followed in time" in said.json["error"]
    assert model(two)["candidate"] == f"sha256:{two.digests[1]}"
    two.releases._changed = lambda name: two.live()
    said = act(two, "activate", version="2")
    assert "does not serve it" in said.json["error"]
    two.releases._changed = two.follow
    assert act(two, "activate", version="2").json["state"] == "done"


def test_an_error_that_nobody_foresaw_stays_inside(two, capfd):
    def admit(digest):
        raise ZeroDivisionError("secret detail")

    two.admitted = admit
    said = act(two, "activate", version="2")
    assert (said.status, said.code) == (500, "internal")
    assert "secret" not in said.body.decode() and "secret detail" in capfd.readouterr().err


class TestOrders:
    def test_required(self, new_box):
        box = new_box(require_order=True)
        one, two = installed(box.store, "1", "2")
        said = act(box, "activate", version="1")
        assert (said.status, said.code) == (403, "order") and "signed order" in said.json["error"]
        assert act(box, "activate", version="1", order=order(one, 5), now=True).status == 200
        said = act(box, "activate", version="2", order=order(two, 5))
        assert said.status == 403 and "replay" in said.json["error"]
        assert act(box, "activate", version="2", order=order(two, 6)).status == 200
        # Going back needs none; lifting a denial does.
        assert act(box, "rollback").status == 200
        assert act(box, "allow", version="2").status == 403
        assert act(box, "activate", version="2", order=order(two, 6)).status == 403
        assert act(box, "activate", version="2", order=order(two, 7)).status == 200

    def test_signed_named_and_in_time(self, two):
        one, other = two.digests
        for bad, why in (
            (order(other, 1, key=MALLORY), "unknown keys"),
            (order(one, 1), "the order names"),
            (order(other, 1, device="pi-2"), "for device"),
            (order(other, 1, expires="2001-01-01T00:00:00Z"), "expired"),
            (base64.b64encode(b"{}").decode(), "no order"),
        ):
            said = act(two, "activate", version="2", order=bad)
            assert said.status == 403 and why in said.json["error"]
        assert model(two)["deploy_seq"] == 0 and two.releases.operations.running("door") is None
        said = act(two, "activate", version="2", order="!")
        assert (said.status, said.json["field"]) == (400, "order")


class TestRequests:
    @pytest.mark.parametrize(
        "body, field",
        [
            (b"[]", None),
            (b"{", None),
            (b'{"version":"2","version":"1"}', None),
            (b'{"version":NaN}', None),
            (b"[" * 100, None),
            (b'{"version":2}', "version"),
            (b'{"version":"2","now":1}', "now"),
            (b'{"version":"2","then":1}', "then"),
            (b"{}", "digest"),
            (b'{"version":"2","digest":"x"}', "digest"),
        ],
    )
    def test_that_are_none(self, two, body, field):
        said = two.ask("POST", f"{DOOR}/activate", body)
        assert (said.status, said.json.get("field")) == (400, field)

    def test_too_large(self, two):
        assert two.ask("POST", f"{DOOR}/activate", b" " * 70_000).status == 413

    def test_about_what_is_not_there(self, two):
        for verb, document in (("activate", {"version": "9"}), ("deny", {"version": "9"}), ("rollback", {"to": "9"})):
            said = act(two, verb, **document)
            assert (said.status, said.code) == (404, "not_installed"), verb
        assert act(two, "confirm").status == 404
        for path in ("", "/history", "/card"):
            assert two.ask("GET", f"/v1/models/gate{path}").status == 404
        assert two.post("/v1/models/gate/rollback").status == 404
        assert two.ask("GET", "/v1/operations/none").status == 404
        assert two.ask("GET", f"{DOOR}/history?limit=x").status == 400
        assert two.post(f"{DOOR}/confirm?wait=x").status == 400

    def test_an_answering_bundle_is_not_denied(self, two):
        said = act(two, "deny", version="1")
        assert said.status == 409 and "rollback" in said.json["error"]
        assert act(two, "deny", version="2", reason="recalled").status == 200
        assert next(each for each in model(two)["releases"] if each["version"] == "2")["reason"] == "recalled"


def test_card(two):
    said = two.ask("GET", f"{DOOR}/card")
    assert (said.body, said.headers["content-type"]) == (b"# door\n", "text/markdown; charset=utf-8")
    assert two.ask("GET", f"{DOOR}/card?digest=sha256:{two.digests[1]}").status == 200


def test_status_tells_what_endangers_a_promise(two):
    found = two.ask("GET", "/v1/status").json
    assert found["keyring"]["keys"] == [ALICE.public.keyid] and found["problems"] == []
    assert found["storage"]["used_bytes"] > 0 and found["models"]["door"]["active"]
    two.store._record.broken = "the folder could not be synced"
    assert two.ask("GET", "/v1/status").json["problems"] == ["the folder could not be synced"]
    said = act(two, "activate", version="2")
    assert (said.status, said.code) == (507, "storage")


def test_keyring(two):
    for successor, why in (
        (Keyring((MALLORY.public,), version=2).sign(MALLORY), "old keys"),
        (
            rotate(rotate(ONE, keys=[BOB.public], signers=[ALICE, BOB]), keys=[BOB.public], signers=[BOB]),
            "followed by 2",
        ),
        (rotate(ONE, keys=[BOB.public], signers=[ALICE, BOB]), "would no longer be trusted"),
    ):
        said = two.ask("POST", "/v1/keyring", successor.to_bytes())
        assert (said.status, said.code) == (403, "signature") and why in said.json["error"]
    assert two.ask("POST", "/v1/keyring", b"{}").status == 403
    both = rotate(ONE, keys=[ALICE.public, BOB.public], signers=[ALICE])
    assert two.ask("POST", "/v1/keyring", both.to_bytes()).json == {"keyring": 2}
    assert two.store.install(release("3", keys=(BOB,)))


def test_the_first_keyring_does_not_come_over_the_network(new_box):
    box = new_box(keyring=None, allow_unsigned=True)
    said = box.ask("POST", "/v1/keyring", ONE.to_bytes())
    assert said.status == 403 and "on the box" in said.json["error"]


class TestPulls:
    def test_progress_and_result(self, new_box):
        go_on, box = threading.Event(), None

        def pull(reference, progress):
            progress("1 of 3 bytes")
            assert go_on.wait(30)
            return box.store.install(release("1")) if reference.endswith("1") else "0" * 64

        box = new_box(pull=pull)
        said = box.post("/v1/pulls", **{"from": "registry/door:1"})
        assert said.status == 202
        identity = said.json["id"]
        assert box.post("/v1/pulls", **{"from": "registry/door:1"}).json["id"] == identity
        assert box.post("/v1/pulls", **{"from": "registry/door:2"}).status == 202
        assert box.post("/v1/pulls", **{"from": "registry/door:3"}).code == "conflict"
        while box.ask("GET", f"/v1/operations/{identity}").json["step"] != "1 of 3 bytes":
            pass
        go_on.set()
        found = box.ask("GET", f"/v1/operations/{identity}?wait=20").json
        assert (found["state"], found["result"]) == ("done", {"installed": release("1").digest})

    def test_failures(self, new_box):
        def pull(reference, progress):
            raise TransferError("registry:443: nobody answers") if reference == "a" else ConflictError("taken")

        box = new_box(pull=pull)
        said = box.post("/v1/pulls?wait=20", **{"from": "a"})
        assert (said.status, said.code) == (502, "transfer") and "nobody answers" in said.json["error"]
        assert box.post("/v1/pulls?wait=20", **{"from": "b"}).status == 409
        assert box.post("/v1/pulls").json["field"] == "from"
        assert new_box().post("/v1/pulls", **{"from": "a"}).status == 404


def test_no_thread_for_it(two, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="no thread"):
            two.releases.activate("2", who="api:x")
    assert two.releases.operations.all()[0].state == "failed"
    assert act(two, "activate", version="2").status == 200


def test_operations_are_bounded(two):
    for _ in range(130):
        act(two, "rollback", to="1")
    assert len(json.loads(two.ask("GET", "/v1/operations").body)["operations"]) <= 100
