"""Blobs come in: whole, in pieces, cut, resumed, out of order, wrong, endless."""

import threading

import pytest
from bundles.releases import release
from supervisor.boxes import digest_of

from edgeml.bundles.disk import Disk
from edgeml.bundles.layout import EMPTY, EMPTY_CONFIG
from edgeml.bundles.store import StoreLimits
from edgeml.supervisor import oci_uploads
from edgeml.supervisor.management_app import AppPlaces

DATA = bytes(range(256)) * 2000
DIGEST = digest_of(DATA)


def wait_for(box, location, size):
    """Until so many bytes are here; asking over HTTP would take the upload away from who sends it."""
    while box.store.incoming.received(location.rsplit("/", 1)[1]) != size:
        pass


def test_in_pieces_that_say_where_they_belong(box):
    location = box.begin_upload()
    said = box.ask("PATCH", location, DATA[:1000], Content_Range="0-999")
    assert (said.status, said.headers["range"]) == (202, "0-999")
    said = box.ask("GET", said.headers["location"])
    assert (said.status, said.headers["range"]) == (204, "0-999")
    said = box.ask("PATCH", said.headers["location"], DATA[1000:2000], Content_Range="1000-1999")
    assert said.headers["range"] == "0-1999"
    said = box.ask("PUT", f"{location}?digest={DIGEST}", DATA[2000:], Content_Range=f"2000-{len(DATA) - 1}")
    assert (said.status, said.headers["docker-content-digest"]) == (201, DIGEST)
    assert said.headers["location"] == f"/v2/door/blobs/{DIGEST}"
    said = box.ask("HEAD", f"/v2/door/blobs/{DIGEST}")
    assert (said.status, said.headers["content-length"]) == (200, str(len(DATA)))


def test_in_one_patch_or_one_put_or_one_post_without_a_range(box):
    location = box.begin_upload()
    assert box.ask("PATCH", location, DATA).status == 202
    assert box.ask("PUT", f"{location}?digest={DIGEST}").status == 201
    assert box.push_blob(b"put") == digest_of(b"put")
    said = box.ask("POST", f"/v2/door/blobs/uploads/?digest={digest_of(b'post')}", b"post")
    assert (said.status, said.headers["location"]) == (201, f"/v2/door/blobs/{digest_of(b'post')}")
    assert set(box.store.incoming.waiting()) == {digest_of(data)[7:] for data in (DATA, b"put", b"post")}


def test_a_cut_connection_keeps_what_came_and_goes_on(box):
    location = box.begin_upload()
    for cut in (1000, 200_000, 300_001):
        kept = int(box.ask("GET", location).headers["range"].split("-")[1])
        start = kept + 1 if kept else 0
        with box.wire() as wire:
            span = f"{start}-{len(DATA) - 1}"
            wire.send(
                wire.head("PATCH", location, token=box.token, Content_Length=len(DATA) - start, Content_Range=span)
                + DATA[start:cut]
            )
            wire.socket.shutdown(1)
            said = wire.answer()
            assert (said.status, said.json["errors"][0]["detail"]["code"]) == (400, "cut")
        assert box.ask("GET", location).headers["range"] == f"0-{cut - 1}"
    said = box.ask("PATCH", location, DATA[cut:], Content_Range=f"{cut}-{len(DATA) - 1}")
    assert said.status == 202
    assert box.ask("PUT", f"{location}?digest={DIGEST}").status == 201


def test_the_newest_request_owns_an_upload(box):
    location = box.begin_upload()
    with box.wire() as old:
        old.send(old.head("PATCH", location, token=box.token, Content_Length=100, Content_Range="0-99") + DATA[:10])
        wait_for(box, location, 10)
        said = box.ask("PATCH", location, DATA[10:50], Content_Range="10-49")
        assert said.headers["range"] == "0-49"
        old.send(b"late" * 5)
        said = old.answer()
        assert said.status == 400 and "newer request" in said.json["errors"][0]["message"]
    assert box.ask("PUT", f"{location}?digest={DIGEST}", DATA[50:], Content_Range=f"50-{len(DATA) - 1}").status == 201


