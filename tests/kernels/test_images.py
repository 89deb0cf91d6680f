"""The picture kernel against exact fractions, against OpenCV and Pillow, and with sizes that must not pass."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import image_oracle
from PIL import Image

from edgeml.kernels.frame import Frame
from edgeml.kernels.images import METHODS, ImageEncoder, ImageProgram

TABLE = np.tile(np.arange(256, dtype=np.float64), (4, 1))


def program(width, height, channels=3, method="bilinear", **more):
    options = {"reversed": False, "pad": bytes(channels), "planar": False, "double_door": False} | more
    return ImageProgram(TABLE[:channels].copy(), width=width, height=height, method=METHODS.index(method), **options)


def put(made, levels, channels, region=None, box=None, statistics=None, *, width, height):
    out = np.full(made.picture_bytes, 77, dtype=np.uint8)
    region = region or (0, 0, levels.shape[1], levels.shape[0])
    made.put(levels, region, box or (0, 0, width, height), out, statistics)
    return out.reshape(height, width, channels)


@st.composite
def pictures(draw, most=40):
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    channels = draw(st.sampled_from([1, 3, 4]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = random.integers(0, 256, (height, width, channels))
    if draw(st.booleans()):
        levels = np.cumsum(random.normal(0, 20, levels.shape), axis=1) + 128
    return np.clip(levels, 0, 255).astype(np.uint8)


sides = st.integers(1, 33)


@pytest.mark.parametrize("method", METHODS)
@given(pictures(), sides, sides)
@settings(max_examples=60)
def test_levels_are_the_exact_means_rounded(method, levels, width, height):
    channels = levels.shape[2]
    got = put(program(width, height, channels, method), levels, channels, width=width, height=height)
    exact = image_oracle.resampled(levels, width, height, method)
    # Half a level for the rounding of each of both passes (the first is to 1 / 128), and the weights' own.
    assert np.abs(got - exact).max() <= 0.6


@given(pictures(80), sides, sides)
@settings(max_examples=60)
@example(np.full((200, 3, 3), 255, dtype=np.uint8), 1, 1)
def test_bilinear_is_opencvs_within_one_level(levels, width, height):
    channels = levels.shape[2]
    got = put(program(width, height, channels), levels, channels, width=width, height=height)
    wanted = cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR).reshape(got.shape)
    assert np.abs(got.astype(int) - wanted).max() <= 1


@given(pictures(80), sides, sides)
@settings(max_examples=60)
def test_area_is_opencvs_within_one_level_where_a_picture_shrinks(levels, width, height):
    channels = levels.shape[2]
    width, height = min(width, levels.shape[1]), min(height, levels.shape[0])
    got = put(program(width, height, channels, "area"), levels, channels, width=width, height=height)
    wanted = cv2.resize(levels, (width, height), interpolation=cv2.INTER_AREA).reshape(got.shape)
    assert np.abs(got.astype(int) - wanted).max() <= 1


@given(pictures(80), sides, sides)
@settings(max_examples=60)
def test_antialias_is_pillows_bilinear_within_one_level(levels, width, height):
    channels = levels.shape[2]
    got = put(program(width, height, channels, "antialias"), levels, channels, width=width, height=height)
    for at in range(channels):  # one by one: Pillow would weigh colours by alpha
        wanted = Image.fromarray(levels[..., at]).resize((width, height), Image.Resampling.BILINEAR)
        assert np.abs(got[..., at].astype(int) - np.asarray(wanted)).max() <= 1


@pytest.mark.parametrize("source", [(480, 640), (2000, 3000), (224, 224), (225, 111)])
@pytest.mark.parametrize("method", ["bilinear", "area", "antialias"])
def test_a_picture_of_a_camera(method, source):
    random = np.random.default_rng(1)
    levels = cv2.GaussianBlur(random.integers(0, 256, (*source, 3)).astype(np.uint8), (0, 0), 2.0)
    got = put(program(96, 64, 3, method), levels, 3, width=96, height=64)
    if method == "antialias":
        wanted = np.asarray(Image.fromarray(levels).resize((96, 64), Image.Resampling.BILINEAR))
    else:
        how = cv2.INTER_LINEAR if method == "bilinear" else cv2.INTER_AREA
        wanted = cv2.resize(levels, (96, 64), interpolation=how)
    assert np.abs(got.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0, 1, 127, 255])
def test_a_picture_of_one_level_keeps_it(method, level):
    for source in [(1, 1), (7, 400), (65535, 1), (3, 2)]:
        levels = np.full((*source, 1), level, dtype=np.uint8)
        assert (put(program(5, 9, 1, method), levels, 1, width=5, height=9) == level).all()


@given(pictures(), st.sampled_from([1, 3, 4]), st.booleans())
def test_channels(levels, channels, reversed):
    height, width = levels.shape[:2]
    made = program(width, height, channels, reversed=reversed)
    got = put(made, levels, channels, width=width, height=height)
    colours = levels if levels.shape[2] > 1 else np.repeat(levels, 3, axis=2)
    if channels == 1:
        wanted = (levels[..., 0] if levels.shape[2] == 1 else image_oracle.luma(levels))[..., None]
    else:
        wanted = colours[..., [2, 1, 0] if reversed else [0, 1, 2]]
        if channels == 4:
            alpha = levels[..., 3:] if levels.shape[2] == 4 else np.full((height, width, 1), 255)
            wanted = np.concatenate([wanted, alpha], axis=2)
    assert (got == wanted).all()


def test_grey_is_pillows():
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    got = put(program(64, 64, 1), levels, 1, width=64, height=64)[..., 0]
    assert (got == np.asarray(Image.fromarray(levels).convert("L"))).all()


@given(pictures(), st.data())
def test_a_region_goes_into_a_box_and_the_rest_is_padded(levels, data):
    high, wide, channels = levels.shape
    left, top = data.draw(st.integers(0, wide - 1)), data.draw(st.integers(0, high - 1))
    width, height = data.draw(st.integers(1, wide - left)), data.draw(st.integers(1, high - top))
    x, y = data.draw(st.integers(0, 11)), data.draw(st.integers(0, 9))
    w, h = data.draw(st.integers(1, 12 - x)), data.draw(st.integers(1, 10 - y))
    pad = bytes(range(9, 9 + channels))
    got = put(
        program(12, 10, channels, pad=pad),
        levels,
        channels,
        (left, top, width, height),
        (x, y, w, h),
        width=12,
        height=10,
    )
    cut = np.ascontiguousarray(levels[top : top + height, left : left + width])
    inside = put(program(w, h, channels), cut, channels, width=w, height=h)
    assert (got[y : y + h, x : x + w] == inside).all()
    got[y : y + h, x : x + w] = np.frombuffer(pad, np.uint8)
    assert (got == np.frombuffer(pad, np.uint8)).all()


@given(pictures(), st.booleans())
def test_statistics(levels, reversed):
    height, width, channels = levels.shape
    made = program(width + 2, height + 1, channels, reversed=reversed, pad=b"\xff" * channels)
    numbers = np.full(made.n_statistics, np.nan)
    put(made, levels, channels, None, (1, 1, width, height), numbers, width=width + 2, height=height + 1)
    np.testing.assert_allclose(numbers, image_oracle.statistics(levels), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("planar", [False, True])
def test_rows(planar, double):
    random = np.random.default_rng(0)
    table = random.normal(size=(3, 256))
    made = ImageProgram(
        table, width=5, height=4, reversed=False, method=1, pad=bytes(3), planar=planar, double_door=double
    )
    frame = Frame(1, 0, 0, 3)
    levels = random.integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    from edgeml.kernels.frame import FrameReader

    reader = FrameReader((("a", 0, -np.inf, np.inf, False, False, (), 0),))
    reader.begin_columns(frame, 3)
    reader.fill_buffer(frame, 0, np.zeros(3))
    reader.end_columns(frame)
    with frame.pictures(3, made.picture_bytes) as view:
        np.asarray(view)[:] = levels.reshape(-1)
    wanted = np.stack([table[c][levels[..., c]] for c in range(3)], axis=1 if planar else -1).reshape(3, -1)
    out = np.empty((3, 60), dtype="f8" if double else "f4")
    encoder = ImageEncoder(made)
    assert encoder.encode(frame.capsule, out) == 0
    assert (out == wanted.astype(out.dtype)).all()
    chosen = np.array([2, 0], dtype=np.int64)
    encoder.encode(frame.capsule, out[:2], chosen)
    assert (out[:2] == wanted[chosen].astype(out.dtype)).all()
    bound = np.empty((1, 60), dtype=out.dtype)
    encoder.bind(bound)
    encoder.encode_bound(frame.capsule)
    assert (bound == wanted[:1].astype(out.dtype)).all()
    with pytest.raises(ValueError, match="row 3 of 3"):
        encoder.encode(frame.capsule, out[:1], np.array([3], dtype=np.int64))
    with pytest.raises(ValueError, match="shape"):
        encoder.encode(frame.capsule, np.empty((3, 59), dtype=out.dtype))
    with pytest.raises(ValueError, match="must hold"):
        encoder.encode(frame.capsule, np.empty((3, 60), dtype="i4"))
    # The next reading forgets the pictures, so nothing old can be answered.
    reader.begin_columns(frame, 3)
    with pytest.raises(ValueError, match="does not hold a picture"):
        encoder.encode(frame.capsule, out)


def test_a_frame_of_other_pictures_is_refused():
    frame = Frame(0, 0, 0)
    frame.pictures(1, 59).release()
    encoder = ImageEncoder(program(5, 4, 3))
    with pytest.raises(ValueError, match="does not hold a picture"):
        encoder.encode(frame.capsule, np.empty((0, 60), dtype="f4"))


def test_pictures_are_not_moved_under_a_view():
    frame = Frame(0, 0, 0)
    view = frame.pictures(2, 100)
    with pytest.raises(BufferError):
        frame.pictures(3, 100)
    view.release()
    assert len(frame.pictures(3, 100)) == 300
    with pytest.raises(ValueError):
        frame.pictures(1, 0)
    with pytest.raises(MemoryError):
        Frame(0, 0, 0).pictures(2**40, 2**40)


BOX = (0, 0, 5, 4)


@pytest.mark.parametrize(
    "source, region, box, out, message",
    [
        (np.zeros((4, 4), "u1"), (0, 0, 5, 4), BOX, 60, "region"),
        (np.zeros((4, 4), "u1"), (-1, 0, 4, 4), BOX, 60, "region"),
        (np.zeros((4, 4), "u1"), (3, 0, 2**62, 4), BOX, 60, "region"),
        (np.zeros((4, 4), "u1"), (0, 0, 0, 4), BOX, 60, "region"),
        (np.zeros((4, 4), "u1"), (0, 0, 4, 4), (1, 0, 5, 4), 60, "box"),
        (np.zeros((4, 4), "u1"), (0, 0, 4, 4), (0, 0, 0, 4), 60, "box"),
        (np.zeros((4, 4), "u1"), (0, 0, 4, 4), BOX, 59, "60 bytes"),
        (np.zeros((4, 4, 2), "u1"), (0, 0, 4, 4), BOX, 60, "channels"),
        (np.zeros((0, 4), "u1"), (0, 0, 1, 1), BOX, 60, "sides"),
        (np.zeros((1, 65536), "u1"), (0, 0, 1, 1), BOX, 60, "sides"),
        (np.zeros((4, 4), "i1"), (0, 0, 4, 4), BOX, 60, "uint8"),
        (np.zeros(16, "u1"), (0, 0, 4, 4), BOX, 60, "uint8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(source, region, box, out, message):
    with pytest.raises(ValueError, match=message):
        program(5, 4).put(source, region, box, np.empty(out, dtype=np.uint8))


@pytest.mark.parametrize(
    "more, message",
    [
        ({"width": 0}, "sides"),
        ({"height": 4097}, "sides"),
        ({"method": 4}, "method"),
        ({"method": -1}, "method"),
        ({"pad": b""}, "padding"),
        ({"table": np.zeros((2, 256))}, "channels"),
        ({"table": np.zeros((3, 255))}, "levels"),
    ],
)
def test_a_program_that_does_not_fit_is_not_made(more, message):
    options = {"width": 5, "height": 4, "reversed": False, "method": 1, "pad": bytes(3), "planar": False}
    options |= {"double_door": False, "table": np.zeros((3, 256))} | more
    with pytest.raises(ValueError, match=message):
        ImageProgram(options.pop("table"), **options)


def test_statistics_of_another_length_are_refused():
    with pytest.raises(ValueError, match="15 statistics"):
        put(program(5, 4), np.zeros((4, 4), "u1"), 3, None, BOX, np.empty(14), width=5, height=4)
