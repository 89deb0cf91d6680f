"""Targets of ``make fuzz`` for pictures: files, what a spec makes of a picture, and the kernel behind both.

Pillow decodes in code that is not compiled for the fuzzer. So that inputs are guided all the same, its plugins and the
reader of headers are instrumented as Python.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import atheris
import numpy as np
from numpy.typing import NDArray
from oracles import image_oracle

from edgeml.errors import BundleError
from edgeml.kernels.frame import Frame, FrameReader
from edgeml.kernels.images import METHODS, ImageEncoder, ImageProgram
from edgeml.runtime import picture_header
from edgeml.runtime.image_program import PictureProgram
from edgeml.runtime.image_spec import ImageSpec

# It names every module that it instruments.
with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["PIL"]):
    from PIL import Image, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401

    from edgeml.runtime.image_reader import ImageReader

Target = Callable[[bytes], None]
Levels = NDArray[np.uint8]

MAX_PIXELS = 2**16
SPECS = [
    ImageSpec(width=8, height=6, max_pixels=MAX_PIXELS),
    ImageSpec(width=5, height=5, channels="rgba", fit="letterbox", resize="area", pad=(7,), max_pixels=MAX_PIXELS),
    ImageSpec(width=4, height=9, channels="grey", fit="cover", centre=0.7, resize="antialias", max_pixels=MAX_PIXELS),
    ImageSpec(width=3, height=3, channels="bgr", crop=(1, 2, 3, 4), resize="nearest", exif=False, max_pixels=64),
]
# What a file may be refused with.
CODES = {"not_a_picture", "too_many_pixels", "too_small"}
# As the kernel's own tests have it: half a level for each of two passes, and the weights' own.
TOLERANCE = 0.6


def picture_files() -> Target:
    """A PNG or JPEG file, alone and in the body of a request: refused as documented, or taken in both ways alike.

    The first byte chooses the spec, and whether the sums of a PNG's chunks are set right, which no fuzzer guesses.
    """
    for name in ("picture_size", "_png_size", "_jpeg_size"):
        atheris.instrument_func(getattr(picture_header, name))
    readers = []
    for spec in SPECS:
        program = PictureProgram(spec)
        readers.append((ImageReader(spec.schema, program), program))

    def target(data: bytes) -> None:
        choice, file = data[0] if data else 0, data[1:]
        reader, program = readers[choice % len(readers)]
        if choice & 64:
            file = with_sums(file)
        frame, again = reader.new_frame(1), reader.new_frame(1)
        refused = reader.read_many(frame, [{"image": file}], partial=True)
        body = json.dumps({"records": [{"image": base64.b64encode(file).decode()}], "partial": True})
        also = reader.read_json(again, body.encode()).violations
        # No file at all is no text either.
        assert {each.code for each in refused} <= CODES and (refused == also or not file), (refused, also)
        if refused:
            return
        rows = np.empty((2, program.n_outputs), dtype=np.float32)
        program.encoder().encode(frame.capsule, rows[:1])
        program.encoder().encode(again.capsule, rows[1:])
        assert np.isfinite(rows).all() and (rows == program.rows([file])).all(), rows

    return target


def picture_specs() -> Target:
    """The member ``image.json``: refused as documented, or it finishes every picture that it does not refuse."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        document = _document(given)
        try:
            spec, door = ImageSpec.from_document(document)
        except BundleError:
            return
        if spec.width * spec.height > MAX_PIXELS:
            return
        program = PictureProgram(spec, door)
        levels = _levels(given)
        picture = np.empty(program.picture_bytes, dtype=np.uint8)
        numbers = np.full(program.n_numbers, np.nan)
        refusal = program.put(levels, picture, numbers)
        if refusal is None:
            assert np.isfinite(numbers).all(), (document, levels.shape, numbers)
            program.encoder().encode(_frame(picture).capsule, np.empty((1, program.n_outputs), dtype=program.dtype))
        else:
            assert refusal.code in CODES | {"wrong_shape"}, refusal
            assert program.spec.complaint(refusal.code, refusal.got)

    return target