def test_who_asks_where_it_stopped_is_told_of_what_is_still_taken_in(box, monkeypatch):
    location = box.begin_upload()
    came, go_on, real = threading.Event(), threading.Event(), Disk.write

    def slow(self, descriptor, data):
        came.set()
        assert go_on.wait(30)
        real(self, descriptor, data)

    monkeypatch.setattr(Disk, "write", slow)
    monkeypatch.setattr(oci_uploads, "_MOMENT_SECONDS", 30.0)
    with box.wire() as wire:
        wire.send(wire.head("PATCH", location, token=box.token, Content_Length=len(DATA)) + DATA[:300_000])
    came.wait(30)
    said = []
    thread = threading.Thread(target=lambda: said.append(box.ask("GET", location)))
    thread.start()
    go_on.set()
    thread.join()
    assert said[0].headers["range"] == "0-299999"


@pytest.mark.parametrize("span", ["5-9", "1-5", "100-104"])
def test_out_of_order(box, span):
    location = box.begin_upload()
    said = box.ask("PATCH", location, b"abcde", Content_Range=span)
    assert (said.status, said.code) == (416, "RANGE_INVALID")
    assert (said.headers["range"], said.headers["location"]) == ("0-0", location)
    said = box.ask("PUT", f"{location}?digest={DIGEST}", b"abcde", Content_Range=span)
    assert said.status == 416
    assert box.ask("PATCH", location, b"abcde", Content_Range="0-4").status == 202


@pytest.mark.parametrize("span", ["0-5", "0-3"])
def test_wrong_length(box, span):
    said = box.ask("PATCH", box.begin_upload(), b"abcde", Content_Range=span)
    assert (said.status, said.code) == (400, "SIZE_INVALID")


@pytest.mark.parametrize("span", ["x", "4-0", "-1-3", "0-", "1e3-5", "0-3, 4-5", "bytes=0"])
def test_ranges_that_are_none(box, span):
    said = box.ask("PATCH", box.begin_upload(), b"abcde", Content_Range=span)
    assert (said.status, said.code) == (416, "RANGE_INVALID")


def test_wrong_digest_is_dropped(box):
    location = box.begin_upload()
    said = box.ask("PUT", f"{location}?digest={DIGEST}", b"other")
    assert (said.status, said.code) == (400, "DIGEST_INVALID")
    assert box.ask("GET", location).code == "BLOB_UPLOAD_UNKNOWN"
    said = box.ask("POST", f"/v2/door/blobs/uploads/?digest={DIGEST}", b"other")
    assert (said.status, said.code) == (400, "DIGEST_INVALID")
    assert list(box.store.incoming.folder.iterdir()) == []


