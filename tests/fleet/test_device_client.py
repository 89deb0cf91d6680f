"""A box from outside: its releases, its operations, and its reasons."""

from __future__ import annotations

import pytest
from bundles.registry_peers import QUICK, Fault, FaultProxy, ToyRegistry
from bundles.releases import release
from data.generate_bundles import ALICE
from supervisor.boxes import Box, make_box

from edgeml.bundles.order import Order
from edgeml.errors import AdmissionError, TransferError
from edgeml.fleet.device_client import DeviceClient, box_address


@pytest.fixture
def box(tmp_path):
    made = make_box(tmp_path / "store")
    yield made
    made.management.stop(grace_seconds=0.5)


@pytest.fixture
def installed(box):
    return [f"sha256:{box.store.install(release(version))}" for version in "12"]


def client(box: Box, at: str = "", **options) -> DeviceClient:
    return DeviceClient(at or f"127.0.0.1:{box.port}", **({"token": box.token, "patience": QUICK} | options))


def test_a_release_is_tried_confirmed_and_gone_back_from(box, installed):
    one, two = installed
    steps: list[str] = []
    with client(box) as device:
        device.finish(lambda: device.activate("door", one, now=True), seconds=60, told=steps.append)
        assert steps[-1] == "served" and device.model("door")["active"] == one
        done = device.finish(lambda: device.activate("door", two), seconds=60)
        assert done.result["serves"]["digest"] == two and device.model("door")["candidate"] == two
        assert device.finish(lambda: device.confirm("door", two, reason="looks well"), seconds=60).state == "done"
        assert device.release(two)[1]["active"] is True
        device.finish(lambda: device.roll_back("door", reason="no"), seconds=60)
        assert device.model("door")["active"] == one and device.release(two)[1]["denied"] is True
        assert device.release("sha256:" + "0" * 64) is None
        assert device.status()["models"]["door"]["active"] == one


def test_what_admission_says_is_handed_on(box, installed):
    def refuse(digest):
        raise AdmissionError("golden row 3 is answered otherwise", code="golden_rows")

    box.admitted = refuse
    with client(box) as device, pytest.raises(TransferError, match="golden row 3 is answered otherwise") as caught:
        device.finish(lambda: device.activate("door", installed[0]), seconds=60)
    assert caught.value.code in ("failed", "admission")


def test_refusals_carry_status_word_and_reason(box, installed):
    with client(box) as device:
        with pytest.raises(TransferError, match="no model 'gate'") as caught:
            device.model("gate")
        assert (caught.value.status, caught.value.code) == (404, "not_installed")
        with pytest.raises(TransferError, match="fetches nothing from registries"):
            device.pull("127.0.0.1:1/door:1")
    with client(box, token=box.tokens.create("looker", ("read",))) as device:
        assert device.models()
        with pytest.raises(TransferError, match="no scope 'release'") as caught:
            device.activate("door", installed[0])
        assert caught.value.status == 403
    with client(box, token="wrong") as device, pytest.raises(TransferError, match="401.*give credentials"):
        device.models()


def test_orders_are_sent_and_replays_refused(tmp_path, box, installed):
    one, two = installed
    box.store.settings(require_order=True, device="pi-2")

    def order(digest: str, seq: int) -> bytes:
        return Order("door", digest[7:], seq, "pi-2").sign(ALICE).to_bytes()

    with client(box) as device:
        with pytest.raises(TransferError, match="without a signed order"):
            device.activate("door", one)
        device.finish(lambda: device.activate("door", one, order=order(one, 5), now=True), seconds=60)
        with pytest.raises(TransferError, match="order 4 is a replay"):
            device.activate("door", two, order=order(two, 4))


def test_an_answer_that_is_lost_is_asked_for_again(box, installed):
    faults = [Fault(cut_down=30), Fault(cut_down=200), Fault(cut_up=80)]
    with FaultProxy(box.port, faults) as proxy, client(box, proxy.at) as device:
        device.finish(lambda: device.activate("door", installed[0], now=True), seconds=60)
        assert device.model("door")["active"] == installed[0] and not proxy.plan
    assert [entry.event.kind for entry in box.store.journal.entries()].count("activated") == 1


def test_going_back_is_never_done_twice(box, installed):
    one, two = installed
    three = f"sha256:{box.store.install(release('3'))}"
    for digest in (one, two, three):
        box.store.activate(digest, now=True)
    with FaultProxy(box.port, [Fault(cut_down=10)]) as proxy, client(box, proxy.at) as device:
        device.finish(lambda: device.roll_back("door", leaving=three), seconds=60)
        assert device.model("door")["active"] == two
    with FaultProxy(box.port, [Fault(cut_down=10)]) as proxy, client(box, proxy.at) as device:
        with pytest.raises(TransferError, match="link broke|cut off"):
            device.roll_back("door")
    assert box.store.state().models["door"].active in (one[7:], two[7:])
    assert [entry.event.kind for entry in box.store.journal.entries()].count("rolled_back") <= 2


def test_a_box_that_was_started_anew_is_asked_again(box, installed):
    begun = []

    def begin():
        begun.append(device.activate("door", installed[0], now=True))
        if len(begun) == 1:
            box.releases.operations._known.clear()
            # As if it had still been under way when the power went.
            begun[0] = type(begun[0])(begun[0].id, "activate", "running", "admission", "", {})
        return begun[-1]

    with client(box) as device:
        assert device.finish(begin, seconds=60).state == "done"
    assert len(begun) == 2


def test_what_takes_too_long_is_said_and_goes_on(box, installed):
    now = iter(range(0, 10_000, 40))
    with client(box, clock=lambda: float(next(now))) as device:
        running = device.activate("door", installed[0])
        forever = type(running)(running.id, "activate", "running", "admission", "", {})
        device.operation = lambda *_, **__: forever  # type: ignore[method-assign]
        with pytest.raises(TransferError, match="takes longer than 100 seconds .admission.; it goes on there"):
            device.finish(lambda: forever, seconds=100)


def test_something_else_at_the_address_is_no_box():
    with ToyRegistry() as toy, DeviceClient(toy.at, patience=QUICK) as device:
        toy.hook = lambda handler: handler.give(200, b"<html>") or True
        with pytest.raises(TransferError, match="not as a box does") as caught:
            device.models()
        assert caught.value.code == "no_box"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("pi-2.shop:8081", "https://pi-2.shop:8081"),
        ("https://pi-2/", "https://pi-2:443"),
        ("http://10.0.0.7:8081", "http://10.0.0.7:8081"),
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("localhost:8081", "http://localhost:8081"),
    ],
)
def test_addresses(text, origin):
    assert box_address(text).origin == origin


@pytest.mark.parametrize("text", ["https://pi/door", "pi:8081/a/", "ftp://pi", "me:secret@pi", ""])
def test_no_addresses(text):
    with pytest.raises(TransferError) as caught:
        box_address(text)
    assert "secret" not in str(caught.value)
