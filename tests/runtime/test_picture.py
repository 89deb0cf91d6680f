"""Decoding: which files become which levels, and which are refused before anything is decoded."""

import io
import struct
import subprocess
import sys
import warnings
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from runtime.image_samples import file_of, jpeg_header, picture, png_chunk, png_header, png_of

from edgeml.errors import RequirementError
from edgeml.runtime.picture import PictureDecoder, encoded
from edgeml.runtime.picture_header import Refusal, picture_size

LEVELS = picture(0, np.random.default_rng(0))
decode = PictureDecoder(max_pixels=10_000, exif=True)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_png_loses_nothing(shape):
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert (decode(encoded(levels)) == levels.reshape(shape[:2] if shape[2:] == (1,) else shape)).all()


def test_jpeg_is_pillows():
    file = file_of(LEVELS, "JPEG", quality=90)
    assert (decode(file) == np.asarray(Image.open(io.BytesIO(file)))).all()
    assert decode(file_of(LEVELS, "JPEG", progressive=True)).shape == LEVELS.shape


def test_each_mode_becomes_levels():
    image = Image.fromarray(LEVELS)
    grey = np.asarray(image.convert("L"))
    assert (decode(file_of(image.convert("1"))) == np.asarray(image.convert("1")) * 255).all()
    assert decode(file_of(image.quantize(16))).shape == LEVELS.shape
    assert decode(file_of(image.quantize(16), transparency=0)).shape == (*LEVELS.shape[:2], 4)
    assert decode(file_of(image.convert("LA"))).shape == (*LEVELS.shape[:2], 4)
    assert decode(file_of(image.convert("CMYK"), "JPEG")).shape == LEVELS.shape
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 7)
    assert (decode(file_of(deep)) == grey).all()  # the upper 8 bits


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = file_of(LEVELS, "PNG", exif=exif)
    from PIL import ImageOps

    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    assert np.array_equal(decode(file), wanted)
    assert np.array_equal(PictureDecoder(max_pixels=10_000, exif=False)(file), LEVELS)


def test_of_an_animation_the_first_picture_counts():
    frames = [Image.fromarray(LEVELS), Image.fromarray(255 - LEVELS)]
    file = file_of(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert (decode(file) == LEVELS).all()


@pytest.mark.parametrize("header", [png_header, jpeg_header])
def test_a_bomb_is_refused_by_its_header(header):
    with patch.object(decode, "_image", None):  # nobody could decode it
        assert decode(header(65535, 65535)) == Refusal("too_many_pixels", "65535 x 65535 pixels")
    assert decode(header(100, 101)).code == "too_many_pixels"
    assert decode(header(100, 100)).code == "not_a_picture"


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"GIF89a" + bytes(40),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x00" * 40,
        png_header(0, 5),
        jpeg_header(5, 0),
        file_of(LEVELS)[:-40],
        file_of(LEVELS, "JPEG")[:-80],
        file_of(LEVELS)[:60] + b"\x00" * 200,
        file_of(LEVELS, "BMP"),
        file_of(LEVELS, "TIFF"),
        b"%PDF-1.4",
    ],
)
def test_what_is_no_whole_picture_is_refused(file):
    assert decode(file).code == "not_a_picture"


def test_a_file_without_a_readable_header_gets_the_same_answer_each_time():
    file = file_of(LEVELS)
    broken = file[:24] + b"\x63" + file[25:]  # no such depth
    first, second = decode(broken), decode(broken)
    assert first == second == Refusal("not_a_picture", "a file that cannot be decoded: its header cannot be read")


def test_pillow_warns_of_no_picture():
    # Each warning of a damaged EXIF block names other numbers, and Python keeps all of them.
    damaged = [b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", tag, 2, 9000, 8000) for tag in range(1, 40)]
    files = [file_of(LEVELS, "JPEG", exif=each + bytes(4)) for each in damaged]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decoder = PictureDecoder(max_pixels=10_000, exif=True)
        assert all(isinstance(decoder(file), np.ndarray) for file in files)
    assert not caught


def test_a_file_of_two_sizes_is_refused():
    file = bytearray(file_of(LEVELS, "JPEG"))
    bomb = jpeg_header(900, 900)[2:-2]
    # The first frame is small; what follows is another one.
    assert isinstance(decode(bytes(file[:2]) + jpeg_header(10, 10)[2:-2] + bomb + bytes(file[2:])), Refusal)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", png_header(9, 9)]))
def test_any_bytes_have_an_answer(tail, head):
    assert isinstance(decode(head + tail), Refusal | np.ndarray)


@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["PNG", "JPEG"]))
def test_a_changed_byte_has_an_answer(at, byte, kind):
    file = bytearray(file_of(LEVELS, kind))
    file[at % len(file)] = byte
    assert isinstance(decode(bytes(file)), Refusal | np.ndarray)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["PNG", "JPEG"]))
