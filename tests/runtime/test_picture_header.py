"""What costs more than its pixels is refused before a decoder sees it."""

import tracemalloc
import zlib
from unittest.mock import patch

import numpy as np
import pytest
from runtime.image_samples import file_of, jpeg_of_scans, png_chunk, png_of

from edgeml.runtime.picture import PictureDecoder
from edgeml.runtime.picture_header import MAX_PACKED, MAX_SCANS, MAX_SEGMENTS, Refusal, picture_size

GREY = file_of(np.zeros((16, 16), np.uint8), "JPEG")
DECODE = PictureDecoder(max_pixels=2**24, exif=True)


def refused(file):
    with patch.object(DECODE, "_image", None):  # nobody could decode it
        found = DECODE(file)
    assert isinstance(found, Refusal) and found.code == "not_a_picture" and picture_size(file) == found
    return found.got


def test_a_jpeg_has_a_bounded_number_of_scans():
    assert DECODE(jpeg_of_scans(MAX_SCANS)).shape == (16, 16)
    assert refused(jpeg_of_scans(MAX_SCANS + 1)) == "a JPEG file of more than 100 scans"
    # Fill bytes before a marker, bare markers and garbage hide none.
    first, *others = jpeg_of_scans(MAX_SCANS + 1).split(b"\xff\xda")
    for hidden in (b"\xff\xff", b"\xff\xd0", b"\xff\x01", b"garbage\xff\x00"):
        file = first + b"\xff\xda" + (hidden + b"\xff\xda").join(others)
        assert refused(file) == "a JPEG file of more than 100 scans"


def test_scans_behind_the_end_or_inside_of_a_segment_are_none():
    more = b"\xff\xda\x00\x02" * 200
    assert DECODE(GREY + more).shape == (16, 16)
    inside = b"\xff\xe5" + (len(more) + 2).to_bytes(2, "big") + more
    assert DECODE(GREY[:2] + inside + GREY[2:]).shape == (16, 16)


@pytest.mark.parametrize("piece", [b"\xff\xe5\x00\x02", b"\xff\xfe\x00\x00", b"\xff", b"\xff\xd0"])
def test_a_jpeg_has_a_bounded_number_of_segments(piece):
    assert DECODE(GREY[:2] + piece * 1000 + GREY[2:]).shape == (16, 16)
    assert "4096 segments" in refused(GREY[:2] + piece * (MAX_SEGMENTS + 1) + GREY[2:])


def test_ends_and_segments_behind_the_first_scan_count_too():
    assert "4096 segments" in refused(GREY[:2] + b"\xff\xd9" * (MAX_SEGMENTS + 1) + GREY[2:])
    assert "4096 segments" in refused(GREY[:-2] + b"\xff\xe5\x00\x02" * MAX_SEGMENTS + GREY[-2:])


@pytest.mark.parametrize("piece", [b"\x00" * 9, b"\xff\xc8\x00\x08" + bytes(6), b"\xff\xf0\x00\x02", b"\xff\x00"])
def test_what_decoders_read_differently_is_refused(piece):
    assert "JPEG file with" in refused(GREY[:20] + piece + GREY[20:])


def test_a_png_has_a_bounded_number_of_chunks():
    empty = png_chunk(b"teSt")
    assert DECODE(png_of(8, 0, b"\x07", *[empty] * 4000)) == 7
    assert "chunks" in refused(png_of(8, 0, b"\x07", *[empty] * 5000))
    # Pixels in many chunks are no fault: 8192 bytes each, as libpng writes them.
    levels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 4)).astype(np.uint8)
    file = file_of(levels)
    packed = zlib.compress(b"".join(b"\x00" + row.tobytes() for row in levels), 0)
    start = file.index(b"IDAT") - 4
    parts = [png_chunk(b"IDAT", packed[at : at + 1300]) for at in range(0, len(packed), 1300)]
    assert len(parts) > MAX_SEGMENTS
    assert (DECODE(file[:start] + b"".join(parts) + png_chunk(b"IEND")) == levels).all()


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_png_has_a_bounded_number_of_packed_texts(name):
    assert "packed" in refused(png_of(8, 0, b"\x07", *[png_chunk(name, b"a\x00\x00")] * (MAX_PACKED + 1)))


def test_greys_of_16_bits_take_no_more_memory_than_others():
    def most(levels):
        file = file_of(levels)
        tracemalloc.start()
        assert DECODE(file).shape == levels.shape[:2]
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    # Their 2 bytes, those once more on the way out of Pillow, and the level.
    deep = np.full((1000, 1000), 0x1234, np.uint16)
    assert most(deep)[0] < 5.5 * deep.size
