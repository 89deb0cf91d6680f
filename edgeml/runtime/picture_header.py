"""What a PNG or JPEG file says of itself: its size, and how much work its structure makes.

Read here, before any decoder sees the file: a few bytes can claim a huge picture, a decoder goes through the whole
picture for each scan of a JPEG, and reads every segment and chunk one by one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
# A progressive JPEG of a camera or a tool has about ten.
MAX_SCANS = 100
# Of a JPEG; a PNG may have one more for each 1024 bytes, because its pixels come in chunks of 8192 bytes and the like.
MAX_SEGMENTS = 4096
# Each of them may be a thousand times as long when it is unpacked, and counts for no pixel.
PACKED = (b"iCCP", b"zTXt", b"iTXt")
MAX_PACKED = 100

# ITU-T T.81, table B.1. After the first scan: what is neither a stuffed byte nor without a length.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})
# What libjpeg reads; where other markers stand, decoders do not agree on what follows.
_KNOWN = _FRAMES | _BARE | {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}
_END, _SCAN, _FILL = 0xD9, 0xDA, 0xFF


class Refusal(NamedTuple):
    """Why there is no picture.

    Attributes:
        code: As in a violation.
        got: What came instead.
    """

    code: str
    got: str


def picture_size(data: bytes) -> tuple[int, int] | Refusal:
    """Width and height in pixels as the header of a PNG or JPEG file says them.

    Args:
        data: The file's bytes.

    Returns:
        Width and height; or why the file is not to be decoded, also where it has more scans, segments or chunks than
        any picture needs.
    """
    if data.startswith(PNG):
        size = _png_size(data)
    elif data.startswith(JPEG):
        size = _jpeg_size(data)
    else:
        return _no_picture(f"{len(data)} bytes that are neither PNG nor JPEG")
    if not isinstance(size, Refusal) and not (size[0] and size[1]):
        return _no_picture(f"a picture of {size[0]} x {size[1]} pixels")
    return size


def _png_size(data: bytes) -> tuple[int, int] | Refusal:
    """Width and height in the chunk IHDR; all chunks are counted (PNG specification, 5.3)."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return _no_picture("a PNG file without a header")
    most = MAX_SEGMENTS + len(data) // 1024
    at, chunks, packed, name = len(PNG), 0, 0, b""
    while at + 8 <= len(data) and name != b"IEND":
        name = data[at + 4 : at + 8]
        chunks += 1
        packed += name in PACKED
        if chunks > most:
            return _no_picture(f"a PNG file of more than {most} chunks")
        if packed > MAX_PACKED:
            return _no_picture(f"a PNG file with more than {MAX_PACKED} chunks of packed texts and profiles")
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int] | Refusal:
    """Width and height in the first start-of-frame segment; all segments are counted (ITU-T T.81, annex B)."""
    size: tuple[int, int] | None = None
    at, segments, scans = 2, 0, 0
    while at + 1 < len(data):
        if scans:
            found = _MARKER.search(data, at)
            if found is None:
                break
            at = found.start()
        elif data[at] != 0xFF:
            return _no_picture("a JPEG file with bytes between its segments")
        marker = data[at + 1]
        segments += 1
        if segments > MAX_SEGMENTS:
            return _no_picture(f"a JPEG file of more than {MAX_SEGMENTS} segments")
        if scans and marker == _END:
            break
        if not scans and marker not in _KNOWN and marker != _FILL:
            return _no_picture(f"a JPEG file with the marker FF{marker:02X} before its first scan")
        if marker == _FILL:
            at += 1
            continue
        if marker in _BARE or marker not in _KNOWN:
            at += 2
            continue
        if marker in _FRAMES and size is None and not scans and at + 9 <= len(data):
            size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        scans += marker == _SCAN
        if scans > MAX_SCANS:
            return _no_picture(f"a JPEG file of more than {MAX_SCANS} scans")
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return size or _no_picture("a JPEG file without a frame")


def _no_picture(got: str) -> Refusal:
    return Refusal("not_a_picture", got)
