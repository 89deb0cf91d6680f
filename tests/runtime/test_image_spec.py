"""What a model sees of a picture: geometry, levels, and members that do not fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeml import ImageSpec, image_rows
from edgeml.errors import BuildError, BundleError
from edgeml.runtime.image_spec import CHANNELS

sides = st.integers(1, 5000)


@st.composite
def specs(draw):
    return ImageSpec(
        width=draw(st.integers(1, 300)),
        height=draw(st.integers(1, 300)),
        channels=draw(st.sampled_from(sorted(CHANNELS))),
        fit=draw(st.sampled_from(["stretch", "cover", "letterbox"])),
        placement=draw(st.sampled_from(["centre", "top_left"])),
        centre=draw(st.floats(0.01, 1.0)),
        crop=draw(st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 99), st.integers(1, 99))),
    )


@given(specs(), sides, sides)
def test_region_and_box_are_inside(spec, width, height):
    placed = spec.placed(width, height)
    if spec.crop is not None and (spec.crop[0] + spec.crop[2] > width or spec.crop[1] + spec.crop[3] > height):
        assert placed is None
        return
    (left, top, wide, high), (x, y, w, h) = placed
    assert 0 <= left and 0 <= top and wide >= 1 and high >= 1 and left + wide <= width and top + high <= height
    assert 0 <= x and 0 <= y and w >= 1 and h >= 1 and x + w <= spec.width and y + h <= spec.height


@given(specs())
def test_a_document_gives_the_same_spec(spec):
    assert ImageSpec.from_document(spec.to_document("float64")) == (spec, "float64")


@pytest.mark.parametrize(
    "more, size, region, box",
    [
        ({}, (640, 480), (0, 0, 640, 480), (0, 0, 100, 100)),
        ({"fit": "cover"}, (640, 480), (80, 0, 480, 480), (0, 0, 100, 100)),
        ({"fit": "cover", "centre": 0.5}, (480, 640), (120, 200, 240, 240), (0, 0, 100, 100)),
        ({"fit": "letterbox"}, (640, 480), (0, 0, 640, 480), (0, 12, 100, 75)),
        ({"fit": "letterbox", "placement": "top_left"}, (480, 640), (0, 0, 480, 640), (0, 0, 75, 100)),
        ({"crop": (10, 20, 30, 40)}, (640, 480), (10, 20, 30, 40), (0, 0, 100, 100)),
    ],
)
def test_fits(more, size, region, box):
    assert ImageSpec(width=100, height=100, **more).placed(*size) == (region, box)


def test_rows_are_what_one_would_write():
    levels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    spec = ImageSpec(width=6, height=4, scale=1 / 255, mean=mean, std=std, layout="chw")
    wanted = ((levels / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1).reshape(1, -1)
    np.testing.assert_allclose(image_rows(spec, [levels]), wanted, rtol=1e-12)
    assert image_rows(spec, [levels], dtype="float32").dtype == np.float32
    bgr = ImageSpec(width=6, height=4, channels="bgr")
    assert (image_rows(bgr, [levels]) == levels[..., ::-1].reshape(1, -1)).all()
    assert image_rows(spec, []).shape == (0, 72)
    with pytest.raises(BuildError, match="picture 1: wrong type: list"):
        image_rows(spec, [levels, [1]])


@pytest.mark.parametrize(
    "picture, message",
    [
        (
            np.zeros((4, 5, 3), np.uint8),
            r"picture 0: too small: 5 x 4 pixels; expected .* holds the crop \[0, 0, 6, 4\]",
        ),
        (np.zeros((20, 20), np.uint8), "picture 0: too many pixels: 20 x 20 pixels; expected .* at most 300 pixels"),
        (np.zeros((4, 5, 2), np.uint8), r"picture 0: wrong shape: shape \[4, 5, 2\]; expected uint8 \[height, width\]"),
        (b"GIF89a", "picture 0: not a picture: 6 bytes .*; expected a whole PNG or JPEG file"),
        ([1], "picture 0: wrong type: list; give a file's bytes or a uint8 array"),
    ],
)
def test_a_picture_that_cannot_be_taken_says_what_was_expected(picture, message):
    spec = ImageSpec(width=6, height=4, crop=(0, 0, 6, 4), max_pixels=300)
    with pytest.raises(BuildError, match=message):
        image_rows(spec, [picture])


@pytest.mark.parametrize(
    "more, message",
    [
        ({"width": 0}, "width"),
        ({"height": 4097}, "height"),
        ({"width": True}, "width"),
        ({"channels": "hsv"}, "channels"),
        ({"resize": "lanczos"}, "resize"),
        ({"fit": "crop"}, "fit"),
        ({"pad": (1, 2)}, "pad"),
        ({"pad": (256,)}, "pad"),
        ({"std": (0.0,)}, "std"),
        ({"mean": (float("nan"),)}, "mean"),
        ({"scale": 1e300}, "float32"),
        ({"crop": (0, 0, 0, 5)}, "crop"),
        ({"centre": 0.0}, "centre"),
        ({"max_pixels": 2**27}, "max_pixels"),
        ({"exif": 1}, "exif"),
    ],
)
def test_a_member_that_does_not_fit_is_named(more, message):
    with pytest.raises(BuildError, match=message):
        ImageSpec(**{"width": 5, "height": 5} | more)
    document = ImageSpec(width=5, height=5).to_document("float32") | more
    with pytest.raises(BundleError, match=r"image\.json"):
        ImageSpec.from_document(document)


@pytest.mark.parametrize("more", [{"format": 2}, {"door": "float16"}, {"colour": "red"}, {"width": "5"}, {"name": 5}])
def test_a_document_that_does_not_fit_is_refused(more):
    with pytest.raises(BundleError, match=r"image\.json"):
        ImageSpec.from_document(ImageSpec(width=5, height=5).to_document("float32") | more)