def picture_program() -> Target:
    """The kernel: refused, or every level is the exact one, the padding is the padding, and the row is the table's."""

    def target(data: bytes) -> None:
        given = atheris.FuzzedDataProvider(data)
        channels = given.PickValueInList([1, 3, 4, 4, 3, 1, 2])
        table = np.array([[given.ConsumeFloat() for _ in range(channels)]]).T + np.arange(256.0)
        width, height = _number(given, 1, 24), _number(given, 1, 24)
        method, backwards = _number(given, 0, len(METHODS) - 1), given.ConsumeBool()
        pad, planar, double = given.ConsumeBytes(channels), given.ConsumeBool(), given.ConsumeBool()
        try:
            made = ImageProgram(
                table, width=width, height=height, reversed=backwards, method=method,
                pad=pad, planar=planar, double_door=double,
            )  # fmt: skip
        except (ValueError, OverflowError):
            return
        if made.picture_bytes > 4 * MAX_PIXELS:
            return
        region, box = (tuple(_number(given, 0, 24) for _ in range(4)) for _ in range(2))
        levels = _levels(given)
        out = np.zeros(made.picture_bytes + (given.ConsumeIntInRange(0, 9) == 9), dtype=np.uint8)
        numbers = np.full(made.n_statistics, np.nan)
        try:
            made.put(levels, region, box, out, numbers)
        except (ValueError, OverflowError):
            return
        assert np.isfinite(numbers).all(), numbers
        picture = out.reshape(height, width, channels)
        left, top, wide, high = box
        outside = np.ones((height, width), dtype=bool)
        outside[top : top + high, left : left + wide] = False
        assert (picture[outside] == np.frombuffer(pad, dtype=np.uint8)).all(), (box, picture)
        source = levels if levels.ndim == 3 else levels[..., None]
        if source.shape[2] == channels and source.size < 2**12:
            cut = source[region[1] : region[1] + region[3], region[0] : region[0] + region[2]]
            exact = image_oracle.resampled(cut, wide, high, METHODS[method])
            if backwards and channels > 1:
                exact = exact[..., [2, 1, 0, *range(3, channels)]]
            inside = picture[top : top + high, left : left + wide]
            assert np.abs(inside - exact).max() <= TOLERANCE, (region, box, METHODS[method])
        row = np.empty((1, made.n_outputs), dtype=np.float64 if double else np.float32)
        ImageEncoder(made).encode(_frame(out).capsule, row)
        wanted = np.stack([table[at][picture[..., at]] for at in range(channels)], axis=0 if planar else -1)
        with np.errstate(over="ignore"):
            assert np.array_equal(row[0], wanted.astype(row.dtype).ravel(), equal_nan=True)

    return target


def _number(given: Any, low: int, high: int) -> int:
    """For the most part within bounds, since all others are refused alike."""
    if given.ConsumeIntInRange(0, 31):
        return int(given.ConsumeIntInRange(low, high))
    return int(given.ConsumeIntInRange(-(2**63), 2**63 - 1))


