"""What a hostile or broken client sends: always a JSON refusal, never a dead service."""

import gzip
import json
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving.running import JSON, Running, strict

BOMB = gzip.compress(b" " * 50_000_000, mtime=0)
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def gzipped(data):
    return data, JSON | {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"records": [{}]} x',
        b'{"records": {}}',
        b'{"records": [{"bill_length_mm": NaN}]}',
        b'{"records": [{"bill_length_mm": Infinity}]}',
        b'{"records": [{"bill_length_mm": 1e999}]}',
        b'{"records": [{"bill_length_mm": ' + b"9" * 5000 + b"}]}",
        b'{"records": [{"bill_length_mm": 1, "bill_length_mm": 2}]}',
        b'{"records": [], "records": []}',
        b'{"records": [], "id": "a", "id": "b"}',
        b'{"records": [], "id": 5}',
        b'{"records": [], "password": "x"}',
        b'{"records": [{"sex": "\xff\xfe"}]}',
        b'{"records": [{"sex": "\\ud800"}]}',
        b'{"records": [{"sex": "\x01"}]}',
        b'{"records": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
        b'{"id": ' + b"[" * 40_000 + b"]" * 40_000 + b', "records": []}',
        b'{"records": [{"sex": ' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}]}",
        b"\xef\xbb\xbf{}",
        b"\x00" * 1000,
    ],
    ids=range(23),
)
def test_bodies_that_are_no_request(service, body):
    status, answer = service.post("/v1/predict", body)
    assert status == 400
    assert answer["error"] and answer["code"] != "internal"


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 40_000 + b"]" * 40_000,
        b'{"inputs": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": '
        + b"[" * 40_000
        + b"]" * 40_000
        + b"}]}",
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}',
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1e999]}]}',
        b'{"inputs": [{"name": "x", "shape": [4611686018427387904, 4], "datatype": "FP64", "data": [1]}]}',
        b'{"inputs": [{"name": "x", "shape": [0, 99999999999999999999], "datatype": "FP64", "data": []}]}',
        b'{"inputs": [{"name": "\xff", "shape": [1], "datatype": "FP64", "data": [1]}]}',
    ],
    ids=range(8),
)
def test_tensors_that_are_no_request(service, data):
    status, answer = service.post("/v2/models/penguins/infer", data)
    assert status in (400, 413)
    assert answer["error"] and answer["code"] != "internal"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"records": []}', {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"a,b\n1,2\n", {"Content-Type": "text/csv"}, 415, "unsupported_media_type"),
        (b'{"records": []}', JSON | {"Content-Encoding": "br"}, 415, "unsupported_encoding"),
        (b'{"records": []}', JSON | {"Content-Encoding": "gzip, gzip"}, 415, "unsupported_encoding"),
        (b'{"records": [' + b"{}," * 200 + b"{}]}", JSON, 413, "too_many_records"),
        (b" " * 100_001, JSON, 413, "too_large"),
        (*gzipped(b"not gzip"), 400, "bad_encoding"),
        (*gzipped(gzip.compress(b'{"records": []}', mtime=0)[:-4]), 400, "bad_encoding"),
        (*gzipped(gzip.compress(b"{}", mtime=0) + b"more"), 400, "bad_encoding"),
        (*gzipped(BOMB), 413, "too_large"),
        (zlib.compress(b" " * 50_000_000), JSON | {"Content-Encoding": "deflate"}, 413, "too_large"),
    ],
)
def test_limits_and_forms(service, body, headers, status, code):
    assert len(body) <= 100_001
    got, answer = service.post("/v1/predict", body, headers)
    assert (got, answer["code"]) == (status, code)


def test_the_form_of_curl_is_told_the_remedy(service):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/v1/predict", "/v2/models/penguins/infer"):
        status, answer = service.post(path, b"{}", form)
        assert status == 415 and "Content-Type: application/json" in answer["error"]


def test_a_length_beyond_the_bound_is_refused_before_the_body_comes(service):
    answer = service.raw(HEAD + b"Content-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"too_large"' in answer


def test_chunks_without_end_are_bounded(service):
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    answer = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(200):
                client.sendall(chunk)
        except OSError:
            pass  # the service has answered and closed
        try:
            answer = client.recv(65536)
        except ConnectionResetError:
            return
    assert not answer or b" 413 " in answer.splitlines()[0]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1\r\n",
        b"Content-Length: 1_0\r\n",
        b"Content-Length: 0x10\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Broken header\r\n",
        b"A: " + b"x" * 500_000 + b"\r\n",
    ],
    ids=range(7),
)
def test_heads_that_are_no_http(service, head):
    data = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head + b"\r\n" + b" " * 10
    try:
        answer = service.raw(data)
    except OSError:
        return  # closed without a word, in the middle of what was sent
    assert answer.split(b" ", 2)[1] in (b"400", b"431", b"501")


def test_a_method_that_is_too_long_is_told_so_in_json(service):
    head, _, said = service.raw(b"A" * 33 + b" / HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 501 ") and b"32 letters" in said and b'"code":"not_implemented"' in said


def test_a_body_cut_short_harms_nobody(service, body):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(HEAD + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n" + body[:20])
    assert service.post("/v1/predict", body)[0] == 200


def test_a_path_without_sense(service):
    for target in (b"/" + b"a" * 20_000, b"/v1/../v1/predict", b"/%", b"/v1/models/%2e%2e/card", b"//v1/predict"):
        answer = service.raw(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.split(b" ", 2)[1] in (b"404", b"414", b"400", b"405", b"308"), answer[:200]


def test_many_requests_on_one_connection_with_refusals_between(service, body):
    connection = service.connect()
    for number in range(60):
        wrong = number % 3 == 1
        connection.request("POST", "/v1/predict", b"{" if wrong else body, JSON)
        response = connection.getresponse()
        strict(response.read())
        assert response.status == (400 if wrong else 200)
    connection.close()


def test_pipelined_requests_are_answered_in_order(service, body):
    one = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
    requests = [json.dumps({"id": str(number), "records": []}).encode() for number in range(20)]
    last = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    answer = service.raw(b"".join(one % (len(each), each) for each in requests) + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 21
    positions = [answer.index(f'"id":"{number}"'.encode()) for number in range(20)]
    assert positions == sorted(positions)


def test_a_slow_client_does_not_stop_the_others(penguins_path, body):
    running = Running(penguins_path, "--threads", "2")
    try:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as slow:
            slow.sendall(HEAD + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
            for _ in range(20):
                assert running.post("/v1/predict", body)[0] == 200
    finally:
        assert running.stop() == (0, "")


def test_a_slow_client_does_not_stop_many_others(penguins_path, body):
    """Under load one thread answers and the other rests; it must come back for the one that a client holds up."""
    running = Running(penguins_path, "--threads", "2")

    def ask(_) -> set[int]:
        connection = running.connect()
        seen = set()
        for _ in range(200):
            connection.request("POST", "/v1/predict", body, JSON)
            answer = connection.getresponse()
            answer.read()
            seen.add(answer.status)
        connection.close()
        return seen

    try:
        with ThreadPoolExecutor(4) as clients:
            asked = [clients.submit(ask, number) for number in range(4)]
            with socket.create_connection(("127.0.0.1", running.port), timeout=10) as slow:
                slow.sendall(HEAD + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
                assert [each.result(60) for each in asked] == [{200}] * 4
                assert running.post("/v1/predict", body)[0] == 200
    finally:
        assert running.stop() == (0, "")