@pytest.mark.parametrize("digest", ["", "sha256:x", "sha512:" + "0" * 128, "sha256:" + "A" * 64, "../../etc/passwd"])
def test_digests_that_are_none(box, digest):
    said = box.ask("PUT", f"{box.begin_upload()}?digest={digest}", b"x")
    assert (said.status, said.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("upload", ["x", "..", "%2e%2e", "part-x", "a%00b", "a" * 200])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_uploads_that_are_none(box, method, upload):
    said = box.ask(method, f"/v2/door/blobs/uploads/{upload}", b"x" if method == "PATCH" else b"")
    assert (said.status, said.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_names_that_are_none(box):
    for name in ("UPPER", "a" * 65, ".x", "a%20b"):
        said = box.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert (said.status, said.code) == (400, "NAME_INVALID"), name


def test_cancel(box):
    location = box.begin_upload()
    box.ask("PATCH", location, b"abc")
    assert box.ask("DELETE", location).status == 204
    assert box.ask("DELETE", location).status == 404
    assert list(box.store.incoming.folder.iterdir()) == []


def test_an_endless_body_ends_at_the_quota_and_nothing_else_suffers(new_box):
    box = new_box(limits=StoreLimits(incoming_bytes=1_000_000))
    one = release("1")
    assert box.push(one).status == 201
    location = box.begin_upload()
    with box.wire() as wire:
        wire.send(wire.head("PATCH", location, token=box.token, Transfer_Encoding="chunked"))
        try:
            for _ in range(1000):
                wire.send(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
        except OSError:
            pass  # it hung up
    assert sum(path.stat().st_size for path in box.store.incoming.folder.iterdir()) <= 1_000_000
    box.ask("DELETE", location)
    said = box.ask("PATCH", box.begin_upload(), b"a" * 1_000_001)
    assert said.status == 507 and "quota" in said.json["errors"][0]["message"]
    assert box.push(release("2")).status == 201


def test_identical_blobs_are_not_sent_twice(box):
    one, two = release("1"), release("2")
    box.push(one)
    card = one.manifest.members["CARD.md"].digest
    assert two.manifest.members["CARD.md"].digest == card
    assert box.ask("HEAD", f"/v2/door/blobs/{card}").status == 200
    assert box.ask("HEAD", f"/v2/door/blobs/{two.manifest.members['model.onnx'].digest}").status == 404
    said = box.ask("POST", f"/v2/gate/blobs/uploads/?mount={card}&from=door")
    assert (said.status, said.headers["location"]) == (201, f"/v2/gate/blobs/{card}")
    said = box.ask("POST", f"/v2/gate/blobs/uploads/?mount={DIGEST}&from=door")
    assert said.status == 202 and "/uploads/" in said.headers["location"]


def test_a_damaged_blob_is_not_said_to_be_here(box):
    waiting = box.push_blob(DATA)
    path = box.store.incoming.folder / waiting[7:]
    path.write_bytes(b"rotten")
    assert box.ask("HEAD", f"/v2/door/blobs/{waiting}").status == 404
    box.push(release("1"))
    model = release("1").manifest.members["model.onnx"].digest
    path = box.store.blobs.folder / model[7:]
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    assert box.ask("HEAD", f"/v2/door/blobs/{model}").status == 404
    assert box.push(release("1")).status == 201


def test_the_empty_config_is_always_here(box):
    said = box.ask("HEAD", f"/v2/door/blobs/{EMPTY_CONFIG.digest}")
    assert (said.status, said.headers["content-length"]) == (200, "2")
    assert box.ask("GET", f"/v2/door/blobs/{EMPTY_CONFIG.digest}").body == EMPTY
    assert box.push_blob(EMPTY) == EMPTY_CONFIG.digest


def test_what_waits_is_shown_only_to_who_may_push_and_given_to_nobody(box):
    digest = box.push_blob(DATA)
    reader = box.tokens.create("reader", [])
    assert box.ask("HEAD", f"/v2/door/blobs/{digest}").status == 200
    assert box.ask("HEAD", f"/v2/door/blobs/{digest}", token=reader).status == 404
    said = box.ask("GET", f"/v2/door/blobs/{digest}")
    assert (said.status, said.code) == (404, "BLOB_UNKNOWN")


def test_places_for_transfers_are_bounded_and_going_back_needs_none(new_box):
    box = new_box(places=AppPlaces(transfers=1))
    location = box.begin_upload()
    with box.wire() as wire:
        wire.send(wire.head("PATCH", location, token=box.token, Content_Length=100) + b"a")
        wait_for(box, location, 1)
        said = box.ask("PATCH", box.begin_upload(), b"b")
        assert (said.status, said.code, said.headers["retry-after"]) == (429, "TOOMANYREQUESTS", "1")
        assert box.ask("GET", "/v1/status").status == 200
        wire.send(b"a" * 99)
        assert wire.answer().status == 202
    assert box.ask("PATCH", box.begin_upload(), b"b").status == 202


def test_many_at_once(box):
    blobs = [DATA + bytes([number]) for number in range(6)]
    threads = [threading.Thread(target=box.push_blob, args=(data,)) for data in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(box.store.incoming.waiting()) == {digest_of(data)[7:] for data in blobs}


def test_a_disk_that_fails_is_the_boxes_fault_and_the_upload_goes_on_later(box, monkeypatch):
    location = box.begin_upload()
    disk = box.store.incoming._disk

    def refuse(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(disk), "write", lambda self, descriptor, data: refuse(descriptor, data))
    said = box.ask("PATCH", location, b"abc")
    assert said.status == 507 and "No space left" in said.json["errors"][0]["message"]
    monkeypatch.undo()
    assert box.ask("PATCH", location, b"abc", Content_Range="0-2").status == 202


def test_a_pull_of_the_box_itself_is_nobodys_upload(box):
    """It is a transfer too, named by the digest that is expected; to write into it would spoil what is installed."""
    name = "a" * 64
    box.store.incoming.start(name)
    box.store.incoming.append(name, [b"half"])
    location = box.begin_upload().rsplit("/", 1)[0] + f"/{name}"
    for method in ("GET", "PATCH", "DELETE"):
        assert box.ask(method, location, b"x" if method == "PATCH" else b"").status == 404
    assert box.ask("PUT", f"{location}?digest={DIGEST}", b"x").status == 404
    assert box.store.incoming.received(name) == 4