def _levels(given: Any) -> Levels:
    """A picture of drawn sides; one byte in all of them, or noise."""
    longest = given.PickValueInList([12, 12, 12, 40, 3000])
    height, width = given.ConsumeIntInRange(0, longest), given.ConsumeIntInRange(0, longest if longest < 99 else 9)
    if given.ConsumeBool():
        height, width = width, height
    shape = (height, width, given.PickValueInList([1, 3, 4, 3, 2]))[: given.PickValueInList([3, 3, 2])]
    seed = given.ConsumeIntInRange(0, 255)
    if given.ConsumeBool():
        return np.full(shape, seed, dtype=np.uint8)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _document(given: Any) -> dict[str, Any]:
    """Something like ``image.json``; each member is there or not, and now and then of another type."""
    depth = given.PickValueInList([1, 3, 4])

    def numbers() -> list[Any]:
        return [given.PickValueInList([0.0, 1.0, 0.5, given.ConsumeFloat()]) for _ in range(depth)]

    def whole() -> Any:
        return _number(given, 0, 12) if given.ConsumeIntInRange(0, 31) else given.PickValueInList([None, "1", 1.5])

    choices: dict[str, Callable[[], Any]] = {
        "channels": lambda: given.PickValueInList(["grey", "rgb", "bgr", "rgba", "hsv"]),
        "resize": lambda: given.PickValueInList([*METHODS, "best"]),
        "fit": lambda: given.PickValueInList(["stretch", "cover", "letterbox"]),
        "placement": lambda: given.PickValueInList(["centre", "top_left"]),
        "pad": lambda: [given.ConsumeIntInRange(0, 256) for _ in range(depth)],
        "crop": lambda: [whole() for _ in range(4)],
        "centre": lambda: given.PickValueInList([1.0, 0.875, given.ConsumeProbability(), given.ConsumeFloat()]),
        "exif": given.ConsumeBool,
        "max_pixels": lambda: given.PickValueInList([1, 100, MAX_PIXELS, 2**26, whole()]),
        "scale": lambda: given.PickValueInList([1 / 255, 1.0, given.ConsumeFloat()]),
        "mean": numbers,
        "std": numbers,
        "layout": lambda: given.PickValueInList(["hwc", "chw"]),
        "name": lambda: given.PickValueInList(["image", "", given.ConsumeUnicodeNoSurrogates(8)]),
    }
    long = given.PickValueInList([24, 24, 24, 4096])
    sides = {"width": given.ConsumeIntInRange(0, long), "height": given.ConsumeIntInRange(0, 24)}
    chosen = {name: make() for name, make in choices.items() if given.ConsumeIntInRange(0, 2) == 0}
    return {"format": 1, "door": given.PickValueInList(["float32", "float64"])} | sides | chosen


def _frame(picture: Levels) -> Frame:
    reader = FrameReader(())
    frame = reader.new_frame(1)
    reader.begin_columns(frame, 1)
    reader.end_columns(frame)
    with frame.pictures(1, picture.size) as view:
        np.asarray(view)[:] = picture
    return frame


def with_sums(file: bytes) -> bytes:
    """A PNG file whose chunks have the sums that belong to them; any other bytes as they are."""
    if not file.startswith(picture_header.PNG):
        return file
    made, at = bytearray(file), len(picture_header.PNG)
    while at + 12 <= len(made):
        end = at + 8 + int.from_bytes(made[at : at + 4], "big")
        if end + 4 > len(made):
            break
        made[end : end + 4] = zlib.crc32(made[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(made)


def seeds() -> list[bytes]:
    """Files of every kind that Pillow writes, small."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (7, 9, 4), dtype=np.uint8)
    colour, grey = Image.fromarray(noise[..., :3]), Image.fromarray(noise[..., 0])
    turned = Image.Exif()
    turned[0x0112] = 6
    notes = PngImagePlugin.PngInfo()
    notes.add_text("a", "b" * 99, zip=True)
    notes.add_itxt("a", "b", zip=True)
    files: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "PNG", {"transparency": (1, 2, 3), "exif": turned}),
        (grey, "PNG", {"transparency": 7, "pnginfo": notes}),
        (Image.fromarray(noise), "PNG", {}),
        (Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG", {}),
        (grey.convert("1"), "PNG", {}),
        (colour.convert("P"), "PNG", {"transparency": b"\x00\x80"}),
        (grey, "PNG", {"save_all": True, "append_images": [grey.rotate(180)]}),
        (colour, "JPEG", {"exif": turned}),
        (colour, "JPEG", {"progressive": True, "subsampling": 2}),
        (grey, "JPEG", {"restart_marker_blocks": 1}),
        (colour.convert("CMYK"), "JPEG", {}),
        (grey, "MPO", {"save_all": True, "append_images": [grey]}),
    ]
    made = []
    for number, (image, kind, options) in enumerate(files):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        made.append(bytes([64 + number % len(SPECS)]) + stream.getvalue())
    return made