def test_the_header_says_the_size(width, height, kind):
    assert picture_size(file_of(np.zeros((height, width), np.uint8), kind)) == (width, height)


def test_without_pillow_the_remedy_is_said():
    with patch.dict(sys.modules, {"PIL": None}), pytest.raises(RequirementError, match=r"edgeml\[images\]"):
        PictureDecoder(max_pixels=1, exif=True)


@pytest.mark.parametrize(
    ("depth", "colour", "row", "clear", "wanted"),
    [
        (1, 0, b"\xa5", b"\x00\x01", [[255] * 3 + [0], [0] * 3 + [255]]),
        (2, 0, b"\x1b", b"\x00\x02", [[0] * 3 + [255], [85] * 3 + [255], [170] * 3 + [0], [255] * 4]),
        (4, 0, b"\x1f", b"\x00\x01", [[17] * 3 + [0], [255] * 4]),
        (8, 0, b"\x05\x07", b"\x00\x05", [[5] * 3 + [0], [7] * 3 + [255]]),
        (16, 0, b"\x05\x07\x05\x08", b"\x05\x07", [[5] * 3 + [0], [5] * 3 + [255]]),
        (8, 2, b"\x01\x02\x03\x01\x02\x04", b"\x00\x01\x00\x02\x00\x03", [[1, 2, 3, 0], [1, 2, 4, 255]]),
        (16, 2, b"\x01\x09\x02\x09\x03\x09" + bytes(6), b"\x01\x09\x02\x09\x03\x09", [[1, 2, 3, 0], [0, 0, 0, 255]]),
    ],
)
def test_a_level_or_colour_that_is_called_transparent_has_no_alpha(depth, colour, row, clear, wanted):
    got = decode(png_of(depth, colour, row, png_chunk(b"tRNS", clear)))
    assert got.shape[2] == 4 and got[0, : len(wanted)].tolist() == wanted
    assert decode(png_of(depth, colour, row)).shape[2:] == ((3,) if colour else ())


@pytest.mark.parametrize("error", [ImportError("no module"), OSError(24, "Too many open files"), MemoryError()])
def test_what_is_no_fault_of_the_picture_is_no_refusal(error):
    for where in ("PIL.Image.open", "PIL.Image.Image.getexif"):
        with patch(where, side_effect=error), pytest.raises(type(error)):
            decode(file_of(LEVELS))


FIRST_DECODED = """
import io, sys
from pathlib import Path
from edgeml.runtime.picture import PictureDecoder
decode = PictureDecoder(max_pixels=10_000, exif=True)
files = [Path(name).read_bytes() for name in sys.argv[1:]]
before = set(sys.modules)
print([getattr(decode(file), "shape", None) for file in files], sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_once_the_decoder_is_there(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.fromarray(LEVELS), Image.fromarray(255 - LEVELS)]
    files = {
        "turned.png": file_of(LEVELS, "PNG", exif=exif),
        "turned.jpg": file_of(LEVELS, "JPEG", exif=exif),
        "several.jpg": file_of(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "palette.png": file_of(frames[0].quantize(16), transparency=0),
        "printed.jpg": file_of(frames[0].convert("CMYK"), "JPEG"),
    }
    for name, file in files.items():
        (tmp_path / name).write_bytes(file)
    ran = [sys.executable, "-c", FIRST_DECODED, *(str(tmp_path / name) for name in files)]
    out = subprocess.run(ran, capture_output=True, text=True, check=True).stdout
    height, width = LEVELS.shape[:2]
    shapes = [(width, height, 3), (width, height, 3), (height, width, 3), (height, width, 4), (height, width, 3)]
    assert out.strip() == f"{shapes} []"
