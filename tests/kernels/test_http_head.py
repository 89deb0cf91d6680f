"""Heads and chunks of strangers: what is taken, what is refused with which status, and that no split changes either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml.kernels.http_front import decode_chunks, parse_head

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"

GOOD = {
    GET + b"\r\n": {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "", "HTTP_HOST": "x", "keep": True},
    b"\r\n" + GET + b"\r\n": {"PATH_INFO": "/"},
    b"GET /a%20b/%e9%zz%4?c=%20d&e HTTP/1.1\r\nhost:x\r\n\r\n": {
        "PATH_INFO": "/a b/\xe9%zz%4",
        "QUERY_STRING": "c=%20d&e",
    },
    b"GET http://h:80/p?q HTTP/1.1\r\nHost: h\r\n\r\n": {"PATH_INFO": "/p", "QUERY_STRING": "q"},
    b"GET https://h HTTP/1.1\r\nHost: h\r\n\r\n": {"PATH_INFO": "/", "QUERY_STRING": ""},
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n": {"PATH_INFO": "*"},
    b"GET / HTTP/1.0\r\n\r\n": {"SERVER_PROTOCOL": "HTTP/1.0", "keep": False, "length": -1},
    b"GET / HTTP/1.0\r\nConnection: foo , Keep-Alive\r\n\r\n": {"keep": True},
    GET + b"Connection: a, CLOSE\r\n\r\n": {"keep": False},
    GET + b"X-A:\t 1 2 \r\nx-a: 3\r\nX_A: 9\r\n\r\n": {"HTTP_X_A": "1 2,3"},
    GET + b"Cookie: a\r\nCookie: b\r\n\r\n": {"HTTP_COOKIE": "a; b"},
    GET + b"X:\r\n\r\n": {"HTTP_X": ""},
    POST + b"Content-Length: 007\r\ncontent-type: b\r\n\r\n": {"length": 7, "CONTENT_TYPE": "b"},
    POST + b"Content-Length: 7\r\nContent-Length: 7\r\n\r\n": {"length": 7, "CONTENT_LENGTH": "7"},
    POST + b"Content-Length: 99999999999999999999999\r\n\r\n": {"length": 2**63 - 1},
    POST + b"Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n": {"chunked": True, "expects": True},
}
BAD = {
    b"GET / HTTP/1.1\nHost: x\n\n": 400,
    b"GET / HTTP/1.1\r\nHost: x\n\r\n": 400,
    b"\r\n\r\n" + GET + b"\r\n": 400,
    b"GET /\r\n\r\n": 400,
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n": 400,
    b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET a HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET * HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET http://u@h/ HTTP/1.1\r\nHost: x\r\n\r\n": 400,
    b"GET / HTTP/2.0\r\nHost: x\r\n\r\n": 505,
    b"GET / HTTP/1.2\r\nHost: x\r\n\r\n": 505,
    b"GET / http/1.1\r\nHost: x\r\n\r\n": 400,
    b"A" * 33 + b" / HTTP/1.1\r\nHost: x\r\n\r\n": 501,
    b"GET / HTTP/1.1\r\n\r\n": 400,
    GET + b"Host: x\r\n\r\n": 400,
    GET + b" folded\r\n\r\n": 400,
    GET + b"A: b\r\n\tfolded\r\n\r\n": 400,
    GET + b"A : b\r\n\r\n": 400,
    GET + b": b\r\n\r\n": 400,
    GET + b"no colon\r\n\r\n": 400,
    GET + b"A: b\x00\r\n\r\n": 400,
    GET + b"A: b\rc\r\n\r\n": 400,
    GET + b"Expect: magic\r\n\r\n": 417,
    POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n": 400,
    POST + b"Content-Length: 5, 5\r\n\r\n": 400,
    POST + b"Content-Length: +5\r\n\r\n": 400,
    POST + b"Content-Length:\r\n\r\n": 400,
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n": 400,
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    POST + b"Transfer-Encoding: xchunked\r\n\r\n": 501,
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n": 501,
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: x\r\n\r\n": 414,
    GET + b"A: b\r\n" * 100 + b"\r\n": 431,
    GET + b"A: " + b"b" * 33000: 431,
    b"G" * 9000: 414,
}


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_good_heads(number):
    data, expected = list(GOOD.items())[number]
    size, environ = parse_head([data + b"more"])
    assert size == len(data)
    assert {key: environ[key] for key in expected} == expected
    assert "HTTP_X_B" not in environ
    for at in range(1, len(data)):
        assert parse_head([data[:at], data[at:]]) == (size, environ)
    assert parse_head([data[at : at + 1] for at in range(len(data))]) == (size, environ)
    assert parse_head([data[:-1]]) == (0, {})


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_heads(number):
    data, status = list(BAD.items())[number]
    assert parse_head([data]) == (-status, {})
    assert parse_head([data[at : at + 7] for at in range(0, len(data), 7)]) == (-status, {})


@given(
    st.lists(
        st.sampled_from([b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: x", b":", b"\x00", b" ", b"?"])
    )
)
def test_any_bytes_end_in_a_size_or_a_refusal(pieces):
    data = b"".join(pieces)
    size, environ = parse_head([data])
    assert size in (0, -400, -505) or (0 < size <= len(data) and environ["PATH_INFO"])
    assert parse_head([data[at : at + 1] for at in range(len(data))])[0] == size


CHUNKED = b'3\r\nabc\r\n00A;x="y" \r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n'


def test_chunks_however_they_are_split():
    whole = (1, b"abc0123456789", b"next")
    assert decode_chunks([CHUNKED + b"next"], 100) == whole
    for first in range(len(CHUNKED)):
        for second in range(first, len(CHUNKED)):
            split = [CHUNKED[:first], CHUNKED[first:second], CHUNKED[second:] + b"next"]
            assert decode_chunks(split, 100) == whole


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5 6\r\nhello",
        b"5\t;\n",
        b"5 x;a=b\r\nhello",
        b"5" + b" " * 70_000,
        b"5\nhello",
        b"5\r\nhello!",
        b"5\r\nhello\n",
        b"ffffffffffffffffffff\r\n",
        b"5;\x00\r\n",
        b"0\r\nA\n",
        b"0\r\n\r\r",
        b"1;" + b"x" * 70_000,
        b"0" * 70_000,
        b"0\r\n" + b"a: b\r\n" * 20_000,
    ],
    ids=range(19),
)
def test_bad_chunks(data):
    assert decode_chunks([data], 100)[0] == -400
    assert decode_chunks([data[at : at + 5] for at in range(0, len(data), 5)], 100)[0] == -400


@pytest.mark.parametrize("blank", [b" ", b"\t \t", b" ;a=b", b"\t;", b";a = b "])
def test_blanks_may_stand_behind_a_size(blank):
    assert decode_chunks([b"5" + blank + b"\r\nhello\r\n0" + blank + b"\r\n\r\n"], 100) == (1, b"hello", b"")


def test_a_chunked_body_stops_where_there_is_no_more_room():
    assert decode_chunks([CHUNKED], 5)[:2] == (0, b"abc01")


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(1, 9))
def test_what_is_sent_in_chunks_comes_out(bodies, step):
    data = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in bodies) + b"0\r\n\r\n"
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert decode_chunks(pieces, 10_000) == (1, b"".join(bodies), b"")
